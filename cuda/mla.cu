/*
 * Multi-head latent attention in the absorbed form: queries are brought to the latent, attention runs over what is cached and over the
 * new tokens, values are expanded after it. What is between the steps has the format of hidden_states; stages are among it.
 */
#include "mla.cuh"

#include "attention.cuh"
#include "norm.cuh"
#include "products.cuh"
#include "rope.cuh"

#include <cmath>

namespace
{

enum { THREADS = NORM_THREADS, TOKENS = 8 };

/* What all steps share. */
struct block {
    const dsv3_mla_prob *p;
    const dsv3_mla_io *io;
    matrix q_a_proj, q_b_proj, kv_a_proj, kv_b_proj, o_proj; /* q_b_proj: q_proj without a query latent */
    const dsv3_tensor *q_norm, *kv_norm;
    dsv3_dtype dtype;
    int64_t n, heads, qk, latent; /* new tokens; entries of a query head, of what is cached */
    float scale;
    dsv3_tensor q_latent, q, kv, attn_output; /* stages, or memory of the context */
    float *q_a, *q_b, *kv_a;                  /* (n, q_lora_rank), (n, heads qk), (n, latent) */
    void *absorbed, *o_latent;                /* (n, heads, latent), (n, heads, kv_lora_rank) */
    int64_t *sequence, *position;             /* (n) */
};

/* ---- where tokens stand ---- */

/* Positions and sequences of tokens; lengths NULL: there is no past. */
__global__ void __launch_bounds__(THREADS)
    find_positions(const int32_t *begin, int64_t begin_stride, const int32_t *lengths, int64_t lengths_stride,
                   int64_t batch, int64_t *sequence, int64_t *position)
{
    for (int64_t b = blockIdx.x; b < batch; b += gridDim.x) {
        int64_t const first = begin[b * begin_stride], end = begin[(b + 1) * begin_stride];
        int64_t const past = lengths ? lengths[b * lengths_stride] - (end - first) : 0;
        _Pragma("unroll 1") for (int64_t t = first + threadIdx.x; t < end; t += THREADS) sequence[t] = b,
                                                                                         position[t] = past + t - first;
    }
}

/* ---- queries and keys ---- */

template <typename T>
__global__ void __launch_bounds__(THREADS)
    normalise_latent(const float *q_a, const T *gain, int64_t rank, float eps, T *to, int64_t stride)
{
    normalise(q_a + blockIdx.x * rank, gain, rank, eps, to + blockIdx.x * stride);
}

template <typename T> struct finishing {
    const float *q_b, *kv_a;
    const T *gain;
    const int64_t *position;
    T *q, *kv;
    int64_t heads, nope, rank, r, q_token, q_head, kv_token;
    float eps;
};

template <typename T>
__device__ inline void rotate(const rope &m, const float *from, const float *cosine, const float *sine, int64_t j,
                              T *to)
{
    float const x1 = from[place(m.in_layout, m.pairs, j, 0)], x2 = from[place(m.in_layout, m.pairs, j, 1)];
    store(to, place(m.out_layout, m.pairs, j, 0), __fsub_rn(__fmul_rn(x1, cosine[j]), __fmul_rn(x2, sine[j])));
    store(to, place(m.out_layout, m.pairs, j, 1), __fadd_rn(__fmul_rn(x2, cosine[j]), __fmul_rn(x1, sine[j])));
}

/* A block a token: queries and the shared key are rotated, the latent is normalised. */
template <typename T>
__global__ void __launch_bounds__(THREADS) finish_token(finishing<T> f, const __grid_constant__ rope m)
{
    __shared__ float cosine[MOST_PAIRS], sine[MOST_PAIRS];
    int64_t const t = blockIdx.x, qk = f.nope + f.r;
    rope_table<THREADS>(m, (double)f.position[t], cosine, sine);
    for (int64_t i = threadIdx.x; i < f.heads * f.nope; i += THREADS) {
        int64_t const h = i / f.nope, c = i % f.nope;
        store(f.q + t * f.q_token + h * f.q_head, c, f.q_b[(t * f.heads + h) * qk + c]);
    }
    for (int64_t i = threadIdx.x; i < f.heads * m.pairs; i += THREADS) {
        int64_t const h = i / m.pairs;
        rotate(m, f.q_b + (t * f.heads + h) * qk + f.nope, cosine, sine, i % m.pairs,
               f.q + t * f.q_token + h * f.q_head + f.nope);
    }
    const float *const kv = f.kv_a + t * (f.rank + f.r);
    _Pragma("unroll 1") for (int64_t j = threadIdx.x; j < m.pairs; j += THREADS)
        rotate(m, kv + f.rank, cosine, sine, j, f.kv + t * f.kv_token + f.rank);
    normalise(kv, f.gain, f.rank, f.eps, f.kv + t * f.kv_token);
}

/* ---- to the latent ---- */

/* A head's rows of kv_b_proj, and its queries. T: of queries. */
template <typename T, typename W> struct absorption {
    const T *q;
    const W *w;
    const float *scale; /* of codes */
    T *to;
    int64_t w_stride, scale_stride, head_rows, n, heads, nope, rank, r, q_token, q_head;
};

/* Of W, exact: codes times a scale of binary32. */
template <typename T> __device__ inline double entry_of(const absorption<T, uint8_t> &a, int64_t row, int64_t c)
{
    float const scale = a.scale[row / 128 * a.scale_stride + c / 128];
    return (double)of_e4m3(a.w[row * a.w_stride + c]) * (double)scale;
}

template <typename T, typename W> __device__ inline double entry_of(const absorption<T, W> &a, int64_t row, int64_t c)
{
    return (double)load(a.w, row * a.w_stride + c);
}

/* q_absorbed = W_k^T q_nope, then q_pe: a head and TOKENS tokens; sums in binary64, so that each is rounded once. */
template <typename T, typename W> __global__ void __launch_bounds__(THREADS) absorb(absorption<T, W> a)
{
    int64_t const h = blockIdx.x, first = (int64_t)blockIdx.y * TOKENS, latent = a.rank + a.r;
    int64_t const tokens = a.n - first < TOKENS ? a.n - first : TOKENS;
    for (int64_t c = threadIdx.x; c < a.rank; c += THREADS) {
        double sum[TOKENS] = {};
        __builtin_assume(a.nope > 0);
        for (int64_t d = 0; d < a.nope; d++) {
            double const w = entry_of(a, h * a.head_rows + d, c);
            UNROLL for (int i = 0; i < TOKENS; i++) if (i < tokens) sum[i] =
                fma((double)load(a.q, (first + i) * a.q_token + h * a.q_head + d), w, sum[i]);
        }
        UNROLL for (int i = 0; i < TOKENS; i++) if (i < tokens)
            store(a.to, ((first + i) * a.heads + h) * latent + c, (float)sum[i]);
    }
    for (int64_t i = threadIdx.x; i < tokens * a.r; i += THREADS) {
        int64_t const t = first + i / a.r, c = i % a.r;
        a.to[(t * a.heads + h) * latent + a.rank + c] = a.q[t * a.q_token + h * a.q_head + a.nope + c];
    }
}

template <typename T, typename W> void launch_absorb(dsv3_ctx *ctx, const block *a)
{
    const dsv3_tensor *const w = a->kv_b_proj.weight, *const scale = a->kv_b_proj.scale;
    absorption<T, W> s = {(const T *)a->q.data, (const W *)w->data, scale ? (const float *)scale->data : nullptr,
                          (T *)a->absorbed};
    s.w_stride = w->stride[0], s.scale_stride = scale ? scale->stride[0] : 0;
    s.head_rows = a->p->qk_nope_head_dim + a->p->v_head_dim;
    s.n = a->n, s.heads = a->heads, s.nope = a->p->qk_nope_head_dim, s.rank = a->p->kv_lora_rank,
    s.r = a->p->qk_rope_head_dim;
    s.q_token = a->q.stride[0], s.q_head = a->q.stride[1];
    absorb<<<dim3((unsigned)a->heads, (unsigned)((a->n + TOKENS - 1) / TOKENS)), THREADS, 0, ctx->stream>>>(s);
}

template <typename T> void absorb_queries(dsv3_ctx *ctx, const block *a)
{
    switch (a->kv_b_proj.weight->dtype) {
    case DSV3_F32: return launch_absorb<T, float>(ctx, a);
    case DSV3_BF16: return launch_absorb<T, __nv_bfloat16>(ctx, a);
    default: return launch_absorb<T, uint8_t>(ctx, a);
    }
}

/* ---- attention ---- */

/* A group is a token, its rows are the heads; keys are cached, the last ones new. */
template <typename T> struct latent_keys {
    enum { PROMOTE = 128, IN_PARTS = 1 };
    const T *q, *cache, *fresh;
    T *o;
    const int32_t *table, *begin;
    const int64_t *sequence, *position;
    int64_t page_size, page_stride, row_stride, table_stride, begin_stride, fresh_stride;
    int64_t heads, width, columns, value_at;
    float scale;
    bool whole;

    __device__ int64_t rows(int64_t) const
    {
        return heads;
    }

    __device__ int64_t seen(int64_t g, int64_t) const
    {
        int64_t const past = position[g];
        __builtin_assume(past >= 0);
        return past + 1;
    }

    __device__ const T *key(int64_t g, int64_t j) const
    {
        int64_t const b = sequence[g], first = begin[b * begin_stride], past = position[g] - (g - first);
        if (j >= past) return fresh + (first + j - past) * fresh_stride;
        return cache + table[b * table_stride + j / page_size] * page_stride + j % page_size * row_stride;
    }

    __device__ float query(int64_t g, int64_t r, int64_t c) const
    {
        return load(q, (g * heads + r) * width + c);
    }

    __device__ float entry(int64_t g, int64_t j, int64_t c) const
    {
        return load(key(g, j), c);
    }

    __device__ float value(int64_t g, int64_t j, int64_t c) const
    {
        return load(key(g, j), c);
    }

    __device__ void bring_query(__nv_bfloat16 *to, int64_t g, int64_t r, int64_t c) const
    {
        bring_some(to, q + (g * heads + r) * width, width, c, width % 8 == 0);
    }

    __device__ void bring(__nv_bfloat16 *to, int64_t g, int64_t j, int64_t c) const
    {
        bring_some(to, key(g, j), width, c, whole);
    }

    __device__ void put(int64_t g, int64_t r, int64_t c, float v) const
    {
        store(o, (g * heads + r) * columns + c, v);
    }

    __device__ void put_lse(int64_t, int64_t, float) const
    {
    }
};

template <typename T> latent_keys<T> keys_of(const block *a)
{
    const dsv3_mla_io *const io = a->io;
    latent_keys<T> s = {(const T *)a->absorbed, (const T *)io->kv_cache.data, (const T *)a->kv.data, (T *)a->o_latent};
    s.table = (const int32_t *)io->block_table.data, s.begin = (const int32_t *)io->cu_seqlens.data;
    s.sequence = a->sequence, s.position = a->position;
    s.page_size = a->p->page_size, s.page_stride = io->kv_cache.stride[0], s.row_stride = io->kv_cache.stride[1];
    s.table_stride = io->block_table.stride[0], s.begin_stride = io->cu_seqlens.stride[0],
    s.fresh_stride = a->kv.stride[0];
    s.heads = a->heads, s.width = a->latent, s.columns = a->p->kv_lora_rank, s.value_at = 0, s.scale = a->scale;
    uint64_t const places = (uintptr_t)s.cache | (uintptr_t)s.fresh;
    s.whole = (places | (uint64_t)(2 * (s.page_stride | s.row_stride | s.fresh_stride))) % 16 == 0;
    return s;
}

/* ---- the op ---- */

/* Do products with matrices go by the matrix unit, and attention, too? */
bool has_units(const block *a)
{
    return a->kv_b_proj.weight && by_units(a->dtype, a->kv_b_proj.weight->dtype);
}

bool attends_by_units(const block *a)
{
    return has_units(a) && latent_by_units(a->p->kv_lora_rank, a->p->qk_rope_head_dim);
}

/* dsv3_mla_prob has rope's keys, but for the layouts. */
dsv3_rope_prob rotation_of(const dsv3_mla_prob *p)
{
    dsv3_rope_prob r = {};
    r.qk_rope_head_dim = p->qk_rope_head_dim, r.rope_theta = p->rope_theta, r.factor = p->factor;
    r.original_max_position_embeddings = p->original_max_position_embeddings;
    r.beta_fast = p->beta_fast, r.beta_slow = p->beta_slow, r.mscale = p->mscale, r.mscale_all_dim = p->mscale_all_dim;
    r.in_layout = DSV3_INTERLEAVED, r.out_layout = p->rope_layout;
    return r;
}

block block_of(const dsv3_mla_prob *p, const dsv3_mla_io *io)
{
    const dsv3_weights *const w = &io->weights;
    block a = {p, io};
    a.q_a_proj = find_matrix(w, "q_a_proj"), a.q_b_proj = find_matrix(w, p->q_lora_rank ? "q_b_proj" : "q_proj");
    a.kv_a_proj = find_matrix(w, "kv_a_proj_with_mqa"), a.kv_b_proj = find_matrix(w, "kv_b_proj"),
    a.o_proj = find_matrix(w, "o_proj");
    a.q_norm = dsv3_find(w, "q_a_layernorm.weight"), a.kv_norm = dsv3_find(w, "kv_a_layernorm.weight");
    a.dtype = io->hidden_states.dtype, a.n = p->n_tokens, a.heads = p->num_attention_heads;
    a.qk = p->qk_nope_head_dim + p->qk_rope_head_dim, a.latent = p->kv_lora_rank + p->qk_rope_head_dim;
    double const g = mscale(p->factor, p->mscale_all_dim);
    a.scale = (float)(g * g / sqrt((double)a.qk));
    return a;
}

bool supported(const block *a)
{
    bool const q = !a->p->q_lora_rank || (usable(&a->q_a_proj) && a->q_norm && a->q_norm->dtype == a->dtype);
    bool const kv = a->kv_norm && a->kv_norm->dtype == a->dtype && a->p->qk_rope_head_dim <= 2 * MOST_PAIRS;
    bool const all = usable(&a->q_b_proj) && usable(&a->kv_a_proj) && usable(&a->kv_b_proj) && usable(&a->o_proj);
    bool const cache = !a->io->kv_cache.data || a->io->kv_cache.dtype == a->dtype;
    return q && kv && all && cache && is_float(&a->io->hidden_states) && a->io->y.dtype == a->dtype;
}

/* The stage, if it is wanted, else memory: rows of so many parts. */
bool take_stage(dsv3_ctx *ctx, const block *a, const dsv3_tensor *stage, int64_t parts, int64_t width, dsv3_tensor *t)
{
    *t = *stage;
    if (stage->data) return true;
    *t = {take(ctx, (size_t)(a->n * parts * width) * sizeof(float)),
          a->dtype,
          3,
          {a->n, parts, width},
          {parts * width, width, 1}};
    return t->data != nullptr;
}

bool take_memory(dsv3_ctx *ctx, block *a)
{
    const dsv3_mla_prob *const p = a->p;
    int64_t const rows = a->n * a->heads, floats = a->n * (p->q_lora_rank + a->heads * a->qk + a->latent);
    a->q_a = (float *)take(ctx, (size_t)floats * sizeof(float));
    a->absorbed = take(ctx, (size_t)(rows * a->latent) * sizeof(float));
    a->o_latent = take(ctx, (size_t)(rows * p->kv_lora_rank) * sizeof(float));
    a->sequence = (int64_t *)take(ctx, (size_t)(2 * a->n) * sizeof(int64_t));
    if (!a->q_a || !a->absorbed || !a->o_latent || !a->sequence) return false;
    a->q_b = a->q_a + a->n * p->q_lora_rank, a->kv_a = a->q_b + a->n * a->heads * a->qk,
    a->position = a->sequence + a->n;
    return take_stage(ctx, a, &a->io->q_a_layernorm, 1, p->q_lora_rank, &a->q_latent) &&
           take_stage(ctx, a, &a->io->q, a->heads, a->qk, &a->q) &&
           take_stage(ctx, a, &a->io->kv, 1, a->latent, &a->kv) &&
           take_stage(ctx, a, &a->io->attn_output, 1, a->heads * p->v_head_dim, &a->attn_output);
}

template <typename T> dsv3_status project(dsv3_ctx *ctx, const block *a)
{
    const dsv3_mla_prob *const p = a->p;
    int64_t const rank = p->q_lora_rank;
    row_list const x = rows_of(&a->io->hidden_states);
    dsv3_status status = DSV3_OK;
    if (rank) {
        status = multiply(ctx, &a->q_a_proj, x, a->n, floats_of(a->q_a, rank));
        normalise_latent<<<(unsigned)a->n, THREADS, 0, ctx->stream>>>(a->q_a, (const T *)a->q_norm->data, rank,
                                                                      (float)p->rms_norm_eps, (T *)a->q_latent.data,
                                                                      a->q_latent.stride[0]);
    }
    if (status == DSV3_OK)
        status =
            multiply(ctx, &a->q_b_proj, rank ? rows_of(&a->q_latent) : x, a->n, floats_of(a->q_b, a->heads * a->qk));
    if (status == DSV3_OK) status = multiply(ctx, &a->kv_a_proj, x, a->n, floats_of(a->kv_a, a->latent));
    finishing<T> const f = {a->q_b,
                            a->kv_a,
                            (const T *)a->kv_norm->data,
                            a->position,
                            (T *)a->q.data,
                            (T *)a->kv.data,
                            a->heads,
                            p->qk_nope_head_dim,
                            p->kv_lora_rank,
                            p->qk_rope_head_dim,
                            a->q.stride[0],
                            a->q.stride[1],
                            a->kv.stride[0],
                            (float)p->rms_norm_eps};
    dsv3_rope_prob const rotation = rotation_of(p);
    finish_token<<<(unsigned)a->n, THREADS, 0, ctx->stream>>>(f, rope_of(&rotation));
    return status;
}

dsv3_status attend_tokens(dsv3_ctx *ctx, const block *a)
{
    extent const e = {a->n, a->heads, a->p->kv_len};
    if (attends_by_units(a)) return attend_by_units(ctx, keys_of<__nv_bfloat16>(a), e);
    if (a->dtype == DSV3_BF16) return attend_in_floats(ctx, keys_of<__nv_bfloat16>(a), e);
    return attend_in_floats(ctx, keys_of<float>(a), e);
}

dsv3_status run(dsv3_ctx *ctx, block *a)
{
    const dsv3_mla_prob *const p = a->p;
    const dsv3_tensor *const begin = &a->io->cu_seqlens, *const lengths = &a->io->cache_seqlens;
    if (!take_memory(ctx, a)) return DSV3_NO_MEMORY;
    bool const bf16 = a->dtype == DSV3_BF16;
    find_positions<<<(unsigned)p->batch, THREADS, 0, ctx->stream>>>((const int32_t *)begin->data, begin->stride[0],
                                                                    (const int32_t *)lengths->data, lengths->stride[0],
                                                                    p->batch, a->sequence, a->position);
    dsv3_status status = bf16 ? project<__nv_bfloat16>(ctx, a) : project<float>(ctx, a);
    if (status != DSV3_OK) return status;
    bf16 ? absorb_queries<__nv_bfloat16>(ctx, a) : absorb_queries<float>(ctx, a);
    status = attend_tokens(ctx, a);
    int64_t const v = p->v_head_dim, rank = p->kv_lora_rank;
    head_rows const values = {a->heads, p->qk_nope_head_dim, p->qk_nope_head_dim + v, v, rank, v};
    row_list const o_latent = {a->o_latent, a->dtype, a->heads * rank, nullptr};
    if (status == DSV3_OK)
        status = multiply_heads(ctx, &a->kv_b_proj, &values, o_latent, a->n, rows_of(&a->attn_output));
    return status == DSV3_OK ? multiply(ctx, &a->o_proj, rows_of(&a->attn_output), a->n, rows_of(&a->io->y)) : status;
}

} // namespace

bool latent_by_units(int64_t kv_lora_rank, int64_t qk_rope_head_dim)
{
    latent_keys<__nv_bfloat16> s = {};
    s.columns = kv_lora_rank, s.width = kv_lora_rank + qk_rope_head_dim;
    return fits_units(s);
}

dsv3_status cuda_mla(dsv3_ctx *ctx, const dsv3_mla_prob *p, const dsv3_mla_io *io)
{
    block a = block_of(p, io);
    if (!supported(&a)) return DSV3_UNSUPPORTED;
    memory_mark const m = mark(ctx);
    dsv3_status const status = run(ctx, &a);
    give_back(ctx, m);
    return status;
}

#define STEPS                                                                                                          \
    "rsqrt recip; div ieee; exp 2; scaled scores; parts 1; angle f64; sincos 1; form absorbed; flush none; "           \
    "q_a_proj f32 must; x_norm f32 must; q_a_layernorm output must; q_b_proj f32 must; cos_sin f32 must; "             \
    "kv_a_proj_with_mqa f32 must; q output must; q_absorbed output must; scores f32 must; o_latent output must; "      \
    "attn_output output must; "

const char *cuda_mla_numerics(const void *prob, const void *io)
{
    block const a = block_of((const dsv3_mla_prob *)prob, (const dsv3_mla_io *)io);
    if (has_units(&a) && !attends_by_units(&a))
        return "acc 24 rz fused; rescales 1; P f32 must; weight f32 may; " STEPS;
    if (has_units(&a))
        return of_unit("acc %s splits=1 promote=128 bits2=24; rescales 8; P bf16 must; weight f32 may; " STEPS);
    return "acc 24 rn fused; rescales 1; P f32 must; weight f32 may; " STEPS;
}
