/*
 * The gradients of the routed experts. Slots lie expert by expert; blocks of them go through an expert and back, and then
 * the gradients of its matrices are sums over all of them. The weight multiplies the activation and its gradient.
 */
#include "elementwise.h"
#include "experts.h"
#include "fast.h"
#include "panel.h"

#include <stdbool.h>

enum { ROWS = 32 }; /* slots, or rows of a gradient, that one part makes */

/* Slots first to first + n - 1, all of one expert. */
typedef struct {
    int64_t e, first, n;
} block;

typedef struct {
    const dsv3_experts_backward_prob *p;
    const dsv3_experts_backward_io *io;
    int64_t hidden, width, slots, blocks;
    network *expert;       /* (experts) */
    int64_t *first;        /* (experts + 1): of each expert's slots */
    int64_t *slot, *place; /* (slots): which of topk_idx lies here, and where each of topk_idx lies */
    block *block;          /* (blocks) */
    panel forward;         /* (experts, hidden) rows of 2 width: gate_proj^T and up_proj^T side by side */
    panel both, down;      /* (experts, 2 width) rows of hidden: gate_proj, up_proj; (experts, hidden) of width */
    panel x, grad_y;       /* (slots) rows of hidden */
    panel gates;           /* (slots) rows of 2 width: gate_proj x and up_proj x, then their gradients */
    panel act, grad_act;   /* (slots) rows of width: activations times weights, and what they have for a gradient */
    panel grad_x;          /* (slots) rows of hidden */
} gradients;

static int64_t in_parts(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/* ---- slots by expert ---- */

static int32_t expert_of(const gradients *d, int64_t slot)
{
    const dsv3_tensor *const idx = &d->io->topk_idx;
    int64_t const k = d->p->num_experts_per_tok;
    return ((const int32_t *)idx->data)[slot / k * idx->stride[0] + slot % k];
}

static void sort_slots(const gradients *d)
{
    int64_t const experts = d->p->n_routed_experts;
    memset(d->first, 0, (size_t)(experts + 1) * sizeof *d->first);
    for (int64_t i = 0; i < d->slots; i++) d->first[expert_of(d, i) + 1]++;
    for (int64_t e = 0; e < experts; e++) d->first[e + 1] += d->first[e];
    for (int64_t i = 0; i < d->slots; i++) d->place[i] = d->first[expert_of(d, i)]++;
    for (int64_t e = experts; e > 0; e--) d->first[e] = d->first[e - 1];
    d->first[0] = 0;
    for (int64_t i = 0; i < d->slots; i++) d->slot[d->place[i]] = i;
}

static void cut_blocks(gradients *d)
{
    d->blocks = 0;
    for (int64_t e = 0; e < d->p->n_routed_experts; e++)
        for (int64_t i = d->first[e], end = d->first[e + 1]; i < end; i += ROWS)
            d->block[d->blocks++] = (block){e, i, end - i < ROWS ? end - i : ROWS};
}

/* ---- what is read: matrices, and rows of tokens ---- */

/* Some columns of sixteen rows of a matrix, as rows of its transpose. */
static void turn_rows(const dsv3_tensor *w, int64_t o, int64_t from, int64_t n, float *to, int64_t pitch)
{
    vec v[WIDTH];
    for (int64_t c = from; c < from + n; c += WIDTH) {
        lanes const of = first_lanes(from + n - c), rows = first_lanes(w->shape[0] - o);
        for (int i = 0; i < WIDTH; i++)
            v[i] = rows >> i & 1 ? load_lanes(w->data, w->dtype, (o + i) * w->stride[0] + c, of) : vec_of(0);
        vec_transpose(v);
        for (int i = 0; i < WIDTH && c + i < from + n; i++) store_lanes(to, DSV3_F32, (c + i) * pitch + o, rows, v[i]);
    }
}

static void copy_columns(const dsv3_tensor *w, int64_t from, int64_t n, panel *to, int64_t first)
{
    for (int64_t o = 0; o < w->shape[0]; o++) {
        stored_row const row = row_of(w, o * w->stride[0] + from);
        load_row(&row, n, panel_row(to, first + o) + from);
    }
}

/* SPAN of the hidden columns of one expert's matrices. */
static void load_part(const void *job, int64_t part, int worker)
{
    (void)worker;
    const gradients *const d = job;
    int64_t const across = in_parts(d->hidden, SPAN), e = part / across, from = part % across * SPAN;
    int64_t const n = d->hidden - from < SPAN ? d->hidden - from : SPAN;
    const network *const f = &d->expert[e];
    panel both = d->both;
    if (d->first[e] == d->first[e + 1]) return;
    float *const forward = panel_row(&d->forward, e * d->hidden);
    for (int64_t o = 0; o < d->width; o += WIDTH) {
        turn_rows(f->gate.weight, o, from, n, forward, d->forward.pitch);
        turn_rows(f->up.weight, o, from, n, forward + d->width, d->forward.pitch);
    }
    copy_columns(f->gate.weight, from, n, &both, 2 * e * d->width);
    copy_columns(f->up.weight, from, n, &both, (2 * e + 1) * d->width);
    for (int64_t c = from; c < from + n; c++) {
        stored_row const row = row_of(f->down.weight, c * f->down.weight->stride[0]);
        load_row(&row, d->width, panel_row(&d->down, e * d->hidden + c));
    }
}

static void load_token(const gradients *d, int64_t i)
{
    int64_t const t = d->slot[i] / d->p->num_experts_per_tok;
    stored_row const x = row_of(&d->io->hidden_states, t * d->io->hidden_states.stride[0]);
    stored_row const grad_y = row_of(&d->io->grad_y, t * d->io->grad_y.stride[0]);
    load_row(&x, d->hidden, panel_row(&d->x, i));
    load_row(&grad_y, d->hidden, panel_row(&d->grad_y, i));
}

/* ---- through an expert and back ---- */

/* Row i of y = x_i times a matrix of so many rows, for the slots of a block. */
static void multiply_block(const block *b, const panel *x, const float *rows, int64_t pitch, int64_t n, int64_t columns,
                           const panel *y)
{
    for (int64_t c = 0; c < columns; c += SPAN)
        for (int64_t i = 0; i < b->n; i += TILE) {
            const float *factor[TILE];
            float *out[TILE];
            for (int64_t j = 0; j < TILE; j++) {
                int64_t const at = b->first + (i + j < b->n ? i + j : b->n - 1);
                factor[j] = panel_row(x, at), out[j] = panel_row(y, at) + c;
            }
            panel_sums(factor, 1, rows + c, pitch, n, out);
        }
}

static float weight_of(const gradients *d, int64_t slot)
{
    const dsv3_tensor *const w = &d->io->topk_weight;
    int64_t const k = d->p->num_experts_per_tok;
    return ((const float *)w->data)[slot / k * w->stride[0] + slot % k];
}

/* Gates and their partners become gradients; returns the gradient by the weight. */
static float through_silu(const gradients *d, int64_t i)
{
    vec const weight = vec_of(weight_of(d, d->slot[i]));
    float *const gates = panel_row(&d->gates, i), *const ups = gates + d->width;
    float *const act = panel_row(&d->act, i), *const grad_act = panel_row(&d->grad_act, i);
    vec by_weight = vec_of(0);
    for (int64_t c = 0; c < d->width; c += WIDTH) {
        lanes const of = first_lanes(d->width - c);
        vec const g = load_lanes(gates, DSV3_F32, c, of), u = load_lanes(ups, DSV3_F32, c, of);
        vec const grad = load_lanes(grad_act, DSV3_F32, c, of), mine = vec_mul(weight, grad);
        vec const s = vec_sigmoid(g), silu = vec_mul(g, s), a = vec_mul(silu, u);
        vec const slope = vec_mul(s, vec_fma(g, vec_sub(vec_of(1), s), vec_of(1)));
        by_weight = vec_fma(grad, a, by_weight);
        store_lanes(act, DSV3_F32, c, of, vec_mul(weight, a));
        store_lanes(gates, DSV3_F32, c, of, vec_mul(vec_mul(mine, u), slope));
        store_lanes(ups, DSV3_F32, c, of, vec_mul(mine, silu));
    }
    return vec_sum(by_weight);
}

static void store_by_weight(const gradients *d, int64_t slot, float v)
{
    const dsv3_tensor *const to = &d->io->grad_topk_weight;
    int64_t const k = d->p->num_experts_per_tok;
    ((float *)to->data)[slot / k * to->stride[0] + slot % k] = v;
}

static void pass_block(const void *job, int64_t part, int worker)
{
    (void)worker;
    const gradients *const d = job;
    const block *const b = &d->block[part];
    const float *const forward = panel_row(&d->forward, b->e * d->hidden);
    const float *const down = panel_row(&d->down, b->e * d->hidden);
    const float *const both = panel_row(&d->both, 2 * b->e * d->width);
    for (int64_t i = b->first; i < b->first + b->n; i++) load_token(d, i);
    multiply_block(b, &d->x, forward, d->forward.pitch, d->hidden, 2 * d->width, &d->gates);
    multiply_block(b, &d->grad_y, down, d->down.pitch, d->hidden, d->width, &d->grad_act);
    for (int64_t i = b->first; i < b->first + b->n; i++) store_by_weight(d, d->slot[i], through_silu(d, i));
    multiply_block(b, &d->gates, both, d->both.pitch, 2 * d->width, d->hidden, &d->grad_x);
}

/* ---- the gradients of matrices ---- */

/* Rows r to r + n - 1 of to[e]: the sums of factor's columns from `column` on, times rows. */
typedef struct {
    const dsv3_tensor *to;
    const panel *factor, *rows;
    int64_t r, n, column, columns;
} sums;

static void make_sums(const gradients *d, int64_t e, const sums *s)
{
    int64_t const first = d->first[e], n = d->first[e + 1] - first;
    _Alignas(64) float sum[TILE][SPAN];
    for (int64_t c = 0; c < s->columns; c += SPAN)
        for (int64_t i = 0; i < s->n; i += TILE) {
            const float *factor[TILE];
            float *const out[TILE] = {sum[0], sum[1], sum[2], sum[3]};
            for (int64_t j = 0; j < TILE; j++)
                factor[j] = panel_row(s->factor, first) + s->column + (i + j < s->n ? i + j : s->n - 1);
            panel_sums(factor, s->factor->pitch, panel_row(s->rows, first) + c, s->rows->pitch, n, out);
            for (int64_t j = 0; j < TILE && i + j < s->n; j++)
                store_row(s->to, e * s->to->stride[0] + (s->r + i + j) * s->to->stride[1] + c, sum[j],
                          s->columns - c < SPAN ? s->columns - c : SPAN);
        }
}

/* ROWS rows of the gradient by gate_proj, by up_proj, or by down_proj. */
static void sum_part(const void *job, int64_t part, int worker)
{
    (void)worker;
    const gradients *const d = job;
    int64_t const narrow = in_parts(d->width, ROWS), parts = 2 * narrow + in_parts(d->hidden, ROWS);
    int64_t const e = part / parts, i = part % parts, which = i / narrow < 2 ? i / narrow : 2;
    int64_t const r = (i - which * narrow) * ROWS, rows = which < 2 ? d->width : d->hidden;
    const dsv3_tensor *const to[] = {&d->io->grad_gate_proj, &d->io->grad_up_proj, &d->io->grad_down_proj};
    sums const s = {.to = to[which],
                    .factor = which < 2 ? &d->gates : &d->grad_y,
                    .rows = which < 2 ? &d->x : &d->act,
                    .r = r,
                    .n = rows - r < ROWS ? rows - r : ROWS,
                    .column = r + (which == 1 ? d->width : 0),
                    .columns = which < 2 ? d->hidden : d->width};
    make_sums(d, e, &s);
}

/* ---- the gradient of a token ---- */

static void sum_token(const void *job, int64_t t, int worker)
{
    (void)worker;
    const gradients *const d = job;
    const dsv3_tensor *const to = &d->io->grad_hidden_states;
    const int64_t *const place = d->place + t * d->p->num_experts_per_tok;
    for (int64_t c = 0; c < d->hidden; c += WIDTH) {
        lanes const of = first_lanes(d->hidden - c);
        vec sum = load_lanes(panel_row(&d->grad_x, place[0]), DSV3_F32, c, of);
        for (int64_t k = 1; k < d->p->num_experts_per_tok; k++)
            sum = vec_add(sum, load_lanes(panel_row(&d->grad_x, place[k]), DSV3_F32, c, of));
        store_lanes(to->data, to->dtype, t * to->stride[0] + c, of, sum);
    }
}

/* ---- the op ---- */

static bool take_lists(dsv3_ctx *ctx, gradients *d)
{
    int64_t const experts = d->p->n_routed_experts;
    d->expert = ctx_take(ctx, experts, sizeof *d->expert);
    d->first = ctx_take(ctx, experts + 1, sizeof *d->first);
    d->slot = ctx_take(ctx, d->slots, sizeof *d->slot);
    d->place = ctx_take(ctx, d->slots, sizeof *d->place);
    d->block = ctx_take(ctx, d->slots / ROWS + experts, sizeof *d->block);
    return d->expert && d->first && d->slot && d->place && d->block;
}

static bool take_panels(dsv3_ctx *ctx, gradients *d)
{
    int64_t const experts = d->p->n_routed_experts, hidden = d->hidden, width = d->width;
    d->forward = take_panel(ctx, experts * hidden, 2 * width);
    d->both = take_panel(ctx, experts * 2 * width, hidden);
    d->down = take_panel(ctx, experts * hidden, width);
    d->x = take_panel(ctx, d->slots, hidden);
    d->grad_y = take_panel(ctx, d->slots, hidden);
    d->gates = take_panel(ctx, d->slots, 2 * width);
    d->act = take_panel(ctx, d->slots, width);
    d->grad_act = take_panel(ctx, d->slots, width);
    d->grad_x = take_panel(ctx, d->slots, hidden);
    return d->forward.data && d->both.data && d->down.data && d->x.data && d->grad_y.data && d->gates.data &&
           d->act.data && d->grad_act.data && d->grad_x.data;
}

static bool usable_experts_of(const gradients *d)
{
    for (int64_t e = 0; e < d->p->n_routed_experts; e++) {
        const network *const f = &d->expert[e];
        if (!is_float(f->gate.weight) || !is_float(f->up.weight) || !is_float(f->down.weight)) return false;
    }
    return true;
}

static void run(dsv3_ctx *ctx, gradients *d)
{
    int64_t const experts = d->p->n_routed_experts;
    sort_slots(d);
    cut_blocks(d);
    ctx_run(ctx, load_part, d, experts * in_parts(d->hidden, SPAN));
    ctx_run(ctx, pass_block, d, d->blocks);
    ctx_run(ctx, sum_part, d, experts * (2 * in_parts(d->width, ROWS) + in_parts(d->hidden, ROWS)));
    ctx_run(ctx, sum_token, d, d->p->n_tokens);
}

dsv3_status fast_experts_backward(dsv3_ctx *ctx, const dsv3_experts_backward_prob *p,
                                  const dsv3_experts_backward_io *io)
{
    gradients d = {.p = p, .io = io, .hidden = p->hidden_size, .width = p->moe_intermediate_size};
    d.slots = p->n_tokens * p->num_experts_per_tok;
    if (!is_float(&io->hidden_states) || !is_float(&io->grad_y)) return DSV3_UNSUPPORTED;
    size_t const mark = ctx_mark(ctx);
    bool const there = take_lists(ctx, &d) && take_panels(ctx, &d);
    if (there) find_experts(&io->weights, p->n_routed_experts, d.expert);
    bool const able = there && usable_experts_of(&d);
    if (able) run(ctx, &d);
    ctx_back(ctx, mark);
    return able ? DSV3_OK : there ? DSV3_UNSUPPORTED : DSV3_NO_MEMORY;
}

const char *fast_experts_backward_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn fused; sigmoid 4; flush none; gate_proj f32 must; up_proj f32 must; gate_sigmoid f32 may; silu "
           "f32 "
           "must; act f32 must; weighted_act f32 must; expert_out f32 may; grad_expert_out f32 may; grad_weighted_act "
           "f32 "
           "must; grad_act f32 must; grad_silu f32 must; grad_gate f32 must; grad_up f32 must; grad_x f32 may; routed "
           "f32 "
           "must";
}
