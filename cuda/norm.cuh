/* A row's root mean square, as latents and the rows of mtp have it: the sum in binary64, rounded once. */
#ifndef NORM_CUH
#define NORM_CUH

#include "device.cuh"

enum { NORM_THREADS = 256 };

/* v gain / sqrt(mean(v^2) + eps), by all threads of a block of NORM_THREADS. */
template <typename V, typename T>
__device__ inline void normalise(const V *v, const T *gain, int64_t n, float eps, T *to)
{
    __shared__ double part[NORM_THREADS];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += NORM_THREADS) sum = fma((double)load(v, i), (double)load(v, i), sum);
    part[threadIdx.x] = sum;
    __syncthreads();
    sum = 0;
    for (int i = 0; i < NORM_THREADS; i++) sum += part[i];
    float const ms = __fdiv_rn((float)sum, (float)n), r = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(ms, eps)));
    for (int64_t i = threadIdx.x; i < n; i += NORM_THREADS)
        store(to, i, __fmul_rn(load(gain, i), __fmul_rn(load(v, i), r)));
}

#endif
