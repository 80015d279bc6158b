/*
 * A ball is a centre and a radius: it stands for every real number within radius of the centre. Each function returns
 * a ball that contains the result for every choice of points in its arguments; that is its whole contract.
 *
 * The radius is a double, rounded up. A radius of 0 is a proof that the centre is the exact value. An infinite radius
 * means "any value, infinity and NaN included". The centre is a double-double in the working tier and an MPFR number in
 * the proof tiers: this header and every file that includes it compile once per tier, unchanged.
 */
#ifndef BALL_H
#define BALL_H

#ifdef PROOF_BITS
#include "centre_mp.h"
#else
#include "centre_dd.h"
#endif

#include <stdint.h>

typedef struct {
    centre c;
    double r;
} ball;

ball ball_of(double v); /* v must not be NaN or infinite: that is any */
ball ball_any(void);
bool ball_is_any(ball a);
bool ball_is_point(ball a); /* radius 0 */

ball ball_neg(ball a);
ball ball_add(ball a, ball b);
ball ball_sub(ball a, ball b);
ball ball_mul(ball a, ball b);
ball ball_div(ball a, ball b); /* b contains 0: any */
ball ball_sqrt(ball a);        /* of the points >= 0; none: any */
ball ball_rsqrt(ball a);       /* 1 / sqrt(a); a point <= 0: any */
ball ball_exp(ball a);
ball ball_log(ball a);     /* a point <= 0: any */
ball ball_sigmoid(ball a); /* 1 / (1 + e^-a) */
ball ball_pi(void);

/* cos and sin of `turns` whole turns, |turns| <= 2^20. */
void ball_cos_sin(ball turns, ball *cosine, ball *sine);

ball ball_widen(ball a, double radius); /* radius >= 0 is added */
ball ball_hull(double lo, double hi);   /* the interval; lo == hi gives a point */

double ball_lower(ball a); /* a double below every point */
double ball_upper(ball a); /* a double above every point */
double ball_sup(ball a);   /* a double above every |point| */

/* The decimal that prints as v: 1e-6 stands for 10^-6, not for the double nearest to it. */
ball ball_decimal(double v);

/* e^x of each of n balls, in place. */
void ball_exp_all(ball *x, int64_t n);

/*
 * A sum and what is known of its terms: what rounding may do to it depends on these, not on the sum alone.
 */
typedef struct {
    ball total;
    double sum_abs; /* >= sum of |term|, for every point of the terms */
    int lsb;        /* every term is a multiple of 2^lsb; INT_MIN when that isn't known */
    int64_t n;      /* terms */
    double flushed; /* >= what the sum changes by when subnormal binary32 factors count as 0 */
} terms;

terms terms_none(void);
void terms_add(terms *sum, ball term);

/*
 * A vector prepared for ball_dot. The arrays belong to the caller; row_of reads value[n] and sets the rest.
 */
typedef struct {
    const double *value;
    const double *low;    /* what the centres are besides value, |low| <= 2^-53 |value|; NULL: nothing */
    const double *radius; /* NULL: points */
    const ball *whole;    /* the elements themselves; NULL: value and radius are all there is */
    int64_t n;
    double max_abs;
    double sup;        /* >= every |element|, radii included */
    int bits;          /* every value has at most so many significant bits; MANY_BITS: or low isn't NULL */
    int lsb;           /* every value is a multiple of 2^lsb; INT_MAX when all are 0; INT_MIN when that isn't known */
    int64_t subnormal; /* values that are subnormal in binary32 */
} row;

enum { MANY_BITS = 1 << 20 };

row row_of(const double *value, const double *radius, int64_t n);

/* The same of balls, which must live as long; parts: room for 3 n doubles. */
row row_of_balls(const ball *b, int64_t n, double *parts);

/* sum of a.value[i] * b.value[i], i < n; a and b have the same n. */
terms ball_dot(const row *a, const row *b);

/* out[i * rows_b + j] = ball_dot(&a[i], &b[j]). */
void ball_dots(const row *a, int64_t rows_a, const row *b, int64_t rows_b, terms *out);

/* out[i * width + c] = sum over j < n of weight[i * n + j] * value[j * stride + c], for i < rows and c < width. False: out of
 * memory. */
bool ball_combine(const ball *weight, int64_t rows, int64_t n, const double *value, int64_t stride, int64_t width,
                  ball *out);

/* The same of balls; no point of a weight is negative. */
bool ball_combine_balls(const ball *weight, int64_t rows, int64_t n, const ball *value, int64_t stride, int64_t width,
                        ball *out);

#endif
