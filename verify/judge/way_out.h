/*
 * What would make a VACUOUS verdict one: a clause that the port could declare, or another case of the same op.
 */
#ifndef WAY_OUT_H
#define WAY_OUT_H

#include "enclose.h"
#include "result.h"

/* Judges an answer that is VACUOUS under r->declared again, with one clause tightened at a time, and the truth of the case with
 * stages=1 and of that with the op's first fill, which other_cases allows; the first that is PASS is named in r->way_out, else that
 * none is. Large cases get fewer tries: the sentence says so. truth and own as for judge. False: no memory. */
bool find_way_out(const problem *p, const enclosures *truth, const enclosures *own, void *const got[], bool other_cases,
                  result *r);

#endif
