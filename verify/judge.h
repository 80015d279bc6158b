/*
 * Truth of a problem, and the verdict on what a port wrote.
 */
#ifndef JUDGE_H
#define JUDGE_H

#include "verdict.h"

/* Balls of every output under one reading; value[i] belongs to tensor[i] and is NULL for inputs. */
typedef struct {
    ref_value *value[MAX_TENSORS];
} enclosures;

bool enclose(const problem *p, const ref_reading *rd, const ref_table *tier, void *const data[], enclosures *out);
void enclosures_free(enclosures *e);

/* The truth, and what is legal under a declaration, in the working tier. False: no memory, and nothing to free. */
bool enclose_both(const problem *p, const ref_numerics *n, void *const data[], enclosures *truth, enclosures *legal);

/* Judges the outputs in got[] against the truth (exact reading) and the legal results (conforming reading). Sets v,
 * why, constant and output[] of the result. */
void judge(const problem *p, const enclosures *truth, const enclosures *legal, void *const got[], result *r);

#endif
