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

enum { SIDE = 64, FLOAT_THREADS = 256, UNIT_THREADS = 128 }; /* SIDE: rows and columns of a block */

/* ---- in binary32 ---- */

enum { SLICE = 16, EACH = 4 };

/* SLICE rows from k on, SIDE columns from `first` on. */
__device__ inline void bring_rows(float (*to)[SIDE + 4], const source<float> &s, int64_t k, int64_t first)
{
    for (int i = threadIdx.x; i < SIDE * SLICE; i += FLOAT_THREADS) {
        int64_t const row = k + i / SIDE, column = first + i % SIDE;
        to[i / SIDE][i % SIDE] = row < s.rows && column < s.columns ? row_at(s, row)[column] : 0;
    }
}

/* The same of columns from k on and rows from `first` on. */
__device__ inline void bring_columns(float (*to)[SIDE + 4], const source<float> &s, int64_t k, int64_t first)
{
    for (int i = threadIdx.x; i < SIDE * SLICE; i += FLOAT_THREADS) {
        int64_t const row = first + i / SLICE, column = k + i % SLICE;
        to[i % SLICE][i / SLICE] = row < s.rows && column < s.columns ? row_at(s, row)[column] : 0;
    }
}

template <bool TURNED> __global__ void __launch_bounds__(FLOAT_THREADS) sum_kernel(sums<float> s)
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
__device__ inline void put_part(const sums<__nv_bfloat16> &s, const part &total, int64_t row, int64_t column)
{
    int const lane = threadIdx.x % 32;
    int64_t const r = row + threadIdx.x / 64 * PART + lane / 4;
    int64_t const c = column + threadIdx.x / 32 % 2 * PART + lane % 4 * 2;
    UNROLL for (int i = 0; i < PART / 16; i++) UNROLL for (int j = 0; j < PART / 8; j++)
        UNROLL for (int e = 0; e < 4; e++) put(s, r + 16 * i + e / 2 * 8, c + 8 * j + e % 2, total.sum[i][j][e]);
}

template <bool TURNED>
__device__ inline void bring_step(__nv_bfloat16 (*left)[PITCH], __nv_bfloat16 (*right)[PITCH],
                                  const sums<__nv_bfloat16> &s, int64_t k, int64_t row, int64_t column)
{
    bring_tile<UNIT_THREADS>(left, SIDE, s.left, TURNED ? k : row, TURNED ? row : k);
    bring_tile<UNIT_THREADS>(right, DEEP, s.right, k, column);
}

template <bool TURNED> __global__ void __launch_bounds__(UNIT_THREADS) sum_kernel(sums<__nv_bfloat16> s)
{
    __shared__ alignas(16) __nv_bfloat16 left[2][SIDE][PITCH], right[2][DEEP][PITCH];
    int64_t const row = (int64_t)blockIdx.y * SIDE, column = (int64_t)blockIdx.x * SIDE;
    part total = {}, sums = {};
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
    put_part(s, total, row, column);
}

template <bool TURNED, typename T> void launch(dsv3_ctx *ctx, const sums<T> &s)
{
    dim3 const grid((unsigned)((s.columns + SIDE - 1) / SIDE), (unsigned)((s.rows + SIDE - 1) / SIDE));
    sum_kernel<TURNED><<<grid, std::is_same<T, float>() ? FLOAT_THREADS : UNIT_THREADS, 0, ctx->stream>>>(s);
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
