/*
 * The gradients of attention with a key and a value for each head: P by lse, D by o. A kernel for the matrix unit and one in binary32.
 * A block has 64 queries of a head and meets the keys they see, or has 64 keys and meets the queries that see them: a sum belongs to
 * one block, and both make P and dS.
 *
 * By the matrix unit dS is BF16, and P is three numbers of BF16, which are it exactly. What a query doesn't see must be finite there: a
 * weight of 0 doesn't keep it out.
 */
#ifndef ATTENTION_BACKWARD_CUH
#define ATTENTION_BACKWARD_CUH

#include "attention.cuh"

/* A tensor with entries for each token and head. */
template <typename T> struct tokens {
    T *data;
    int64_t stride[2];
    bool whole; /* sixteen bytes of it may be read at once */
};

template <typename T> struct gradients {
    tokens<const T> q, k, v, o, grad_o;
    tokens<T> grad_q, grad_k, grad_v;
    const float *lse;
    float *D; /* (n_tokens, heads) */
    const int32_t *starts_q, *starts_k;
    int64_t starts_q_stride, starts_k_stride, lse_stride, n_tokens, heads;
    int width, columns; /* of a query, of a value */
    float scale;
};

/* Of a head of a sequence: row i is at data + i * stride. */
template <typename T> struct lines {
    T *data;
    int64_t stride;
    bool whole;
};

/* Queries with grad_o, or keys with values: so many, and what becomes of them. Queries have no grad_by. */
template <typename T> struct side {
    lines<const T> x, by;
    lines<T> grad_x, grad_by;
    int n;
};

template <typename T> struct head {
    side<T> queries, keys;
    lines<const float> lse, D; /* an entry a query */
};

template <typename T> __device__ lines<T> lines_of(const tokens<T> &t, int64_t first, int64_t h)
{
    return {t.data + first * t.stride[0] + h * t.stride[1], t.stride[0], t.whole};
}

template <typename T> __device__ head<T> head_of(const gradients<T> &d, int64_t group)
{
    int64_t const b = group / d.heads, h = group % d.heads;
    int const q = d.starts_q[b * d.starts_q_stride], k = d.starts_k[b * d.starts_k_stride];
    return {{lines_of(d.q, q, h),
             lines_of(d.grad_o, q, h),
             lines_of(d.grad_q, q, h),
             {},
             d.starts_q[(b + 1) * d.starts_q_stride] - q},
            {lines_of(d.k, k, h), lines_of(d.v, k, h), lines_of(d.grad_k, k, h), lines_of(d.grad_v, k, h),
             d.starts_k[(b + 1) * d.starts_k_stride] - k},
            {d.lse + q * d.lse_stride + h, d.lse_stride, false},
            {d.D + q * d.heads + h, d.heads, false}};
}

/* ---- P and dS ---- */

struct weights {
    float P, dS;
};

/* Of a block's own row with one of the others; 0 where a query doesn't see the key. The last query sees all keys. */
template <bool BY_KEY, typename T> __device__ weights weigh(const head<T> &h, int own, int other, float score, float dP)
{
    int const query = BY_KEY ? other : own, key = BY_KEY ? own : other;
    if (query >= h.queries.n || key >= h.keys.n || key > h.keys.n - h.queries.n + query) return {0, 0};
    float const P = exponential(__fsub_rn(score, h.lse.data[query * h.lse.stride]));
    return {P, __fmul_rn(P, __fsub_rn(dP, h.D.data[query * h.D.stride]))};
}

/* Of the others a block meets those from `from` to end - 1. */
struct range {
    int from, end;
};

template <bool BY_KEY, typename T> __device__ range others_of(const head<T> &h, int row, int rows)
{
    int const older = h.keys.n - h.queries.n, seen = older + row + rows;
    if (BY_KEY) return {row > older ? row - older : 0, h.queries.n};
    return {0, seen < h.keys.n ? seen : h.keys.n};
}

/* ---- by the matrix unit ---- */

namespace backward_by_units
{
enum { ROWS = 64, OTHERS = 32, THREADS = 256, GROUPS = ROWS / 16 };
enum { PIECES = 3, WEIGHT_PITCH = OTHERS + 8, WEIGHTS = ROWS * WEIGHT_PITCH };
enum { OF_WIDTH = 6, OF_COLUMNS = 4 }; /* tiles of 16 columns, for each half of the warps */

/* A row in shared memory, in elements: a query or key, then grad_o or a value; both whole pairs of tiles. */
struct layout {
    int width, columns, pitch;
};

template <typename T> layout layout_of(const gradients<T> &d)
{
    int const width = units::up(d.width, 32), columns = units::up(d.columns, 32);
    return {width, columns, width + columns + 8};
}

inline size_t bytes_of(const layout &l)
{
    return ((size_t)(ROWS + 2 * OTHERS) * l.pitch + (1 + PIECES) * WEIGHTS) * sizeof(uint16_t);
}

/* What a block has in shared memory. others: two stages; dS, and P's pieces: a row for each of its own. */
struct desk {
    __nv_bfloat16 *own, *others, *dS, *P;
};

__device__ inline desk desk_at(void *memory, const layout &l)
{
    desk s;
    s.own = (__nv_bfloat16 *)memory, s.others = s.own + ROWS * l.pitch;
    s.dS = s.others + 2 * OTHERS * l.pitch, s.P = s.dS + WEIGHTS;
    return s;
}

/* So many rows from `row` on; zeros from `end` on. */
template <typename T>
__device__ void bring(T *to, int rows, const layout &l, const gradients<T> &d, const side<T> &of, int row, int end)
{
    int const eighths = (l.width + l.columns) / 8;
    for (int i = threadIdx.x; i < rows * eighths; i += THREADS) {
        int const r = i / eighths, c = i % eighths * 8;
        T *const at = to + r * l.pitch + c;
        if (row + r >= end)
            *(uint4 *)at = make_uint4(0, 0, 0, 0);
        else if (c < l.width)
            bring_some(at, of.x.data + (row + r) * of.x.stride, d.width, c, of.x.whole);
        else
            bring_some(at, of.by.data + (row + r) * of.by.stride, d.columns, c - l.width, of.by.whole);
    }
}

/* A warp's 16 rows with 16 others: 32 products are a sum of the unit's. */
__device__ inline void find_dots(const __nv_bfloat16 *own, const __nv_bfloat16 *others, int pitch, int width,
                                 float dot[2][4])
{
    int const warp = threadIdx.x / 32;
    own += warp % GROUPS * 16 * pitch, others += warp / GROUPS * 16 * pitch;
    __builtin_assume(width > 0);
#pragma unroll 1 /* so that two blocks have registers */
    for (int c = 0; c < width; c += 32) {
        float sum[2][4] = {};
        UNROLL for (int k = 0; k < 32; k += 16)
        {
            uint32_t a[4], b[2][2];
            load_left(a, own + c + k, pitch);
            load_right(b, others + c + k, pitch);
            mma(sum[0], a, b[0]), mma(sum[1], a, b[1]);
        }
        UNROLL for (int i = 0; i < 2; i++) UNROLL for (int e = 0; e < 4; e++) dot[i][e] =
            __fadd_rn(dot[i][e], sum[i][e]);
    }
}

/* Of the thread's elements of a tile of sums: rows lane / 4 and 8 below. */
__device__ inline int row_of(int side)
{
    return threadIdx.x / 32 % GROUPS * 16 + threadIdx.x % 32 / 4 + side * 8;
}

/* P times 2^16 as a sum of three numbers of BF16, none of which is lost below 2^-133: first the least. */
__device__ inline void store_pieces(__nv_bfloat16 *to, float P)
{
    float rest = __fmul_rn(P, 0x1p16f);
    UNROLL for (int i = PIECES - 1; i >= 0; i--)
    {
        float const piece = __uint_as_float(__float_as_uint(rest) & 0xffff0000u);
        to[i * WEIGHTS] = __float2bfloat16_rn(piece), rest = __fsub_rn(rest, piece);
    }
}

template <bool BY_KEY>
__device__ void differentiate(const desk &s, const head<__nv_bfloat16> &h, float scale, int row, int other,
                              const float score[2][4], const float dP[2][4])
{
    int const column = threadIdx.x / 32 / GROUPS * 16 + threadIdx.x % 4 * 2;
    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int e = 0; e < 4; e++)
    {
        int const r = row_of(e / 2), c = column + i * 8 + e % 2;
        weights const w = weigh<BY_KEY>(h, row + r, other + c, __fmul_rn(score[i][e], scale), dP[i][e]);
        store(s.dS, r * WEIGHT_PITCH + c, w.dS);
        if (BY_KEY) store_pieces(s.P + r * WEIGHT_PITCH + c, w.P);
    }
}

/* A warp's 16 rows, half of the columns: the unit's sum over 32 others, of all pieces, is added. */
template <int TILES, int N>
__device__ inline void add_others(const __nv_bfloat16 *weight, const __nv_bfloat16 *others, int pitch, int width,
                                  float sum[2 * TILES][4])
{
    int const warp = threadIdx.x / 32, lane = threadIdx.x % 32, half = warp / GROUPS * (width / 2);
    const __nv_bfloat16 *const at = others + lane % 16 * pitch + half + lane / 16 * 8;
    UNROLL for (int j = 0; j < TILES; j++) if (j < width / 32)
    {
        float more[2][4] = {};
        UNROLL for (int i = 0; i < N; i++) UNROLL for (int k = 0; k < OTHERS; k += 16)
        {
            uint32_t a[4], b[4];
            load_left(a, weight + i * WEIGHTS + warp % GROUPS * 16 * WEIGHT_PITCH + k, WEIGHT_PITCH);
            load_transposed(b, shared_address(at + k * pitch + 16 * j));
            mma(more[0], a, b), mma(more[1], a, b + 2);
        }
        UNROLL for (int i = 0; i < 2; i++) UNROLL for (int e = 0; e < 4; e++) sum[2 * j + i][e] =
            __fadd_rn(sum[2 * j + i][e], more[i][e]);
    }
}

template <int TILES>
__device__ inline void put(const lines<__nv_bfloat16> &out, int row, int rows, int padded, int width, float factor,
                           const float sum[2 * TILES][4])
{
    int const column = threadIdx.x / 32 / GROUPS * (padded / 2) + threadIdx.x % 4 * 2;
    UNROLL for (int j = 0; j < 2 * TILES; j++) UNROLL for (int e = 0; e < 4; e++)
    {
        int const r = row + row_of(e / 2), c = column + 8 * j + e % 2;
        if (r < rows && 16 * j < padded && c < width) store(out.data, r * out.stride + c, __fmul_rn(sum[j][e], factor));
    }
}

/* A block: 64 keys (BY_KEY) or queries of a head of a sequence. */
template <bool BY_KEY> __global__ void __launch_bounds__(THREADS) backward_kernel(gradients<__nv_bfloat16> d, layout l)
{
    extern __shared__ __align__(16) uint8_t memory[];
    desk const s = desk_at(memory, l);
    head<__nv_bfloat16> const h = head_of(d, blockIdx.y);
    const side<__nv_bfloat16> &own = BY_KEY ? h.keys : h.queries, &others = BY_KEY ? h.queries : h.keys;
    int const row = blockIdx.x * ROWS;
    if (row >= own.n) return;
    range const r = others_of<BY_KEY>(h, row, ROWS);
    float sum[2 * OF_WIDTH][4] = {}, values[2 * OF_COLUMNS][4] = {};
    bring(s.own, ROWS, l, d, own, row, own.n);
    bring(s.others, OTHERS, l, d, others, r.from, r.end);
    end_group();
    for (int other = r.from, stage = 0; other < r.end; other += OTHERS, stage = 1 - stage) {
        const __nv_bfloat16 *const met = s.others + stage * OTHERS * l.pitch;
        float score[2][4] = {}, dP[2][4] = {};
        if (other + OTHERS < r.end)
            bring(s.others + (1 - stage) * OTHERS * l.pitch, OTHERS, l, d, others, other + OTHERS, r.end);
        end_group();
        wait_groups<1>();
        __syncthreads();
        find_dots(s.own, met, l.pitch, l.width, score);
        find_dots(s.own + l.width, met + l.width, l.pitch, l.columns, dP);
        differentiate<BY_KEY>(s, h, d.scale, row, other, score, dP);
        __syncthreads();
        add_others<OF_WIDTH, 1>(s.dS, met, l.pitch, l.width, sum);
        if (BY_KEY) add_others<OF_COLUMNS, PIECES>(s.P, met + l.width, l.pitch, l.columns, values);
        __syncthreads();
    }
    wait_groups<0>();
    put<OF_WIDTH>(own.grad_x, row, own.n, l.width, d.width, d.scale, sum);
    if (BY_KEY) put<OF_COLUMNS>(own.grad_by, row, own.n, l.columns, d.columns, 0x1p-16f, values);
}

template <bool BY_KEY>
dsv3_status launch_rows(dsv3_ctx *ctx, const gradients<__nv_bfloat16> &d, int64_t groups, int64_t rows)
{
    layout const l = layout_of(d);
    int const bytes = (int)bytes_of(l);
    dim3 const grid((unsigned)(rows / ROWS + 1), (unsigned)groups);
    if (cudaFuncSetAttribute(backward_kernel<BY_KEY>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) !=
        cudaSuccess)
        return DSV3_FAILED;
    backward_kernel<BY_KEY><<<grid, THREADS, (size_t)bytes, ctx->stream>>>(d, l);
    return launched();
}

inline dsv3_status launch(dsv3_ctx *ctx, const gradients<__nv_bfloat16> &d, const extent &e)
{
    dsv3_status const status = launch_rows<false>(ctx, d, e.groups, e.rows);
    return status == DSV3_OK ? launch_rows<true>(ctx, d, e.groups, e.keys) : status;
}

} // namespace backward_by_units

/* Can the matrix unit's kernel take it here? */
inline bool fits_units(const gradients<__nv_bfloat16> &d)
{
    using namespace backward_by_units;
    layout const l = layout_of(d);
    return l.width <= OF_WIDTH * 32 && l.columns <= OF_COLUMNS * 32 && bytes_of(l) <= most_shared();
}

/* ---- in binary32 ---- */

namespace backward_in_floats
{
enum { ROWS = 64, SLICE = 32, THREADS = 256, EACH = ROWS / (THREADS / 32), PITCH = ROWS + 4, SIDE = 4 };
enum { OF_WIDTH = 6, OF_COLUMNS = 4 }; /* 32 columns each, that a block sums */

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
__device__ void bring(float (*to)[PITCH], const lines<const T> &x, int row, int rows, int c, int width)
{
    _Pragma("unroll 4") for (int at = 0; at < ROWS * SLICE; at += THREADS)
    {
        int const i = at + threadIdx.x, r = row + i / SLICE, column = c + i % SLICE;
        to[i % SLICE][i / SLICE] = r < rows && column < width ? load(x.data, r * x.stride + column) : 0;
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
__device__ void find_dots(desk &s, const lines<const T> &own, int row, int rows, const lines<const T> &others,
                          int other, int end, int width, float dot[SIDE][SIDE])
{
    __builtin_assume(width > 0);
    for (int c = 0; c < width; c += SLICE) {
        __syncthreads();
        bring(s.slice.own, own, row, rows, c, width);
        bring(s.slice.other, others, other, end, c, width);
        __syncthreads();
        add_slice(s, dot);
    }
}

template <bool BY_KEY, typename T>
__device__ void differentiate(desk &s, const head<T> &h, float scale, int row, int other, const float score[SIDE][SIDE],
                              const float dP[SIDE][SIDE])
{
    int const at = threadIdx.x % 16 * SIDE, other_at = threadIdx.x / 16 * SIDE;
    UNROLL for (int i = 0; i < SIDE; i++) UNROLL for (int j = 0; j < SIDE; j++)
    {
        float const scaled = __fmul_rn(score[i][j], scale);
        weights const w = weigh<BY_KEY>(h, row + at + i, other + other_at + j, scaled, dP[i][j]);
        s.weights.P[other_at + j][at + i] = w.P, s.weights.dS[other_at + j][at + i] = w.dS;
    }
}

/* A warp's eight rows: weight times others from `other` to end - 1, 64 at most; a thread's columns from c on. What has no weight
 * isn't added. */
template <int PARTS, typename T>
__device__ void add_others(const float (*weight)[ROWS], const lines<const T> &x, int other, int end, int c, int width,
                           float sum[EACH][PARTS])
{
    for (int j = 0; j < ROWS && other + j < end; j++) {
        const T *const from = x.data + (other + j) * x.stride;
        const float *const w = weight[j] + threadIdx.x / 32 * EACH;
        float entry[PARTS];
        UNROLL for (int i = 0; i < PARTS; i++) entry[i] = c + 32 * i < width ? load(from, c + 32 * i) : 0;
        UNROLL for (int r = 0; r < EACH; r++) if (w[r] != 0) UNROLL for (int i = 0; i < PARTS; i++) sum[r][i] =
            __fmaf_rn(w[r], entry[i], sum[r][i]);
    }
}

template <int PARTS, typename T>
__device__ void put(const lines<T> &out, int row, int rows, int c, int width, float factor,
                    const float sum[EACH][PARTS])
{
    UNROLL for (int i = 0; i < EACH; i++) UNROLL for (int j = 0; j < PARTS; j++)
    {
        int const r = row + threadIdx.x / 32 * EACH + i, column = c + 32 * j;
        if (r < rows && column < width) store(out.data, r * out.stride + column, __fmul_rn(sum[i][j], factor));
    }
}

/* A block: 64 keys (BY_KEY) or queries of a head of a sequence. */
template <bool BY_KEY, typename T> __global__ void __launch_bounds__(THREADS) backward_kernel(gradients<T> d)
{
    __shared__ __align__(16) desk s;
    head<T> const h = head_of(d, blockIdx.y);
    const side<T> &own = BY_KEY ? h.keys : h.queries, &others = BY_KEY ? h.queries : h.keys;
    int const row = blockIdx.x * ROWS, lane = threadIdx.x % 32;
    int const c = blockIdx.z * 32 * OF_WIDTH + lane, value_c = blockIdx.z * 32 * OF_COLUMNS + lane;
    if (row >= own.n) return;
    range const r = others_of<BY_KEY>(h, row, ROWS);
    float sum[EACH][OF_WIDTH] = {}, values[EACH][OF_COLUMNS] = {};
    for (int other = r.from; other < r.end; other += ROWS) {
        float score[SIDE][SIDE] = {}, dP[SIDE][SIDE] = {};
        find_dots(s, own.x, row, own.n, others.x, other, r.end, d.width, score);
        find_dots(s, own.by, row, own.n, others.by, other, r.end, d.columns, dP);
        __syncthreads();
        differentiate<BY_KEY>(s, h, d.scale, row, other, score, dP);
        __syncthreads();
        add_others(s.weights.dS, others.x, other, r.end, c, d.width, sum);
        if (BY_KEY) add_others(s.weights.P, others.by, other, r.end, value_c, d.columns, values);
    }
    put(own.grad_x, row, own.n, c, d.width, d.scale, sum);
    if (BY_KEY) put(own.grad_by, row, own.n, value_c, d.columns, 1, values);
}

inline unsigned parts_of(int64_t n, int64_t each)
{
    return (unsigned)((n + each - 1) / each);
}

template <typename T> dsv3_status launch(dsv3_ctx *ctx, const gradients<T> &d, const extent &e)
{
    unsigned const wide = parts_of(d.width, 32 * OF_WIDTH), high = parts_of(d.columns, 32 * OF_COLUMNS);
    dim3 const by_query((unsigned)(e.rows / ROWS + 1), (unsigned)e.groups, wide);
    dim3 const by_key((unsigned)(e.keys / ROWS + 1), (unsigned)e.groups, wide > high ? wide : high);
    backward_kernel<false><<<by_query, THREADS, 0, ctx->stream>>>(d);
    backward_kernel<true><<<by_key, THREADS, 0, ctx->stream>>>(d);
    return launched();
}

} // namespace backward_in_floats

#endif
