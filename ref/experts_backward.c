/*
 * The gradients of the experts, y_t = sum_k w_tk W_down a_tk with a = silu(g) u, g = W_gate x, u = W_up x:
 *   grad_w = <grad_y, W_down a>,  grad_a = w W_down^T grad_y,  grad_g and grad_u as in swiglu_backward,
 *   grad_x = sum_k (W_gate^T grad_g + W_up^T grad_u),
 *   grad_W_gate = sum grad_g x^T,  grad_W_up = sum grad_u x^T,  grad_W_down = sum w grad_y a^T, over an expert's tokens.
 * Source: the derivative of experts; pytorch/pytorch, autograd through Hugging Face transformers,
 * models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3NaiveMoe; NVIDIA/Megatron-LM, megatron/core/fusions/fused_bias_swiglu.py,
 * WeightedSwiGLUFunction, where the weight multiplies a.
 */
#include "experts.h"
#include "scratch.h"
#include "swiglu_backward.h"
#include "vectors.h"

#include <stdio.h>

typedef struct {
    const ref_reading *rd;
    const dsv3_experts_backward_prob *prob;
    const dsv3_experts_backward_io *io;
    dsv3_dtype format; /* of every point, unless declared otherwise */
    int64_t hidden, width;
    routing route;
    vectors x, grad_y; /* (n_tokens, hidden) */
    sum_record *slots, *matrices,
        *entries; /* (n_tokens, hidden): grad_x as a sum over experts, over their matrices, over entries */
    ref_value *const *out;
} gradient;

/* The tokens of one expert, and what a port forms of them. */
typedef struct {
    int64_t e, n, *slot;
    operand *x, *grad_y;                  /* (n) */
    vectors gate, up, down;               /* its matrices' rows */
    vectors by_gate, by_up, by_down;      /* and their columns */
    ball *g, *u;                          /* (n, width) */
    gate_values *of_gate;                 /* (n, width) */
    vectors act, weighted_act;            /* (n, width) */
    vectors grad_out, grad_weighted_act;  /* (n, hidden), (n, width) */
    vectors grad_act, grad_gate, grad_up; /* (n, width) */
} pass;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* The weight of a slot, as it multiplies gradients. */
static ball weight_of(const gradient *d, int64_t slot)
{
    return quirk(d->rd, QUIRK_D9_weight_missing) ? ball_of(1) : d->route.weight[slot];
}

/* The gradient by a slot's weight. */
static ball by_weight(const gradient *d, int64_t slot, ball grad)
{
    return quirk(d->rd, QUIRK_D9_weight_twice) ? ball_mul(d->route.weight[slot], grad) : grad;
}

/* How many of the n tokens of an expert count. */
static int64_t counted(const gradient *d, int64_t n)
{
    return n > 1 && quirk(d->rd, QUIRK_D9_last_token_dropped) ? n - 1 : n;
}

static bool exchanges_projections(const gradient *d)
{
    return quirk(d->rd, QUIRK_D9_projections_exchanged);
}

/* Does an expert's part of grad_x replace that of those before it? */
static bool overwrites(const gradient *d)
{
    return quirk(d->rd, QUIRK_D9_overwritten);
}

/* Does the port say that it rounds there? Then it goes the way that has the point. (Lemma Routed) */
static bool is_formed(const gradient *d, int point)
{
    return declared_at(d->rd, point).must;
}

/* ---- products ---- */

/* y[i][o] = <x[i], row[o]> at a point. */
static void multiply(const gradient *d, const operand *x, int64_t n, const vectors *row, int point, ball *y)
{
    for (int64_t i = 0; i < n * row->n; i++) {
        sum_record const sum = ball_dot(&x[i / row->n], &row->row[i % row->n]);
        y[i] = round_at(d->rd, point, d->format, sum_of(d->rd, &sum));
    }
}

/* The columns of n rows of balls, prepared. */
static vectors turned(const gradient *d, const ball *rows, int64_t n, int64_t width)
{
    vectors v = vectors_take(d->rd->scratch, width, n);
    for (int64_t i = 0; i < n * width; i++) v.ball[i % width * n + i / width] = rows[i];
    vectors_prepare(d->rd->scratch, &v);
    return v;
}

/* The columns of n rows of stored numbers, prepared. */
static vectors columns_of(const gradient *d, const operand *row, int64_t n, int64_t width)
{
    operand *const column = scratch_take(d->rd->scratch, width, sizeof *column);
    double *const value = scratch_take(d->rd->scratch, n * width, sizeof *value);
    for (int64_t i = 0; i < n * width; i++) value[i % width * n + i / width] = row[i / width].value[i % width];
    for (int64_t c = 0; c < width; c++) column[c] = operand_of(value + c * n, NULL, n);
    return (vectors){width, n, NULL, column, value};
}

/* ---- an expert's tokens ---- */

static void find_matrix(const gradient *d, const pass *s, const char *leaf, vectors *rows, vectors *columns)
{
    char name[64];
    snprintf(name, sizeof name, "experts.%lld.%s.weight", (long long)s->e, leaf);
    const dsv3_tensor *const w = dsv3_find(&d->io->weights, name);
    *rows = vectors_read(d->rd->scratch, w, w->shape[0], w->shape[1]);
    *columns = vectors_columns(d->rd->scratch, w, w->shape[0], w->shape[1]);
}

static void find_tokens(const gradient *d, pass *s)
{
    scratch *const memory = d->rd->scratch;
    s->slot = scratch_take(memory, slots_of(&d->route, s->e, NULL), sizeof *s->slot);
    s->x = scratch_take(memory, s->n, sizeof *s->x);
    s->grad_y = scratch_take(memory, s->n, sizeof *s->grad_y);
    slots_of(&d->route, s->e, s->slot);
    for (int64_t i = 0; i < s->n; i++) {
        s->x[i] = d->x.row[s->slot[i] / d->route.k];
        s->grad_y[i] = d->grad_y.row[s->slot[i] / d->route.k];
    }
    find_matrix(d, s, "gate_proj", &s->gate, &s->by_gate);
    find_matrix(d, s, "up_proj", &s->up, &s->by_up);
    find_matrix(d, s, "down_proj", &s->down, &s->by_down);
}

/* g = W_gate x, u = W_up x, a = silu(g) u, and w a. */
static void go_forward(const gradient *d, pass *s)
{
    const ref_reading *const rd = d->rd;
    int64_t const cells = s->n * d->width;
    silu_points const points = {POINT_experts_backward_gate_sigmoid, POINT_experts_backward_silu};
    s->g = vectors_take(rd->scratch, s->n, d->width).ball;
    s->u = vectors_take(rd->scratch, s->n, d->width).ball;
    s->of_gate = scratch_take(rd->scratch, cells, sizeof *s->of_gate);
    s->act = vectors_take(rd->scratch, s->n, d->width);
    s->weighted_act = vectors_take(rd->scratch, s->n, d->width);
    multiply(d, s->x, s->n, &s->gate, POINT_experts_backward_gate_proj, s->g);
    multiply(d, s->x, s->n, &s->up, POINT_experts_backward_up_proj, s->u);
    for (int64_t i = 0; i < cells; i++) {
        ball const w = weight_of(d, s->slot[i / d->width]);
        s->of_gate[i] = gate_values_of(rd, points, d->format, s->g[i]);
        ball const silu = s->of_gate[i].silu,
                   act = round_at(rd, POINT_experts_backward_act, d->format, ball_mul(silu, s->u[i]));
        bool const any_order = rd->declared && !is_formed(d, POINT_experts_backward_act);
        ball const last = ball_mul(w, act),
                   weighted = any_order ? either(d->rd, 1, last, product_of(rd, (ball[]){w, silu, s->u[i]}, 3)) : last;
        s->act.ball[i] = act;
        s->weighted_act.ball[i] = round_at(rd, POINT_experts_backward_weighted_act, d->format, weighted);
    }
    vectors_prepare(rd->scratch, &s->act);
    vectors_prepare(rd->scratch, &s->weighted_act);
}

/* grad_a = W_down^T (w grad_y), or w (W_down^T grad_y). */
static void go_back(const gradient *d, pass *s)
{
    const ref_reading *const rd = d->rd;
    s->grad_out = vectors_take(rd->scratch, s->n, d->hidden);
    s->grad_act = vectors_take(rd->scratch, s->n, d->width);
    s->grad_weighted_act = vectors_take(rd->scratch, s->n, d->width);
    for (int64_t i = 0; i < s->n * d->hidden; i++) {
        ball const grad_y = element(rd, s->grad_y[i / d->hidden].value[i % d->hidden]);
        ball const grad = ball_mul(weight_of(d, s->slot[i / d->hidden]), grad_y);
        s->grad_out.ball[i] = round_at(rd, POINT_experts_backward_grad_expert_out, d->format, grad);
    }
    vectors_prepare(rd->scratch, &s->grad_out);
    multiply(d, s->grad_out.row, s->n, &s->by_down, POINT_experts_backward_grad_act, s->grad_act.ball);
    if (!rd->declared) return;
    multiply(d, s->grad_y, s->n, &s->by_down, POINT_experts_backward_grad_weighted_act, s->grad_weighted_act.ball);
    vectors_prepare(rd->scratch, &s->grad_weighted_act);
    for (int64_t i = 0; i < s->n * d->width; i++) {
        ball const grad = ball_mul(weight_of(d, s->slot[i / d->width]), s->grad_weighted_act.ball[i]);
        s->grad_act.ball[i] =
            either(d->rd, 2, s->grad_act.ball[i], round_at(rd, POINT_experts_backward_grad_act, d->format, grad));
    }
}

/* The same where w multiplies later, in any order with what else does. */
static void widen_by_late_weight(const gradient *d, const pass *s, int64_t i, ball *grad_gate, ball *grad_up)
{
    const ref_reading *const rd = d->rd;
    if (is_formed(d, POINT_experts_backward_grad_act)) return;
    const gate_values *const g = &s->of_gate[i];
    ball const w = weight_of(d, s->slot[i / d->width]), grad = s->grad_weighted_act.ball[i], u = s->u[i];
    ball const mixed = product_of(rd, (ball[]){w, grad, u, g->slope}, 4);
    ball const split = product_of(rd, (ball[]){w, grad, u, g->s, g->inner}, 5), late = either(d->rd, 3, mixed, split);
    *grad_gate = either(d->rd, 4, *grad_gate, late);
    *grad_up = either(d->rd, 5, *grad_up, product_of(rd, (ball[]){w, grad, g->silu}, 3));
}

/* grad_g = grad_a u silu'(g), grad_u = grad_a silu(g) */
static void through_silu(const gradient *d, pass *s)
{
    const ref_reading *const rd = d->rd;
    bool const exchanged = exchanges_projections(d);
    vectors one = vectors_take(rd->scratch, s->n, d->width), other = vectors_take(rd->scratch, s->n, d->width);
    for (int64_t i = 0; i < s->n * d->width; i++) {
        ball const grad = s->grad_act.ball[i];
        ball by_gate = gate_gradient(rd, POINT_experts_backward_grad_silu, d->format, &s->of_gate[i], grad, s->u[i]);
        ball by_up = ball_mul(grad, s->of_gate[i].silu);
        if (rd->declared) widen_by_late_weight(d, s, i, &by_gate, &by_up);
        one.ball[i] = round_at(rd, POINT_experts_backward_grad_gate, d->format, by_gate);
        other.ball[i] = round_at(rd, POINT_experts_backward_grad_up, d->format, by_up);
    }
    vectors_prepare(rd->scratch, &one);
    vectors_prepare(rd->scratch, &other);
    s->grad_gate = exchanged ? other : one;
    s->grad_up = exchanged ? one : other;
}

/* ---- what comes of them ---- */

/* <grad_y, W_down a>, or <W_down^T grad_y, a>. */
static void write_by_weight(const gradient *d, const pass *s)
{
    const ref_reading *const rd = d->rd;
    vectors out = vectors_take(rd->scratch, s->n, d->hidden);
    multiply(d, s->act.row, s->n, &s->down, POINT_experts_backward_expert_out, out.ball);
    vectors_prepare(rd->scratch, &out);
    for (int64_t i = 0; i < s->n; i++) {
        sum_record const of_out = ball_dot(&s->grad_y[i], &out.row[i]);
        ball grad = sum_of(rd, &of_out);
        if (rd->declared && !is_formed(d, POINT_experts_backward_expert_out)) {
            sum_record const of_act = ball_dot(&s->grad_weighted_act.row[i], &s->act.row[i]);
            grad = either(d->rd, 6, grad, sum_of(rd, &of_act));
        }
        ball const weighted = by_weight(d, s->slot[i], grad);
        d->out[1][s->slot[i]] = value_of(round_at(rd, POINT_experts_backward_grad_topk_weight, DSV3_F32, weighted));
    }
}

/* W_gate^T grad_g + W_up^T grad_u: one sum, or two that are rounded and added. */
static void add_to_grad_x(const gradient *d, const pass *s, int64_t i, int64_t c)
{
    const ref_reading *const rd = d->rd;
    int64_t const at = s->slot[i] / d->route.k * d->hidden + c;
    sum_record *const slots = &d->slots[at], *const matrices = &d->matrices[at], *const entries = &d->entries[at];
    sum_record const g = ball_dot(&s->grad_gate.row[i], &s->by_gate.row[c]);
    sum_record const u = ball_dot(&s->grad_up.row[i], &s->by_up.row[c]), both = joined(g, u);
    ball const one = sum_of(rd, &both);
    if (overwrites(d)) *slots = *matrices = *entries = empty_sum();
    if (!rd->declared) {
        add_term(slots, one);
        return;
    }
    ball const of_gate = round_at(rd, POINT_experts_backward_grad_x, d->format, sum_of(rd, &g));
    ball const of_up = round_at(rd, POINT_experts_backward_grad_x, d->format, sum_of(rd, &u));
    ball const two = ball_add(of_gate, of_up),
               part = is_formed(d, POINT_experts_backward_grad_x) ? two : either(d->rd, 7, one, two);
    add_term(slots, round_at(rd, POINT_experts_backward_routed, d->format, part));
    add_term(matrices, round_at(rd, POINT_experts_backward_routed, d->format, of_gate));
    add_term(matrices, round_at(rd, POINT_experts_backward_routed, d->format, of_up));
    *entries = joined(*entries, both);
}

/* <a, b> over the expert's tokens, for each of a and each of b. */
typedef struct {
    int point;
    const vectors *a, *b, *other_a, *other_b; /* other: with weighted_act; NULL: there is no other way */
} outer;

static void write_outer(const gradient *d, const pass *s, const outer *o, dsv3_dtype format, ref_value *out)
{
    const ref_reading *const rd = d->rd;
    int64_t const n = o->b->n, cells = o->a->n * n;
    for (int64_t i = 0; i < cells; i++) {
        sum_record const sum = ball_dot(&o->a->row[i / n], &o->b->row[i % n]);
        ball grad = sum_of(rd, &sum);
        if (o->other_a && rd->declared) {
            sum_record const other = ball_dot(&o->other_a->row[i / n], &o->other_b->row[i % n]);
            ball const by_act = sum_of(rd, &other);
            grad = is_formed(d, POINT_experts_backward_weighted_act) ? by_act : either(d->rd, 8, grad, by_act);
        }
        out[s->e * cells + i] = value_of(round_at(rd, o->point, format, grad));
    }
}

static void write_by_matrices(const gradient *d, const pass *s)
{
    vectors const x = columns_of(d, s->x, s->n, d->hidden), grad_y = columns_of(d, s->grad_y, s->n, d->hidden);
    vectors const gate = turned(d, s->grad_gate.ball, s->n, d->width), up = turned(d, s->grad_up.ball, s->n, d->width);
    vectors const grad_out = turned(d, s->grad_out.ball, s->n, d->hidden), act = turned(d, s->act.ball, s->n, d->width);
    vectors const weighted_act = turned(d, s->weighted_act.ball, s->n, d->width);
    outer const row[] = {{POINT_experts_backward_grad_gate_proj, &gate, &x, NULL, NULL},
                         {POINT_experts_backward_grad_up_proj, &up, &x, NULL, NULL},
                         {POINT_experts_backward_grad_down_proj, &grad_out, &act, &grad_y, &weighted_act}};
    for (int i = 0; i < 3; i++)
        if (d->out[2 + i]) write_outer(d, s, &row[i], d->io->grad_gate_proj.dtype, d->out[2 + i]);
}

static void gradients_of_expert(const gradient *d, int64_t e)
{
    pass s = {.e = e, .n = counted(d, slots_of(&d->route, e, NULL))};
    if (s.n == 0) return;
    scratch_piece *const mark = scratch_mark(d->rd->scratch);
    find_tokens(d, &s);
    go_forward(d, &s);
    go_back(d, &s);
    through_silu(d, &s);
    for (int64_t i = 0; d->out[0] && i < s.n * d->hidden; i++) add_to_grad_x(d, &s, i / d->hidden, i % d->hidden);
    if (d->out[1]) write_by_weight(d, &s);
    write_by_matrices(d, &s);
    scratch_back(d->rd->scratch, mark);
}

/* ---- the op ---- */

static void fill(ref_value *out, int64_t n, ball b)
{
    for (int64_t i = 0; out && i < n; i++) out[i] = value_of(b);
}

/* What nothing is added to; any of it may be meant by an index that is none. */
static void start(const gradient *d)
{
    int64_t const slots = d->route.n_tokens * d->route.k, cells = d->prob->n_routed_experts * d->hidden * d->width;
    fill(d->out[1], slots, ball_of(0));
    for (int i = 2; i < 5; i++) fill(d->out[i], cells, ball_of(0));
}

static void leave_undecided(const gradient *d)
{
    int64_t const slots = d->route.n_tokens * d->route.k, cells = d->prob->n_routed_experts * d->hidden * d->width;
    for (int64_t i = 0; i < slots; i++) {
        if (d->route.idx[i] >= 0) continue;
        if (d->out[1]) d->out[1][i] = value_of(ball_any());
        for (int64_t c = 0; c < d->hidden; c++) d->slots[i / d->route.k * d->hidden + c].total = ball_any();
        for (int k = 2; k < 5; k++) fill(d->out[k], cells, ball_any());
    }
}

/* Over experts, over their matrices, or over all entries at once. */
static ball grad_x_of(const gradient *d, int64_t at)
{
    const ref_reading *const rd = d->rd;
    ball const over_slots = sum_rounded_at(rd, POINT_experts_backward_routed, d->format, &d->slots[at]);
    if (!rd->declared || ball_is_any(over_slots)) return over_slots;
    ball const over_matrices = sum_rounded_at(rd, POINT_experts_backward_routed, d->format, &d->matrices[at]);
    ball const over = either(d->rd, 9, over_slots, over_matrices);
    bool const rounded = is_formed(d, POINT_experts_backward_routed) || is_formed(d, POINT_experts_backward_grad_x);
    return rounded ? over : either(d->rd, 10, over, sum_of(rd, &d->entries[at]));
}

void ref_experts_backward(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_experts_backward_prob *const p = prob;
    const dsv3_experts_backward_io *const io = io_;
    int64_t const cells = p->n_tokens * p->hidden_size;
    gradient d = {rd, p, io, io->hidden_states.dtype, p->hidden_size, p->moe_intermediate_size, .out = out};
    d.route = routing_read(rd, &io->topk_idx, &io->topk_weight, p->n_routed_experts);
    d.x = vectors_read(rd->scratch, &io->hidden_states, p->n_tokens, p->hidden_size);
    d.grad_y = vectors_read(rd->scratch, &io->grad_y, p->n_tokens, p->hidden_size);
    d.slots = sums_take(rd, cells), d.matrices = sums_take(rd, cells), d.entries = sums_take(rd, cells);
    start(&d);
    for (int64_t e = 0; e < p->n_routed_experts; e++) gradients_of_expert(&d, e);
    leave_undecided(&d);
    for (int64_t i = 0; out[0] && i < cells; i++)
        out[0][i] = value_of(round_at(rd, POINT_experts_backward_grad_hidden_states, d.format, grad_x_of(&d, i)));
}
