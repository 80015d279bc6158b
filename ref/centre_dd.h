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

#include <limits.h>
#include <math.h>
#include <stdbool.h>

typedef struct {
    double hi, lo;
} centre;

#define CENTRE_TIER "dd"

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

/* Lemma DD-mul: two points of one word multiply exactly, underflow aside; else the error is at most 9 * 2^-106 |ab|. */
static inline centre centre_mul(centre a, centre b, double *err)
{
    centre const p = two_prod(a.hi, b.hi);
    bool const normal = fabs(p.hi) >= 0x1p-900 || a.hi == 0 || b.hi == 0;
    if (a.lo == 0 && b.lo == 0 && normal) return p;
    centre const c = fast_two_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
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
    return a.lo < 0 ? nextafter(a.hi, -INFINITY) : a.hi;
}

static inline double centre_up(centre a)
{
    return a.lo > 0 ? nextafter(a.hi, INFINITY) : a.hi;
}

/* The exponent q of the lowest set bit: a is an odd multiple of 2^q; INT_MAX for 0. */
static inline int double_lsb(double v)
{
    if (v == 0) return INT_MAX;
    int e;
    double const m = frexp(v, &e);
    long long const digits = (long long)(m * 0x1p53);
    return e - 53 + __builtin_ctzll((unsigned long long)digits);
}

static inline int centre_lsb(centre a)
{
    return double_lsb(a.lo != 0 ? a.lo : a.hi);
}

#endif
