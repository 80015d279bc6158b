/* See tensor.h. */
#include "tensor.h"

#include <math.h>
#include <string.h>

enum { MOST_PRODUCTS = 32, LEAST_EXPONENT = -126, ONE = 23 /* fraction bits of binary32 */ };

static const uint32_t NO_NUMBER = 0x7fffffff, INFINITE = 0x7f800000;

/* ---- numbers ---- */

typedef enum { FINITE, INFINITY_, NAN_ } kind;

/* significand 2^(exponent - bits), bits those of the format; significand 0: zero. */
typedef struct {
    int64_t significand; /* with the sign */
    int exponent;
    kind kind;
} number;

typedef struct {
    int exponent, mantissa; /* bits */
    bool has_infinity;
} layout;

static layout const layout_of[] = {
    [CODE_F16] = {5, 10, true}, [CODE_BF16] = {8, 7, true}, [CODE_E4M3] = {4, 3, false}, [CODE_E5M2] = {5, 2, true}};
static layout const BINARY32 = {8, ONE, true};

static number number_of(layout f, uint32_t code)
{
    int const most = (1 << f.exponent) - 1, bias = most >> 1, e = (int)(code >> f.mantissa) & most;
    uint32_t const fraction = code & ((1U << f.mantissa) - 1), all = (1U << f.mantissa) - 1;
    bool const negative = code >> (f.mantissa + f.exponent) & 1;
    if (e == most && f.has_infinity) return (number){negative ? -1 : 1, 0, fraction ? NAN_ : INFINITY_};
    if (e == most && fraction == all) return (number){1, 0, NAN_};
    int64_t const significand = e ? fraction | 1U << f.mantissa : fraction;
    return (number){negative ? -significand : significand, (e ? e : 1) - bias, FINITE};
}

/* ---- one step ---- */

/* How a unit sums: terms are cut `below` bits under the largest; the result keeps so many fraction bits; products a step. */
typedef struct {
    int below, fraction, step;
    bool from_zero; /* FP8 as f16: steps begin at 0, and their sum is added to c, to nearest */
} rule;

static rule rule_of(const tensor_unit *u)
{
    bool const f8 = u->code == CODE_E4M3 || u->code == CODE_E5M2;
    switch (u->gpu) {
    case GPU_AMPERE: return (rule){24, ONE, 8, false};
    case GPU_ADA: return f8 ? (rule){13, 13, 16, false} : (rule){24, ONE, 8, false};
    case GPU_HOPPER:
        if (!f8) return (rule){25, ONE, 16, false};
        return u->wgmma ? (rule){13, 13, 32, false} : (rule){25, ONE, 16, true};
    case GPU_BLACKWELL: break;
    }
    return (rule){25, ONE, 32, false};
}

bool tensor_has(const tensor_unit *u)
{
    bool const f8 = u->code == CODE_E4M3 || u->code == CODE_E5M2;
    if (u->wgmma) return u->gpu == GPU_HOPPER;
    return !f8 || u->gpu != GPU_AMPERE;
}

/* What a sum is where a term is none of the finite numbers; false: all are finite. */
static bool is_special(const number *a, const number *b, int k, number c, uint32_t *bits)
{
    int plus = c.kind == INFINITY_ && c.significand > 0, minus = c.kind == INFINITY_ && c.significand < 0;
    bool none = c.kind == NAN_;
    for (int i = 0; i < k; i++) {
        if (a[i].kind == FINITE && b[i].kind == FINITE) continue;
        bool const negative = (a[i].significand < 0) != (b[i].significand < 0);
        none |= a[i].kind == NAN_ || b[i].kind == NAN_ || !a[i].significand || !b[i].significand;
        *(negative ? &minus : &plus) += 1;
    }
    *bits = none || (plus && minus) ? NO_NUMBER : plus ? INFINITE : INFINITE | 1U << 31;
    return none || plus || minus;
}

/* significand 2^place, cut toward zero at so many fraction bits. */
static uint32_t cut(int64_t significand, int place, int fraction)
{
    uint32_t const sign = significand < 0 ? 1U << 31 : 0;
    uint64_t m = (uint64_t)(significand < 0 ? -significand : significand);
    if (!m) return 0;
    int const top = 63 - __builtin_clzll(m), exponent = top + place;
    if (exponent > 127) return sign | INFINITE;
    int const last = exponent < LEAST_EXPONENT ? LEAST_EXPONENT - ONE : exponent - ONE; /* place of the last bit */
    int const shift = last - place;
    m = shift > 63 ? 0 : shift >= 0 ? m >> shift : m << -shift;
    if (exponent >= LEAST_EXPONENT)
        m += (uint64_t)(exponent - LEAST_EXPONENT) << ONE; /* with the leading bit: exponent + 127 */
    return sign | ((uint32_t)m & ~((1U << (ONE - fraction)) - 1));
}

/* In units of 2^place, toward zero. */
static int64_t aligned(int64_t significand, int last, int place)
{
    int const shift = last - place;
    if (shift >= 0) return significand << shift;
    int64_t const m = significand < 0 ? -significand : significand, kept = shift < -62 ? 0 : m >> -shift;
    return significand < 0 ? -kept : kept;
}

static uint32_t step(const rule *r, int mantissa, const number *a, const number *b, int k, uint32_t c)
{
    number const before = number_of(BINARY32, c);
    int64_t product[MOST_PRODUCTS], sum = 0;
    int exponent[MOST_PRODUCTS], most = before.significand ? before.exponent : LEAST_EXPONENT;
    uint32_t special;
    if (is_special(a, b, k, before, &special)) return special;
    for (int i = 0; i < k; i++) {
        product[i] = a[i].significand * b[i].significand;
        exponent[i] = product[i] ? a[i].exponent + b[i].exponent : LEAST_EXPONENT;
        if (exponent[i] > most) most = exponent[i];
    }
    int const place = most - r->below;
    for (int i = 0; i < k; i++) sum += aligned(product[i], exponent[i] - 2 * mantissa, place);
    return cut(sum + aligned(before.significand, before.exponent - ONE, place), place, r->fraction);
}

/* ---- products of matrices ---- */

static float float_of(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static uint32_t bits_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return isnan(v) ? NO_NUMBER : bits;
}

static uint32_t sum_of(const rule *r, int mantissa, const number *a, const number *b, int k, uint32_t c)
{
    uint32_t sum = r->from_zero ? 0 : c;
    for (int i = 0; i < k; i += r->step) sum = step(r, mantissa, a + i, b + i, k - i < r->step ? k - i : r->step, sum);
    return r->from_zero ? bits_of(float_of(c) + float_of(sum)) : sum;
}

/* On Hopper FP8 by mma.sync is two steps by f16: of the first and of the second two in each four. (E4M3's subnormal numbers are normal
 * there, which makes no difference: where they could be the largest nothing is cut.) */
static int place_of(const rule *r, int i, int k)
{
    return r->from_zero ? i / 2 % 2 * (k / 2) + i / 4 * 2 + i % 2 : i;
}

static void decode(const tensor_unit *u, const rule *r, const uint8_t *row, number out[MOST_PRODUCTS])
{
    layout const f = layout_of[u->code];
    bool const bytes = f.exponent + f.mantissa < 8;
    for (int i = 0; i < u->k; i++) {
        uint32_t const code = bytes ? row[i] : (uint32_t)(row[2 * i] | row[2 * i + 1] << 8);
        out[place_of(r, i, u->k)] = number_of(f, code);
    }
}

void tensor_multiply(const tensor_unit *u, int rows, int columns, const uint8_t *a, const uint8_t *b, const uint32_t *c,
                     uint32_t *d)
{
    rule const r = rule_of(u);
    number row[MOST_PRODUCTS], column[256][MOST_PRODUCTS];
    for (int j = 0; j < columns; j++) decode(u, &r, b + j * TENSOR_DEPTH, column[j]);
    for (int i = 0; i < rows; i++) {
        decode(u, &r, a + i * TENSOR_DEPTH, row);
        for (int j = 0; j < columns; j++)
            d[i * columns + j] = sum_of(&r, layout_of[u->code].mantissa, row, column[j], u->k, c[i * columns + j]);
    }
}
