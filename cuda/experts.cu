/* The routed experts: rows of a token's experts side by side, each expert's together, so that a weight is read once for all. */
#include "experts.cuh"

#include "functions.cuh"

#include <cstdio>

static matrix find_leaf(const dsv3_weights *weights, const char *name, const char *leaf)
{
    char full[100];
    snprintf(full, sizeof full, "%s.%s", name, leaf);
    return find_matrix(weights, full);
}

network find_network(const dsv3_weights *weights, const char *name)
{
    return {find_leaf(weights, name, "gate_proj"), find_leaf(weights, name, "up_proj"),
            find_leaf(weights, name, "down_proj")};
}

bool usable(const network *f)
{
    return usable(&f->gate) && usable(&f->up) && usable(&f->down);
}

static network find_expert(const layer *l, int64_t e)
{
    char name[40];
    snprintf(name, sizeof name, "experts.%lld", (long long)e);
    return find_network(l->weights, name);
}

bool usable_layer(const layer *l)
{
    if (!is_float(l->x) || !is_float(l->y) || l->experts > MOST_EXPERTS) return false;
    for (int64_t e = 0; e < l->experts; e++) {
        network const f = find_expert(l, e);
        if (!usable(&f)) return false;
    }
    network const shared = find_network(l->weights, "shared_experts");
    return !l->shared_width || usable(&shared);
}

namespace
{

enum { THREADS = 256 };

/* Slots: a token and one of its experts, those of expert 0 first. */
struct slots {
    int64_t *first;        /* (experts + 1): of each expert */
    int64_t *token, *pair; /* (n_tokens k): of a slot, and token k + place */
    int64_t *slot;         /* (n_tokens, k) */
};

/* One block; a thread an expert, whose slots are in the order of tokens. */
__global__ void __launch_bounds__(MOST_EXPERTS)
    list_slots(slots s, const int32_t *idx, int64_t stride, int64_t pairs, int64_t k, int64_t experts)
{
    __shared__ int64_t count[MOST_EXPERTS];
    int64_t const e = threadIdx.x;
    int64_t n = 0, begin = 0;
    for (int64_t i = 0; i < pairs; i++) n += idx[i / k * stride + i % k] == e;
    count[e] = n;
    __syncthreads();
    for (int64_t i = 0; i < e; i++) begin += count[i];
    if (e < experts) s.first[e] = begin;
    if (e == experts - 1) s.first[experts] = begin + n;
    for (int64_t i = 0; i < pairs; i++) {
        if (idx[i / k * stride + i % k] != e) continue;
        s.token[begin] = i / k, s.pair[begin] = i, s.slot[i] = begin++;
    }
}

/* silu(gate) up of a row; a copy goes to the stage, if that is wanted. */
struct activation {
    const float *gate, *up;
    void *act, *stage;
    int64_t width;
    const int64_t *pair; /* of a row: its place in the stage, over k tokens and places; NULL: the row's number */
    int64_t k, stage_token, stage_place;
    bool bf16;
};

__device__ inline void put(void *to, bool bf16, int64_t at, float v)
{
    if (bf16)
        store((__nv_bfloat16 *)to, at, v);
    else
        store((float *)to, at, v);
}

__global__ void __launch_bounds__(THREADS, 2) activate(activation a)
{
    int64_t const row = blockIdx.x, pair = a.pair ? a.pair[row] : row;
    int64_t const stage = pair / a.k * a.stage_token + pair % a.k * a.stage_place;
    for (int64_t c = threadIdx.x; c < a.width; c += THREADS) {
        float const v = __fmul_rn(silu(a.gate[row * a.width + c]), a.up[row * a.width + c]);
        put(a.act, a.bf16, row * a.width + c, v);
        if (a.stage) put(a.stage, a.bf16, stage + c, v);
    }
}

struct combination {
    const float *out, *shared; /* (slots, hidden_size), (n_tokens, hidden_size) or NULL */
    const int64_t *slot;
    const float *weight;
    int64_t weight_stride, k, hidden_size;
    void *y;
    int64_t y_stride;
    bool bf16;
};

/* Added in binary64: rounded once. */
__global__ void __launch_bounds__(THREADS) combine(combination m)
{
    int64_t const t = blockIdx.x;
    for (int64_t c = threadIdx.x; c < m.hidden_size; c += THREADS) {
        double sum = m.shared ? (double)m.shared[t * m.hidden_size + c] : 0;
        for (int64_t i = 0; i < m.k; i++)
            sum = fma((double)m.weight[t * m.weight_stride + i], (double)m.out[m.slot[t * m.k + i] * m.hidden_size + c],
                      sum);
        put(m.y, m.bf16, t * m.y_stride + c, (float)sum);
    }
}

/* What is between the products, for so many rows. */
struct middle {
    float *gate, *up, *out;
    void *act;
};

bool take_middle(dsv3_ctx *ctx, const layer *l, int64_t rows, int64_t width, middle *m)
{
    m->gate = (float *)take(ctx, (size_t)(rows * width) * sizeof(float));
    m->up = (float *)take(ctx, (size_t)(rows * width) * sizeof(float));
    m->act = take(ctx, (size_t)(rows * width) * sizeof(float));
    m->out = (float *)take(ctx, (size_t)(rows * l->hidden_size) * sizeof(float));
    return m->gate && m->up && m->act && m->out;
}

activation activation_of(const layer *l, const middle &m, int64_t width, const dsv3_tensor *stage)
{
    activation a = {m.gate, m.up, m.act, stage ? stage->data : nullptr, width, nullptr,
                    1,      0,    0,     l->x->dtype == DSV3_BF16};
    if (a.stage) a.stage_token = stage->stride[0], a.stage_place = stage->stride[1];
    return a;
}

dsv3_status run_routed(dsv3_ctx *ctx, const layer *l, const slots &s, const middle &m)
{
    int64_t const n = l->n_tokens * l->k;
    matrix gate[MOST_EXPERTS], up[MOST_EXPERTS], down[MOST_EXPERTS];
    for (int64_t e = 0; e < l->experts; e++) {
        network const f = find_expert(l, e);
        gate[e] = f.gate, up[e] = f.up, down[e] = f.down;
    }
    expert_rows const rows = {l->experts, l->n_tokens, s.first};
    row_list x = rows_of(l->x), act = {m.act, l->x->dtype, l->width, nullptr};
    x.index = s.token;
    dsv3_status status = multiply_experts(ctx, gate, &rows, x, floats_of(m.gate, l->width));
    if (status == DSV3_OK) status = multiply_experts(ctx, up, &rows, x, floats_of(m.up, l->width));
    if (status != DSV3_OK) return status;
    activation a = activation_of(l, m, l->width, l->act);
    a.pair = s.pair, a.k = l->k;
    activate<<<(unsigned)n, THREADS, 0, ctx->stream>>>(a);
    return multiply_experts(ctx, down, &rows, act, floats_of(m.out, l->hidden_size));
}

dsv3_status run_shared(dsv3_ctx *ctx, const layer *l, const middle &m)
{
    network const f = find_network(l->weights, "shared_experts");
    row_list const x = rows_of(l->x), act = {m.act, l->x->dtype, l->shared_width, nullptr};
    dsv3_status status = multiply(ctx, &f.gate, x, l->n_tokens, floats_of(m.gate, l->shared_width));
    if (status == DSV3_OK) status = multiply(ctx, &f.up, x, l->n_tokens, floats_of(m.up, l->shared_width));
    if (status != DSV3_OK) return status;
    activate<<<(unsigned)l->n_tokens, THREADS, 0, ctx->stream>>>(activation_of(l, m, l->shared_width, l->shared_act));
    return multiply(ctx, &f.down, act, l->n_tokens, floats_of(m.out, l->hidden_size));
}

bool take_slots(dsv3_ctx *ctx, const layer *l, slots *s)
{
    int64_t const n = l->n_tokens * l->k;
    s->first = (int64_t *)take(ctx, (size_t)(l->experts + 1 + 3 * n) * sizeof(int64_t));
    if (!s->first) return false;
    s->token = s->first + l->experts + 1, s->pair = s->token + n, s->slot = s->pair + n;
    return true;
}

} // namespace

static dsv3_status run_marked(dsv3_ctx *ctx, const layer *l)
{
    slots s;
    middle routed = {}, shared = {};
    if (!take_slots(ctx, l, &s) || !take_middle(ctx, l, l->n_tokens * l->k, l->width, &routed)) return DSV3_NO_MEMORY;
    if (l->shared_width && !take_middle(ctx, l, l->n_tokens, l->shared_width, &shared)) return DSV3_NO_MEMORY;
    list_slots<<<1, MOST_EXPERTS, 0, ctx->stream>>>(s, (const int32_t *)l->topk_idx->data, l->topk_idx->stride[0],
                                                    l->n_tokens * l->k, l->k, l->experts);
    dsv3_status status = run_routed(ctx, l, s, routed);
    if (status == DSV3_OK && l->shared_width) status = run_shared(ctx, l, shared);
    if (status != DSV3_OK) return status;
    combination const c = {routed.out,
                           shared.out,
                           s.slot,
                           (const float *)l->topk_weight->data,
                           l->topk_weight->stride[0],
                           l->k,
                           l->hidden_size,
                           l->y->data,
                           l->y->stride[0],
                           l->y->dtype == DSV3_BF16};
    combine<<<(unsigned)l->n_tokens, THREADS, 0, ctx->stream>>>(c);
    return launched();
}

dsv3_status run_layer(dsv3_ctx *ctx, const layer *l)
{
    memory_mark const m = mark(ctx);
    dsv3_status const status = run_marked(ctx, l);
    give_back(ctx, m);
    return status;
}

#define STEPS                                                                                                          \
    "sigmoid 4; flush none; gate_proj f32 must; up_proj f32 must; gate_sigmoid f32 may; silu f32 must; act output "    \
    "must; "                                                                                                           \
    "expert_out f32 must; routed f32 may; "

const char *layer_numerics(const layer *l, bool others)
{
    const dsv3_tensor *const weight = dsv3_find(l->weights, "experts.0.gate_proj.weight");
    bool const units = weight && by_units(l->x->dtype, weight->dtype);
    if (!units && others) return "acc 24 rz fused; weight f32 must; " STEPS;
    if (!units) return "acc 24 rn fused splits=1; weight f32 must; " STEPS;
    return of_unit("acc %s splits=1 promote=128 bits2=24; weight f32 may; " STEPS);
}

static layer layer_of(const dsv3_experts_prob *p, const dsv3_experts_io *io)
{
    layer l = {&io->weights, &io->hidden_states, &io->topk_idx, &io->topk_weight, &io->act, nullptr, &io->y};
    l.n_tokens = p->n_tokens, l.hidden_size = p->hidden_size, l.width = p->moe_intermediate_size;
    l.experts = p->n_routed_experts, l.k = p->num_experts_per_tok;
    return l;
}

dsv3_status cuda_experts(dsv3_ctx *ctx, const dsv3_experts_prob *p, const dsv3_experts_io *io)
{
    layer const l = layer_of(p, io);
    return usable_layer(&l) ? run_layer(ctx, &l) : DSV3_UNSUPPORTED;
}

const char *cuda_experts_numerics(const void *prob, const void *io)
{
    layer const l = layer_of((const dsv3_experts_prob *)prob, (const dsv3_experts_io *)io);
    return layer_numerics(&l, false);
}
