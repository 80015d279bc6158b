/* Functions of vectors that several ops share. */
#ifndef ELEMENTWISE_H
#define ELEMENTWISE_H

#include "vec.h"

/* z / (1 + e^-z). sigmoid 4 */
static inline vec vec_silu(vec z)
{
    return vec_div(z, vec_add(vec_of(1), vec_exp(vec_sub(vec_of(0), z))));
}

/* 1 / (1 + e^-z). sigmoid 4 */
static inline vec vec_sigmoid(vec z)
{
    return vec_div(vec_of(1), vec_add(vec_of(1), vec_exp(vec_sub(vec_of(0), z))));
}

/* e^v for v <= 0 within 2 units of 2^-24, 0 where that is subnormal: e^r 2^n, r = v - n ln 2, ln 2 as two numbers, e^r by a
 * polynomial. exp 2 */
static inline vec vec_weight(vec v)
{
    vec const t = vec_fma(v, vec_of(0x1.715476p+0f), vec_of(0x1.8p23f)), n = vec_sub(t, vec_of(0x1.8p23f));
    vec const r = vec_fma(n, vec_of(-0x1.7f7d1cp-20f), vec_fma(n, vec_of(-0x1.62e400p-1f), v));
    vec p = vec_of(0x1.6a23dp-10f);
    p = vec_fma(p, r, vec_of(0x1.123a2p-7f));
    p = vec_fma(p, r, vec_of(0x1.5558f2p-5f));
    p = vec_fma(p, r, vec_of(0x1.555492p-3f));
    p = vec_fma(p, r, vec_of(0x1.fffffcp-2f));
    p = vec_fma(p, r, vec_of(1));
    p = vec_fma(p, r, vec_of(1));
    return vec_times_power(p, t, vec_not_below(v, vec_of(-0x1.5d589ep+6f)));
}

/* a / b rounded once, 1/2 <= b < 2^30 and its reciprocal as vec_div() has it. What a quotient leaves is exact, and corrects it: once to
 * less than an ulp, and then, by Markstein's theorem, to the nearest number. Where such steps may underflow b divides. */
static inline vec vec_quotient(vec a, vec b, vec reciprocal)
{
    vec const size = vec_abs(a), minus = vec_sub(vec_of(0), b);
    lanes const usual = vec_above(size, vec_of(0x1p-90f)) & vec_above(vec_of(0x1p90f), size);
    if (usual != first_lanes(WIDTH)) return vec_div(a, b);
    vec const rough = vec_mul(a, reciprocal), near = vec_fma(vec_fma(minus, rough, a), reciprocal, rough);
    return vec_fma(vec_fma(minus, near, a), reciprocal, near);
}

/* The largest of n numbers; -infinity of none. */
static inline float largest_of(const float *v, int64_t n)
{
    vec most = vec_of(-INFINITY);
    for (int64_t i = 0; i < n; i += WIDTH) {
        lanes const of = first_lanes(n - i);
        most = vec_max(vec_choose(of, load_lanes(v, DSV3_F32, i, of), most), most);
    }
    return vec_largest(most);
}

/* Where the first of the largest is; 0 if none is equal to itself. */
static inline int64_t first_largest(const float *v, int64_t n)
{
    vec const most = vec_of(largest_of(v, n));
    for (int64_t i = 0; i < n; i += WIDTH) {
        lanes const of = first_lanes(n - i), equal = vec_equal(load_lanes(v, DSV3_F32, i, of), most) & of;
        if (equal) return i + __builtin_ctz(equal);
    }
    return 0;
}

/* v[i] becomes e^(v[i] - shift); returns their sum, of sixteen lanes and a tree. exp 2 */
static inline float exponentials(float *v, int64_t n, float shift)
{
    vec sum = vec_of(0);
    for (int64_t i = 0; i < n; i += WIDTH) {
        lanes const of = first_lanes(n - i);
        vec const e = vec_exp(vec_sub(load_lanes(v, DSV3_F32, i, of), vec_of(shift)));
        store_lanes(v, DSV3_F32, i, of, e);
        sum = vec_add(sum, vec_choose(of, e, vec_of(0)));
    }
    return vec_sum(sum);
}

#endif
