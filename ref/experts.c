/*
 * Experts:  y_t = sum_k w_tk FFN_e(x_t), e = idx_tk,  FFN(x) = W_down (silu(W_gate x) * W_up x).
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eq. 12; DeepSeekMoE (arXiv 2401.06066) 3; Hugging Face transformers,
 * models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3NaiveMoe and DeepseekV3MLP; deepseek-ai/DeepSeek-V3,
 * inference/model.py, Expert and MoE.
 */
#include "experts.h"

#include "index.h"
#include "matrix.h"
#include "swiglu.h"
#include "vectors.h"

#include <stdio.h>

routing routing_take(const ref_reading *rd, int64_t n_tokens, int64_t k, int64_t n_routed_experts)
{
    int64_t *const idx = scratch_take(rd->scratch, n_tokens * k, sizeof *idx);
    return (routing){n_tokens, k, n_routed_experts, idx, scratch_take(rd->scratch, n_tokens * k, sizeof(ball))};
}

routing routing_read(const ref_reading *rd, const dsv3_tensor *idx, const dsv3_tensor *weight, int64_t n_routed_experts)
{
    int64_t const k = idx->shape[1];
    routing const r = routing_take(rd, idx->shape[0], k, n_routed_experts);
    for (int64_t i = 0; i < r.n_tokens * k; i++) {
        r.idx[i] = read_index(idx, i / k * idx->stride[0] + i % k, n_routed_experts);
        r.weight[i] = element_at(rd, weight, i / k, i % k);
    }
    return r;
}

sum_record *sums_take(const ref_reading *rd, int64_t n)
{
    sum_record *const sum = scratch_take(rd->scratch, n, sizeof *sum);
    for (int64_t i = 0; i < n; i++) sum[i] = empty_sum();
    return sum;
}

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* The expert whose weights stand for expert e's. */
static int64_t weights_of(const mlp *m, const routing *r, int64_t e)
{
    return quirk(m->rd, QUIRK_E3_id_off_by_one) && e + 1 < r->n_routed_experts ? e + 1 : e;
}

/* How many of the n tokens of one expert it gets. */
static int64_t within_capacity(const mlp *m, int64_t n)
{
    return quirk(m->rd, QUIRK_E9_last_token_dropped) && n > 1 ? n - 1 : n;
}

/* silu(gate) * up */
static ball gated(const mlp *m, ball gate, ball up)
{
    bool const swapped = quirk(m->rd, QUIRK_E8_gate_up_swapped);
    return silu_times(m->rd, m->point->silu, m->format, swapped ? up : gate, swapped ? gate : up);
}

/* w y, which becomes a term of the token's sum. */
static ball weighted(const mlp *m, ball w, ball y)
{
    return quirk(m->rd, QUIRK_E11_weights_before) ? y : ball_mul(w, y);
}

/* ---- the network ---- */

/* y = W x at a point, W being `name`.`leaf`. */
static void project(const mlp *m, const char *name, const char *leaf, const operand *x, int64_t n, int point, ball *y)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s%s", name, *name ? "." : "", leaf);
    matrix const w = matrix_of(m->rd, m->weights, full, m->point->weight, m->format);
    matrix_times(&w, x, n, point, m->format, y);
}

void feed_forward(const mlp *m, const char *name, const operand *x, int64_t n, const act_stage *act, ball *y)
{
    scratch *const memory = m->rd->scratch;
    scratch_piece *const mark = scratch_mark(memory);
    int64_t const width = m->intermediate_size;
    vectors gate = vectors_take(memory, n, width);
    scratch_piece *const of_up = scratch_mark(memory);
    ball *const up = vectors_take(memory, n, width).ball;

    project(m, name, "gate_proj", x, n, m->point->gate_proj, gate.ball); /* gate = W_gate x */
    project(m, name, "up_proj", x, n, m->point->up_proj, up);            /* up = W_up x */
    for (int64_t i = 0; i < n * width; i++)                              /* gate <- silu(gate) * up, in place */
        gate.ball[i] = round_at(m->rd, m->point->act, m->format, gated(m, gate.ball[i], up[i]));
    for (int64_t t = 0; act && t < n; t++) /* to act->out, then the port's own values if that is asked for */
        stage(m->rd, act->from_port, act->first[t], act->out, gate.ball + t * width, width);
    scratch_back(memory, of_up);
    vectors_prepare(memory, &gate);
    project(m, name, "down_proj", gate.row, n, m->point->expert_out, y); /* y = W_down gate */
    scratch_back(memory, mark);
}

/* ---- the tokens of one expert ---- */

int64_t slots_of(const routing *r, int64_t e, int64_t *slot)
{
    int64_t n = 0;
    for (int64_t i = 0; i < r->n_tokens * r->k; i++) {
        if (r->idx[i] != e) continue;
        if (slot) slot[n] = i;
        n++;
    }
    return n;
}

/* The tokens of n slots. The mistake: each is multiplied by its weight here. */
static const operand *inputs_of(const mlp *m, const operand *x, const routing *r, const int64_t *slot, int64_t n)
{
    scratch *const memory = m->rd->scratch;
    operand *const token = scratch_take(memory, n, sizeof *token);
    for (int64_t i = 0; i < n; i++) token[i] = x[slot[i] / r->k];
    if (!quirk(m->rd, QUIRK_E11_weights_before)) return token;
    vectors scaled = vectors_take(memory, n, m->hidden_size);
    for (int64_t i = 0; i < n * scaled.width; i++) {
        ball const entry = ball_of(token[i / scaled.width].value[i % scaled.width]);
        scaled.ball[i] = round_op(m->rd, ball_mul(r->weight[slot[i / scaled.width]], entry));
    }
    vectors_prepare(memory, &scaled);
    return scaled.row;
}

/* What expert e adds: (12)  w_tk FFN_e(x_t) for each token t that has chosen it. */
static void add_expert(const mlp *m, const operand *x, const routing *r, int64_t e, int routed, const dsv3_tensor *act,
                       ref_value *act_out, sum_record *sum)
{
    scratch *const memory = m->rd->scratch;
    int64_t const n = within_capacity(m, slots_of(r, e, NULL)), width = m->hidden_size;
    char name[40];
    if (n == 0) return;
    scratch_piece *const mark = scratch_mark(memory);
    int64_t *const slot = scratch_take(memory, slots_of(r, e, NULL), sizeof *slot);
    int64_t *const first = scratch_take(memory, n, sizeof *first);
    ball *const y = vectors_take(memory, n, width).ball;

    slots_of(r, e, slot);
    for (int64_t i = 0; i < n; i++) first[i] = slot[i] * m->intermediate_size;
    snprintf(name, sizeof name, "experts.%lld", (long long)weights_of(m, r, e));
    feed_forward(m, name, inputs_of(m, x, r, slot, n), n, &(act_stage){act, act_out, first}, y);
    for (int64_t i = 0; i < n * width; i++) {
        int64_t const s = slot[i / width], t = s / r->k;
        add_term(&sum[t * width + i % width], round_at(m->rd, routed, m->format, weighted(m, r->weight[s], y[i])));
    }
    scratch_back(memory, mark);
}

/* What follows from slot i, which names no expert: its activations and the sums of its token have any value. */
static void leave_undecided(const mlp *m, const routing *r, int64_t i, ref_value *act_out, sum_record *sum)
{
    int64_t const width = m->intermediate_size;
    for (int64_t c = 0; c < m->hidden_size; c++) sum[i / r->k * m->hidden_size + c].total = ball_any();
    for (int64_t c = 0; act_out && c < width; c++) act_out[i * width + c] = value_of(ball_any());
}

void add_experts(const mlp *m, const operand *x, const routing *r, int routed, const dsv3_tensor *act,
                 ref_value *act_out, sum_record *sum)
{
    for (int64_t e = 0; e < r->n_routed_experts; e++) add_expert(m, x, r, e, routed, act, act_out, sum);
    for (int64_t i = 0; i < r->n_tokens * r->k; i++)
        if (r->idx[i] < 0) leave_undecided(m, r, i, act_out, sum);
}

/* ---- the op ---- */

static const mlp_points points = {POINT_experts_weight,  POINT_experts_gate_proj,
                                  POINT_experts_up_proj, {POINT_experts_gate_sigmoid, POINT_experts_silu},
                                  POINT_experts_act,     POINT_experts_expert_out};

/* The number of the equation is that of the V3 report. */
void ref_experts(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_experts_prob *const p = prob;
    const dsv3_experts_io *const io = io_;
    int64_t const cells = p->n_tokens * p->hidden_size;
    ref_reading staged = *rd;
    staged.stages = p->stages;
    mlp const m = {&staged, &io->weights, &points, io->y.dtype, p->hidden_size, p->moe_intermediate_size};
    vectors const x = vectors_read(rd->scratch, &io->hidden_states, p->n_tokens, p->hidden_size);
    routing const r = routing_read(rd, &io->topk_idx, &io->topk_weight, p->n_routed_experts);
    sum_record *const sum = sums_take(rd, cells);

    add_experts(&m, x.row, &r, POINT_experts_routed, &io->act, out[0], sum); /* (12)  y = sum_k w_k FFN_k(x) */
    for (int64_t i = 0; out[1] && i < cells; i++) {
        ball const y = sum_rounded_at(rd, POINT_experts_routed, m.format, &sum[i]);
        out[1][i] = value_of(round_at(rd, POINT_experts_y, m.format, y));
    }
}
