/* Rotary embedding: what all tokens share, and a table of cos and sin for one position, which all heads share. */
#ifndef ROPE_CUH
#define ROPE_CUH

#include "device.cuh"
#include "functions.cuh"

#include <cmath>

enum { MOST_PAIRS = 512 };

struct rope {
    int64_t pairs;
    int32_t in_layout, out_layout;
    double amplitude;
    double frequency[MOST_PAIRS]; /* radians a position */
};

/* The pair that makes n turns over the original length. */
template <typename P> double pair_of_turns(const P *p, double n)
{
    double const turns = (double)p->original_max_position_embeddings / (n * 6.283185307179586);
    return (double)p->qk_rope_head_dim * log(turns) / (2 * log(p->rope_theta));
}

template <typename P> double frequency(const P *p, int64_t j)
{
    double const r = (double)p->qk_rope_head_dim, e = pow(p->rope_theta, -2 * (double)j / r);
    double const low = fmax(floor(pair_of_turns(p, p->beta_fast)), 0);
    double const ends = fmin(ceil(pair_of_turns(p, p->beta_slow)), r - 1), high = ends == low ? ends + 0.001 : ends;
    double const ramp = fmin(fmax(((double)j - low) / (high - low), 0), 1);
    return p->factor == 1 ? e : e * (1 - ramp) + e / p->factor * ramp;
}

/* 1 when nothing is extended, else 0.1 m ln(factor) + 1. */
inline double mscale(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

/* P: a problem with the keys of rope, 2 MOST_PAIRS wide at most. */
template <typename P> rope rope_of(const P *p)
{
    rope m = {p->qk_rope_head_dim / 2, p->in_layout, p->out_layout, 0, {}};
    m.amplitude = mscale(p->factor, p->mscale) / mscale(p->factor, p->mscale_all_dim);
    for (int64_t j = 0; j < m.pairs; j++) m.frequency[j] = frequency(p, j);
    return m;
}

/* Where half 0 or 1 of pair j is. */
__device__ inline int64_t place(int32_t layout, int64_t pairs, int64_t j, int64_t half)
{
    return layout == DSV3_HALF ? j + half * pairs : 2 * j + half;
}

/* cos and sin of all pairs at a position, times the amplitude, by all threads of a block of n; angles in binary64. */
template <int n> __device__ inline void rope_table(const rope &m, double position, float *cosine, float *sine)
{
    _Pragma("unroll 1") for (int64_t j = threadIdx.x + threadIdx.y * blockDim.x; j < m.pairs; j += n)
    {
        double c, s;
        cos_sin(position * m.frequency[j], &c, &s);
        cosine[j] = (float)(c * m.amplitude), sine[j] = (float)(s * m.amplitude);
    }
    __syncthreads();
}

#endif
