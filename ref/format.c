/* Stored formats, from their definitions. Nothing here is shared with a port: a decoder on both sides would hide its own
 * mistakes. */
#include "binary64.h"
#include "ref.h"

#include <float.h>
#include <math.h>

typedef struct {
    const char *name;
    size_t size;
    int digits;     /* significand bits, the leading one included */
    int least;      /* exponent of the smallest normal */
    double largest; /* finite */
    int bias;
    int mantissa; /* stored bits */
} format;

static const format formats[DSV3_DTYPES] = {
    [DSV3_NONE] = {"none", 0, 0, 0, 0, 0, 0},
    [DSV3_F32] = {"f32", 4, 24, -126, FLT_MAX, 127, 23},
    [DSV3_BF16] = {"bf16", 2, 8, -126, 0x1.fep127, 127, 7},
    [DSV3_F8_E4M3] = {"f8_e4m3", 1, 4, -6, 448, 7, 3},
    [DSV3_I32] = {"i32", 4, 31, 30, 0x7fffffff, 0, 0},
    [DSV3_U8] = {"u8", 1, 8, 7, 255, 0, 0},
    [DSV3_F64] = {"f64", 8, 53, -1022, DBL_MAX, 1023, 52},
    [DSV3_F16] = {"f16", 2, 11, -14, 65504, 15, 10},
    [DSV3_I64] = {"i64", 8, 63, 62, 0x1p63, 0, 0},
};

size_t ref_dtype_size(dsv3_dtype d)
{
    return formats[d].size;
}

const char *ref_dtype_name(dsv3_dtype d)
{
    return formats[d].name;
}

dsv3_dtype ref_dtype_of(const char *name)
{
    for (int d = DSV3_NONE + 1; d < DSV3_DTYPES; d++)
        if (!strcmp(formats[d].name, name)) return (dsv3_dtype)d;
    return DSV3_NONE;
}

/* floor(log2 |v|) of a normal binary64 number; less than that of any for 0 and subnormal ones. */
static int exponent_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (int)(bits >> 52 & 0x7ff) - 1023;
}

/* Neighbouring values in the binade of v, which is finite, are 2^this apart. */
static int unit_exponent(const format *f, double v)
{
    int const e = exponent_of(v), exponent = e < f->least ? f->least : e;
    return exponent - f->digits + 1;
}

static double unit_at(const format *f, double v)
{
    return two_to(unit_exponent(f, v));
}

/* The whole number nearest to |v| < 2^52, of two the even one, with the sign of v. */
static double nearest_whole(double v)
{
    return copysign((fabs(v) + 0x1p52) - 0x1p52, v);
}

double ref_half_ulp(dsv3_dtype d, double v)
{
    return unit_at(&formats[d], v) / 2;
}

double ref_round(dsv3_dtype d, double v)
{
    const format *const f = &formats[d];
    if (!isfinite(v) || d == DSV3_F64) return v;
    int const unit = unit_exponent(f, v); /* products with powers of two are exact */
    double const rounded = nearest_whole(v * two_to(-unit)) * two_to(unit);
    if (fabs(rounded) > f->largest) return copysign(HUGE_VAL, v);
    return rounded;
}

double ref_truncate(dsv3_dtype d, double v)
{
    const format *const f = &formats[d];
    if (!isfinite(v)) return v;
    double const unit = unit_at(f, v);
    return copysign(fmin(fabs(trunc(v / unit) * unit), f->largest), v);
}

static uint32_t load(const void *data, size_t size, int64_t i)
{
    uint32_t bits = 0;
    memcpy(&bits, (const char *)data + (size_t)i * size, size);
    return bits;
}

double ref_decode(dsv3_dtype d, const void *data, int64_t i)
{
    const format *const f = &formats[d];
    double wide64;
    int64_t whole64;
    if (d == DSV3_F64) return memcpy(&wide64, (const char *)data + (size_t)i * sizeof wide64, sizeof wide64), wide64;
    if (d == DSV3_I64)
        return memcpy(&whole64, (const char *)data + (size_t)i * sizeof whole64, sizeof whole64), (double)whole64;
    uint32_t const bits = load(data, f->size, i);
    if (d == DSV3_I32) return (double)(int32_t)bits;
    if (d == DSV3_U8) return bits;
    int const sign_at = (int)f->size * 8 - 1;
    uint32_t const fraction = bits & ((1u << f->mantissa) - 1);
    int const top = (1 << (sign_at - f->mantissa)) - 1;
    int const exponent = (int)(bits >> f->mantissa) & top;
    double const sign = bits >> sign_at & 1 ? -1 : 1;
    if (d == DSV3_F8_E4M3) {
        if (exponent == top && fraction == 7) return (double)NAN;
    } else if (exponent == top) {
        return fraction ? (double)NAN : sign * HUGE_VAL;
    }
    if (exponent == 0) return sign * ldexp(fraction, f->least - f->mantissa);
    /* (1 + fraction / 2^mantissa) 2^(exponent - bias), written down as a binary64 */
    uint64_t const wide = (uint64_t)(exponent - f->bias + 1023) << 52 | (uint64_t)fraction << (52 - f->mantissa);
    double value;
    memcpy(&value, &wide, sizeof value);
    return sign * value;
}

/* Widening loops that need no aligned data: binary32 is what the processor's own float is, BF16 its upper half. */
static void widen_f32(const char *restrict from, int64_t n, double *restrict out)
{
    for (int64_t k = 0; k < n; k++) {
        float f;
        memcpy(&f, from + 4 * k, sizeof f);
        out[k] = (double)f;
    }
}

static void widen_bf16(const char *restrict from, int64_t n, double *restrict out)
{
    for (int64_t k = 0; k < n; k++) {
        uint16_t upper;
        float f;
        memcpy(&upper, from + 2 * k, sizeof upper);
        uint32_t const bits = (uint32_t)upper << 16;
        memcpy(&f, &bits, sizeof f);
        out[k] = (double)f;
    }
}

/* As ref_decode, n times. */
void ref_decode_all(dsv3_dtype d, const void *data, int64_t i, int64_t n, double *out)
{
    const char *const from = (const char *)data + (size_t)i * formats[d].size;
    if (d == DSV3_F32)
        widen_f32(from, n, out);
    else if (d == DSV3_BF16)
        widen_bf16(from, n, out);
    else
        for (int64_t k = 0; k < n; k++) out[k] = ref_decode(d, from, k);
}

/* The code of a value of the format. */
static uint32_t code_of(const format *f, bool fn, double v)
{
    int const sign_at = (int)f->size * 8 - 1;
    uint32_t const sign = signbit(v) ? 1u << sign_at : 0;
    uint32_t const exponents = ((1u << (sign_at - f->mantissa)) - 1) << f->mantissa;
    if (isnan(v)) return sign | exponents | (fn ? 7 : 1u << (f->mantissa - 1));
    if (isinf(v)) return fn ? sign | (exponents + 6) : sign | exponents;
    if (v == 0) return sign;
    int const e = exponent_of(v);
    if (e < f->least) return sign | (uint32_t)(fabs(v) * two_to(f->mantissa - f->least));
    uint32_t const fraction = (uint32_t)(fabs(v) * two_to(f->mantissa - e)) - (1u << f->mantissa);
    return sign | (uint32_t)(e + f->bias) << f->mantissa | fraction;
}

/* A number of the format's normal range, rounded: its binary64 bits to the place of the last stored one, of two the even one. A carry
 * is right in the exponent. */
static uint32_t code_of_normal(const format *f, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    int const dropped = 52 - f->mantissa;
    uint64_t const size = bits & UINT64_MAX >> 1, half = ((uint64_t)1 << (dropped - 1)) - 1 + (size >> dropped & 1);
    uint32_t const sign = (uint32_t)(bits >> 63) << (f->size * 8 - 1);
    return sign | (uint32_t)(((size + half) >> dropped) - ((uint64_t)(1023 - f->bias) << f->mantissa));
}

static uint32_t encoded(dsv3_dtype d, double v)
{
    const format *const f = &formats[d];
    bool const whole = d == DSV3_I32 || d == DSV3_U8, normal = fabs(v) >= two_to(f->least) && fabs(v) <= f->largest;
    if (normal && !whole) return code_of_normal(f, v);
    double const rounded = ref_round(d, v);
    return whole ? (uint32_t)(int32_t)rounded : code_of(f, d == DSV3_F8_E4M3, rounded);
}

void ref_encode(dsv3_dtype d, void *data, int64_t i, double v)
{
    if (d == DSV3_F64) {
        memcpy((char *)data + (size_t)i * sizeof v, &v, sizeof v);
        return;
    }
    if (d == DSV3_I64) { /* of a number below 2^52 */
        int64_t const whole = (int64_t)ref_round(d, v);
        memcpy((char *)data + (size_t)i * sizeof whole, &whole, sizeof whole);
        return;
    }
    uint32_t const bits = encoded(d, v);
    switch (formats[d].size) {
    case 1: memcpy((char *)data + i, &bits, 1); return;
    case 2: memcpy((char *)data + 2 * i, &bits, 2); return;
    default: memcpy((char *)data + 4 * i, &bits, 4);
    }
}

/* hi - d or hi + d, rounded outward; d may be negative. */
static double outward(double hi, double d, double direction)
{
    double const far = d + fabs(d) * 0x1p-50;
    return nextafter(direction < 0 ? hi - far : hi + far, direction);
}

double ref_lower(ref_value v)
{
    if (isinf(v.radius)) return -INFINITY;
    if (v.radius == 0 && v.lo == 0) return v.hi;
    return outward(v.hi, v.radius - v.lo, -INFINITY);
}

double ref_upper(ref_value v)
{
    if (isinf(v.radius)) return INFINITY;
    if (v.radius == 0 && v.lo == 0) return v.hi;
    return outward(v.hi, v.radius + v.lo, INFINITY);
}
