/* What the kernels share: formats and reductions. */
#ifndef DEVICE_CUH
#define DEVICE_CUH

#include "dsv3.h"

#include <cuda_bf16.h>

struct dsv3_ctx {
    cudaStream_t stream;
};

dsv3_status cuda_rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io);

__device__ inline float load(const float *x, int64_t i)
{
    return x[i];
}

__device__ inline float load(const __nv_bfloat16 *x, int64_t i)
{
    return __bfloat162float(x[i]);
}

__device__ inline void store(float *y, int64_t i, float v)
{
    y[i] = v;
}

__device__ inline void store(__nv_bfloat16 *y, int64_t i, float v)
{
    y[i] = __float2bfloat16_rn(v);
}

/* The sum over a block of THREADS threads, in every thread. All threads must call. */
template <int THREADS> __device__ inline float block_sum(float v)
{
    __shared__ float part[THREADS / 32];
    for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(0xffffffffu, v, offset);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
    __syncthreads();
    float sum = 0;
    for (int w = 0; w < THREADS / 32; w++) sum += part[w];
    return sum;
}

#endif
