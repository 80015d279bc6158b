/* Numbers of binary64 from their bits, where libm has a call. */
#ifndef BINARY64_H
#define BINARY64_H

#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* 2^e, as ldexp(1, e). */
static inline double two_to(int e)
{
    uint64_t const bits = (uint64_t)(e + 1023) << 52;
    double v;
    if (e < -1022 || e > 1023) return ldexp(1, e);
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* The double next to v, finite, above it; as nextafter(v, INFINITY). */
static inline double next_above(double v)
{
    int64_t bits;
    if (v == 0) return 0x1p-1074;
    memcpy(&bits, &v, sizeof bits);
    bits += v > 0 ? 1 : -1;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* 1, 0 or -1. */
static inline double signum(double v)
{
    return (double)((v > 0) - (v < 0));
}

/* The exponent q of the lowest set bit: v is an odd multiple of 2^q; INT_MAX for 0. */
static inline int double_lsb(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    int const e = (int)(bits >> 52 & 0x7ff);
    uint64_t const fraction = bits & 0xfffffffffffffu, digits = e ? fraction | 1ull << 52 : fraction;
    return digits ? (e ? e : 1) - 1075 + __builtin_ctzll(digits) : INT_MAX;
}

#endif
