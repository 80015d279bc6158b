/* The feed-forward network of an expert over rows of balls: what experts sums, and what moe adds the shared ones of. */
#ifndef EXPERTS_H
#define EXPERTS_H

#include "reading.h"

/* The rounding points of one feed-forward network. */
typedef struct {
    int weight, gate_proj, up_proj, silu, act, expert_out;
} mlp_points;

typedef struct {
    const ref_reading *rd;
    const dsv3_weights *weights;
    const mlp_points *point;
    dsv3_dtype format; /* of every point, unless declared otherwise */
    int64_t hidden_size, intermediate_size;
} mlp;

/* Where the activations of the rows are handed out, and in a teacher-forced reading taken from. */
typedef struct {
    const dsv3_tensor *from_port;
    ref_value *out;      /* NULL: not wanted */
    const int64_t *from; /* of each row: its first element */
} act_stage;

/* y (n, hidden_size) = down_proj(silu(gate_proj x) * up_proj x), the three matrices below `name`. False: out of memory. */
bool feed_forward(const mlp *m, const char *name, const operand *x, int64_t n, const act_stage *act, ball *y);

/* Adds topk_weight times the output of the chosen experts to sum (n_tokens, hidden_size). idx, weight: (n_tokens, k); an idx
 * that names no expert makes its token any. `routed`: the point of each weighted output. False: out of memory. */
bool add_experts(const mlp *m, const operand *x, int64_t n_tokens, int64_t n_routed_experts, int64_t k,
                 const int64_t *idx, const ball *weight, const dsv3_tensor *act, ref_value *act_out, int routed,
                 sum_record *sum);

#endif
