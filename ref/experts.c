/*
 * Experts:  y_t = sum_k w_tk FFN_e(x_t), e = idx_tk,  FFN(x) = W_down (silu(W_gate x) * W_up x).
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eq. 12; DeepSeekMoE (arXiv 2401.06066) 3; Hugging Face transformers,
 * models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3NaiveMoe and DeepseekV3MLP; deepseek-ai/DeepSeek-V3,
 * inference/model.py, Expert and MoE.
 */
#include "experts.h"

#include "matrix.h"
#include "swiglu.h"
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>

/* y = W x at a point, W being `name`.`leaf`. */
static bool project(const mlp *m, const char *name, const char *leaf, const operand *x, int64_t n, int point, ball *y)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s%s", name, *name ? "." : "", leaf);
    matrix const w = matrix_of(m->rd, m->weights, full, m->point->weight, m->format);
    matrix_times(&w, x, n, point, m->format, y);
    return true;
}

/* act = silu(gate) * up, in the place of gate; handed out and on. */
static void activate(const mlp *m, ball *gate, const ball *up, int64_t n, const act_stage *act)
{
    int64_t const width = m->intermediate_size;
    bool const exchanged = quirk(m->rd, QUIRK_E8_gate_up_swapped);
    for (int64_t i = 0; i < n * width; i++) {
        ball const g = exchanged ? up[i] : gate[i], u = exchanged ? gate[i] : up[i];
        gate[i] = round_at(m->rd, m->point->act, m->format, silu_times(m->rd, m->point->silu, m->format, g, u));
    }
    for (int64_t t = 0; act && t < n; t++)
        stage(m->rd, act->from_port, act->from[t], act->out, gate + t * width, width);
}

bool feed_forward(const mlp *m, const char *name, const operand *x, int64_t n, const act_stage *act, ball *y)
{
    int64_t const width = m->intermediate_size, cells = n * width;
    ball *const gate = malloc((size_t)(2 * cells + 1) * sizeof *gate), *const up = gate + cells;
    double *const parts = malloc((size_t)(3 * cells + 1) * sizeof *parts);
    operand *const rows = malloc((size_t)(n + 1) * sizeof *rows);
    bool good = gate && parts && rows;
    good = good && project(m, name, "gate_proj", x, n, m->point->gate_proj, gate);
    good = good && project(m, name, "up_proj", x, n, m->point->up_proj, up);
    if (good) {
        activate(m, gate, up, n, act);
        for (int64_t t = 0; t < n; t++) rows[t] = operand_of_balls(gate + t * width, width, parts + 3 * t * width);
        good = project(m, name, "down_proj", rows, n, m->point->expert_out, y);
    }
    free(gate);
    free(parts);
    free(rows);
    return good;
}

/* The tokens of one expert. */
typedef struct {
    operand *x;
    int64_t *token, *slot, *from; /* slot: the place of idx and weight; from: of the activations */
    ball *y;
    ball *scaled;  /* only for E11 */
    double *parts; /* of scaled */
    int64_t n;
} share;

static bool open_share(share *s, int64_t most, int64_t width)
{
    *s = (share){NULL};
    s->x = malloc((size_t)most * sizeof *s->x);
    s->token = malloc(3 * (size_t)most * sizeof *s->token);
    s->y = malloc((size_t)(most * width) * sizeof *s->y);
    s->scaled = malloc((size_t)(most * width) * sizeof *s->scaled);
    s->parts = malloc((size_t)(3 * most * width) * sizeof *s->parts);
    if (!s->x || !s->token || !s->y || !s->scaled || !s->parts) return false;
    s->slot = s->token + most;
    s->from = s->slot + most;
    return true;
}

static void close_share(share *s)
{
    free(s->x);
    free(s->token);
    free(s->y);
    free(s->scaled);
    free(s->parts);
}

/* Which tokens chose expert e, and where. */
static void gather(share *s, const operand *x, int64_t slots, int64_t k, const int64_t *idx, int64_t e, int64_t width)
{
    s->n = 0;
    for (int64_t i = 0; i < slots; i++) {
        if (idx[i] != e) continue;
        s->x[s->n] = x[i / k];
        s->token[s->n] = i / k;
        s->slot[s->n] = i;
        s->from[s->n++] = i * width;
    }
}

/* The mistake: each input times its weight. */
static void scale_inputs(const mlp *m, share *s, const ball *weight)
{
    int64_t const width = m->hidden_size;
    for (int64_t i = 0; i < s->n; i++) {
        ball *const x = s->scaled + i * width;
        for (int64_t c = 0; c < width; c++)
            x[c] = round_op(m->rd, ball_mul(weight[s->slot[i]], ball_of(s->x[i].value[c])));
        s->x[i] = operand_of_balls(x, width, s->parts + 3 * i * width);
    }
}

/* The weighted outputs go to their tokens' sums. */
static void scatter(const mlp *m, const share *s, const ball *weight, int routed, sum_record *sum)
{
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t c = 0; c < m->hidden_size; c++) {
            ball const y = s->y[i * m->hidden_size + c], w = weight[s->slot[i]];
            ball const product = quirk(m->rd, QUIRK_E11_weights_before) ? y : ball_mul(w, y);
            add_term(&sum[s->token[i] * m->hidden_size + c], round_at(m->rd, routed, m->format, product));
        }
}

bool add_experts(const mlp *m, const operand *x, int64_t n_tokens, int64_t n_routed_experts, int64_t k,
                 const int64_t *idx, const ball *weight, const dsv3_tensor *act, ref_value *act_out, int routed,
                 sum_record *sum)
{
    share s;
    bool good = open_share(&s, n_tokens, m->hidden_size);
    for (int64_t e = 0; good && e < n_routed_experts; e++) {
        char name[40];
        gather(&s, x, n_tokens * k, k, idx, e, m->intermediate_size);
        if (quirk(m->rd, QUIRK_E9_last_token_dropped) && s.n > 1) s.n--;
        if (s.n == 0) continue;
        if (quirk(m->rd, QUIRK_E11_weights_before)) scale_inputs(m, &s, weight);
        bool const next = quirk(m->rd, QUIRK_E3_id_off_by_one) && e + 1 < n_routed_experts;
        snprintf(name, sizeof name, "experts.%lld", (long long)e + next);
        act_stage const stages = {act, act_out, s.from};
        good = feed_forward(m, name, s.x, s.n, &stages, s.y);
        if (good) scatter(m, &s, weight, routed, sum);
    }
    for (int64_t i = 0; i < n_tokens * k; i++)
        for (int64_t c = 0; idx[i] < 0 && c < m->hidden_size; c++) sum[i / k * m->hidden_size + c].total = ball_any();
    close_share(&s);
    return good;
}

/* ---- the op ---- */

static const mlp_points points = {POINT_experts_weight, POINT_experts_gate_proj, POINT_experts_up_proj,
                                  POINT_experts_silu,   POINT_experts_act,       POINT_experts_expert_out};

/* What is read of the io. */
typedef struct {
    const operand *x; /* (n_tokens) */
    int64_t *idx;
    ball *weight;
    sum_record *sum;
} work;

static bool open_work(work *w, const dsv3_experts_prob *p)
{
    size_t const cells = (size_t)(p->n_tokens * p->hidden_size), slots = (size_t)(p->n_tokens * p->num_experts_per_tok);
    w->idx = malloc(slots * sizeof *w->idx);
    w->weight = malloc(slots * sizeof *w->weight);
    w->sum = malloc(cells * sizeof *w->sum);
    return w->idx && w->weight && w->sum;
}

static void close_work(work *w)
{
    free(w->idx);
    free(w->weight);
    free(w->sum);
}

static void read_io(const ref_reading *rd, const dsv3_experts_prob *p, const dsv3_experts_io *io, work *w)
{
    int64_t const k = p->num_experts_per_tok;
    w->x = vectors_read(rd->scratch, &io->hidden_states, p->n_tokens, p->hidden_size).row;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        for (int64_t i = 0; i < k; i++) {
            double const e = ref_decode(io->topk_idx.dtype, io->topk_idx.data, t * io->topk_idx.stride[0] + i);
            double const s = ref_decode(io->topk_weight.dtype, io->topk_weight.data, t * io->topk_weight.stride[0] + i);
            w->idx[t * k + i] = e >= 0 && e < (double)p->n_routed_experts ? (int64_t)e : -1;
            w->weight[t * k + i] = element(rd, s);
        }
    }
    for (int64_t i = 0; i < p->n_tokens * p->hidden_size; i++) w->sum[i] = empty_sum();
}

void ref_experts(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_experts_prob *const p = prob;
    const dsv3_experts_io *const io = io_;
    ref_reading staged = *rd;
    staged.stages = p->stages;
    mlp const m = {&staged, &io->weights, &points, io->y.dtype, p->hidden_size, p->moe_intermediate_size};
    work w;
    bool good = open_work(&w, p);
    if (good) {
        read_io(rd, p, io, &w);
        good = add_experts(&m, w.x, p->n_tokens, p->n_routed_experts, p->num_experts_per_tok, w.idx, w.weight, &io->act,
                           out[0], POINT_experts_routed, w.sum);
    }
    for (int64_t i = 0; good && out[1] && i < p->n_tokens * p->hidden_size; i++) {
        ball const y = sum_rounded_at(rd, POINT_experts_routed, io->y.dtype, &w.sum[i]);
        out[1][i] = value_of(round_at(rd, POINT_experts_y, io->y.dtype, y));
    }
    close_work(&w);
    scratch_need(rd->scratch, good);
}
