/* Numbers of binary64 from their bits, where libm has a call. */
#ifndef BINARY64_H
#define BINARY64_H

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

#endif
