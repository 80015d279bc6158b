/*
 * Truth of a problem, and the verdict on what a port wrote.
 */
#ifndef JUDGE_H
#define JUDGE_H

#include "case/problem.h"
#include "result.h"

/* Balls of every output under one reading; value[i] belongs to tensor[i] and is NULL for inputs. */
typedef struct {
    ref_value *value[MAX_TENSORS];
} enclosures;

bool enclose(const problem *p, const ref_reading *rd, const ref_table *tier, void *const data[], enclosures *out);
void enclosures_free(enclosures *e);

/* The truth, and what is legal under a declaration, in the working tier. Where outputs follow from one another (op.staged), both
 * are given those in data. False: no memory, and nothing to free. */
bool enclose_both(const problem *p, const ref_numerics *n, void *const data[], enclosures *truth, enclosures *legal);

/* The exact results with the reference's own decisions: outputs in data are not read. False as above. */
bool enclose_own(const problem *p, void *const data[], enclosures *own);

/* Puts the reference's own outputs into data; nothing if the op isn't staged. False: no memory. */
bool decide_own(const problem *p, ref_set quirks, void *const data[]);

/* Judges the outputs in got[] against the truth (exact reading) and the legal results (conforming reading). own: the reference's
 * own results, asked for if the op has a choice. Sets v, why, constant and output[] of the result. */
void judge(const problem *p, const enclosures *truth, const enclosures *legal, const enclosures *own, void *const got[],
           result *r);

/* The known mistakes, most likely first, for an answer that is no legal result: those that leave the fewest illegal elements.
 * Sets diagnoses and diagnosis[] of the result. False: no memory. */
bool diagnose(const problem *p, const ref_numerics *n, void *const got[], result *r);

/* Elements whose legal results with the mistakes and without have nothing in common; of how many. -1: no memory. */
int64_t seen_in(const problem *p, const ref_numerics *n, ref_set quirks, void *const data[], int64_t *count);

#endif
