/*
 * The verdict on an answer by other formulas: those that make known mistakes.
 */
#ifndef JUDGE_WITH_H
#define JUDGE_WITH_H

#include "enclose.h"
#include "result.h"

/* Judges the outputs in got[] as those of a port that declares n and makes the mistakes, as judge does: truth, legal results and
 * own choices all make them. False: no memory. */
bool judge_with(const problem *p, const ref_numerics *n, ref_set quirks, void *const got[], result *r);

#endif
