/*
 * Enclosures of the outputs of a problem under one reading of its formula. Nothing else in verify evaluates
 * an op's reference.
 */
#ifndef ENCLOSE_H
#define ENCLOSE_H

#include "case/problem.h"

/* value[i] belongs to tensor[i] of the problem and is NULL for inputs. rivals[i] is the same for decisions, and NULL
 * for other outputs: what may be chosen besides, of a row all alike; 0 unless the reading is teacher-forced. All 0:
 * empty. */
typedef struct {
    ref_value **value;
    int tensors;
    double **rivals;
    ref_set asked; /* quirks that can change them: the reading asked for them */
} enclosures;

/* Does a reading take seconds? */
bool reading_is_dear(const problem *p);

/* One reading in one tier. False: no memory, and nothing to free. */
bool enclose(const problem *p, const ref_reading *rd, const ref_table *tier, void *const data[], enclosures *out);
void enclosures_free(enclosures *e);

/* The same of the outputs that `wanted`, by tensor, names; the others have no value. */
bool enclose_some(const problem *p, const ref_reading *rd, const ref_table *tier, void *const data[],
                  const bool wanted[], enclosures *out);

/* In the working tier, and false as above. Where the outputs of an op follow from one another (op.staged),
 * truth and legal results are those given the port's own decisions and stages, which are read from data. */
bool enclose_truth(const problem *p, void *const data[], enclosures *truth); /* exact */
bool enclose_legal(const problem *p, const ref_numerics *n, void *const data[],
                   enclosures *legal); /* conforming to n */
bool enclose_both(const problem *p, const ref_numerics *n, void *const data[], enclosures *truth, enclosures *legal);

/* The exact results with the reference's own decisions: outputs in data are not read. */
bool enclose_own(const problem *p, void *const data[], enclosures *own);

/* All that a judge needs: truth, legal results, and where the op has a choice the reference's own. */
typedef struct {
    enclosures truth, legal, own;
} readings;

/* False: no memory, and nothing to free. */
bool readings_open(const problem *p, const ref_numerics *n, void *const data[], readings *out);
void readings_free(readings *r);

/* Puts results into the outputs in data, each rounded to its format. */
void write_results(const problem *p, const enclosures *e, void *const data[]);

/* Puts the reference's own outputs into data; nothing if the op isn't staged. False: no memory. */
bool decide_own(const problem *p, ref_set quirks, void *const data[]);

#endif
