/* The feed-forward network of an expert over rows of balls: what experts sums, and what moe adds the shared ones of. */
#ifndef EXPERTS_H
#define EXPERTS_H

#include "swiglu.h"

/* The rounding points of one feed-forward network. */
typedef struct {
    int weight, gate_proj, up_proj;
    silu_points silu;
    int act, expert_out;
    int x, act_scale, act_q; /* of W8A8; -1: the op has none */
} mlp_points;

/* Of W8A8: how act is quantised, the port's own stages, and where they are written. */
typedef struct {
    double amax_floor;
    int32_t scale_fmt;
    const dsv3_tensor *scale_from_port, *q_from_port;
    ref_value *scale_out, *q_out; /* NULL: not wanted */
} requantiser;

typedef struct {
    const ref_reading *rd;
    const dsv3_weights *weights;
    const mlp_points *point;
    dsv3_dtype format; /* of every point, unless declared otherwise */
    int64_t hidden_size, intermediate_size;

    /* Of W8A8, else NULL: the scales (rows of x, blocks) of x, and what happens to act. */
    const ball *x_scale;
    const requantiser *again;
} mlp;

/* The activations of some rows as a stage: where they are written, and the port's tensor, which a teacher-forced reading goes on from. */
typedef struct {
    const dsv3_tensor *from_port;
    ref_value *out;      /* NULL: not wanted */
    const int64_t *slot; /* of each row: which row of either it is */
} act_stage;

/* Which experts each token goes to, and with what weight. */
typedef struct {
    int64_t n_tokens, k, n_routed_experts;
    int64_t *idx; /* (n_tokens, k); -1: no expert */
    ball *weight; /* (n_tokens, k) */
} routing;

routing routing_take(const ref_reading *rd, int64_t n_tokens, int64_t k, int64_t n_routed_experts);

/* What a case says of them. */
routing routing_read(const ref_reading *rd, const dsv3_tensor *idx, const dsv3_tensor *weight,
                     int64_t n_routed_experts);

/* The slots of idx that name expert e, in order: slot[i] belongs to token slot[i] / k. Returns how many; slot NULL: counts. */
int64_t slots_of(const routing *r, int64_t e, int64_t *slot);

/* n sums without a term. */
sum_record *sums_take(const ref_reading *rd, int64_t n);

/* y (n, hidden_size) = down_proj(silu(gate_proj x) * up_proj x), the three matrices below `name`. act: NULL: no stage, and no W8A8. */
void feed_forward(const mlp *m, const char *name, const operand *x, int64_t n, const act_stage *act, ball *y);

/* Adds topk_weight times the output of each chosen expert to sum (n_tokens, hidden_size), rounded at the point `routed`. A token
 * with an idx of -1 has sums of any value, and that slot such activations. act, act_out: the stage of the activations (n_tokens, k, intermediate_size). */
void add_experts(const mlp *m, const operand *x, const routing *r, int routed, const dsv3_tensor *act,
                 ref_value *act_out, sum_record *sum);

#endif
