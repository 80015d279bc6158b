/* Functions of the operations that IEEE 754 defines alone: the same bits on every device, and in unit/cuda/functions.c on a CPU, which
 * measures them against libm. */
#ifndef FUNCTIONS_CUH
#define FUNCTIONS_CUH

/* 2^k of a normal number. */
__device__ inline float power_of_2(int k)
{
    return __int_as_float((int)((unsigned)(k + 127) << 23));
}

/* e^v, subnormal results too: e^r 2^k, r = v - k ln 2, ln 2 as two numbers, e^r by a polynomial. exp 2 */
__device__ inline float exponential(float v)
{
    float const z = v < -105 ? -105 : v > 89 ? 89 : v; /* beyond, the result is 0 or infinite */
    float const t = fmaf(z, 0x1.715476p+0f, 0x1.8p23f), n = t - 0x1.8p23f;
    float const r = fmaf(n, -0x1.7f7d1cp-20f, fmaf(n, -0x1.62e400p-1f, z));
    int const k = __float_as_int(t) - 0x4b400000, half = k >> 1;
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

/* ln x of a normal x > 0, in binary64: x = m 2^k with m between the roots of 1/2 and of 2, ln m = 2 artanh((m - 1) / (m + 1)), by
 * a polynomial. log 1 */
__device__ inline double logarithm(double x)
{
    long long const bits = __double_as_longlong(x), k = (bits - 0x3fe6a09e667f3bcd) >> 52;
    double const m = __longlong_as_double(bits - k * (1LL << 52)), s = (m - 1) / (m + 1), z = s * s;
    double p = 2.0 / 15;
    p = fma(p, z, 2.0 / 13);
    p = fma(p, z, 2.0 / 11);
    p = fma(p, z, 2.0 / 9);
    p = fma(p, z, 2.0 / 7);
    p = fma(p, z, 2.0 / 5);
    p = fma(p, z, 2.0 / 3);
    p = fma(p, z, 2.0);
    return fma((double)k, 0x1.62e42fefa39efp-1, s * p);
}

/* cos and sin, in binary64, of an angle from -2^27 to 2^27: of r, angle = r + k pi/2, pi/2 as two numbers, by polynomials. sincos 1 */
__device__ inline void cos_sin(double angle, double *cosine, double *sine)
{
    double const t = fma(angle, 0x1.45f306dc9c883p-1, 0x1.8p52), k = t - 0x1.8p52;
    double const r = fma(k, -0x1.1a62633145c07p-54, fma(k, -0x1.921fb54442d18p+0, angle)), z = r * r;
    long long const quarter = __double_as_longlong(t) & 3;
    double c = 1.0 / 479001600, s = -1.0 / 39916800;
    c = fma(c, z, -1.0 / 3628800), s = fma(s, z, 1.0 / 362880);
    c = fma(c, z, 1.0 / 40320), s = fma(s, z, -1.0 / 5040);
    c = fma(c, z, -1.0 / 720), s = fma(s, z, 1.0 / 120);
    c = fma(c, z, 1.0 / 24), s = fma(s, z, -1.0 / 6);
    c = fma(c, z, -0.5), s = fma(s, z, 1.0);
    c = fma(c, z, 1.0), s = s * r;
    *cosine = quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
    *sine = quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c;
}

#endif
