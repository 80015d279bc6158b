/* See cuda_runtime.h. Source: NVIDIA, CUDA Math API 13.0, bfloat16. */
#ifndef CUDA_BF16_H
#define CUDA_BF16_H

#include "cuda_runtime.h"

struct __align__(2) __nv_bfloat16
{
    uint16_t bits;
};

struct __align__(4) __nv_bfloat162
{
    __nv_bfloat16 x, y;
};

__device__ float __bfloat162float(__nv_bfloat16);
__device__ __nv_bfloat16 __float2bfloat16_rn(float);
__device__ __nv_bfloat162 __floats2bfloat162_rn(float, float);
__device__ __nv_bfloat16 __ushort_as_bfloat16(uint16_t);

#endif
