/*
 * Outputs that a port may say it is without: lse of an attention kernel, and the stages of a composition. What an op is for is
 * none of them, so that there is always something to judge.
 */
#ifndef WITHOUT_H
#define WITHOUT_H

#include "problem.h"

/* REF_LSE or REF_STAGES; 0: every port makes this tensor. */
unsigned optional_as(const tensor_info *t);

/* The bit of tensor i, an output, in a set of outputs. */
unsigned output_bit(const problem *p, int i);

/* Which of the optional outputs the port is without, given those that it left out and what it declares (ref_numerics.without).
 * A declaration alone takes nothing away: what was written is judged. False: an output is missing that the declaration
 * doesn't name, or some stages are and others aren't; one sentence in why. */
bool without_read(const problem *p, unsigned left_out, unsigned declared, unsigned *without, complaint *why);

/* Their names, "act, shared_act". */
void without_print(const problem *p, unsigned without, char *text, size_t cap);

/* The problem with no such outputs, of the same data: kept[i] belongs to tensor[i] of it. Without stages it is that of stages = 0.
 * kept has room for the tensors of p; problem_close either way. False: no memory. */
bool problem_without(const problem *p, unsigned without, void *const data[], problem *out, void *kept[]);

#endif
