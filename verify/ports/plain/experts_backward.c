/*
 * The gradients of the routed experts: binary32, experts and their tokens in ascending order, the forward pass made again.
 * Products are sums in LANES parts, sums over tokens and over experts one after the other.
 */
#include "plain.h"

#include <stdio.h>

/* An expert and its token in work; sums of gradients. */
typedef struct {
    const dsv3_experts_backward_prob *p;
    const dsv3_experts_backward_io *io;
    int64_t hidden, width;
    float *gate, *up, *down;                                /* (width, hidden) twice, (hidden, width) */
    float *by_gate, *by_up, *by_down;                       /* likewise: the expert's gradients */
    float *x, *grad_y, *grad_out, *out;                     /* (hidden) */
    float *g, *u, *act, *grad_act, *grad_g, *grad_u, *by_x; /* (width); by_x (n_tokens, hidden) */
} gradient;

static const dsv3_tensor *find_leaf(const gradient *d, int64_t e, const char *leaf)
{
    char name[64];
    snprintf(name, sizeof name, "experts.%lld.%s.weight", (long long)e, leaf);
    return dsv3_find(&d->io->weights, name);
}

static int usable_expert(const gradient *d, int64_t e)
{
    return is_float(find_leaf(d, e, "gate_proj")) && is_float(find_leaf(d, e, "up_proj")) &&
           is_float(find_leaf(d, e, "down_proj"));
}

static void load_matrix(const dsv3_tensor *w, float *to)
{
    for (int64_t o = 0; o < w->shape[0]; o++) load_row(w, o * w->stride[0], to + o * w->shape[1], w->shape[1]);
}

/* ---- one token ---- */

static void go_forward(const gradient *d)
{
    for (int64_t i = 0; i < d->width; i++) {
        d->g[i] = product(d->gate + i * d->hidden, d->x, 1, d->hidden);
        d->u[i] = product(d->up + i * d->hidden, d->x, 1, d->hidden);
        d->act[i] = silu(d->g[i]) * d->u[i];
    }
    for (int64_t c = 0; c < d->hidden; c++) d->out[c] = product(d->down + c * d->width, d->act, 1, d->width);
}

static void go_back(const gradient *d, float weight)
{
    for (int64_t c = 0; c < d->hidden; c++) d->grad_out[c] = weight * d->grad_y[c];
    for (int64_t i = 0; i < d->width; i++) {
        float const g = d->g[i], s = 1 / (1 + expf(-g));
        d->grad_act[i] = product(d->grad_out, d->down + i, d->width, d->hidden);
        d->grad_g[i] = d->grad_act[i] * d->u[i] * (s * (1 + g * (1 - s)));
        d->grad_u[i] = d->grad_act[i] * silu(g);
    }
}

static void add_token(const gradient *d, int64_t t)
{
    for (int64_t c = 0; c < d->hidden; c++) {
        float const part =
            product(d->grad_g, d->gate + c, d->hidden, d->width) + product(d->grad_u, d->up + c, d->hidden, d->width);
        d->by_x[t * d->hidden + c] += part;
        for (int64_t i = 0; i < d->width; i++) {
            d->by_gate[i * d->hidden + c] += d->grad_g[i] * d->x[c];
            d->by_up[i * d->hidden + c] += d->grad_u[i] * d->x[c];
            d->by_down[c * d->width + i] += d->grad_out[c] * d->act[i];
        }
    }
}

static void gradients_of_token(const gradient *d, int64_t t, int64_t k)
{
    load_row(&d->io->hidden_states, t * d->io->hidden_states.stride[0], d->x, d->hidden);
    load_row(&d->io->grad_y, t * d->io->grad_y.stride[0], d->grad_y, d->hidden);
    go_forward(d);
    store(&d->io->grad_topk_weight, t, k, product(d->grad_y, d->out, 1, d->hidden));
    go_back(d, load(&d->io->topk_weight, t, k));
    add_token(d, t);
}

/* ---- one expert ---- */

static void store_all(const dsv3_tensor *to, int64_t e, const float *v)
{
    int64_t const rows = to->shape[1], columns = to->shape[2];
    for (int64_t i = 0; i < rows * columns; i++)
        store_at(to, e * to->stride[0] + i / columns * to->stride[1] + i % columns, v[i]);
}

static void gradients_of_expert(const gradient *d, int64_t e)
{
    const dsv3_tensor *const idx = &d->io->topk_idx;
    load_matrix(find_leaf(d, e, "gate_proj"), d->gate);
    load_matrix(find_leaf(d, e, "up_proj"), d->up);
    load_matrix(find_leaf(d, e, "down_proj"), d->down);
    for (int64_t i = 0; i < 3 * d->hidden * d->width; i++) d->by_gate[i] = 0;
    for (int64_t t = 0; t < d->p->n_tokens; t++)
        for (int64_t k = 0; k < d->p->num_experts_per_tok; k++)
            if (int_at(idx, t * idx->stride[0] + k) == e) gradients_of_token(d, t, k);
    store_all(&d->io->grad_gate_proj, e, d->by_gate);
    store_all(&d->io->grad_up_proj, e, d->by_up);
    store_all(&d->io->grad_down_proj, e, d->by_down);
}

/* ---- the op ---- */

static int take_room(gradient *d, dsv3_ctx *ctx)
{
    int64_t const rows = d->p->n_tokens * d->hidden, cells = d->hidden * d->width;
    float *room = scratch(ctx, 6 * cells + 4 * d->hidden + 6 * d->width + rows);
    if (!room) return 0;
    float **const matrices[] = {&d->gate, &d->up, &d->down, &d->by_gate, &d->by_up, &d->by_down};
    float **const states[] = {&d->x, &d->grad_y, &d->grad_out, &d->out};
    float **const acts[] = {&d->g, &d->u, &d->act, &d->grad_act, &d->grad_g, &d->grad_u};
    for (int i = 0; i < 6; i++, room += cells) *matrices[i] = room;
    for (int i = 0; i < 4; i++, room += d->hidden) *states[i] = room;
    for (int i = 0; i < 6; i++, room += d->width) *acts[i] = room;
    d->by_x = room;
    for (int64_t i = 0; i < rows; i++) d->by_x[i] = 0;
    return 1;
}

dsv3_status plain_experts_backward(dsv3_ctx *ctx, const dsv3_experts_backward_prob *p,
                                   const dsv3_experts_backward_io *io)
{
    gradient d = {.p = p, .io = io, .hidden = p->hidden_size, .width = p->moe_intermediate_size};
    if (!is_float(&io->hidden_states) || !is_float(&io->grad_y)) return DSV3_UNSUPPORTED;
    for (int64_t e = 0; e < p->n_routed_experts; e++)
        if (!usable_expert(&d, e)) return DSV3_UNSUPPORTED;
    if (!take_room(&d, ctx)) return DSV3_NO_MEMORY;
    for (int64_t e = 0; e < p->n_routed_experts; e++) gradients_of_expert(&d, e);
    for (int64_t i = 0; i < p->n_tokens * p->hidden_size; i++)
        store(&io->grad_hidden_states, i / p->hidden_size, i % p->hidden_size, d.by_x[i]);
    return DSV3_OK;
}

#define STEPS                                                                                                          \
    "sigmoid 4; flush none; gate_proj f32 must; up_proj f32 must; gate_sigmoid f32 must; silu f32 must; act f32 "      \
    "must; expert_out f32 must; grad_expert_out f32 must; weighted_act f32 may; grad_weighted_act f32 may; grad_act "  \
    "f32 must; grad_silu f32 must; grad_gate f32 must; "                                                               \
    "grad_up f32 must; grad_x f32 must; routed f32 must"

/* A chain of so few terms is no longer than one of the LANES parts. */
const char *plain_experts_backward_numerics(const void *prob, const void *io)
{
    const dsv3_experts_backward_prob *const p = prob;
    (void)io;
    int const few = p->num_experts_per_tok <= LANES && p->n_tokens <= LANES;
    return few ? "acc 24 rn splits=8; " STEPS : "acc 24 rn; " STEPS;
}
