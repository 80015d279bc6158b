/* What the 32 lanes of a warp find together. All of them must call, and all get it. */
#ifndef WARP_CUH
#define WARP_CUH

#include "device.cuh"

#include <math.h>

enum { LANES = 32 };

template <typename T> __device__ inline T warp_sum(T v)
{
    for (int offset = LANES / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(~0u, v, offset);
    return v;
}

__device__ inline float warp_max(float v)
{
    for (int offset = LANES / 2; offset > 0; offset /= 2) {
        float const other = __shfl_xor_sync(~0u, v, offset);
        v = other > v ? other : v;
    }
    return v;
}

/* A number and its index. */
struct candidate {
    float v;
    int index;
};

/* The candidate of the largest number; of equal ones that of the lowest index. */
__device__ inline candidate warp_best(candidate best)
{
    for (int offset = LANES / 2; offset > 0; offset /= 2) {
        float const v = __shfl_xor_sync(~0u, best.v, offset);
        int const index = __shfl_xor_sync(~0u, best.index, offset);
        if (v > best.v || (v == best.v && index < best.index)) best = {v, index};
    }
    return best;
}

#endif
