/* Sequences of calls: a step that repeats an earlier one must answer the same. */
#ifndef REPLAY_H
#define REPLAY_H

#include "case/problem.h"

/* Does a step differ in an output from one with the same inputs before it? data[i] belongs to tensor[i] of the sequence. Yes: one
 * sentence in why. Never of a single call. */
bool replay_differs(const problem *p, void *const data[], char *why, size_t cap);

#endif
