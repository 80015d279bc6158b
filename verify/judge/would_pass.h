/*
 * What a port that declares nothing could have declared to be legal.
 */
#ifndef WOULD_PASS_H
#define WOULD_PASS_H

#include "enclose.h"
#include "result.h"

/* The first of a few wide declarations under which an answer that is no legal result of none would be PASS: BF16
 * arithmetic, a coarse truncating accumulator, both. Sets would_pass of the result, "" if there is none; truth and own as
 * for judge. False: no memory. */
bool find_passing(const problem *p, const enclosures *truth, const enclosures *own, void *const got[], result *r);

#endif
