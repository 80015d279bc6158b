/* Functions of the operations that IEEE 754 defines alone: the same bits on every device, and in unit/cuda/functions.c on a CPU, which
 * measures them against libm. */
#ifndef FUNCTIONS_CUH
#define FUNCTIONS_CUH

/* 2^k of a normal number. */
__device__ inline float power_of_2(int k)
{
    return __int_as_float((k + 127) * (1 << 23));
}

/* e^v, subnormal results too: e^r 2^k, r = v - k ln 2, ln 2 as two numbers, e^r by a polynomial. exp 2 */
__device__ inline float exponential(float v)
{
    float const z = v < -105 ? -105 : v > 89 ? 89 : v; /* beyond, the result is 0 or infinite */
    float const t = fmaf(z, 0x1.715476p+0f, 0x1.8p23f), n = t - 0x1.8p23f;
    float const r = fmaf(n, -0x1.7f7d1cp-20f, fmaf(n, -0x1.62e400p-1f, z));
    int const k = __float_as_int(t) - 0x4b400000, half = k >> 1;
    if (v != v) return v;
    float p = 0x1.6a23dp-10f;
    p = fmaf(p, r, 0x1.123a2p-7f);
    p = fmaf(p, r, 0x1.5558f2p-5f);
    p = fmaf(p, r, 0x1.555492p-3f);
    p = fmaf(p, r, 0x1.fffffcp-2f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return p * power_of_2(half) * power_of_2(k - half);
}

/* 1 / (1 + e^-z). sigmoid 4 */
__device__ inline float sigmoid(float z)
{
    return 1.0f / (1.0f + exponential(-z));
}

/* z / (1 + e^-z). sigmoid 4 */
__device__ inline float silu(float z)
{
    return z / (1.0f + exponential(-z));
}

#endif
