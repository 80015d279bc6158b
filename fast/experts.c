/* See experts.h. */
#include "experts.h"

#include "coded.h"
#include "elementwise.h"
#include "fast.h"
#include "quant.h"

#include <stdbool.h>
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

/* The matrix of a network that a name like gate_proj.weight belongs to, and where its tensor goes; NULL: none. */
static const dsv3_tensor **place_in(network *f, const char *leaf)
{
    static const char *const leaves[] = {"gate_proj", "up_proj", "down_proj"};
    matrix *const of_leaf[] = {&f->gate, &f->up, &f->down};
    for (int i = 0; i < 3; i++) {
        size_t const length = strlen(leaves[i]);
        if (strncmp(leaf, leaves[i], length)) continue;
        if (!strcmp(leaf + length, ".weight")) return &of_leaf[i]->weight;
        if (!strcmp(leaf + length, ".weight_scale_inv")) return &of_leaf[i]->scale;
    }
    return NULL;
}

/* The number of the expert in a name like experts.17.gate_proj.weight, and what stands behind it; -1: it is another name. */
static int64_t expert_of(const char *name, int64_t experts, const char **leaf)
{
    static const char prefix[] = "experts.";
    int64_t e = 0;
    if (strncmp(name, prefix, sizeof prefix - 1)) return -1;
    const char *const first = name + sizeof prefix - 1, *digit = first;
    for (; *digit >= '0' && *digit <= '9' && e < experts; digit++) e = 10 * e + *digit - '0';
    bool const number = digit > first && *digit == '.' && (*first != '0' || digit == first + 1);
    *leaf = digit + 1;
    return number && e < experts ? e : -1;
}

void find_experts(const dsv3_weights *weights, int64_t experts, network *expert)
{
    memset(expert, 0, (size_t)experts * sizeof *expert);
    for (int64_t i = 0; i < weights->count; i++) {
        const char *leaf = NULL;
        int64_t const e = expert_of(weights->item[i].name, experts, &leaf);
        const dsv3_tensor **const place = e < 0 ? NULL : place_in(&expert[e], leaf);
        if (place && !*place) *place = &weights->item[i].tensor;
    }
}

int usable_experts(const layer *m)
{
    for (int64_t e = 0; e < m->experts; e++)
        if (!usable_network(&m->expert[e])) return 0;
    return 1;
}

int open_layer(layer *m)
{
    m->sum = ctx_take(m->ctx, m->n_tokens * m->hidden_size, sizeof *m->sum);
    m->expert = ctx_take(m->ctx, m->experts, sizeof *m->expert);
    if (!m->sum || !m->expert) return 0;
    memset(m->sum, 0, (size_t)(m->n_tokens * m->hidden_size) * sizeof *m->sum);
    find_experts(m->weights, m->experts, m->expert);
    return 1;
}

/* silu(gate) up, row by row, to act; a copy goes to the stage, if that is wanted. */
typedef struct {
    const float *gate, *up;
    dsv3_tensor act; /* (rows, width) */
    const dsv3_tensor *stage;
    const int64_t *slot;
} activation;

/* Where row i of (tokens, width), or of (tokens, k, width), begins. */
static int64_t place_of(const dsv3_tensor *stage, int64_t i)
{
    if (stage->ndim == 2) return i * stage->stride[0];
    return i / stage->shape[1] * stage->stride[0] + i % stage->shape[1] * stage->stride[1];
}

static void activate_row(const void *job, int64_t i, int worker)
{
    (void)worker;
    const activation *const a = job;
    int64_t const width = a->act.shape[1], kept = a->stage->data ? place_of(a->stage, a->slot[i]) : 0;
    for (int64_t c = 0; c < width; c += WIDTH) {
        lanes const of = first_lanes(width - c);
        vec const gate = load_lanes(a->gate, DSV3_F32, i * width + c, of);
        vec const v = vec_mul(vec_silu(gate), load_lanes(a->up, DSV3_F32, i * width + c, of));
        store_lanes(a->act.data, a->act.dtype, i * width + c, of, v);
        if (a->stage->data) store_lanes(a->stage->data, a->stage->dtype, kept + c, of, v);
    }
}

/* ---- W8A8: act is quantised before down_proj ---- */

/* Rows of act to codes and scales, which are stages too. */
typedef struct {
    const layer *m;
    const dsv3_tensor *act;
    dsv3_tensor scale, code; /* (rows, tiles), (rows, width) */
    const int64_t *slot;
} requantisation;

static void requantise_row(const void *job, int64_t i, int worker)
{
    (void)worker;
    const requantisation *const r = job;
    const dsv3_experts_io *const io = r->m->io;
    int64_t const width = r->code.shape[1], tiles = r->scale.shape[1];
    float *const scale = (float *)r->scale.data + i * tiles;
    uint8_t *const code = (uint8_t *)r->code.data + i * width;
    quantise(r->m->p->amax_floor, r->m->p->scale_fmt, r->act, i * width, width, scale, code);
    if (!r->m->p->stages) return;
    if (io->act_scale.data)
        memcpy((float *)io->act_scale.data + place_of(&io->act_scale, r->slot[i]), scale,
               (size_t)tiles * sizeof *scale);
    if (io->act_q.data) memcpy((uint8_t *)io->act_q.data + place_of(&io->act_q, r->slot[i]), code, (size_t)width);
}

/* Codes of n rows of act times their scales. data NULL: no memory. */
static dsv3_tensor requantised(const layer *m, const dsv3_tensor *act, int64_t n, const int64_t *slot)
{
    int64_t const width = act->shape[1], tiles = (width + BLOCK - 1) / BLOCK;
    requantisation const r = {m, act, tensor_in(m->ctx, DSV3_F32, n, tiles), tensor_in(m->ctx, DSV3_F8_E4M3, n, width),
                              slot};
    if (!r.scale.data || !r.code.data) return (dsv3_tensor){.data = NULL};
    ctx_run(m->ctx, requantise_row, &r, n);
    return dequantised(m->ctx, &r.code, &r.scale);
}

/* Of every expert the scales of its matrices as binary32. 0: no memory. */
static int take_float_scales(const layer *m)
{
    dsv3_tensor *const scale = ctx_take(m->ctx, 3 * m->experts, sizeof *scale);
    for (int64_t i = 0; scale && i < 3 * m->experts; i++) {
        network *const f = &m->expert[i / 3];
        matrix *const w = i % 3 == 0 ? &f->gate : i % 3 == 1 ? &f->up : &f->down;
        scale[i] = float_scales(m->ctx, w->scale);
        if (!scale[i].data) return 0;
        w->scale = &scale[i];
    }
    return scale != NULL;
}

/* ---- a network ---- */

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
                const int64_t *slot, const dsv3_tensor *stage)
{
    int64_t const width = f->gate.weight->shape[0], hidden = m->hidden_size;
    size_t const mark = ctx_mark(m->ctx);
    dsv3_tensor const gate = tensor_in(m->ctx, DSV3_F32, n, width), up = tensor_in(m->ctx, DSV3_F32, n, width);
    dsv3_dtype const kept = m->io && stage->data ? stage->dtype : m->x->dtype;
    dsv3_tensor const act = tensor_in(m->ctx, kept, n, width), out = tensor_in(m->ctx, DSV3_F32, n, hidden);
    row_list x = rows_of(m->x);
    x.index = token;
    if (!gate.data || !up.data || !act.data || !out.data) return 0;
    activation const a = {gate.data, up.data, act, stage, slot};
    if (!multiply(m->ctx, &f->gate, x, n, rows_of(&gate)) || !multiply(m->ctx, &f->up, x, n, rows_of(&up))) return 0;
    ctx_run(m->ctx, activate_row, &a, n);
    dsv3_tensor const last = m->io ? requantised(m, &act, n, slot) : act;
    if (!last.data || !multiply(m->ctx, &f->down, rows_of(&last), n, rows_of(&out))) return 0;
    for (int64_t i = 0; i < n; i++) add_weighted(m, token[i], weight[i], (const float *)out.data + i * hidden);
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
        if (n && !add_network(m, &m->expert[e], n, token, share, slot, act)) return 0;
    }
    return 1;
}

void store_sums(const layer *m, const dsv3_tensor *y)
{
    for (int64_t t = 0; t < m->n_tokens; t++)
        store_row(y, t * y->stride[0], m->sum + t * m->hidden_size, m->hidden_size);
}

/* Codes with scales, of hidden states and of every matrix. */
static bool is_coded(const layer *m, const dsv3_experts_io *io)
{
    bool coded = io->hidden_states.dtype == DSV3_F8_E4M3 && io->x_scale.dtype != DSV3_NONE;
    for (int64_t e = 0; coded && e < m->experts; e++)
        coded = m->expert[e].gate.scale && m->expert[e].up.scale && m->expert[e].down.scale;
    return coded;
}

/* Codes become numbers. 0: no memory. */
static int open_codes(layer *m, const dsv3_experts_prob *p, const dsv3_experts_io *io, dsv3_tensor *x)
{
    dsv3_tensor const of_x = float_scales(m->ctx, &io->x_scale);
    *x = of_x.data ? dequantised(m->ctx, &io->hidden_states, &of_x) : of_x;
    m->x = x, m->p = p, m->io = io;
    return x->data && take_float_scales(m);
}

dsv3_status fast_experts(dsv3_ctx *ctx, const dsv3_experts_prob *p, const dsv3_experts_io *io)
{
    layer m = {.ctx = ctx, .weights = &io->weights, .x = &io->hidden_states, .n_tokens = p->n_tokens};
    m.hidden_size = p->hidden_size, m.experts = p->n_routed_experts, m.k = p->num_experts_per_tok;
    bool const codes = io->hidden_states.dtype == DSV3_F8_E4M3;
    if (!(codes || is_float(m.x)) || !is_float(&io->y)) return DSV3_UNSUPPORTED;
    dsv3_tensor x;
    size_t const mark = ctx_mark(ctx);
    int const open = open_layer(&m), able = open && usable_experts(&m) && (!codes || is_coded(&m, io));
    int const done =
        able && (!codes || open_codes(&m, p, io, &x)) && add_experts(&m, &io->topk_idx, &io->topk_weight, &io->act);
    if (done) store_sums(&m, &io->y);
    ctx_back(ctx, mark);
    return done ? DSV3_OK : open && !able ? DSV3_UNSUPPORTED : DSV3_NO_MEMORY;
}

#define STEPS                                                                                                          \
    "sigmoid 4; gate_proj f32 must; up_proj f32 must; gate_sigmoid f32 may; silu f32 must; act output must; "          \
    "expert_out f32 must; routed "                                                                                     \
    "f32 must; "
#define CODES                                                                                                          \
    "sigmoid 4; gate_proj f32 must; up_proj f32 must; gate_sigmoid f32 may; silu f32 must; act f32 "                   \
    "must; act_scale f32 must; div ieee; quotient div; expert_out f32 must; routed f32 must; flush none; x f32 must; " \
    "weight f32 must"
#define FMA   "flush none; weight f32 must"
#define PAIRS "flush daz; weight f32 may"

/* A chain of at most sixteen terms is no longer than sixteen lanes. */
const char *fast_experts_numerics(const void *prob, const void *io)
{
    bool const few = ((const dsv3_experts_prob *)prob)->num_experts_per_tok <= WIDTH;
    dsv3_dtype const x = ((const dsv3_experts_io *)io)->hidden_states.dtype;
    if (x == DSV3_F8_E4M3) return few ? "acc 24 rn fused splits=16; " CODES : "acc 24 rn fused; " CODES;
    if (few && all_by_amx(x, 1, &((const dsv3_experts_io *)io)->weights)) return "acc amx.bf16; " STEPS PAIRS;
    if (by_amx(x)) return "acc 24 rn fused; " STEPS PAIRS;
    if (few && all_by_pairs(x, &((const dsv3_experts_io *)io)->weights))
        return "acc avx512.bf16 promote=128 bits2=24; " STEPS PAIRS;
    if (by_pairs(x)) return few ? "acc 24 rn fused splits=16; " STEPS PAIRS : "acc 24 rn fused; " STEPS PAIRS;
    return few ? "acc 24 rn fused splits=16; " STEPS FMA : "acc 24 rn fused; " STEPS FMA;
}
