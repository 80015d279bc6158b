/* The scores of a token's experts, as gate and its gradient have them: expert e lies in register e / 32 of lane e % 32. */
#ifndef GATE_CUH
#define GATE_CUH

#include "gate_functions.cuh"
#include "warp.cuh"

enum { FEW_EXPERTS = 256, MOST_EXPERTS = 1024, MOST_CHOSEN = 2 * LANES };

/* Of logits z; 0 beyond the last expert. */
template <int EACH, typename T>
__device__ void find_scores(const T *z, int experts, bool softmax, int lane, float s[EACH])
{
    float most = -INFINITY, sum = 0;
    for (int i = 0; i < EACH; i++) {
        s[i] = lane + LANES * i < experts ? load(z, lane + LANES * i) : -INFINITY;
        if (s[i] > most) most = s[i];
    }
    if (softmax) most = warp_max(most);
    for (int i = 0; i < EACH; i++) {
        s[i] = softmax ? exp_of_negative(s[i] - most) : sigmoid(s[i]);
        sum += s[i];
    }
    if (softmax) sum = warp_sum(sum);
    for (int i = 0; i < EACH && softmax; i++) s[i] /= sum;
}

/* The score of expert e, in every lane. */
template <int EACH> __device__ float score_of(const float s[EACH], int e, int lane)
{
    float found = 0;
    for (int i = 0; i < EACH; i++)
        if (lane + LANES * i == e) found = s[i];
    return __shfl_sync(~0u, found, e % LANES);
}

#endif
