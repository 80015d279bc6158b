/*
 * The centre of a ball in the working tier: a double-double, the unevaluated sum hi + lo of two binary64 numbers with
 * hi = RN(hi + lo), hence |lo| <= 2^-53 |hi|; about 106 bits.
 *
 * Each operation returns the centre and adds to *err a bound on |returned - exact|, 0 when exact. Lemmas named here are
 * proved in docs/numerics.md. Bounds ignore underflow below 2^-1000; the ball adds 2^-1000 to every radius that isn't
 * exactly 0. Overflow gives a centre that isn't finite, which the ball turns into "any value".
 */
#ifndef CENTRE_DD_H
#define CENTRE_DD_H

#include "binary64.h"
#include "kernel.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

typedef struct {
    double hi, lo;
} centre;

#define CENTRE_TIER "dd"

enum { CENTRE_BITS = 106 };

/* Lemma TwoSum (Knuth): hi + lo = a + b exactly, hi = RN(a + b). */
static inline centre two_sum(double a, double b)
{
    double const s = a + b;
    double const t = s - a;
    return (centre){s, (a - (s - t)) + (b - t)};
}

/* Lemma FastTwoSum (Dekker): the same for |a| >= |b| or a = 0. */
static inline centre fast_two_sum(double a, double b)
{
    double const s = a + b;
    return (centre){s, b - (s - a)};
}

/* Lemma TwoProd: hi + lo = a * b exactly when |a * b| >= 2^-900 or a factor is 0. */
static inline centre two_prod(double a, double b)
{
    double const p = a * b;
    return (centre){p, fma(a, b, -p)};
}

static inline centre centre_of(double v)
{
    return (centre){v, 0};
}

static inline bool centre_finite(centre a)
{
    return isfinite(a.hi) && isfinite(a.lo);
}

static inline centre centre_neg(centre a)
{
    return (centre){-a.hi, -a.lo};
}

/* Lemma DD-add: two points of one word add exactly; else the relative error is at most 2^-104. */
static inline centre centre_add(centre a, centre b, double *err)
{
    centre const s = two_sum(a.hi, b.hi);
    if (a.lo == 0 && b.lo == 0) return s;
    centre const t = two_sum(a.lo, b.lo);
    centre const v = fast_two_sum(s.hi, s.lo + t.hi);
    centre const c = fast_two_sum(v.hi, v.lo + t.lo);
    *err += 0x1p-104 * fabs(c.hi);
    return c;
}

static inline centre mul_dd(centre a, centre b)
{
    centre const p = two_prod(a.hi, b.hi);
    return fast_two_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}

/* Lemma DD-mul: two points of one word multiply exactly, underflow aside; else the error is at most 9 * 2^-106 |ab|. */
static inline centre centre_mul(centre a, centre b, double *err)
{
    centre const p = two_prod(a.hi, b.hi);
    bool const normal = fabs(p.hi) >= 0x1p-900 || a.hi == 0 || b.hi == 0;
    if (a.lo == 0 && b.lo == 0 && normal) return p;
    centre const c = mul_dd(a, b);
    *err += 0x1.3p-103 * fabs(c.hi) + 0x1p-1000;
    return c;
}

/* A good guess of a / b; nothing is claimed of it: the ball certifies it by its residual. */
static inline centre centre_guess_div(centre a, centre b)
{
    double ignored = 0;
    double const q1 = a.hi / b.hi;
    centre const r1 = centre_add(a, centre_neg(centre_mul(b, centre_of(q1), &ignored)), &ignored);
    double const q2 = r1.hi / b.hi;
    centre const r2 = centre_add(r1, centre_neg(centre_mul(b, centre_of(q2), &ignored)), &ignored);
    centre const q = fast_two_sum(q1, q2);
    return fast_two_sum(q.hi, q.lo + r2.hi / b.hi);
}

/* A good guess of sqrt(a), a > 0, likewise. */
static inline centre centre_guess_sqrt(centre a)
{
    double ignored = 0;
    double const s = sqrt(a.hi);
    if (s == 0) return centre_of(0);
    centre const r = centre_add(a, centre_neg(two_prod(s, s)), &ignored);
    return fast_two_sum(s, r.hi / (2 * s));
}

/* The nearest double, and what is left of it. */
static inline void centre_split(centre a, double *hi, double *lo, double *rest)
{
    *hi = a.hi;
    *lo = a.lo;
    *rest = 0;
}

static inline double centre_down(centre a)
{
    return a.lo < 0 ? -next_above(-a.hi) : a.hi;
}

static inline double centre_up(centre a)
{
    return a.lo > 0 ? next_above(a.hi) : a.hi;
}

/* c + p r, |c| larger. */
static inline centre horner_dd(centre c, centre p, centre r)
{
    centre const m = mul_dd(p, r), s = fast_two_sum(c.hi, m.hi);
    return fast_two_sum(s.hi, s.lo + (c.lo + m.lo));
}

/* Lemma Exp: e^x for |x.hi| <= 700 within 2^-95 of it. x = k ln2/128 + r, k = 128 e + j: e^x = 2^e 2^(j/128) e^r. No branch. */
static inline centre exp_dd(centre x)
{
    static const double ln2_hi = 0x1.62e42fef8p-8, ln2_mid = 0x1.1cf79abc8p-43, ln2_lo = 0x1.e3b39803f2f6bp-79;
    double const magic = 0x1.8p52; /* added: the sum is rounded to a whole number, which its last bits hold */
    double const shifted = x.hi * 0x1.71547652b82fep+7 + magic, k = shifted - magic;
    int64_t n, bits;
    memcpy(&n, &shifted, sizeof n);
    memcpy(&bits, &magic, sizeof bits);
    n -= bits;
    centre r = two_sum(x.hi - k * ln2_hi, -(k * ln2_mid));
    r = two_sum(r.hi, r.lo + (x.lo - k * ln2_lo));
    double q = 0x1.27e4fb7789f5cp-22; /* 1/10! */
    q = q * r.hi + 0x1.71de3a556c734p-19;
    q = q * r.hi + 0x1.a01a01a01a01ap-16;
    q = q * r.hi + 0x1.a01a01a01a01ap-13;
    q = q * r.hi + 0x1.6c16c16c16c17p-10;
    centre p = fast_two_sum(0x1.1111111111111p-7, q * r.hi); /* 1/5! */
    p = fast_two_sum(p.hi, p.lo + 0x1.1111111111111p-63);
    p = horner_dd((centre){0x1.5555555555555p-5, 0x1.5555555555555p-59}, p, r); /* 1/4!, then 1/3!, ... */
    p = horner_dd((centre){0x1.5555555555555p-3, 0x1.5555555555555p-57}, p, r);
    p = horner_dd((centre){0.5, 0}, p, r);
    p = horner_dd((centre){1, 0}, p, r);
    centre const power = {exp2_table[n & 127][0], exp2_table[n & 127][1]};
    centre const m = mul_dd(power, mul_dd(p, r)), s = fast_two_sum(power.hi, m.hi);
    centre const y = fast_two_sum(s.hi, s.lo + (power.lo + m.lo));
    double scale;
    bits = ((n >> 7) + 1023) * ((int64_t)1 << 52);
    memcpy(&scale, &bits, sizeof scale);
    return (centre){y.hi * scale, y.lo * scale};
}

static inline centre centre_exp(centre a, double *err)
{
    if (a.hi > 700) return centre_of(INFINITY);
    *err += 0x1p-1000;
    if (a.hi < -700) return centre_of(0);
    centre const y = exp_dd(a);
    *err += 0x1p-95 * y.hi;
    return y;
}

/* A guess of ln a, a > 0. */
static inline centre centre_guess_log(centre a)
{
    double ignored = 0;
    double const y = log(a.hi);
    centre const back = centre_exp(centre_of(-y), &ignored); /* ln a = y + ln(a e^-y) */
    centre const w = centre_add(centre_mul(a, back, &ignored), centre_of(-1), &ignored);
    double const square = w.hi * w.hi;
    return centre_add(centre_of(y), centre_add(w, centre_of(-square / 2 + square * w.hi / 3), &ignored), &ignored);
}

static inline centre centre_pi(double *err)
{
    *err += 0x1p-107;
    return (centre){0x1.921fb54442d18p+1, 0x1.1a62633145c07p-53};
}

static inline int centre_lsb(centre a)
{
    return double_lsb(a.lo != 0 ? a.lo : a.hi);
}

#endif
