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
    bool y_bf16;
};

template <typename T> __device__ inline void put(const sums<T> &s, int64_t r, int64_t c, float v)
{
    if (r >= s.rows || c >= s.columns) return;
    if (s.y_bf16)
        store((__nv_bfloat16 *)s.y, r * s.y_stride + c, v);
    else
        store((float *)s.y, r * s.y_stride + c, v);
}

/* ---- in binary32 ---- */

enum { SIDE = 64, SLICE = 16, EACH = 4, FLOAT_THREADS = 256 };

/* SLICE rows from k on, SIDE columns from `first` on. */
template <typename T>
__device__ inline void bring_rows(float (*to)[SIDE + 4], const source<T> &s, int64_t k, int64_t first)
{
    for (int i = threadIdx.x; i < SIDE * SLICE; i += FLOAT_THREADS) {
        int64_t const row = k + i / SIDE, column = first + i % SIDE;
        to[i / SIDE][i % SIDE] = row < s.rows && column < s.columns ? load(row_at(s, row), column) : 0;
    }
}

/* The same of columns from k on and rows from `first` on. */
template <typename T>
__device__ inline void bring_columns(float (*to)[SIDE + 4], const source<T> &s, int64_t k, int64_t first)
{
    for (int i = threadIdx.x; i < SIDE * SLICE; i += FLOAT_THREADS) {
        int64_t const row = first + i / SLICE, column = k + i % SLICE;
        to[i % SLICE][i / SLICE] = row < s.rows && column < s.columns ? load(row_at(s, row), column) : 0;
    }
}

template <bool TURNED, typename T> __global__ void __launch_bounds__(FLOAT_THREADS) float_kernel(sums<T> s)
{
    __shared__ alignas(16) float left[SLICE][SIDE + 4], right[SLICE][SIDE + 4];
    int64_t const row = (int64_t)blockIdx.y * SIDE, column = (int64_t)blockIdx.x * SIDE;
    int const r = threadIdx.x / (SIDE / EACH) * EACH, c = threadIdx.x % (SIDE / EACH) * EACH;
    float sum[EACH][EACH] = {};
    for (int64_t k = 0; k < s.n; k += SLICE) {
        TURNED ? bring_rows(left, s.left, k, row) : bring_columns(left, s.left, k, row);
        bring_rows(right, s.right, k, column);
        __syncthreads();
        _Pragma("unroll 4") for (int d = 0; d < SLICE; d++) UNROLL for (int i = 0; i < EACH; i++)
            UNROLL for (int j = 0; j < EACH; j++) sum[i][j] = __fmaf_rn(left[d][r + i], right[d][c + j], sum[i][j]);
        __syncthreads();
    }
    UNROLL for (int i = 0; i < EACH; i++) UNROLL for (int j = 0; j < EACH; j++)
        put(s, row + r + i, column + c + j, sum[i][j]);
}

template <bool TURNED, typename T> void launch(dsv3_ctx *ctx, const sums<T> &s)
{
    dim3 const grid((unsigned)((s.columns + SIDE - 1) / SIDE), (unsigned)((s.rows + SIDE - 1) / SIDE));
    float_kernel<TURNED><<<grid, FLOAT_THREADS, 0, ctx->stream>>>(s);
}

/* ---- formats ---- */

template <typename T> source<T> source_of_rows(const row_list &x, int64_t rows, int64_t columns)
{
    source<T> s = source_of<T>(x.data, x.stride, rows, columns);
    s.index = x.index;
    return s;
}

template <typename T> dsv3_status sum_as(dsv3_ctx *ctx, const row_sum *s)
{
    sums<T> const d = {source_of_rows<T>(s->left, s->turned ? s->n : s->rows, s->turned ? s->rows : s->n),
                       source_of_rows<T>(s->right, s->n, s->columns),
                       (char *)s->y.data,
                       s->y.stride,
                       s->rows,
                       s->n,
                       s->columns,
                       s->y.dtype == DSV3_BF16};
    s->turned ? launch<true>(ctx, d) : launch<false>(ctx, d);
    return launched();
}

} // namespace

dsv3_status sum_rows(dsv3_ctx *ctx, const row_sum *s)
{
    return s->left.dtype == DSV3_BF16 ? sum_as<__nv_bfloat16>(ctx, s) : sum_as<float>(ctx, s);
}
