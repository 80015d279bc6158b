/*
 * The MoE layer:  z = W_gate x,  routing by z,  y = sum_k w_k FFN_k(x) + FFN_shared(x).
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eqs. 12-16; Hugging Face transformers,
 * models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3MoE; deepseek-ai/DeepSeek-V3, inference/model.py, MoE.
 */
#include "moe.h"

#include "experts.h"
#include "gate.h"
#include "matrix.h"
#include "vectors.h"

#include <stdlib.h>

static const mlp_points routed_points = {POINT_moe_weight, POINT_moe_gate_proj, POINT_moe_up_proj,
                                         POINT_moe_silu,   POINT_moe_act,       POINT_moe_expert_out};
static const mlp_points shared_points = {POINT_moe_weight, POINT_moe_gate_proj,  POINT_moe_up_proj,
                                         POINT_moe_silu,   POINT_moe_shared_act, POINT_moe_expert_out};

typedef struct {
    const ref_reading *rd;
    const dsv3_moe_prob *p;
    const dsv3_moe_io *io;
    const operand *x;
    dsv3_dtype format;
    ball *logits;    /* (n_tokens, n_routed_experts) */
    int64_t *idx;    /* (n_tokens, k) */
    ball *weight;    /* (n_tokens, k) */
    sum_record *sum; /* (n_tokens, hidden_size) */
} layer;

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

static bool make_logits(const layer *m, ref_value *out)
{
    matrix const w = matrix_of(m->rd, &m->io->weights, "gate", POINT_moe_weight, m->format);
    bool const staged = m->io->router_logits.dtype != DSV3_NONE;
    dsv3_dtype const format = staged ? m->io->router_logits.dtype : m->format;
    matrix_times(&w, m->x, m->p->n_tokens, POINT_moe_router_logits, format, m->logits);
    stage(m->rd, &m->io->router_logits, 0, out, m->logits, m->p->n_tokens * m->p->n_routed_experts);
    return true;
}

/* Choice and weights of every token; what goes on of the weights is the port's own in a teacher-forced reading. */
static bool route(const layer *m, ref_value *idx_out, ref_value *weight_out)
{
    int64_t const k = m->p->num_experts_per_tok;
    dsv3_gate_prob const prob = gate_of(m->p);
    gate g = {.rd = m->rd, .prob = &prob, .topk_idx = &m->io->topk_idx, .format = DSV3_F32};
    g.bias = dsv3_find(&m->io->weights, "gate.e_score_correction_bias");
    g.point_scores = POINT_moe_scores;
    g.point_weight = POINT_moe_topk_weight;
    bool const good = gate_open(&g);
    for (int64_t t = 0; good && t < m->p->n_tokens; t++) {
        bool const legal = gate_route(&g, t, m->logits + t * m->p->n_routed_experts, m->weight + t * k);
        for (int64_t i = 0; i < k; i++) {
            m->idx[t * k + i] = g.order[i];
            if (idx_out) idx_out[t * k + i] = (ref_value){legal ? (double)g.order[i] : (double)NAN, 0, 0};
        }
        stage(m->rd, &m->io->topk_weight, t * k, weight_out, m->weight + t * k, k);
    }
    gate_close(&g);
    return good;
}

/* The weights as the experts' outputs meet them. */
static void misweigh(const layer *m)
{
    ball const gamma = constant(m->rd, m->p->routed_scaling_factor);
    for (int64_t i = 0; i < m->p->n_tokens * m->p->num_experts_per_tok; i++) {
        if (quirk(m->rd, QUIRK_G7_scale_again)) m->weight[i] = round_op(m->rd, ball_mul(m->weight[i], gamma));
        if (quirk(m->rd, QUIRK_G8_scale_dropped)) m->weight[i] = round_op(m->rd, ball_div(m->weight[i], gamma));
    }
}

/* What the shared experts are multiplied by: 1. */
static ball shared_weight(const layer *m)
{
    if (quirk(m->rd, QUIRK_G9_shared_scaled)) return constant(m->rd, m->p->routed_scaling_factor);
    return ball_of(quirk(m->rd, QUIRK_E4_shared_twice) ? 2 : quirk(m->rd, QUIRK_G9_shared_lost) ? 0 : 1);
}

/* y = the routed sum, rounded or not, plus the shared experts, which may be one term among the others. */
static bool add_shared(const layer *m, ref_value *act_out, ball *y)
{
    int64_t const n = m->p->n_tokens, width = m->p->n_shared_experts * m->p->moe_intermediate_size;
    mlp const shared = {m->rd, &m->io->weights, &shared_points, m->format, m->p->hidden_size, width};
    int64_t *const from = malloc((size_t)n * sizeof *from);
    for (int64_t t = 0; from && t < n; t++) from[t] = t * width;
    act_stage const act = {&m->io->shared_act, act_out, from};
    bool const good = from && feed_forward(&shared, "shared_experts", m->x, n, &act, y);
    ball const weight = shared_weight(m);
    for (int64_t i = 0; good && i < n * m->p->hidden_size; i++) add_term(&m->sum[i], ball_mul(weight, y[i]));
    free(from);
    return good;
}

static bool open_layer(layer *m)
{
    size_t const n = (size_t)m->p->n_tokens, slots = n * (size_t)m->p->num_experts_per_tok;
    size_t const cells = n * (size_t)m->p->hidden_size;
    m->logits = malloc(n * (size_t)m->p->n_routed_experts * sizeof *m->logits);
    m->idx = malloc(slots * sizeof *m->idx);
    m->weight = malloc(slots * sizeof *m->weight);
    m->sum = malloc(cells * sizeof *m->sum);
    for (size_t i = 0; m->sum && i < cells; i++) m->sum[i] = empty_sum();
    return m->logits && m->idx && m->weight && m->sum;
}

static void close_layer(layer *m)
{
    free(m->logits);
    free(m->idx);
    free(m->weight);
    free(m->sum);
}

bool moe_block(const ref_reading *rd, const dsv3_moe_prob *p, const dsv3_moe_io *io, const operand *x, ball *y,
               ref_value *const out[])
{
    ref_reading staged = *rd;
    staged.stages = p->stages;
    layer m = {.rd = &staged, .p = p, .io = io, .x = x, .format = io->y.dtype};
    mlp const experts = {&staged, &io->weights, &routed_points, m.format, p->hidden_size, p->moe_intermediate_size};
    bool good = open_layer(&m) && make_logits(&m, out[0]) && route(&m, out[1], out[2]);
    if (good) misweigh(&m);
    good = good && add_experts(&experts, x, p->n_tokens, p->n_routed_experts, p->num_experts_per_tok, m.idx, m.weight,
                               &io->act, out[3], POINT_moe_routed, m.sum);
    good = good && (p->n_shared_experts == 0 || add_shared(&m, out[4], y));
    for (int64_t i = 0; good && i < p->n_tokens * p->hidden_size; i++) {
        y[i] = round_at(&staged, POINT_moe_y, m.format, sum_rounded_at(&staged, POINT_moe_routed, m.format, &m.sum[i]));
        if (out[5]) out[5][i] = value_of(y[i]);
    }
    close_layer(&m);
    return good;
}

/* ---- the op ---- */

void ref_moe(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_moe_prob *const p = prob;
    const dsv3_moe_io *const io = io_;
    int64_t const n = p->n_tokens, hidden = p->hidden_size;
    const operand *const x = vectors_read(rd->scratch, &io->hidden_states, n, hidden).row;
    ball *const y = scratch_take(rd->scratch, n * hidden, sizeof *y);
    scratch_need(rd->scratch, moe_block(rd, p, io, x, y, out));
}
