/* What the threads of a block make together: sums, the largest, sums of all before. All threads must call; every thread has the
 * result. */
#ifndef REDUCE_CUH
#define REDUCE_CUH

/* join of v over a block of THREADS threads, any order; none is what joins to nothing else. */
template <int THREADS, typename T, typename F> __device__ inline T block_join(T v, T none, F join)
{
    __shared__ T part[THREADS / 32];
    for (int offset = 16; offset > 0; offset /= 2) v = join(v, __shfl_xor_sync(0xffffffffu, v, offset));
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
    __syncthreads();
    for (int w = 0; w < THREADS / 32; w++) none = join(none, part[w]);
    __syncthreads(); /* part may be written again */
    return none;
}

template <int THREADS> __device__ inline double block_total(double v)
{
    return block_join<THREADS>(v, 0.0, [](double a, double b) { return a + b; });
}

template <int THREADS, typename T> __device__ inline T block_largest(T v, T least)
{
    return block_join<THREADS>(v, least, [](T a, T b) { return a > b ? a : b; });
}

/* The sum of v over the threads up to this one; *all: over all. */
template <int THREADS> __device__ inline double block_prefix(double v, double *all)
{
    __shared__ double part[THREADS / 32];
    int const lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int offset = 1; offset < 32; offset *= 2) {
        double const before = __shfl_up_sync(0xffffffffu, v, offset);
        if (lane >= offset) v += before;
    }
    if (lane == 31) part[warp] = v;
    __syncthreads();
    double before = 0;
    *all = 0;
    for (int w = 0; w < THREADS / 32; w++) {
        if (w == warp) before = *all;
        *all += part[w];
    }
    __syncthreads(); /* part may be written again */
    return before + v;
}

#endif
