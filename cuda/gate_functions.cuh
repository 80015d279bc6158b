/* e^x and the sigmoid from operations that IEEE 754 defines: the same bits on a device and on a host. unit/cuda/gate_functions.c finds
 * their errors. */
#ifndef GATE_FUNCTIONS_CUH
#define GATE_FUNCTIONS_CUH

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define EVERYWHERE static __host__ __device__ inline
#else
#define EVERYWHERE static inline
#endif

/* 2^n, -126 <= n <= 127 */
EVERYWHERE float power_of_two(int32_t n)
{
    int32_t const bits = (n + 127) * 0x800000;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* e^x for x <= 0, of a NaN a NaN: e^r 2^n, r = x - n ln 2, ln 2 as two numbers, e^r by a polynomial. Times 2^n in two steps, the first of
 * which is exact: a subnormal result is rounded once more. exp 2 */
EVERYWHERE float exp_of_negative(float x)
{
    float const v = x < -104.0f ? -104.0f : x; /* e^-104 rounds to 0 */
    float const shifted = fmaf(v, 0x1.715476p+0f, 0x1.8p23f), n = shifted - 0x1.8p23f;
    float const r = fmaf(n, -0x1.7f7d1cp-20f, fmaf(n, -0x1.62e400p-1f, v));
    float p = 0x1.6a23dp-10f;
    p = fmaf(p, r, 0x1.123a2p-7f);
    p = fmaf(p, r, 0x1.5558f2p-5f);
    p = fmaf(p, r, 0x1.555492p-3f);
    p = fmaf(p, r, 0x1.fffffcp-2f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    int32_t const whole = x == x ? bits - 0x4b400000 : 0, half = whole / 2;
    return p * power_of_two(half) * power_of_two(whole - half);
}

/* 1 / (1 + e^-z), which below 0 is e^z / (1 + e^z): nothing overflows. */
EVERYWHERE float sigmoid(float z)
{
    float const e = exp_of_negative(z > 0 ? -z : z);
    return (z > 0 ? 1.0f : e) / (1.0f + e);
}

#endif
