/* What the C of kernels is made with (ptx2c.c). */
#ifndef TRANSLATED_H
#define TRANSLATED_H

#include "machine.h"
#include "opcodes.h"
#include "runtime.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What assert calls: its text is the first of five. */
static inline void assertion_failed(machine *m, uint8_t *const args[], int line)
{
    char why[300];
    const char *what;
    memcpy(&what, args[0], sizeof what);
    snprintf(why, sizeof why, "assertion failed: %.200s", what);
    machine_end(m, why, line);
}

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

/* rcp.approx.ftz.f64 and rsqrt have the upper 32 bits alone; subnormal numbers are 0. */
static inline double upper_half(double v)
{
    uint64_t const bits = bits_of_f64(v);
    if (v != v) return of_bits_f64(0x7fffffff00000000);
    return of_bits_f64(bits & ((bits << 1) >> 53 ? 0xffffffff00000000 : 0x8000000000000000));
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

/* clz.b32: 32 of 0. */
static inline uint32_t leading_zeros(uint32_t v)
{
    return v ? (uint32_t)__builtin_clz(v) : 32;
}

/* max and min of f32 or f64: of a NaN and a number the number, of two the canonical one; +0 is more than -0. */
static inline double max_of(double a, double b)
{
    if (a != a && b != b) return of_bits_f64(0x7fffffffffffffff);
    if (a != a || b != b) return a != a ? b : a;
    return a > b || (a == b && signbit(b)) ? a : b;
}

static inline double min_of(double a, double b)
{
    if (a != a && b != b) return of_bits_f64(0x7fffffffffffffff);
    if (a != a || b != b) return a != a ? b : a;
    return a < b || (a == b && signbit(a)) ? a : b;
}

/* div and rem, toward 0. By 0 PTX leaves the result open: all ones here. The smallest number by -1 wraps. */
static inline int64_t div_of_signed(int64_t a, int64_t b)
{
    return b == 0 ? -1 : b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}

static inline int64_t rem_of_signed(int64_t a, int64_t b)
{
    return b == 0 ? -1 : b == -1 ? 0 : a % b;
}

static inline uint64_t div_of_unsigned(uint64_t a, uint64_t b)
{
    return b == 0 ? ~0ull : a / b;
}

static inline uint64_t rem_of_unsigned(uint64_t a, uint64_t b)
{
    return b == 0 ? ~0ull : a % b;
}

/* bfi: the lowest `length` bits of a in the place of b's from `from` on; what lies beyond b's width is left out. */
static inline uint64_t inserted_bits(uint64_t a, uint64_t b, uint32_t from, uint32_t length, uint32_t width)
{
    uint32_t const at = from & 0xff, n = length & 0xff, left = at < width ? width - at : 0, kept = n < left ? n : left;
    uint64_t const mask = kept == 0 ? 0 : (kept == 64 ? ~0ull : (1ull << kept) - 1) << at;
    return kept ? (b & ~mask) | (a << at & mask) : b;
}

/* prmt.b32: bytes of a, then b, each chosen by four bits of `which`, whose highest asks for the sign alone. */
static inline uint32_t permuted_bytes(uint32_t a, uint32_t b, uint32_t which)
{
    uint64_t const all = (uint64_t)b << 32 | a;
    uint32_t out = 0;
    for (int i = 0; i < 4; i++, which >>= 4) {
        uint32_t const byte = (uint32_t)(all >> (which & 7) * 8) & 0xff;
        out |= (which & 8 ? (byte & 0x80 ? 0xffu : 0) : byte) << 8 * i;
    }
    return out;
}

/* cvt.rn.bf16.f32: to nearest, ties to even; a NaN is 0x7fff. */
static inline uint16_t bf16_of(float v)
{
    uint32_t const bits = bits_of_f32(v);
    return v != v ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
