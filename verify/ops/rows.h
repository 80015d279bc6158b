/*
 * Rows that several ops have word for word, and what op files are written with. An op file says first what the rows
 * refer to: FIELD(name) and IO(name), the offsets in its structs, and FIRST, the weight whose format the other
 * projections have.
 */
#ifndef ROWS_H
#define ROWS_H

#include "case/problem.h"

/* Is that the tensor's name? */
static inline bool is(const tensor_row *row, const char *name)
{
    return same_name(row->name, name);
}

/* How many blocks of 128, the last one perhaps shorter, n elements make. */
static inline int64_t blocks(int64_t n)
{
    return (n + 127) / 128;
}

/* Of a field that came with this member of dsv3_backend. */
#define SINCE(op) offsetof(dsv3_backend, op)

/* clang-format off */

/* The names and widths of an attention block. */
#define ROWS_ATTENTION                                                                                                 \
    {FIELD(num_attention_heads), FIELD_SIZE, 1, 1024, {128, 2, 4, 1}, "heads"},                                        \
    {FIELD(q_lora_rank), FIELD_SIZE, 0, 65536, {1536, 3, 24, 0}, "width of the query latent; 0: none"},                \
    {FIELD(kv_lora_rank), FIELD_SIZE, 1, 8192, {512, 3, 16, 1}, "width of the latent that is cached"},                 \
    {FIELD(qk_nope_head_dim), FIELD_SIZE, 1, 1024, {128, 2, 8, 1}, "part of a query and key without rotation"},        \
    {FIELD(qk_rope_head_dim), FIELD_SIZE, 2, 1024, {64, 2, 8, 2}, "rotated part, even"},                               \
    {FIELD(v_head_dim), FIELD_SIZE, 1, 1024, {128, 2, 12, 1}, "width of a head's value"}

/* The frequencies of the rotation. mscale_all_dim follows: what it is besides differs. */
#define ROWS_YARN                                                                                                      \
    {FIELD(rope_theta), FIELD_REAL, 1.5, 1e9, {10000, 10000, 100, 10000}, "base of the frequencies"},                  \
    {FIELD(factor), FIELD_REAL, 1, 1e4, {40, 40, 8, 1}, "YaRN: how far the context is extended; 1: plain RoPE"},       \
    {FIELD(original_max_position_embeddings), FIELD_SIZE, 1, 1e9, {4096, 4096, 4096, 1}, "YaRN: tokens before that"},  \
    {FIELD(beta_fast), FIELD_REAL, 1e-3, 1e6, {32, 32, 32, 32}, "YaRN: pairs that turn more often stay"},              \
    {FIELD(beta_slow), FIELD_REAL, 1e-3, 1e6, {1, 1, 1, 1}, "YaRN: pairs that turn less often are divided by factor"}, \
    {FIELD(mscale), FIELD_REAL, 0, 100, {1, 1, 0.707, 1}, "YaRN: amplitude, numerator"}

/* How a gate chooses. */
#define ROWS_ROUTING                                                                                                   \
    {FIELD(n_group), FIELD_SIZE, 1, 16, {8, 4, 4, 1}, "groups of neighbouring experts"},                               \
    {FIELD(topk_group), FIELD_SIZE, 1, 16, {4, 2, 2, 1}, "groups kept for a token"},                                   \
    {FIELD(num_experts_per_tok), FIELD_SIZE, 1, 64, {8, 2, 6, 1}, "experts chosen for a token"},                       \
    {FIELD(routed_scaling_factor), FIELD_REAL, 0, 1e6, {2.5, 2.5, 1.7, 1}, "multiplies the weights"}

/* What the models before V3 have otherwise. */
#define ROWS_SCORING                                                                                                   \
    {FIELD(norm_topk_prob), FIELD_FLAG, 0, 1, {1, 1, 1, 1}, "1: weights are divided by their sum"},                    \
    {FIELD(scoring_func), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "scores: 0 sigmoid, 1 softmax"},                             \
    {FIELD(topk_method), FIELD_FLAG, 0, 2, {0, 0, 0, 0}, "0 noaux_tc, 1 greedy, 2 group_limited_greedy"}

/* What a gate chose. */
#define ROWS_CHOSEN                                                                                                    \
    {"topk_idx", TENSOR_OUT, IO(topk_idx), "i32", "n_tokens num_experts_per_tok", NULL,                                \
     "experts chosen, in any order"},                                                                                  \
    {"topk_weight", TENSOR_OUT, IO(topk_weight), "f32", "n_tokens num_experts_per_tok", NULL, "their weights"}

/* A projection `name`.weight, in the format of FIRST, and the scales of its blocks, which it has when that is FP8. */
#define FP8 FIRST "=f8_e4m3"
#define ROW_SCALES(name, shape, present, repeat)                                                                       \
    {name ".weight_scale_inv", TENSOR_WEIGHT, 0, "f32", shape, present, "multiplies each 128x128 block", repeat}
#define ROWS_MATRIX(name, shape, scales, help)                                                                         \
    {name ".weight", TENSOR_WEIGHT, 0, "=" FIRST, shape, NULL, help},                                                  \
    ROW_SCALES(name, scales, FP8, NULL)

/* The same of every routed expert: `name` has a '#'. */
#define ROWS_EXPERT_MATRIX(name, shape, scales, help)                                                                  \
    {name ".weight", TENSOR_WEIGHT, 0, "=" FIRST, shape, NULL, help, "n_routed_experts"},                              \
    ROW_SCALES(name, scales, FP8, "n_routed_experts")

/* The same of a projection that is there when the field `when` isn't 0, or when "!field" is. */
#define ROWS_MATRIX_WHEN(when, name, shape, scales, help)                                                              \
    {name ".weight", TENSOR_WEIGHT, 0, "=" FIRST, shape, when, help},                                                  \
    ROW_SCALES(name, scales, when " " FP8, NULL)

/* The shared experts, as one network. */
#define ROWS_SHARED_EXPERTS(prefix)                                                                                    \
    ROWS_MATRIX_WHEN("n_shared_experts", prefix "shared_experts.gate_proj", "shared_width hidden_size",                \
                     "shared_blocks hidden_blocks", "of the shared experts"),                                          \
    ROWS_MATRIX_WHEN("n_shared_experts", prefix "shared_experts.up_proj", "shared_width hidden_size",                  \
                     "shared_blocks hidden_blocks", "of the shared experts"),                                          \
    ROWS_MATRIX_WHEN("n_shared_experts", prefix "shared_experts.down_proj", "hidden_size shared_width",                \
                     "hidden_blocks shared_blocks", "of the shared experts")

/* A derived size, by the name of its function. */
#define DERIVED(name) {#name, name}

/* clang-format on */

#endif
