/* See row_sums.cuh. */
#include "row_sums.cuh"

#include "tiles.cuh"

namespace
{

/* What a kernel makes: y has f32 or bf16. left: (rows, n), or turned (n, rows); right: (n, columns). */
template <typename T> struct sums {
    source<T> left, right;
    char *y;
    int64_t y_stride, rows, n, columns;
    bool y_bf16, add;
    int64_t groups, y_step;
    const weight_at *weights; /* of each expert; NULL: terms are an expert's, or there are no groups */
    const int64_t *begin;     /* (groups + 1): rows, or terms, of each expert; NULL: all */
};

template <typename T> __device__ inline void begin_at(source<T> &s, int64_t row)
{
    if (s.index)
        s.index += row;
    else
        s.data += row * s.stride;
}

/* Turned, an expert's terms; else its rows, by its matrix. */
template <bool TURNED, typename T> __device__ inline void take_group(sums<T> &s, int64_t g)
{
    int64_t const begin = s.begin[g], n = s.begin[g + 1] - begin, size = s.y_bf16 ? 2 : 4;
    begin_at(s.left, begin);
    s.left.rows = n;
    if constexpr (TURNED) {
        begin_at(s.right, begin);
        s.y += g * s.y_step * size, s.n = s.right.rows = n;
    } else {
        weight_at const w = s.weights[g];
        __builtin_assume(__isGlobal(w.data));
        s.right.data = (const T *)w.data, s.right.stride = w.stride;
        s.y += begin * s.y_stride * size, s.rows = n;
    }
}

/* That of group blockIdx.z. */
template <bool TURNED, typename T> __device__ inline sums<T> of_group(sums<T> s)
{
    if (s.begin) take_group<TURNED>(s, blockIdx.z);
    if constexpr (!TURNED) s.right.index = nullptr;
    return s;
}

template <bool TURNED, typename T> __device__ inline void put(const sums<T> &s, int64_t r, int64_t c, float v)
{
    if (r >= s.rows || c >= s.columns) return;
    int64_t const at = r * s.y_stride + c;
    if ((TURNED || sizeof(T) < sizeof(float)) && s.y_bf16)
        store((__nv_bfloat16 *)s.y, at, v);
    else
        store((float *)s.y, at, !TURNED && s.add ? ((const float *)s.y)[at] + v : v);
}

enum { SIDE = 64, FLOAT_THREADS = 256, UNIT_THREADS = 128 }; /* SIDE: rows and columns of a block */

/* ---- in binary32 ---- */

enum { SLICE = 16, EACH = 4 };

/* SLICE rows from k on, SIDE columns from `first` on. */
__device__ inline void bring_rows(float (*to)[SIDE + 4], const source<float> &s, int64_t k, int64_t first)
{
    UNROLL for (int at = 0; at < SIDE * SLICE; at += FLOAT_THREADS)
    {
        int const i = at + threadIdx.x;
        int64_t const row = k + i / SIDE, column = first + i % SIDE;
        to[i / SIDE][i % SIDE] = row < s.rows && column < s.columns ? row_at(s, row)[column] : 0;
    }
}

/* The same of columns from k on and rows from `first` on. */
__device__ inline void bring_columns(float (*to)[SIDE + 4], const source<float> &s, int64_t k, int64_t first)
{
    UNROLL for (int at = 0; at < SIDE * SLICE; at += FLOAT_THREADS)
    {
        int const i = at + threadIdx.x;
        int64_t const row = first + i / SLICE, column = k + i % SLICE;
        to[i % SLICE][i / SLICE] = row < s.rows && column < s.columns ? row_at(s, row)[column] : 0;
    }
}

template <bool TURNED> __global__ void __launch_bounds__(FLOAT_THREADS) sum_kernel(sums<float> all)
{
    sums<float> const s = of_group<TURNED>(all);
    alignas(16) __shared__ float left[SLICE][SIDE + 4], right[SLICE][SIDE + 4];
    int64_t const row = (int64_t)blockIdx.y * SIDE, column = (int64_t)blockIdx.x * SIDE;
    int const r = threadIdx.x / (SIDE / EACH) * EACH, c = threadIdx.x % (SIDE / EACH) * EACH;
    float sum[EACH][EACH] = {};
    if (row >= s.rows) return;
    if constexpr (!TURNED) __builtin_assume(s.n > 0);
    for (int64_t k = 0; k < s.n; k += SLICE) {
        TURNED ? bring_rows(left, s.left, k, row) : bring_columns(left, s.left, k, row);
        bring_rows(right, s.right, k, column);
        __syncthreads();
        _Pragma("unroll 4") for (int d = 0; d < SLICE; d++) UNROLL for (int i = 0; i < EACH; i++)
            UNROLL for (int j = 0; j < EACH; j++) sum[i][j] = __fmaf_rn(left[d][r + i], right[d][c + j], sum[i][j]);
        __syncthreads();
    }
    UNROLL for (int i = 0; i < EACH; i++) UNROLL for (int j = 0; j < EACH; j++)
        put<TURNED>(s, row + r + i, column + c + j, sum[i][j]);
}

/* ---- by the matrix unit ---- */

enum { PROMOTE = 128, PART = 32 };

/* A block's SIDE rows and columns: each of four warps has PART rows of PART columns. */
struct part {
    float sum[PART / 16][PART / 8][4];
};

template <bool TURNED>
__device__ inline void add_step(part &p, const __nv_bfloat16 (*left)[PITCH], const __nv_bfloat16 (*right)[PITCH])
{
    int const row = threadIdx.x / 64 * PART, column = threadIdx.x / 32 % 2 * PART;
    UNROLL for (int k = 0; k < DEEP; k += 16)
    {
        uint32_t a[PART / 16][4], b[PART / 8][2];
        UNROLL for (int i = 0; i < PART / 16; i++) TURNED ? load_left_turned(a[i], &left[k][row + 16 * i], PITCH)
                                                          : load_left(a[i], &left[row + 16 * i][k], PITCH);
        UNROLL for (int j = 0; j < PART / 8; j += 2) load_right_turned(&b[j], &right[k][column + 8 * j], PITCH);
        UNROLL for (int i = 0; i < PART / 16; i++) UNROLL for (int j = 0; j < PART / 8; j++)
            mma(p.sum[i][j], a[i], b[j]);
    }
}

/* total += sums, which begin anew. */
__device__ inline void promote(part &total, part &sums)
{
    UNROLL for (int i = 0; i < PART / 16; i++) UNROLL for (int j = 0; j < PART / 8; j++)
        UNROLL for (int e = 0; e < 4; e++)
    {
        total.sum[i][j][e] += sums.sum[i][j][e];
        sums.sum[i][j][e] = 0;
    }
}

/* Fragments lie as the PTX ISA says: row lane / 4 and the one 8 below, columns 2 (lane % 4) and the next. */
template <bool TURNED>
__device__ inline void put_part(const sums<__nv_bfloat16> &s, const part &total, int64_t row, int64_t column)
{
    int const lane = threadIdx.x % 32;
    int64_t const r = row + threadIdx.x / 64 * PART + lane / 4;
    int64_t const c = column + threadIdx.x / 32 % 2 * PART + lane % 4 * 2;
    UNROLL for (int i = 0; i < PART / 16; i++) UNROLL for (int j = 0; j < PART / 8; j++)
        UNROLL for (int e = 0; e < 4; e++)
            put<TURNED>(s, r + 16 * i + e / 2 * 8, c + 8 * j + e % 2, total.sum[i][j][e]);
}

template <bool TURNED>
__device__ inline void bring_step(__nv_bfloat16 (*left)[PITCH], __nv_bfloat16 (*right)[PITCH],
                                  const sums<__nv_bfloat16> &s, int64_t k, int64_t row, int64_t column)
{
    bring_tile<UNIT_THREADS, SIDE>(left, s.left, TURNED ? k : row, TURNED ? row : k);
    bring_tile<UNIT_THREADS, DEEP>(right, s.right, k, column);
}

template <bool TURNED> __global__ void __launch_bounds__(UNIT_THREADS) sum_kernel(sums<__nv_bfloat16> all)
{
    sums<__nv_bfloat16> const s = of_group<TURNED>(all);
    alignas(16) __shared__ __nv_bfloat16 left[2][SIDE][PITCH], right[2][DEEP][PITCH];
    int64_t const row = (int64_t)blockIdx.y * SIDE, column = (int64_t)blockIdx.x * SIDE;
    part total = {}, sums = {};
    if (row >= s.rows) return;
    if constexpr (!TURNED) __builtin_assume(s.n > 0);
    bring_step<TURNED>(left[0], right[0], s, 0, row, column);
    end_group();
    for (int64_t k = 0, stage = 0; k < s.n; k += DEEP, stage = 1 - stage) {
        if (k + DEEP < s.n) bring_step<TURNED>(left[1 - stage], right[1 - stage], s, k + DEEP, row, column);
        end_group();
        wait_groups<1>();
        __syncthreads();
        add_step<TURNED>(sums, left[stage], right[stage]);
        __syncthreads();
        if ((k + DEEP) % PROMOTE == 0 || k + DEEP >= s.n) promote(total, sums);
    }
    put_part<TURNED>(s, total, row, column);
}

template <bool TURNED, typename T> void launch(dsv3_ctx *ctx, const sums<T> &s)
{
    dim3 const grid((unsigned)((s.columns + SIDE - 1) / SIDE), (unsigned)((s.rows + SIDE - 1) / SIDE),
                    (unsigned)s.groups);
    sum_kernel<TURNED><<<grid, std::is_same<T, float>() ? FLOAT_THREADS : UNIT_THREADS, 0, ctx->stream>>>(s);
}

/* ---- formats ---- */

template <typename T> source<T> source_of_rows(const row_list &x, int64_t rows, int64_t columns)
{
    source<T> s = source_of<T>(x.data, x.stride, rows, columns);
    s.index = x.index;
    return s;
}

template <typename T> sums<T> sums_of(const row_sum *s)
{
    sums<T> d = {source_of_rows<T>(s->left, s->turned ? s->n : s->rows, s->turned ? s->rows : s->n),
                 source_of_rows<T>(s->right, s->n, s->columns), (char *)s->y.data};
    d.y_stride = s->y.stride, d.rows = s->rows, d.n = s->n, d.columns = s->columns;
    d.y_bf16 = s->y.dtype == DSV3_BF16, d.add = s->add;
    d.groups = s->experts ? s->experts->experts : 1, d.y_step = s->y_step;
    d.begin = s->experts ? s->experts->first : nullptr;
    return d;
}

template <typename T> dsv3_status sum_as(dsv3_ctx *ctx, const row_sum *s)
{
    memory_mark const m = mark(ctx);
    sums<T> d = sums_of<T>(s);
    if (s->matrices) d.weights = place_matrices(ctx, s->matrices, d.groups, &d.right.whole);
    bool const good = d.weights || !s->matrices;
    if (good) s->turned ? launch<true>(ctx, d) : launch<false>(ctx, d);
    give_back(ctx, m);
    return good ? launched() : DSV3_NO_MEMORY;
}

} // namespace

dsv3_status sum_rows(dsv3_ctx *ctx, const row_sum *s)
{
    return s->left.dtype == DSV3_BF16 ? sum_as<__nv_bfloat16>(ctx, s) : sum_as<float>(ctx, s);
}
