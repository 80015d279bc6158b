/* Where outputs follow from one another, and each is judged given those before it, a known mistake shows in few of them. */
#ifndef REACH_H
#define REACH_H

#include "case/problem.h"

/* The outputs of an op, `in`, that a quirk changes, "q kv", where each is present; of "attn_output|y" it is the first that is. NULL: any. */
const char *reach_of(int quirk, const char *in);

/* The same by tensor of the problem: sets outputs[] of those it changes. False: that isn't known, it may be all. */
bool reached(int quirk, const problem *p, bool outputs[]);

#endif
