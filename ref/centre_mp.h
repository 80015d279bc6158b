/*
 * The centre of a ball in a proof tier: an MPFR number of PROOF_BITS bits held by value, so that balls are copied like
 * numbers and nothing is ever freed. Same contract as centre_dd.h. Every operation rounds correctly to nearest: its
 * error is 0 when MPFR says exact, else at most 2^-PROOF_BITS of the result and 2^-1000.
 */
#ifndef CENTRE_MP_H
#define CENTRE_MP_H

#include <limits.h>
#include <math.h>
#include <mpfr.h>
#include <stdbool.h>

#if !defined(PROOF_BITS) || PROOF_BITS % 64
#error "compile with -DPROOF_BITS=<a multiple of 64>"
#endif

#define CENTRE_TEXT_(x) #x
#define CENTRE_TEXT(x)  CENTRE_TEXT_(x)
#define CENTRE_TIER     CENTRE_TEXT(PROOF_BITS)

enum { CENTRE_BITS = PROOF_BITS };

typedef struct {
    mp_limb_t limb[PROOF_BITS / 64];
    mpfr_exp_t exp;
    int kind;
} centre;

/* An mpfr_t that shares the limbs of c; written results go back with centre_keep. */
static inline void centre_view(mpfr_t m, const centre *c)
{
    mpfr_custom_init_set(m, c->kind, c->exp, PROOF_BITS, (void *)c->limb);
}

static inline void centre_blank(mpfr_t m, centre *c)
{
    *c = (centre){.kind = MPFR_ZERO_KIND};
    centre_view(m, c);
}

static inline double centre_keep(centre *c, mpfr_t m, int inexact)
{
    c->kind = mpfr_custom_get_kind(m);
    c->exp = mpfr_custom_get_exp(m);
    return inexact ? ldexp(fabs(mpfr_get_d(m, MPFR_RNDA)), -PROOF_BITS) + 0x1p-1000 : 0; /* never 0 by underflow */
}

static inline centre centre_of(double v)
{
    centre c;
    mpfr_t m;
    centre_blank(m, &c);
    mpfr_set_d(m, v, MPFR_RNDN);
    centre_keep(&c, m, 0);
    return c;
}

static inline bool centre_finite(centre a)
{
    mpfr_t m;
    centre_view(m, &a);
    return mpfr_number_p(m);
}

typedef int centre_operation(mpfr_ptr, mpfr_srcptr, mpfr_srcptr, mpfr_rnd_t);

static inline centre centre_apply(centre_operation *operation, const centre *a, const centre *b, double *err)
{
    centre c;
    mpfr_t m, ma, mb;
    centre_blank(m, &c);
    centre_view(ma, a);
    centre_view(mb, b);
    int const inexact = operation(m, ma, mb, MPFR_RNDN);
    *err += centre_keep(&c, m, inexact);
    return c;
}

typedef int centre_function(mpfr_ptr, mpfr_srcptr, mpfr_rnd_t);

static inline centre centre_map(centre_function *f, const centre *a, double *err)
{
    centre c;
    mpfr_t m, ma;
    centre_blank(m, &c);
    centre_view(ma, a);
    int const inexact = f(m, ma, MPFR_RNDN);
    *err += centre_keep(&c, m, inexact);
    return c;
}

static inline centre centre_neg(centre a)
{
    a.kind = -a.kind;
    return a;
}

static inline centre centre_add(centre a, centre b, double *err)
{
    return centre_apply(mpfr_add, &a, &b, err);
}

static inline centre centre_mul(centre a, centre b, double *err)
{
    return centre_apply(mpfr_mul, &a, &b, err);
}

static inline centre centre_guess_div(centre a, centre b)
{
    double ignored = 0;
    return centre_apply(mpfr_div, &a, &b, &ignored);
}

static inline centre centre_guess_sqrt(centre a)
{
    double ignored = 0;
    return centre_map(mpfr_sqrt, &a, &ignored);
}

static inline centre centre_exp(centre a, double *err)
{
    return centre_map(mpfr_exp, &a, err);
}

static inline centre centre_guess_log(centre a)
{
    double ignored = 0;
    return centre_map(mpfr_log, &a, &ignored);
}

static inline centre centre_pi(double *err)
{
    centre c;
    mpfr_t m;
    centre_blank(m, &c);
    *err += centre_keep(&c, m, mpfr_const_pi(m, MPFR_RNDN));
    return c;
}

/* hi: the nearest double; lo: the nearest double to what is left; rest >= |what is left then|. */
static inline void centre_split(centre a, double *hi, double *lo, double *rest)
{
    double ignored = 0;
    mpfr_t m;
    centre_view(m, &a);
    *hi = mpfr_get_d(m, MPFR_RNDN);
    centre const left = centre_add(a, centre_of(-*hi), &ignored); /* exact: the digits of hi vanish */
    centre_view(m, &left);
    *lo = mpfr_get_d(m, MPFR_RNDN);
    centre const last = centre_add(left, centre_of(-*lo), &ignored);
    centre_view(m, &last);
    *rest = fabs(mpfr_get_d(m, MPFR_RNDA));
}

static inline double centre_down(centre a)
{
    mpfr_t m;
    centre_view(m, &a);
    return mpfr_get_d(m, MPFR_RNDD);
}

static inline double centre_up(centre a)
{
    mpfr_t m;
    centre_view(m, &a);
    return mpfr_get_d(m, MPFR_RNDU);
}

static inline int centre_lsb(centre a)
{
    mpfr_t m;
    centre_view(m, &a);
    if (!mpfr_regular_p(m)) return INT_MAX;
    return (int)(mpfr_get_exp(m) - (mpfr_exp_t)mpfr_min_prec(m));
}

#endif
