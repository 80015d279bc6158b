/*
 * The verdict on an answer under another declaration than the port's: nobody is asked again.
 */
#ifndef JUDGE_UNDER_H
#define JUDGE_UNDER_H

#include "enclose.h"
#include "result.h"

/* Judges the outputs in got[] as those of a port that declares n; truth and own as for judge. Sets what judge sets in *r.
 * False: no memory. */
bool judge_under(const problem *p, const ref_numerics *n, const enclosures *truth, const enclosures *own,
                 void *const got[], result *r);

#endif
