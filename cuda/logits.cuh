/* A row of logits: its largest, and the sum of e^(logit - largest) in binary64. All threads of a block must call; every thread has
 * them. */
#ifndef LOGITS_CUH
#define LOGITS_CUH

#include "device.cuh"
#include "functions.cuh"
#include "reduce.cuh"

struct logit_sum {
    float most;
    double sum;
};

template <int THREADS, typename T> __device__ inline logit_sum sum_logits(const T *logits, int64_t vocab)
{
    float most = -INFINITY;
    for (int64_t i = threadIdx.x; i < vocab; i += THREADS) most = fmaxf(most, load(logits, i));
    most = block_largest<THREADS>(most, -INFINITY);
    double sum = 0;
    for (int64_t i = threadIdx.x; i < vocab; i += THREADS) sum += (double)exponential(load(logits, i) - most);
    return {most, block_total<THREADS>(sum)};
}

#endif
