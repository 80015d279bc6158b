/* The routed experts: rows of a token's experts side by side, each expert's together, so that a weight is read once for all. */
#include "experts.cuh"

#include "functions.cuh"

#include <cstdlib>

/* The number of the expert in a name like experts.17.gate_proj.weight, and what stands behind it; -1: it is another name. */
static int64_t expert_of(const char *name, const char **leaf)
{
    static const char prefix[] = "experts.";
    const char *const first = name + sizeof prefix - 1;
    if (strncmp(name, prefix, sizeof prefix - 1) || *first < '0' || *first > '9') return -1;
    char *end = nullptr;
    long long const e = strtoll(first, &end, 10);
    *leaf = end + 1;
    return *end == '.' && (*first != '0' || end == first + 1) ? e : -1;
}

/* Where a tensor of expert e goes by its name's end, like gate_proj.weight; NULL: nowhere. */
static const dsv3_tensor **place_in(expert_matrices *m, int64_t e, const char *leaf)
{
    static const char *const leaves[] = {"gate_proj", "up_proj", "down_proj"};
    matrix *const of_leaf[] = {&m->gate[e], &m->up[e], &m->down[e]};
    for (int i = 0; i < 3; i++) {
        size_t const length = strlen(leaves[i]);
        if (strncmp(leaf, leaves[i], length)) continue;
        if (!strcmp(leaf + length, ".weight")) return &of_leaf[i]->weight;
        if (!strcmp(leaf + length, ".weight_scale_inv")) return &of_leaf[i]->scale;
    }
    return nullptr;
}

bool find_experts(const dsv3_weights *weights, int64_t experts, expert_matrices *m)
{
    if (experts > MOST_EXPERTS) return false;
    *m = {};
    for (int64_t i = 0; i < weights->count; i++) {
        const char *leaf = nullptr;
        int64_t const e = expert_of(weights->item[i].name, &leaf);
        const dsv3_tensor **const place = e < 0 || e >= experts ? nullptr : place_in(m, e, leaf);
        if (place && !*place) *place = &weights->item[i].tensor;
    }
    for (int64_t e = 0; e < experts; e++)
        if (!usable(&m->gate[e]) || !usable(&m->up[e]) || !usable(&m->down[e])) return false;
    return true;
}

namespace
{

enum { THREADS = 256 };

/* One block; a thread an expert, whose slots are in the order of tokens. */
__global__ void __launch_bounds__(MOST_EXPERTS)
    slots_kernel(slots s, const int32_t *idx, int64_t stride, int64_t pairs, int64_t k, int64_t experts)
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

dsv3_status run_routed(dsv3_ctx *ctx, const layer *l, const expert_matrices &f, const slots &s, const middle &m)
{
    int64_t const n = l->n_tokens * l->k;
    expert_rows const rows = {l->experts, l->n_tokens, s.first};
    row_list x = rows_of(l->x), act = {m.act, l->x->dtype, l->width, nullptr};
    x.index = s.token;
    dsv3_status status = multiply_experts(ctx, f.gate, &rows, x, floats_of(m.gate, l->width));
    if (status == DSV3_OK) status = multiply_experts(ctx, f.up, &rows, x, floats_of(m.up, l->width));
    if (status != DSV3_OK) return status;
    activation a = activation_of(l, m, l->width, l->act);
    a.pair = s.pair, a.k = l->k;
    activate<<<(unsigned)n, THREADS, 0, ctx->stream>>>(a);
    return multiply_experts(ctx, f.down, &rows, act, floats_of(m.out, l->hidden_size));
}

dsv3_status run_shared(dsv3_ctx *ctx, const layer *l, const network &f, const middle &m)
{
    row_list const x = rows_of(l->x), act = {m.act, l->x->dtype, l->shared_width, nullptr};
    dsv3_status status = multiply(ctx, &f.gate, x, l->n_tokens, floats_of(m.gate, l->shared_width));
    if (status == DSV3_OK) status = multiply(ctx, &f.up, x, l->n_tokens, floats_of(m.up, l->shared_width));
    if (status != DSV3_OK) return status;
    activate<<<(unsigned)l->n_tokens, THREADS, 0, ctx->stream>>>(activation_of(l, m, l->shared_width, l->shared_act));
    return multiply(ctx, &f.down, act, l->n_tokens, floats_of(m.out, l->hidden_size));
}

} // namespace

bool list_slots(dsv3_ctx *ctx, const dsv3_tensor *topk_idx, int64_t n_tokens, int64_t k, int64_t experts, slots *s)
{
    int64_t const n = n_tokens * k;
    s->first = (int64_t *)take(ctx, (size_t)(experts + 1 + 3 * n) * sizeof(int64_t));
    if (!s->first) return false;
    s->token = s->first + experts + 1, s->pair = s->token + n, s->slot = s->pair + n;
    slots_kernel<<<1, MOST_EXPERTS, 0, ctx->stream>>>(*s, (const int32_t *)topk_idx->data, topk_idx->stride[0], n, k,
                                                      experts);
    return true;
}

/* What a layer's networks are. */
struct networks {
    expert_matrices routed;
    network shared;
};

static bool find_networks(const layer *l, networks *f)
{
    f->shared = {find_matrix(l->weights, "shared_experts.gate_proj"), find_matrix(l->weights, "shared_experts.up_proj"),
                 find_matrix(l->weights, "shared_experts.down_proj")};
    bool const shared = usable(&f->shared.gate) && usable(&f->shared.up) && usable(&f->shared.down);
    return find_experts(l->weights, l->experts, &f->routed) && (shared || !l->shared_width);
}

static dsv3_status run_marked(dsv3_ctx *ctx, const layer *l)
{
    networks f;
    slots s;
    middle routed = {}, shared = {};
    if (!is_float(l->x) || !is_float(l->y) || !find_networks(l, &f)) return DSV3_UNSUPPORTED;
    if (!list_slots(ctx, l->topk_idx, l->n_tokens, l->k, l->experts, &s)) return DSV3_NO_MEMORY;
    if (!take_middle(ctx, l, l->n_tokens * l->k, l->width, &routed)) return DSV3_NO_MEMORY;
    if (l->shared_width && !take_middle(ctx, l, l->n_tokens, l->shared_width, &shared)) return DSV3_NO_MEMORY;
    dsv3_status status = run_routed(ctx, l, f.routed, s, routed);
    if (status == DSV3_OK && l->shared_width) status = run_shared(ctx, l, f.shared, shared);
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
    return run_layer(ctx, &l);
}

const char *cuda_experts_numerics(const void *prob, const void *io)
{
    layer const l = layer_of((const dsv3_experts_prob *)prob, (const dsv3_experts_io *)io);
    return layer_numerics(&l, false);
}
