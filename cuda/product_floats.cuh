/* A tile of a product in binary32, one chain a sum. */
#ifndef PRODUCT_FLOATS_CUH
#define PRODUCT_FLOATS_CUH

#include "product.cuh"

namespace
{

enum { SIDE = 64, SLICE = 16, EACH = 4, FLOAT_THREADS = 256 };

__device__ inline float entry(const source<uint8_t> &s, int64_t row, int64_t column, const float *scale)
{
    return __fmul_rn(of_e4m3(row_at(s, row)[column]), scale[column / BLOCK]);
}

template <typename T> __device__ inline float entry(const source<T> &s, int64_t row, int64_t column, const float *)
{
    return load(row_at(s, row), column);
}

/* SIDE rows from `first` on, SLICE columns, column by column. */
template <typename T>
__device__ inline void bring_floats(float (*to)[SIDE + 4], const source<T> &s, int64_t first, int64_t column,
                                    const float *scale, int64_t scale_stride, int64_t of_matrix)
{
    UNROLL for (int at = 0; at < SIDE * SLICE; at += FLOAT_THREADS)
    {
        int const i = at + threadIdx.x;
        int64_t const row = first + i / SLICE, k = column + i % SLICE;
        bool const there = row < s.rows && k < s.columns;
        to[i % SLICE][i / SLICE] =
            there ? entry(s, row, k, scale ? scale + (of_matrix + row) / BLOCK * scale_stride : nullptr) : 0;
    }
}

template <typename X, typename W> __global__ void float_kernel(product<X, W> all)
{
    product<X, W> const p = of_group(all);
    alignas(16) __shared__ float x[SLICE][SIDE + 4], w[SLICE][SIDE + 4];
    int64_t const token = (int64_t)blockIdx.y * SIDE, output = (int64_t)blockIdx.x * SIDE;
    int const t = threadIdx.x / (SIDE / EACH) * EACH, o = threadIdx.x % (SIDE / EACH) * EACH;
    float sum[EACH][EACH] = {};
    if (token >= p.x.rows) return;
    for (int64_t k = 0; k < p.x.columns; k += SLICE) {
        bring_floats(x, p.x, token, k, nullptr, 0, 0);
        bring_floats(w, p.w, output, k, p.scale, p.scale_stride, p.first);
        __syncthreads();
        _Pragma("unroll 4") for (int s = 0; s < SLICE; s++) UNROLL for (int i = 0; i < EACH; i++)
            UNROLL for (int j = 0; j < EACH; j++) sum[i][j] = __fmaf_rn(x[s][t + i], w[s][o + j], sum[i][j]);
        __syncthreads();
    }
    UNROLL for (int i = 0; i < EACH; i++) UNROLL for (int j = 0; j < EACH; j++)
        put(p, token + t + i, output + o + j, sum[i][j]);
}

} // namespace

#endif
