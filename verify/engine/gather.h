/* What a map makes of a recorded tensor beyond moving its elements: of several ranks, of a pair that a fused norm gives, and of tables
 * with a column for every expert. */
#ifndef GATHER_H
#define GATHER_H

#include "reshape.h"

/* One more rank of the same tensor. False: one sentence in why. */
bool gather_same(shaped *s, const safetensor *rank, complaint *why); /* it holds the same bytes */
bool gather_sum(shaped *s, const safetensor *rank, complaint *why); /* in binary64, which s holds then; of F32 or F64 */

/* What was summed, as F32: a number that no rank stored. */
bool gather_round(shaped *s, complaint *why);

/* Of two tensors that a fused norm gives, one is its output: rows of it, divided by the norm's weight, have a mean square next to 1.
 * Is that `s`, rather than other? */
bool gather_is_normed(const safetensor *s, const safetensor *other, const safetensor *weight, bool *normed,
                      complaint *why);

/* Of a row for all experts, 0 where one isn't chosen: the k that are chosen, as I32, or their values. */
bool gather_chosen(shaped *s, int64_t k, bool values, complaint *why);

/* Each number times a factor, rounded to its format. */
bool gather_times(shaped *s, double factor, complaint *why);

#endif
