/*
 * The MoE layer:  z = W_gate x,  routing by z,  y = sum_k w_k FFN_k(x) + FFN_shared(x).
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eqs. 12-16; Hugging Face transformers,
 * models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3MoE; deepseek-ai/DeepSeek-V3, inference/model.py, MoE.
 */
#include "moe.h"

#include "experts.h"
#include "gate.h"
#include "hidden.h"
#include "matrix.h"
#include "vectors.h"

static const mlp_points routed_points = {POINT_moe_weight,
                                         POINT_moe_gate_proj,
                                         POINT_moe_up_proj,
                                         {POINT_moe_gate_sigmoid, POINT_moe_silu},
                                         POINT_moe_act,
                                         POINT_moe_expert_out,
                                         -1,
                                         -1,
                                         -1};
const mlp_points shared_points = {POINT_moe_weight,
                                  POINT_moe_gate_proj,
                                  POINT_moe_up_proj,
                                  {POINT_moe_gate_sigmoid, POINT_moe_silu},
                                  POINT_moe_shared_act,
                                  POINT_moe_expert_out,
                                  -1,
                                  -1,
                                  -1};

typedef struct {
    const ref_reading *rd;
    const dsv3_moe_prob *p;
    const dsv3_moe_io *io;
    const operand *x; /* (n_tokens) */
    dsv3_dtype format;
} moe;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* The gate's own problem. */
static dsv3_gate_prob gate_of(const dsv3_moe_prob *p)
{
    return (dsv3_gate_prob){.n_tokens = p->n_tokens,
                            .n_routed_experts = p->n_routed_experts,
                            .n_group = p->n_group,
                            .topk_group = p->topk_group,
                            .num_experts_per_tok = p->num_experts_per_tok,
                            .routed_scaling_factor = p->routed_scaling_factor,
                            .norm_topk_prob = p->norm_topk_prob,
                            .scoring_func = p->scoring_func,
                            .topk_method = p->topk_method};
}

/* Logits are an output of their own format, or an intermediate. */
static dsv3_dtype format_of_logits(const moe *m)
{
    return m->io->router_logits.dtype == DSV3_NONE ? m->format : m->io->router_logits.dtype;
}

/* Weights likewise, and an intermediate is F32. */
static dsv3_dtype format_of_weights(const moe *m)
{
    return m->io->topk_weight.dtype == DSV3_NONE ? DSV3_F32 : m->io->topk_weight.dtype;
}

/* The factor of an expert's output, which is its topk_weight. */
static ball factor_of(const moe *m, ball weight)
{
    ball const gamma = constant(m->rd, m->p->routed_scaling_factor);
    if (quirk(m->rd, QUIRK_G7_scale_again)) weight = round_op(m->rd, ball_mul(weight, gamma));
    if (quirk(m->rd, QUIRK_G8_scale_dropped)) weight = round_op(m->rd, ball_div(weight, gamma));
    return weight;
}

/* The factor of the shared experts' output, which is 1. */
static ball factor_of_shared(const moe *m)
{
    if (quirk(m->rd, QUIRK_G9_shared_scaled)) return constant(m->rd, m->p->routed_scaling_factor);
    return ball_of(quirk(m->rd, QUIRK_E4_shared_twice) ? 2 : quirk(m->rd, QUIRK_G9_shared_lost) ? 0 : 1);
}

/* ---- steps on all tokens ---- */

static void router_logits(const moe *m, ball *z)
{
    matrix const w = matrix_of(m->rd, &m->io->weights, "gate", POINT_moe_weight, m->format);
    matrix_times(&w, m->x, m->p->n_tokens, POINT_moe_router_logits, format_of_logits(m), z);
}

/* Choice and weights of every token. In a teacher-forced reading both are the port's own from here on. */
static void route(const moe *m, const ball *z, const routing *r, ref_value *idx_out, ref_value *weight_out)
{
    scratch_piece *const mark = scratch_mark(m->rd->scratch);
    dsv3_gate_prob const prob = gate_of(m->p);
    gate const g = gate_take(m->rd, &prob, dsv3_find(&m->io->weights, "gate.e_score_correction_bias"), &m->io->topk_idx,
                             (gate_points){POINT_moe_scores, POINT_moe_topk_weight}, format_of_weights(m));
    for (int64_t t = 0; t < r->n_tokens; t++) {
        int64_t const first = t * r->k;
        bool const legal = gate_route(&g, t, z + t * r->n_routed_experts, r->weight + first);
        memcpy(r->idx + first, g.choice, (size_t)r->k * sizeof *r->idx);
        if (idx_out) choice_values(&g, legal, idx_out + first);
        stage(m->rd, &m->io->topk_weight, first, weight_out, r->weight + first, r->k);
    }
    scratch_back(m->rd->scratch, mark);
}

/* The shared experts are one network, as wide as all of them: one more term of the sum. */
static void add_shared(const moe *m, ref_value *act_out, ball *y, sum_record *sum)
{
    scratch_piece *const mark = scratch_mark(m->rd->scratch);
    int64_t const n = m->p->n_tokens, width = m->p->n_shared_experts * m->p->moe_intermediate_size;
    mlp const shared = {m->rd, &m->io->weights, &shared_points, m->format, m->p->hidden_size, width, NULL, NULL};
    int64_t *const row = scratch_take(m->rd->scratch, n, sizeof *row);
    for (int64_t t = 0; t < n; t++) row[t] = t;
    feed_forward(&shared, "shared_experts", m->x, n, &(act_stage){&m->io->shared_act, act_out, row}, y);
    ball const factor = factor_of_shared(m);
    for (int64_t i = 0; i < n * m->p->hidden_size; i++) add_term(&sum[i], ball_mul(factor, y[i]));
    scratch_back(m->rd->scratch, mark);
}

/* ---- the layer ---- */

/* The layer as it is read here: some stages may have no tensor. */
static ref_reading staged_reading(const ref_reading *rd, const dsv3_moe_prob *p, const dsv3_moe_io *io)
{
    ref_reading staged = *rd;
    staged.stages = p->stages;
    hide_absent(&staged, POINT_moe_router_logits, &io->router_logits);
    hide_absent(&staged, POINT_moe_topk_weight, &io->topk_weight);
    hide_absent(&staged, POINT_moe_act, &io->act);
    hide_absent(&staged, POINT_moe_shared_act, &io->shared_act);
    return staged;
}

/* The numbers of equations are those of the V3 report. */
void moe_block(const ref_reading *rd, const dsv3_moe_prob *p, const dsv3_moe_io *io, const operand *x, ball *y,
               ref_value *const out[])
{
    scratch *const memory = rd->scratch;
    scratch_piece *const mark = scratch_mark(memory);
    int64_t const cells = p->n_tokens * p->hidden_size;
    ref_reading const staged = staged_reading(rd, p, io);
    moe const m = {&staged, p, io, x, io->y.dtype};
    mlp const experts = {&staged, &io->weights, &routed_points, m.format, p->hidden_size, p->moe_intermediate_size,
                         NULL,    NULL};
    vectors const z = vectors_take(memory, p->n_tokens, p->n_routed_experts);
    routing const r = routing_take(rd, p->n_tokens, p->num_experts_per_tok, p->n_routed_experts);
    sum_record *const sum = sums_take(rd, cells);

    router_logits(&m, z.ball); /* (15)  z = W_gate x, the logits of s */
    stage(&staged, &io->router_logits, 0, out[0], z.ball, z.n * z.width);
    route(&m, z.ball, &r, out[1], out[2]); /* (13, 15, 16)  idx_k and w_k of z */
    if (!y) {
        scratch_back(memory, mark);
        return;
    }
    for (int64_t i = 0; i < r.n_tokens * r.k; i++) r.weight[i] = factor_of(&m, r.weight[i]);
    add_experts(&experts, x, &r, POINT_moe_routed, &io->act, out[3], sum); /* (12)  sum_k w_k FFN_k(x) */
    if (p->n_shared_experts) add_shared(&m, out[4], y, sum);               /* (12)  + FFN_shared(x) */
    for (int64_t i = 0; i < cells; i++) {                                  /* (12)  y, the residual left out */
        y[i] = round_at(&staged, POINT_moe_y, m.format, sum_rounded_at(&staged, POINT_moe_routed, m.format, &sum[i]));
        if (out[5]) out[5][i] = value_of(y[i]);
    }
    scratch_back(memory, mark);
}

/* ---- the op ---- */

void ref_moe(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_moe_prob *const p = prob;
    const dsv3_moe_io *const io = io_;
    vectors const x = vectors_read(rd->scratch, &io->hidden_states, p->n_tokens, p->hidden_size);
    bool const sums = out[3] || out[4] || out[5];
    moe_block(rd, p, io, x.row, sums ? vectors_take(rd->scratch, x.n, x.width).ball : NULL, out);
}
