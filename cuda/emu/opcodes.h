/* What opcodes of other people's kernels compute (ptx2c.c): approximations, conversions, half formats, bits. An approximation is the
 * nearest value here, and within what the ISA allows on a device. Source: NVIDIA, PTX ISA 9.0, 9.7.1 to 9.7.9. */
#ifndef OPCODES_H
#define OPCODES_H

#include "machine.h"

#include <fenv.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* .ftz: a subnormal number is a zero of its sign. */
static inline float flushed(float v)
{
    return fabsf(v) < 0x1p-126f ? copysignf(0, v) : v;
}

/* .sat: to [0, 1]; a NaN is +0. */
static inline double saturated(double v)
{
    return v >= 1 ? 1 : v > 0 ? v : 0;
}

/* ---- approximations ---- */

static inline float approx_ex2(float v)
{
    return (float)exp2((double)v);
}

static inline float approx_lg2(float v)
{
    return (float)log2((double)v);
}

static inline float approx_rcp(float v)
{
    return 1 / v;
}

static inline float approx_rsqrt(float v)
{
    return (float)(1 / sqrt((double)v));
}

static inline float approx_sqrt(float v)
{
    return sqrtf(v);
}

static inline float approx_sin(float v)
{
    return (float)sin((double)v);
}

static inline float approx_cos(float v)
{
    return (float)cos((double)v);
}

static inline float approx_tanh(float v)
{
    return (float)tanh((double)v);
}

/* ---- rounding in another direction: .rz, .rm, .rp ---- */

enum { DIRECTED_ADD, DIRECTED_MUL, DIRECTED_FMA };

/* What is volatile stays where it is written, between the two changes of the direction. */
static __attribute__((noinline, unused)) float directed_f32(int mode, int what, float a, float b, float c)
{
    volatile float x = a, y = b, z = c;
    fesetround(mode);
    volatile float const v = what == DIRECTED_ADD ? x + y : what == DIRECTED_MUL ? x * y : fmaf(x, y, z);
    fesetround(FE_TONEAREST);
    return v;
}

static __attribute__((noinline, unused)) double directed_f64(int mode, int what, double a, double b, double c)
{
    volatile double x = a, y = b, z = c;
    fesetround(mode);
    volatile double const v = what == DIRECTED_ADD ? x + y : what == DIRECTED_MUL ? x * y : fma(x, y, z);
    fesetround(FE_TONEAREST);
    return v;
}

/* ---- conversions ---- */

/* A whole v as so many bits have it: the nearest that there is; a NaN is 0. */
static inline int64_t clamped_signed(double v, int bits)
{
    double const most = ldexp(1, bits - 1);
    int64_t const last = (int64_t)(((uint64_t)1 << (bits - 1)) - 1);
    return v != v ? 0 : v >= most ? last : v < -most ? -last - 1 : (int64_t)v;
}

static inline uint64_t clamped_unsigned(double v, int bits)
{
    return !(v > 0) ? 0 : v >= ldexp(1, bits) ? ~(uint64_t)0 >> (64 - bits) : (uint64_t)v;
}

/* IEEE binary16, of a number that isn't a NaN: its bits are made by hand, so that no compiler is asked for the format. */
static inline uint16_t half_of(double v)
{
    uint16_t const sign = signbit(v) ? 0x8000 : 0;
    double const size = fabs(v);
    int exponent;
    if (v != v) return 0x7fff;
    if (size >= 65520) return sign | 0x7c00;
    if (size < 0x1p-14) return sign | (uint16_t)rint(size * 0x1p24);
    frexp(size, &exponent); /* size = m 2^exponent, 1/2 <= m < 1 */
    uint32_t const m = (uint32_t)rint(ldexp(size, 11 - exponent));
    return sign | (uint16_t)(m + ((uint32_t)(exponent + 13) << 10));
}

static inline float of_half(uint16_t bits)
{
    int const exponent = bits >> 10 & 31, m = bits & 1023;
    uint32_t const none = 0x7fffffff; /* of all NaNs */
    float nan;
    memcpy(&nan, &none, sizeof nan);
    if (exponent == 31 && m) return nan;
    float const size =
        exponent == 31 ? INFINITY : ldexpf((float)(exponent ? 1024 + m : m), exponent ? exponent - 25 : -24);
    return bits & 0x8000 ? -size : size;
}

static inline float of_bf16(uint16_t bits)
{
    uint32_t const all = (uint32_t)bits << 16;
    float v;
    memcpy(&v, &all, sizeof v);
    return v;
}

/* To nearest, once, of a double. */
static inline uint16_t bf16_of_double(double v)
{
    float near = (float)v;
    uint32_t bits;
    memcpy(&bits, &near, sizeof bits);
    if (v != v) return 0x7fff;
    if (fabs((double)near) > fabs(v)) bits--; /* cut, then what was cut is remembered in the last bit */
    memcpy(&near, &bits, sizeof near);
    if ((double)near != v) bits |= 1;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* a b + c of half formats in double: cut, with what was cut remembered in the last bit, so that the next rounding is the only one. */
static inline double odd_fma(double a, double b, double c)
{
    double const product = a * b, sum = product + c, part = sum - product;
    double const lost = (product - (sum - part)) + (c - part);
    uint64_t bits;
    if (lost == 0 || sum != sum || isinf(sum)) return sum;
    memcpy(&bits, &sum, sizeof bits);
    if (!(bits & 1)) bits += (lost > 0) == (sum > 0) ? 1 : (uint64_t)-1;
    double odd;
    memcpy(&odd, &bits, sizeof odd);
    return odd;
}

/* ---- bits ---- */

static inline uint32_t reversed_bits(uint32_t v)
{
    uint32_t out = 0;
    for (int i = 0; i < 32; i++) out |= (v >> i & 1) << (31 - i);
    return out;
}

/* bfe: `length` bits from `from` on; of a signed type the last of them is what is above. */
static inline uint64_t extracted_bits(uint64_t a, uint32_t from, uint32_t length, int width, bool is_signed)
{
    int const at = (int)(from & 255), n = (int)(length & 255), last = at + n - 1 < width - 1 ? at + n - 1 : width - 1;
    uint64_t const sign = is_signed && n ? a >> last & 1 : 0;
    uint64_t out = 0;
    for (int i = 0; i < width; i++) out |= (i < n && at + i < width ? a >> (at + i) & 1 : sign) << i;
    return out;
}

static inline uint32_t funnel_left(uint32_t a, uint32_t b, uint32_t n)
{
    return (uint32_t)(((uint64_t)b << 32 | a) << n >> 32);
}

static inline uint32_t funnel_right(uint32_t a, uint32_t b, uint32_t n)
{
    return (uint32_t)(((uint64_t)b << 32 | a) >> n);
}

/* lop3: bit by bit, the entry of `table` that a, b and c choose. */
static inline uint32_t logic_of_three(uint32_t a, uint32_t b, uint32_t c, uint32_t table)
{
    uint32_t out = 0;
    for (int i = 0; i < 32; i++) out |= (table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)) & 1) << i;
    return out;
}

/* ---- warps ---- */

/* vote.sync.ballot: the lanes of the mask that say so. */
static inline uint32_t warp_ballot(machine *m, bool says, uint32_t mask, int line)
{
    uint32_t out = 0;
    for (uint32_t lane = 0; lane < 32; lane++)
        if (mask >> lane & 1) out |= machine_shfl(m, SHFL_IDX, says, lane, 31, mask, NULL, line) << lane;
    return out;
}

/* match.any.sync: the lanes of the mask that have the same value; match.all.sync: all of them, or none. */
static inline uint32_t warp_match(machine *m, bool all, uint64_t v, uint32_t mask, int line)
{
    uint32_t out = 0;
    for (uint32_t lane = 0; lane < 32; lane++) {
        if (!(mask >> lane & 1)) continue;
        uint32_t const low = machine_shfl(m, SHFL_IDX, (uint32_t)v, lane, 31, mask, NULL, line);
        uint32_t const high = machine_shfl(m, SHFL_IDX, (uint32_t)(v >> 32), lane, 31, mask, NULL, line);
        out |= (uint32_t)(low == (uint32_t)v && high == v >> 32) << lane;
    }
    return all && out != mask ? 0 : out;
}

/* %warpid, %laneid and %lanemask: threads are numbered by x, then y, then z. */
static inline uint32_t place_in_block(const machine *m)
{
    const place *const p = machine_place(m);
    return p->tid[0] + p->ntid[0] * (p->tid[1] + p->ntid[1] * p->tid[2]);
}

static inline uint32_t lane_bit(const machine *m)
{
    return 1u << place_in_block(m) % 32;
}

static inline uint32_t threads_of_block(const machine *m)
{
    const place *const p = machine_place(m);
    return p->ntid[0] * p->ntid[1] * p->ntid[2];
}

static inline uint32_t warps_of_block(const machine *m)
{
    return (threads_of_block(m) + 31) / 32;
}

/* dp4a: four products of bytes and c. */
static inline uint32_t four_products(uint32_t a, uint32_t b, uint32_t c, bool a_signed, bool b_signed)
{
    for (int i = 0; i < 32; i += 8) {
        uint8_t const x = (uint8_t)(a >> i), y = (uint8_t)(b >> i);
        c += (uint32_t)((a_signed ? (int8_t)x : (int)x) * (b_signed ? (int8_t)y : (int)y));
    }
    return c;
}

enum { REDUX_ADD, REDUX_AND, REDUX_OR, REDUX_XOR, REDUX_MIN, REDUX_MAX };

/* redux.sync, over the lanes of the mask. */
static inline uint32_t warp_redux(machine *m, int what, bool is_signed, uint32_t v, uint32_t mask, int line)
{
    uint32_t const flip = is_signed ? 0x80000000 : 0; /* so that unsigned order is theirs */
    uint32_t out = what == REDUX_AND || what == REDUX_MIN ? ~0u : 0;
    for (uint32_t lane = 0; lane < 32; lane++) {
        if (!(mask >> lane & 1)) continue;
        uint32_t const other = machine_shfl(m, SHFL_IDX, v, lane, 31, mask, NULL, line), at = other ^ flip;
        out = what == REDUX_ADD   ? out + other
              : what == REDUX_AND ? out & other
              : what == REDUX_OR  ? out | other
              : what == REDUX_XOR ? out ^ other
              : what == REDUX_MIN ? (at < out ? at : out)
                                  : (at > out ? at : out);
    }
    return what >= REDUX_MIN ? out ^ flip : out;
}

#endif
