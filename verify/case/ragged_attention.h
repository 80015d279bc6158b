/*
 * How ops of attention over ragged sequences are filled: `q`, `k` (tokens, heads, width), `v`, `cu_seqlens_q`, `cu_seqlens_k`, and
 * `grad_o` where there is one. Their prob structs begin with the members of dsv3_mla_prefill_prob
 * up to softmax_scale.
 */
#ifndef RAGGED_ATTENTION_H
#define RAGGED_ATTENTION_H

#include "problem.h"

typedef double ragged_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits);
ragged_value ragged_real, ragged_exact, ragged_onehot, ragged_uniform, ragged_adversarial, ragged_large;

/* Which rule the problem breaks, or NULL. */
const char *ragged_rule(const struct problem *p);

/* The width of a key, and how many numbers cumulative lengths have. */
int64_t ragged_key_width(const void *prob);
int64_t ragged_starts(const void *prob);

#endif
