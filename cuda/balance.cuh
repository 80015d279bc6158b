/* Sequences, as the balance loss and its gradient have them. */
#ifndef BALANCE_CUH
#define BALANCE_CUH

#include "warp.cuh"

struct range {
    int64_t first, last;
};

/* The tokens of a sequence; with cu_seqlens NULL there is one, of all n tokens. */
__device__ inline range tokens_of(const int32_t *cu_seqlens, int64_t n, int64_t sequence)
{
    if (!cu_seqlens) return {0, n};
    return {cu_seqlens[sequence], cu_seqlens[sequence + 1]};
}

#endif
