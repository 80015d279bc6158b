/*
 * Attention of rows that share keys, as a kernel for the matrix unit and one in binary32. A shape says what rows, keys and values are:
 *
 *     rows(g), keys(g)          of a group: how many
 *     seen(g, r)                the keys that row r sees: the first so many; no fewer for later rows
 *     query(g, r, c)            entry c of row r, binary32
 *     entry(g, j, c), value(g, j, c)    of key j, binary32
 *     bring(to, g, j, c)        eight entries of key j as BF16, into shared memory: those from c on, zeros from `width` on. Where
 *                               values are apart: behind value_at those of the value. bring_query(to, g, r, c) likewise
 *     put(g, r, c, v), put_lse(g, r, v)
 *     PROMOTE                   after so many products the unit's sum of a score is added in binary32
 *     IN_PARTS                  does each part of the keys have a block by the matrix unit, or does one take all of them?
 *     width, columns            of a query, of a value; value_at: where values begin in a row of shared memory
 *
 * By the matrix unit a value that only later rows see must be finite: a weight of 0 doesn't keep it out.
 * Keys are taken 256 at a time, a part; a part's sums are moved to the largest maximum once.
 */
#ifndef ATTENTION_CUH
#define ATTENTION_CUH

#include "functions.cuh"
#include "tiles.cuh"
#include "warp.cuh"

#include <math.h>

enum { PART = 256 };

/* What is summed of a part, before it is normalised: of a row its maximum, the sum of weights, and weighted sums. */
struct partial {
    float *most, *sum, *o; /* (groups, rows, parts), with `columns` entries each */
    int64_t rows, parts, columns;
};

__device__ inline int64_t partial_at(const partial &p, int64_t g, int64_t r, int64_t part)
{
    return (g * p.rows + r) * p.parts + part;
}

/* The largest of what weights are relative to: 0 where nothing is seen. */
__device__ inline float shift_of(float most)
{
    return most == -INFINITY ? 0 : most;
}

__device__ inline float lse_of(float most, float sum)
{
    return __fadd_rn(shift_of(most), (float)logarithm((double)sum));
}

/* ---- by the matrix unit ---- */

namespace units
{
enum { ROWS = 64, KEYS = 32, THREADS = 256, P_PITCH = KEYS + 8, GROUPS = ROWS / 16 };

/* Rows of queries and keys in shared memory, in elements. */
struct layout {
    int q_width, q_pitch, kv_width, kv_pitch, value_tiles; /* value_tiles: of 16 columns, for each half of the warps */
};

inline int up(int64_t n, int64_t to)
{
    return (int)((n + to - 1) / to * to);
}

template <typename S> layout layout_of(const S &s)
{
    layout l;
    int const values = up(s.columns, 32);
    l.q_width = up(s.width, 16), l.q_pitch = l.q_width + 8;
    l.kv_width = s.value_at + values > l.q_width ? (int)s.value_at + values : l.q_width, l.kv_pitch = l.kv_width + 8;
    l.value_tiles = values / 32;
    return l;
}

/* Sums, when all keys are done, take the place of queries and keys. */
inline size_t bytes_of(const layout &l)
{
    size_t const tiles = ((size_t)ROWS * l.q_pitch + 2 * (size_t)KEYS * l.kv_pitch) * sizeof(uint16_t);
    size_t const sums = (size_t)ROWS * l.value_tiles * 32 * sizeof(float);
    return (tiles > sums ? tiles : sums) + ROWS * P_PITCH * sizeof(uint16_t) + ROWS * 7 * sizeof(float);
}

/* What a block has in shared memory. kv: two stages; half_most and half_sum: of both halves of the warps. */
struct desk {
    __nv_bfloat16 *q, *kv, *p;
    float *o, *most, *sum, *factor, *half_most, *half_sum;
};

__device__ inline desk desk_at(void *memory, const layout &l, int bytes)
{
    desk d;
    d.q = (__nv_bfloat16 *)memory, d.kv = d.q + ROWS * l.q_pitch, d.o = (float *)memory;
    d.most = (float *)((char *)memory + bytes) - 7 * ROWS;
    d.sum = d.most + ROWS, d.factor = d.sum + ROWS, d.half_most = d.factor + ROWS, d.half_sum = d.half_most + 2 * ROWS;
    d.p = (__nv_bfloat16 *)d.most - ROWS * P_PITCH;
    return d;
}

__device__ inline __nv_bfloat16 *keys_at(const layout &l, const desk &d, int stage)
{
    return d.kv + stage * KEYS * l.kv_pitch;
}

/* What a thread has of its warp's sums: 16 rows, `MOST` tiles of 16 columns. */
template <int MOST> struct sums {
    float o[2 * MOST][4];
};

/* Of the thread's elements of a tile of sums: rows lane / 4 and 8 below. */
__device__ inline int row_of(int e)
{
    return threadIdx.x / 32 % GROUPS * 16 + threadIdx.x % 32 / 4 + e / 2 * 8;
}

template <typename S>
__device__ inline void bring_keys(const S &s, const layout &l, __nv_bfloat16 *to, int64_t g, int64_t first, int64_t end)
{
    int const eighths = l.kv_width / 8;
    for (int i = threadIdx.x; i < KEYS * eighths; i += THREADS) {
        int const key = i / eighths, c = i % eighths * 8;
        if (first + key < end)
            s.bring(to + key * l.kv_pitch + c, g, first + key, c);
        else
            *(uint4 *)(to + key * l.kv_pitch + c) = make_uint4(0, 0, 0, 0);
    }
}

template <typename S>
__device__ inline void bring_queries(const S &s, const layout &l, __nv_bfloat16 *to, int64_t g, int64_t first,
                                     int64_t rows)
{
    int const eighths = l.q_width / 8;
    for (int i = threadIdx.x; i < ROWS * eighths; i += THREADS) {
        int const row = i / eighths, c = i % eighths * 8;
        if (first + row < rows)
            s.bring_query(to + row * l.q_pitch + c, g, first + row, c);
        else
            *(uint4 *)(to + row * l.q_pitch + c) = make_uint4(0, 0, 0, 0);
    }
}

/* A warp's scores: 16 rows, 16 keys; PROMOTE products are a sum of the unit's. */
template <int PROMOTE> __device__ inline void find_scores(const layout &l, const desk &d, int stage, float score[2][4])
{
    int const warp = threadIdx.x / 32;
    const __nv_bfloat16 *const q = d.q + warp % GROUPS * 16 * l.q_pitch;
    const __nv_bfloat16 *const k = keys_at(l, d, stage) + warp / GROUPS * 16 * l.kv_pitch;
    _Pragma("unroll 1") for (int first = 0; first < l.q_width; first += PROMOTE)
    {
        float sum[2][4] = {};
        UNROLL for (int c = first; c < first + PROMOTE; c += 16) if (c < l.q_width)
        {
            uint32_t a[4], b[2][2];
            load_left(a, q + c, l.q_pitch);
            load_right(b, k + c, l.kv_pitch);
            mma(sum[0], a, b[0]), mma(sum[1], a, b[1]);
        }
        UNROLL for (int i = 0; i < 2; i++) UNROLL for (int e = 0; e < 4; e++) score[i][e] =
            __fadd_rn(score[i][e], sum[i][e]);
    }
}

/* Scaled, -infinity where the key isn't seen; and each row's largest of the warp's keys. */
template <typename S>
__device__ inline void mask_scores(const S &s, const desk &d, int64_t g, int64_t row, int64_t rows, int64_t key,
                                   float score[2][4])
{
    int const half = threadIdx.x / 32 / GROUPS, lane = threadIdx.x % 32;
    UNROLL for (int side = 0; side < 2; side++)
    {
        int64_t const r = row + row_of(2 * side), seen = r < rows ? s.seen(g, r) : 0;
        float most = -INFINITY;
        UNROLL for (int i = 0; i < 4; i++)
        {
            float *const v = &score[i / 2][2 * side + i % 2];
            int64_t const j = key + half * 16 + i / 2 * 8 + lane % 4 * 2 + i % 2;
            *v = j < seen ? __fmul_rn(*v, s.scale) : -INFINITY;
            most = *v > most ? *v : most;
        }
        UNROLL for (int offset = 1; offset < 4; offset *= 2)
        {
            float const other = __shfl_xor_sync(~0u, most, offset);
            most = other > most ? other : most;
        }
        if (lane % 4 == 0) d.half_most[half * ROWS + row_of(2 * side)] = most;
    }
}

__device__ inline float largest(const desk &d, int row)
{
    float const a = d.most[row], b = d.half_most[row], c = d.half_most[ROWS + row], ab = a > b ? a : b;
    return ab > c ? ab : c;
}

/* Scores become weights, in BF16; each row's sum of the warp's. */
__device__ inline void weigh(const desk &d, const float score[2][4])
{
    int const half = threadIdx.x / 32 / GROUPS, lane = threadIdx.x % 32;
    UNROLL for (int side = 0; side < 2; side++)
    {
        int const row = row_of(2 * side);
        float const shift = shift_of(largest(d, row));
        float sum = 0;
        UNROLL for (int tile = 0; tile < 2; tile++)
        {
            float const a = exponential(__fsub_rn(score[tile][2 * side], shift));
            float const b = exponential(__fsub_rn(score[tile][2 * side + 1], shift));
            sum = __fadd_rn(sum, __fadd_rn(a, b));
            *(__nv_bfloat162 *)(d.p + row * P_PITCH + half * 16 + tile * 8 + lane % 4 * 2) =
                __floats2bfloat162_rn(a, b);
        }
        UNROLL for (int offset = 1; offset < 4; offset *= 2) sum = __fadd_rn(sum, __shfl_xor_sync(~0u, sum, offset));
        if (lane % 4 == 0) d.half_sum[half * ROWS + row] = sum;
    }
}

/* Sums move to the tile's maximum, one thread a row. */
__device__ inline void move_rows(const desk &d)
{
    int const row = threadIdx.x;
    if (row >= ROWS) return;
    float const most = largest(d, row), factor = exponential(__fsub_rn(d.most[row], shift_of(most)));
    d.factor[row] = factor, d.most[row] = most;
    d.sum[row] = __fmaf_rn(d.sum[row], factor, __fadd_rn(d.half_sum[row], d.half_sum[ROWS + row]));
}

template <int MOST>
__device__ inline void add_values(const layout &l, const desk &d, int stage, int64_t value_at, sums<MOST> &sum)
{
    int const warp = threadIdx.x / 32, lane = threadIdx.x % 32, half = warp / GROUPS;
    float const factor[2] = {d.factor[row_of(0)], d.factor[row_of(2)]};
    const __nv_bfloat16 *const at =
        keys_at(l, d, stage) + lane % 16 * l.kv_pitch + value_at + half * l.value_tiles * 16 + lane / 16 * 8;
    uint32_t a[KEYS / 16][4];
    UNROLL for (int k = 0; k < KEYS / 16; k++) load_left(a[k], d.p + warp % GROUPS * 16 * P_PITCH + 16 * k, P_PITCH);
    UNROLL for (int j = 0; j < MOST; j++) if (j < l.value_tiles)
    {
        float more[2][4] = {};
        UNROLL for (int k = 0; k < KEYS / 16; k++)
        {
            uint32_t b[4];
            load_transposed(b, shared_address(at + 16 * k * l.kv_pitch + 16 * j));
            mma(more[0], a[k], b), mma(more[1], a[k], b + 2);
        }
        UNROLL for (int i = 0; i < 2; i++) UNROLL for (int e = 0; e < 4; e++) sum.o[2 * j + i][e] =
            __fmaf_rn(sum.o[2 * j + i][e], factor[e / 2], more[i][e]);
    }
}

/* All warps' sums side by side. */
template <int MOST> __device__ inline void stage_sums(const layout &l, const desk &d, const sums<MOST> &sum)
{
    int const lane = threadIdx.x % 32, half = threadIdx.x / 32 / GROUPS, pitch = l.value_tiles * 32;
    float *const at = d.o + row_of(0) * pitch + half * l.value_tiles * 16 + lane % 4 * 2;
    UNROLL for (int j = 0; j < 2 * MOST; j++) UNROLL for (int side = 0; side < 2; side++) if (j < 2 * l.value_tiles) *
        (float2 *)(at + side * 8 * pitch + 8 * j) = make_float2(sum.o[j][2 * side], sum.o[j][2 * side + 1]);
}

template <typename S>
__device__ inline void put_sums(const S &s, const layout &l, const desk &d, const partial &p, int64_t g, int64_t first,
                                int64_t part)
{
    int const pitch = l.value_tiles * 32;
    int64_t const left = s.rows(g) - first, rows = left < ROWS ? left : ROWS;
    for (int64_t i = threadIdx.x; i < rows * s.columns; i += THREADS) {
        int64_t const r = i / s.columns, c = i % s.columns;
        float const o = d.o[r * pitch + c];
        if constexpr (S::IN_PARTS)
            p.o[partial_at(p, g, first + r, part) * p.columns + c] = o;
        else
            s.put(g, first + r, c, s.seen(g, first + r) > 0 ? __fdiv_rn(o, d.sum[r]) : 0);
    }
    if (threadIdx.x >= rows) return;
    int64_t const r = first + threadIdx.x;
    float const most = d.most[threadIdx.x], total = d.sum[threadIdx.x];
    if constexpr (S::IN_PARTS)
        p.most[partial_at(p, g, r, part)] = most, p.sum[partial_at(p, g, r, part)] = total;
    else
        s.put_lse(g, r, s.seen(g, r) > 0 ? lse_of(most, total) : -INFINITY);
}

/* A block: 64 rows of a group, one part of its keys. */
template <typename S, int MOST> __global__ void __launch_bounds__(THREADS) attend(S s, layout l, int bytes, partial p)
{
    extern __shared__ __align__(16) uint8_t memory[];
    int64_t const g = blockIdx.y, first = (int64_t)blockIdx.x * ROWS, part = blockIdx.z, rows = s.rows(g);
    if (first >= rows) return;
    desk const d = desk_at(memory, l, bytes);
    int64_t const last = first + ROWS < rows ? first + ROWS : rows, seen = s.seen(g, last - 1);
    int64_t const from = part * PART, end = S::IN_PARTS && seen > from + PART ? from + PART : seen;
    sums<MOST> sum = {};
    if (threadIdx.x < ROWS) d.most[threadIdx.x] = -INFINITY, d.sum[threadIdx.x] = 0;
    bring_queries(s, l, d.q, g, first, rows);
    bring_keys(s, l, keys_at(l, d, 0), g, from, end);
    end_group();
    for (int64_t key = from, stage = 0; key < end; key += KEYS, stage = 1 - stage) {
        float score[2][4] = {};
        if (key + KEYS < end) bring_keys(s, l, keys_at(l, d, (int)(1 - stage)), g, key + KEYS, end);
        end_group();
        wait_groups<1>();
        __syncthreads();
        find_scores<S::PROMOTE>(l, d, (int)stage, score);
        mask_scores(s, d, g, first, rows, key, score);
        __syncthreads();
        weigh(d, score);
        __syncthreads();
        move_rows(d);
        __syncthreads();
        add_values(l, d, (int)stage, s.value_at, sum);
        __syncthreads();
    }
    wait_groups<0>();
    __syncthreads();
    stage_sums(l, d, sum);
    __syncthreads();
    put_sums(s, l, d, p, g, first, part);
}

} // namespace units

/* ---- in binary32 ---- */

namespace floats
{
enum { ROWS = 8, SLICE = 16, THREADS = PART };

struct desk {
    float q[ROWS][SLICE], key[PART][SLICE + 1], weight[ROWS][PART];
};

/* Scores of a thread's key with all rows: one chain. */
template <typename S>
__device__ inline void find_scores(const S &s, desk &d, int64_t g, int64_t first, int64_t from, int64_t end,
                                   float score[ROWS])
{
    int64_t const rows = s.rows(g);
    __builtin_assume(s.width > 0);
    for (int64_t c = 0; c < s.width; c += SLICE) {
        __syncthreads();
        _Pragma("unroll 4") for (int at = 0; at < PART * SLICE; at += THREADS)
        {
            int const i = at + threadIdx.x;
            int64_t const j = from + i / SLICE, column = c + i % SLICE;
            d.key[i / SLICE][i % SLICE] = j < end && column < s.width ? s.entry(g, j, column) : 0;
        }
        if (threadIdx.x < ROWS * SLICE) {
            int64_t const r = first + threadIdx.x / SLICE, column = c + threadIdx.x % SLICE;
            d.q[threadIdx.x / SLICE][threadIdx.x % SLICE] = r < rows && column < s.width ? s.query(g, r, column) : 0;
        }
        __syncthreads();
        for (int i = 0; i < SLICE; i++)
            UNROLL for (int r = 0; r < ROWS; r++) score[r] = __fmaf_rn(d.q[r][i], d.key[threadIdx.x][i], score[r]);
    }
}

/* Weights of a warp's row, their maximum and sum. */
__device__ inline void weigh(desk &d, float *most, float *sum)
{
    int const row = threadIdx.x / 32, lane = threadIdx.x % 32;
    float largest = -INFINITY, total = 0;
    UNROLL for (int j = 0; j < PART; j += 32) largest =
        d.weight[row][j + lane] > largest ? d.weight[row][j + lane] : largest;
    largest = warp_max(largest);
    _Pragma("unroll 4") for (int j = 0; j < PART; j += 32)
    {
        float const w = exponential(__fsub_rn(d.weight[row][j + lane], shift_of(largest)));
        d.weight[row][j + lane] = w, total = __fadd_rn(total, w);
    }
    *most = largest, *sum = warp_sum(total);
}

/* A block: eight rows of a group, one part of its keys. */
template <typename S> __global__ void __launch_bounds__(THREADS, 2) attend(S s, partial p)
{
    __shared__ desk d;
    int64_t const g = blockIdx.y, first = (int64_t)blockIdx.x * ROWS, part = blockIdx.z, rows = s.rows(g);
    if (first >= rows) return;
    int64_t const last = first + ROWS < rows ? first + ROWS : rows, seen = s.seen(g, last - 1);
    int64_t const from = part * PART, end = seen > from + PART ? from + PART : seen;
    float score[ROWS] = {}, most, sum;
    find_scores(s, d, g, first, from, end, score);
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        bool const sees = first + r < rows && from + threadIdx.x < s.seen(g, first + r);
        d.weight[r][threadIdx.x] = sees ? __fmul_rn(score[r], s.scale) : -INFINITY;
    }
    __syncthreads();
    weigh(d, &most, &sum);
    __syncthreads();
    int64_t const row = first + threadIdx.x / 32;
    if (threadIdx.x % 32 == 0 && row < rows)
        p.most[partial_at(p, g, row, part)] = most, p.sum[partial_at(p, g, row, part)] = sum;
    for (int64_t c = threadIdx.x; c < s.columns; c += THREADS) {
        float o[ROWS] = {};
        for (int64_t j = from; j < end; j++) {
            float const v = s.value(g, j, c);
            UNROLL for (int r = 0; r < ROWS; r++) if (d.weight[r][j - from] != 0) o[r] =
                __fmaf_rn(d.weight[r][j - from], v, o[r]);
        }
        UNROLL for (int r = 0; r < ROWS; r++) if (first + r < rows)
            p.o[partial_at(p, g, first + r, part) * p.columns + c] = o[r];
    }
}

} // namespace floats

/* ---- parts become one ---- */

enum { MERGE_THREADS = 128 };

/* Of a row that sees no key. */
template <typename S> __device__ inline void put_nothing(const S &s, int64_t g, int64_t r)
{
    _Pragma("unroll 1") for (int64_t c = threadIdx.x; c < s.columns; c += MERGE_THREADS) s.put(g, r, c, 0);
    if (threadIdx.x == 0) s.put_lse(g, r, -INFINITY);
}

/* A block a row. */
template <typename S> __global__ void __launch_bounds__(MERGE_THREADS) merge(S s, partial p)
{
    int64_t const r = blockIdx.x, g = blockIdx.y;
    if (r >= s.rows(g)) return;
    int64_t const seen = s.seen(g, r), parts = (seen + PART - 1) / PART, first = partial_at(p, g, r, 0);
    if (seen <= 0) return put_nothing(s, g, r);
    float most = p.most[first];
    for (int64_t i = 1; i < parts; i++) most = p.most[first + i] > most ? p.most[first + i] : most;
    float const shift = shift_of(most);
    float sum = __fmul_rn(p.sum[first], exponential(__fsub_rn(p.most[first], shift)));
    for (int64_t i = 1; i < parts; i++)
        sum = __fmaf_rn(p.sum[first + i], exponential(__fsub_rn(p.most[first + i], shift)), sum);
    for (int64_t c = threadIdx.x; c < s.columns; c += MERGE_THREADS) {
        float o = __fmul_rn(p.o[first * p.columns + c], exponential(__fsub_rn(p.most[first], shift)));
        for (int64_t i = 1; i < parts; i++)
            o = __fmaf_rn(p.o[(first + i) * p.columns + c], exponential(__fsub_rn(p.most[first + i], shift)), o);
        s.put(g, r, c, __fdiv_rn(o, sum));
    }
    if (threadIdx.x == 0) s.put_lse(g, r, lse_of(most, sum));
}

/* ---- launches ---- */

/* How many groups there are, and at most how many rows and keys in one. */
struct extent {
    int64_t groups, rows, keys;
};

/* Bytes of shared memory that a block may ask for. */
inline size_t most_shared()
{
    int bytes = 0;
    cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
    return (size_t)bytes;
}

/* Can the matrix unit's kernel take it here? Ada has too little shared memory for V3's keys. */
template <typename S> bool fits_units(const S &s)
{
    return s.columns <= 512 && units::bytes_of(units::layout_of(s)) <= most_shared();
}

template <typename S> bool take_partial(dsv3_ctx *ctx, const S &s, const extent &e, partial *p)
{
    int64_t const parts = (e.keys + PART - 1) / PART, n = e.groups * e.rows * (parts ? parts : 1);
    *p = {nullptr, nullptr, nullptr, e.rows, parts ? parts : 1, s.columns};
    p->most = (float *)scratch(ctx, (size_t)(n * (2 + s.columns)) * sizeof(float));
    if (!p->most) return false;
    p->sum = p->most + n, p->o = p->sum + n;
    return true;
}

template <typename S> void merge_parts(dsv3_ctx *ctx, const S &s, const extent &e, const partial &p)
{
    merge<<<dim3((unsigned)e.rows, (unsigned)e.groups), MERGE_THREADS, 0, ctx->stream>>>(s, p);
}

template <typename S, int MOST> dsv3_status launch_units(dsv3_ctx *ctx, const S &s, const extent &e, const partial &p)
{
    units::layout const l = units::layout_of(s);
    int const bytes = (int)units::bytes_of(l);
    dim3 const grid((unsigned)((e.rows + units::ROWS - 1) / units::ROWS), (unsigned)e.groups,
                    S::IN_PARTS ? (unsigned)p.parts : 1);
    if (cudaFuncSetAttribute(units::attend<S, MOST>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) != cudaSuccess)
        return DSV3_FAILED;
    units::attend<S, MOST><<<grid, units::THREADS, (size_t)bytes, ctx->stream>>>(s, l, bytes, p);
    if (S::IN_PARTS) merge_parts(ctx, s, e, p);
    return launched();
}

template <typename S> dsv3_status attend_by_units(dsv3_ctx *ctx, const S &s, const extent &e)
{
    partial p = {};
    if (S::IN_PARTS && !take_partial(ctx, s, e, &p)) return DSV3_NO_MEMORY;
    return s.columns > 128 ? launch_units<S, 16>(ctx, s, e, p) : launch_units<S, 4>(ctx, s, e, p);
}

template <typename S> dsv3_status attend_in_floats(dsv3_ctx *ctx, const S &s, const extent &e)
{
    partial p;
    if (!take_partial(ctx, s, e, &p)) return DSV3_NO_MEMORY;
    dim3 const grid((unsigned)((e.rows + floats::ROWS - 1) / floats::ROWS), (unsigned)e.groups, (unsigned)p.parts);
    floats::attend<<<grid, floats::THREADS, 0, ctx->stream>>>(s, p);
    merge_parts(ctx, s, e, p);
    return launched();
}

#endif
