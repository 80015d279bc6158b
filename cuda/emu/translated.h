/* What the C of kernels is made with (ptx2c.c). */
#ifndef TRANSLATED_H
#define TRANSLATED_H

#include "machine.h"
#include "runtime.h"

#include <math.h>
#include <string.h>

static inline float of_bits_f32(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline uint32_t bits_of_f32(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline double of_bits_f64(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline uint64_t bits_of_f64(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* setp.ne: false if one is a NaN. */
static inline bool is_apart(double a, double b)
{
    return a < b || a > b;
}

/* setp.nan: is one a NaN? */
static inline bool is_unordered(double a, double b)
{
    return a != a || b != b;
}

/* max and min: of a NaN and a number the number; -0 is below +0. */
static inline double larger_f64(double a, double b)
{
    if (a != a || b != b) return a != a ? b : a;
    return a > b || (a == b && !signbit(a)) ? a : b;
}

static inline double smaller_f64(double a, double b)
{
    return -larger_f64(-a, -b);
}

static inline float larger_f32(float a, float b)
{
    return (float)larger_f64(a, b);
}

static inline float smaller_f32(float a, float b)
{
    return (float)smaller_f64(a, b);
}

/* clz.b32: 32 of 0. */
static inline uint32_t leading_zeros(uint32_t v)
{
    return v ? (uint32_t)__builtin_clz(v) : 32;
}

/* cvt.rn.bf16.f32: to nearest, ties to even; a NaN is 0x7fff. */
static inline uint16_t bf16_of(float v)
{
    uint32_t const bits = bits_of_f32(v);
    return v != v ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
