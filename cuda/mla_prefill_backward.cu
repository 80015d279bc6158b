/* The gradients of attention with a key and a value for each head: P by lse, D by o. A block has 64 queries of a head and meets the
 * keys they see, or has 64 keys and meets the queries that see them: a sum belongs to one block, and both make P and dS. */
#include "functions.cuh"
#include "products.cuh"

namespace
{

enum { THREADS = 256, WARPS = THREADS / 32, ROWS = 64, EACH = ROWS / WARPS, SLICE = 32, PITCH = ROWS + 4, SIDE = 4 };
enum { OF_WIDTH = 6, OF_COLUMNS = 4 }; /* 32 columns each: of a query's gradient, of a value's, that a block sums */

/* Entries of a token's head, side by side. */
template <typename T> struct rows {
    T *data;
    int64_t stride[2];
};

template <typename T> struct gradients {
    rows<const T> q, k, v, o, grad_o;
    rows<T> grad_q, grad_k, grad_v;
    const float *lse;
    float *D; /* (n_tokens, heads) */
    const int32_t *starts_q, *starts_k;
    int64_t starts_q_stride, starts_k_stride, lse_stride, n_tokens, heads, width, columns;
    float scale;
};

/* Queries or keys of a head of a sequence: they are tokens from `first` on. */
template <typename T> struct tokens {
    rows<const T> x, by; /* a query and grad_o, or a key and its value */
    int64_t first, n;
};

template <typename T> struct pair_of_tokens {
    tokens<T> queries, keys;
    int64_t head;
};

template <typename T> __device__ T *row_at(const rows<T> &x, int64_t token, int64_t head)
{
    return x.data + token * x.stride[0] + head * x.stride[1];
}

template <typename T> __device__ pair_of_tokens<T> tokens_of(const gradients<T> &d, int64_t group)
{
    int64_t const b = group / d.heads;
    int64_t const q = d.starts_q[b * d.starts_q_stride], k = d.starts_k[b * d.starts_k_stride];
    return {{d.q, d.grad_o, q, d.starts_q[(b + 1) * d.starts_q_stride] - q},
            {d.k, d.v, k, d.starts_k[(b + 1) * d.starts_k_stride] - k},
            group % d.heads};
}

/* The last query sees all keys. */
template <typename T> __device__ bool sees(const pair_of_tokens<T> &p, int64_t query, int64_t key)
{
    return query < p.queries.n && key < p.keys.n && key <= p.keys.n - p.queries.n + query;
}

/* ---- D = grad_o . o, a thread a row ---- */

template <typename T> __global__ void __launch_bounds__(32) find_D(gradients<T> d)
{
    __shared__ float grad_o[32][32 + 1], o[32][32 + 1];
    int64_t const first = (int64_t)blockIdx.x * 32, left = d.n_tokens * d.heads - first;
    int const lane = threadIdx.x, n = (int)(left < 32 ? left : 32);
    float D = 0;
    for (int64_t c = 0; c < d.columns; c += 32) {
        for (int i = 0; i < n; i++) {
            int64_t const token = (first + i) / d.heads, head = (first + i) % d.heads;
            bool const there = c + lane < d.columns;
            grad_o[i][lane] = there ? load(row_at(d.grad_o, token, head), c + lane) : 0;
            o[i][lane] = there ? load(row_at(d.o, token, head), c + lane) : 0;
        }
        __syncthreads();
        if (lane < n)
            for (int i = 0; i < 32; i++) D = __fmaf_rn(grad_o[lane][i], o[lane][i], D);
        __syncthreads();
    }
    if (lane < n) d.D[first + lane] = D;
}

/* ---- P and dS of 64 rows with 64 others ---- */

/* slice: columns of both; weights: a row for each of the others. */
union desk {
    struct {
        float own[SLICE][PITCH], other[SLICE][PITCH];
    } slice;
    struct {
        float P[ROWS][ROWS], dS[ROWS][ROWS];
    } weights;
};

/* 64 rows from `row` on, 32 columns from c on; 0 past their ends. */
template <typename T>
__device__ void bring(float (*to)[PITCH], const rows<const T> &x, int64_t first, int64_t row, int64_t n, int64_t head,
                      int64_t c, int64_t width)
{
    for (int i = threadIdx.x; i < ROWS * SLICE; i += THREADS) {
        int64_t const r = row + i / SLICE, column = c + i % SLICE;
        bool const there = r < n && column < width;
        to[i % SLICE][i / SLICE] = there ? load(row_at(x, first + r, head), column) : 0;
    }
}

/* A thread's four rows with four others: one chain each. */
__device__ inline void add_slice(const desk &s, float dot[SIDE][SIDE])
{
    int const at = threadIdx.x % 16 * SIDE, other_at = threadIdx.x / 16 * SIDE;
    for (int c = 0; c < SLICE; c++) {
        float4 const a = *(const float4 *)&s.slice.own[c][at], b = *(const float4 *)&s.slice.other[c][other_at];
        float const own[SIDE] = {a.x, a.y, a.z, a.w}, other[SIDE] = {b.x, b.y, b.z, b.w};
        UNROLL for (int i = 0; i < SIDE; i++) UNROLL for (int j = 0; j < SIDE; j++) dot[i][j] =
            __fmaf_rn(own[i], other[j], dot[i][j]);
    }
}

template <typename T>
__device__ void find_dots(desk &s, const tokens<T> &own, const rows<const T> &x, int64_t row, const tokens<T> &others,
                          const rows<const T> &y, int64_t other, int64_t head, int64_t width, float dot[SIDE][SIDE])
{
    for (int64_t c = 0; c < width; c += SLICE) {
        __syncthreads();
        bring(s.slice.own, x, own.first, row, own.n, head, c, width);
        bring(s.slice.other, y, others.first, other, others.n, head, c, width);
        __syncthreads();
        add_slice(s, dot);
    }
}

/* Scores and dP become P and dS, 0 where a query doesn't see the key. */
template <bool BY_KEY, typename T>
__device__ void differentiate(const gradients<T> &d, desk &s, const pair_of_tokens<T> &p, int64_t row, int64_t other,
                              const float score[SIDE][SIDE], const float dP[SIDE][SIDE])
{
    int const at = threadIdx.x % 16 * SIDE, other_at = threadIdx.x / 16 * SIDE;
    UNROLL for (int i = 0; i < SIDE; i++) UNROLL for (int j = 0; j < SIDE; j++)
    {
        int64_t const own = row + at + i, others = other + other_at + j;
        int64_t const query = BY_KEY ? others : own, key = BY_KEY ? own : others, token = p.queries.first + query;
        float P = 0, dS = 0;
        if (sees(p, query, key)) {
            float const lse = d.lse[token * d.lse_stride + p.head];
            P = exponential(__fsub_rn(__fmul_rn(score[i][j], d.scale), lse));
            dS = __fmul_rn(P, __fsub_rn(dP[i][j], d.D[token * d.heads + p.head]));
        }
        s.weights.P[other_at + j][at + i] = P, s.weights.dS[other_at + j][at + i] = dS;
    }
}

/* ---- sums ---- */

/* A warp's eight rows: weight times n others from token `first` on, a thread's columns from c on. What has no weight isn't added. */
template <int PARTS, typename T>
__device__ void add_others(const float (*weight)[ROWS], const rows<const T> &x, int64_t first, int64_t n, int64_t head,
                           int64_t c, int64_t width, float sum[EACH][PARTS])
{
    for (int j = 0; j < ROWS && j < n; j++) {
        const T *const from = row_at(x, first + j, head);
        const float *const w = weight[j] + threadIdx.x / 32 * EACH;
        float entry[PARTS];
        UNROLL for (int i = 0; i < PARTS; i++) entry[i] = c + 32 * i < width ? load(from, c + 32 * i) : 0;
        UNROLL for (int r = 0; r < EACH; r++) if (w[r] != 0) UNROLL for (int i = 0; i < PARTS; i++) sum[r][i] =
            __fmaf_rn(w[r], entry[i], sum[r][i]);
    }
}

template <int PARTS, typename T>
__device__ void put(const rows<T> &out, const tokens<T> &own, int64_t row, int64_t head, int64_t c, int64_t width,
                    float factor, const float sum[EACH][PARTS])
{
    UNROLL for (int r = 0; r < EACH; r++)
    {
        int64_t const at = row + threadIdx.x / 32 * EACH + r;
        UNROLL for (int i = 0; i < PARTS; i++) if (at < own.n && c + 32 * i < width)
            store(row_at(out, own.first + at, head), c + 32 * i, __fmul_rn(sum[r][i], factor));
    }
}

/* A block: 64 keys (BY_KEY) or queries of a head of a sequence. */
template <bool BY_KEY, typename T> __global__ void __launch_bounds__(THREADS) backward_kernel(gradients<T> d)
{
    __shared__ __align__(16) desk s;
    pair_of_tokens<T> const p = tokens_of(d, blockIdx.y);
    const tokens<T> &own = BY_KEY ? p.keys : p.queries, &others = BY_KEY ? p.queries : p.keys;
    int64_t const row = (int64_t)blockIdx.x * ROWS, older = p.keys.n - p.queries.n;
    int64_t const c = (int64_t)blockIdx.z * 32 * OF_WIDTH + threadIdx.x % 32;
    int64_t const value_c = (int64_t)blockIdx.z * 32 * OF_COLUMNS + threadIdx.x % 32;
    if (row >= own.n) return;
    int64_t const from = BY_KEY && row > older ? row - older : 0;
    int64_t const seen = BY_KEY ? others.n : older + row + ROWS, end = seen < others.n ? seen : others.n;
    float sum[EACH][OF_WIDTH] = {}, values[EACH][OF_COLUMNS] = {};
    for (int64_t other = from; other < end; other += ROWS) {
        float score[SIDE][SIDE] = {}, dP[SIDE][SIDE] = {};
        find_dots(s, own, own.x, row, others, others.x, other, p.head, d.width, score);
        find_dots(s, own, own.by, row, others, others.by, other, p.head, d.columns, dP);
        __syncthreads();
        differentiate<BY_KEY>(d, s, p, row, other, score, dP);
        __syncthreads();
        int64_t const at = others.first + other, n = end - other;
        add_others(s.weights.dS, others.x, at, n, p.head, c, d.width, sum);
        if (BY_KEY) add_others(s.weights.P, others.by, at, n, p.head, value_c, d.columns, values);
    }
    put(BY_KEY ? d.grad_k : d.grad_q, own, row, p.head, c, d.width, d.scale, sum);
    if (BY_KEY) put(d.grad_v, own, row, p.head, value_c, d.columns, 1, values);
}

/* ---- the op ---- */

template <typename T> rows<T> rows_of(const dsv3_tensor *t)
{
    return {(T *)t->data, {t->stride[0], t->stride[1]}};
}

template <typename T>
gradients<T> gradients_of(const dsv3_mla_prefill_backward_prob *p, const dsv3_mla_prefill_backward_io *io, float *D)
{
    return {rows_of<const T>(&io->q),
            rows_of<const T>(&io->k),
            rows_of<const T>(&io->v),
            rows_of<const T>(&io->o),
            rows_of<const T>(&io->grad_o),
            rows_of<T>(&io->grad_q),
            rows_of<T>(&io->grad_k),
            rows_of<T>(&io->grad_v),
            (const float *)io->lse.data,
            D,
            (const int32_t *)io->cu_seqlens_q.data,
            (const int32_t *)io->cu_seqlens_k.data,
            io->cu_seqlens_q.stride[0],
            io->cu_seqlens_k.stride[0],
            io->lse.stride[0],
            p->n_tokens,
            p->num_attention_heads,
            p->qk_nope_head_dim + p->qk_rope_head_dim,
            p->v_head_dim,
            (float)p->softmax_scale};
}

unsigned parts_of(int64_t n, int64_t each)
{
    return (unsigned)((n + each - 1) / each);
}

template <typename T>
dsv3_status launch(dsv3_ctx *ctx, const dsv3_mla_prefill_backward_prob *p, const dsv3_mla_prefill_backward_io *io)
{
    unsigned const groups = (unsigned)(p->batch * p->num_attention_heads);
    float *const D = (float *)scratch(ctx, (size_t)(p->n_tokens * p->num_attention_heads + 1) * sizeof(float));
    if (!D) return DSV3_NO_MEMORY;
    gradients<T> const d = gradients_of<T>(p, io, D);
    unsigned const wide = parts_of(d.width, 32 * OF_WIDTH), high = parts_of(d.columns, 32 * OF_COLUMNS);
    dim3 const by_query((unsigned)(p->n_tokens / ROWS + 1), groups, wide);
    dim3 const by_key((unsigned)(p->n_keys / ROWS + 1), groups, wide > high ? wide : high);
    find_D<<<(unsigned)(p->n_tokens * p->num_attention_heads / 32 + 1), 32, 0, ctx->stream>>>(d);
    backward_kernel<false><<<by_query, THREADS, 0, ctx->stream>>>(d);
    backward_kernel<true><<<by_key, THREADS, 0, ctx->stream>>>(d);
    return launched();
}

} // namespace

dsv3_status cuda_mla_prefill_backward(dsv3_ctx *ctx, const dsv3_mla_prefill_backward_prob *p,
                                      const dsv3_mla_prefill_backward_io *io)
{
    if (!is_float(&io->q) || p->batch * p->num_attention_heads > 65535) return DSV3_UNSUPPORTED;
    return io->q.dtype == DSV3_BF16 ? launch<__nv_bfloat16>(ctx, p, io) : launch<float>(ctx, p, io);
}

const char *cuda_mla_prefill_backward_numerics(const void *, const void *)
{
    return "acc 24 rn fused splits=1; div ieee; exp 1.5 0; log 0 0; rescales 0; scaled scores; parts 1; flush none; "
           "scores f32 must; o output must; lse f32 must; P f32 must; P_v f32 must; dP f32 must; D f32 must; "
           "dS f32 must";
}
