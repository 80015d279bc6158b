/*
 * One step of the balancing without auxiliary loss:  b_i + u sign(mean load - load_i),  sign(0) = 0.
 * Source: Wang et al., "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts" (arXiv 2408.15664), algorithm 1;
 * DeepSeek-V3 report (arXiv 2412.19437) 2.1.2; NVIDIA/Megatron-LM, megatron/core/transformer/moe/moe_utils.py,
 * get_updated_expert_bias. No public inference repository has it.
 *
 * The sign is a decision between whole numbers: experts times the load against the sum of loads. Nothing rounds there.
 */
#include "reading.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_bias_update_prob *prob;
    const dsv3_bias_update_io *io;
    double total; /* of the loads; below 2^47 */
    ball speed;   /* u, as the port has it */
    ball mean;    /* of the directions; of a mistake only */
} update;

static double load_of(const dsv3_bias_update_io *io, int64_t e)
{
    return ref_decode(io->load.dtype, io->load.data, e);
}

/* n_routed_experts times (mean load - load). */
static double shortage(const update *u, int64_t e)
{
    return u->total - (double)u->prob->n_routed_experts * load_of(u->io, e);
}

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* sign(mean load - load) */
static double direction(const update *u, int64_t e)
{
    double const d = shortage(u, e);
    if (d == 0) return quirk(u->rd, QUIRK_T1_zero_counts_up) ? 1 : 0;
    return (d > 0) != quirk(u->rd, QUIRK_T1_sign_flipped) ? 1 : -1;
}

/* The mistake: the mean of all directions is subtracted from each. */
static ball mean_direction(const update *u)
{
    double sum = 0;
    for (int64_t e = 0; e < u->prob->n_routed_experts; e++) sum += direction(u, e);
    return round_op(u->rd, ball_div(ball_of(sum), ball_of((double)u->prob->n_routed_experts)));
}

/* The mistake: u (mean load - load) */
static ball proportional(const update *u, int64_t e)
{
    ball const error = ball_div(ball_of(shortage(u, e)), ball_of((double)u->prob->n_routed_experts));
    return round_op(u->rd, ball_mul(u->speed, round_op(u->rd, error)));
}

/* u sign(mean load - load) */
static ball change(const update *u, int64_t e)
{
    if (quirk(u->rd, QUIRK_T1_proportional)) return proportional(u, e);
    ball const d = ball_mul(u->speed, ball_of(direction(u, e)));
    if (!quirk(u->rd, QUIRK_T1_centred)) return d;
    return round_op(u->rd, ball_sub(d, round_op(u->rd, ball_mul(u->speed, u->mean))));
}

/* ---- the op ---- */

void ref_bias_update(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_bias_update_io *const io = io_;
    update u = {.rd = rd, .prob = prob, .io = io};
    u.speed = constant(rd, u.prob->bias_update_speed);
    for (int64_t e = 0; e < u.prob->n_routed_experts; e++) u.total += load_of(io, e);
    if (quirk(rd, QUIRK_T1_centred)) u.mean = mean_direction(&u);
    for (int64_t e = 0; e < u.prob->n_routed_experts && out[0]; e++) {
        ball const bias = element(rd, ref_decode(io->bias.dtype, io->bias.data, e)); /* b_i + u sign(mean - load_i) */
        out[0][e] =
            value_of(round_at(rd, POINT_bias_update_bias_out, io->bias_out.dtype, ball_add(bias, change(&u, e))));
    }
}
