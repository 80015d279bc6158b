/* See experts.h. */
#include "experts.h"

#include "elementwise.h"
#include "fast.h"

#include <stdio.h>

static matrix find_leaf(const dsv3_weights *weights, const char *name, const char *leaf)
{
    char full[100];
    snprintf(full, sizeof full, "%s.%s", name, leaf);
    return find_matrix(weights, full);
}

network find_network(const dsv3_weights *weights, const char *name)
{
    return (network){find_leaf(weights, name, "gate_proj"), find_leaf(weights, name, "up_proj"),
                     find_leaf(weights, name, "down_proj")};
}

int usable_network(const network *f)
{
    return usable(&f->gate) && usable(&f->up) && usable(&f->down);
}

static network find_expert(const layer *m, int64_t e)
{
    char name[40];
    snprintf(name, sizeof name, "experts.%lld", (long long)e);
    return find_network(m->weights, name);
}

int usable_experts(const layer *m)
{
    for (int64_t e = 0; e < m->experts; e++) {
        network const f = find_expert(m, e);
        if (!usable_network(&f)) return 0;
    }
    return 1;
}

int open_layer(layer *m)
{
    m->row = rows_of(m->ctx, m->x, m->n_tokens, m->hidden_size, &m->row_stride);
    m->sum = ctx_take(m->ctx, m->n_tokens * m->hidden_size, sizeof *m->sum);
    if (!m->row || !m->sum) return 0;
    memset(m->sum, 0, (size_t)(m->n_tokens * m->hidden_size) * sizeof *m->sum);
    return 1;
}

/* silu(gate) up, row by row; where act is stored it is read again. */
typedef struct {
    float *gate;
    const float *up;
    int64_t width;
    const int64_t *slot;
    const dsv3_tensor *act;
} activation;

/* Where row i of (tokens, width), or of (tokens, k, width), begins. */
static int64_t place_of(const dsv3_tensor *act, int64_t i)
{
    if (act->ndim == 2) return i * act->stride[0];
    return i / act->shape[1] * act->stride[0] + i % act->shape[1] * act->stride[1];
}

static void activate_row(const void *job, int64_t i, int worker)
{
    (void)worker;
    const activation *const a = job;
    float *const gate = a->gate + i * a->width;
    for (int64_t c = 0; c < a->width; c += WIDTH) {
        lanes const of = first_lanes(a->width - c);
        vec const up = load_lanes(a->up, DSV3_F32, i * a->width + c, of);
        store_lanes(gate, DSV3_F32, c, of, vec_mul(vec_silu(load_lanes(gate, DSV3_F32, c, of)), up));
    }
    if (!a->act->data) return;
    int64_t const from = place_of(a->act, a->slot[i]);
    stored_row const kept = row_of(a->act, from);
    store_row(a->act, from, gate, a->width);
    load_row(&kept, a->width, gate);
}

static void add_weighted(const layer *m, int64_t t, float weight, const float *out)
{
    float *const sum = m->sum + t * m->hidden_size;
    for (int64_t c = 0; c < m->hidden_size; c += WIDTH) {
        lanes const of = first_lanes(m->hidden_size - c);
        vec const more = vec_fma(vec_of(weight), load_lanes(out, DSV3_F32, c, of), load_lanes(sum, DSV3_F32, c, of));
        store_lanes(sum, DSV3_F32, c, of, more);
    }
}

int add_network(const layer *m, const network *f, int64_t n, const int64_t *token, const float *weight,
                const int64_t *slot, const dsv3_tensor *act)
{
    int64_t const width = f->gate.weight->shape[0], hidden = m->hidden_size;
    size_t const mark = ctx_mark(m->ctx);
    float *const x = ctx_take(m->ctx, n * hidden, sizeof *x), *const out = ctx_take(m->ctx, n * hidden, sizeof *out);
    float *const gate = ctx_take(m->ctx, n * width, sizeof *gate), *const up = ctx_take(m->ctx, n * width, sizeof *up);
    if (!x || !out || !gate || !up) return 0;
    for (int64_t i = 0; i < n; i++)
        memcpy(x + i * hidden, m->row + token[i] * m->row_stride, (size_t)hidden * sizeof *x);
    multiply(m->ctx, &f->gate, x, hidden, n, (target){gate, DSV3_F32, width});
    multiply(m->ctx, &f->up, x, hidden, n, (target){up, DSV3_F32, width});
    activation const a = {gate, up, width, slot, act};
    ctx_run(m->ctx, activate_row, &a, n);
    multiply(m->ctx, &f->down, gate, width, n, (target){out, DSV3_F32, hidden});
    for (int64_t i = 0; i < n; i++) add_weighted(m, token[i], weight[i], out + i * hidden);
    ctx_back(m->ctx, mark);
    return 1;
}

int add_experts(const layer *m, const dsv3_tensor *idx, const dsv3_tensor *weight, const dsv3_tensor *act)
{
    int64_t *const token = ctx_take(m->ctx, m->n_tokens, sizeof *token);
    int64_t *const slot = ctx_take(m->ctx, m->n_tokens, sizeof *slot);
    float *const share = ctx_take(m->ctx, m->n_tokens, sizeof *share);
    if (!token || !slot || !share) return 0;
    for (int64_t e = 0; e < m->experts; e++) {
        int64_t n = 0;
        for (int64_t i = 0; i < m->n_tokens * m->k; i++) {
            int64_t const t = i / m->k, place = i % m->k;
            if (((const int32_t *)idx->data)[t * idx->stride[0] + place] != e) continue;
            token[n] = t, slot[n] = i;
            share[n++] = ((const float *)weight->data)[t * weight->stride[0] + place];
        }
        network const f = find_expert(m, e);
        if (n && !add_network(m, &f, n, token, share, slot, act)) return 0;
    }
    return 1;
}

void store_sums(const layer *m, const dsv3_tensor *y)
{
    for (int64_t t = 0; t < m->n_tokens; t++)
        store_row(y, t * y->stride[0], m->sum + t * m->hidden_size, m->hidden_size);
}

dsv3_status fast_experts(dsv3_ctx *ctx, const dsv3_experts_prob *p, const dsv3_experts_io *io)
{
    layer m = {.ctx = ctx, .weights = &io->weights, .x = &io->hidden_states, .n_tokens = p->n_tokens};
    m.hidden_size = p->hidden_size, m.experts = p->n_routed_experts, m.k = p->num_experts_per_tok;
    if (!is_float(m.x) || !is_float(&io->y) || !usable_experts(&m)) return DSV3_UNSUPPORTED;
    size_t const mark = ctx_mark(ctx);
    int const done = open_layer(&m) && add_experts(&m, &io->topk_idx, &io->topk_weight, &io->act);
    if (done) store_sums(&m, &io->y);
    ctx_back(ctx, mark);
    return done ? DSV3_OK : DSV3_NO_MEMORY;
}

#define STEPS                                                                                                          \
    "sigmoid 4; flush none; weight f32 must; gate_proj f32 must; up_proj f32 must; silu f32 must; act f32 must; "      \
    "expert_out f32 must; routed f32 must"

/* A chain of at most sixteen terms is no longer than sixteen lanes. */
const char *fast_experts_numerics(const void *prob, const void *io)
{
    (void)io;
    bool const few = ((const dsv3_experts_prob *)prob)->num_experts_per_tok <= WIDTH;
    return few ? "acc 24 rn fused splits=16; " STEPS : "acc 24 rn fused; " STEPS;
}
