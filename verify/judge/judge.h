/*
 * The verdict on what a port wrote.
 */
#ifndef JUDGE_H
#define JUDGE_H

#include "enclose.h"
#include "result.h"

/* Judges the outputs in got[] against the truth (exact reading) and the legal results (conforming reading).
 * own: the reference's own results, asked for if the op has a choice; else NULL will do. Sets v, why,
 * constant, output[] and what tells of choices in the result. Of an output that lies over an input, rows that should have
 * stayed and haven't make it CORRUPT. Evaluates no formula and takes no memory. */
void judge(const problem *p, const enclosures *truth, const enclosures *legal, const enclosures *own, void *const got[],
           result *r);

#endif
