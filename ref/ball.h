/*
 * A ball is a centre and a radius, a midpoint-radius interval (Johansson, "Arb: Efficient Arbitrary-Precision
 * Midpoint-Radius Interval Arithmetic", IEEE Transactions on Computers 66, 2017): it stands for every real number within
 * radius of the centre. Each function returns a ball that contains the result for every choice of points in its
 * arguments; that is its contract.
 *
 * The radius is a double, rounded up. A radius of 0 is a proof that the centre is the exact value. An infinite radius
 * means "any value, infinity and NaN included". The centre is a double-double in the working tier and an MPFR number in
 * the proof tiers: this header and every file that includes it compile once per tier, unchanged. In the sampled tier a ball
 * is one number that a port may have (sampled/centre.h).
 */
#ifndef BALL_H
#define BALL_H

#if defined SAMPLED
#include "sampled/centre.h"
#elif defined PROOF_BITS
#include "centre_mp.h"
#else
#include "centre_dd.h"
#endif

#include <stdint.h>

typedef struct {
    centre c;
    double r;
} ball;

ball ball_of(double v); /* NaN or infinity gives ball_any() */
ball ball_any(void);    /* any value, infinity and NaN included */
bool ball_is_any(ball a);
bool ball_is_point(ball a); /* radius 0 */

ball ball_neg(ball a);
ball ball_add(ball a, ball b);
ball ball_sub(ball a, ball b);
ball ball_mul(ball a, ball b);
ball ball_div(ball a, ball b); /* ball_any() if b contains 0 */
ball ball_sqrt(ball a);        /* of the points >= 0; ball_any() if there is none */
ball ball_rsqrt(ball a);       /* 1 / sqrt(a); ball_any() if a point is <= 0 */
ball ball_exp(ball a);
ball ball_log(ball a);     /* ball_any() if a point is <= 0 */
ball ball_sigmoid(ball a); /* 1 / (1 + e^-a) */
ball ball_pi(void);

/* cos and sin of `turns` whole turns, |turns| <= 2^20. */
void ball_cos_sin(ball turns, ball *cosine, ball *sine);

ball ball_widen(ball a, double radius); /* adds radius to a's; ball_any() if that is none: NaN or below 0 */
ball ball_hull(double lo, double hi);   /* contains [lo, hi]; lo == hi gives a point */

double ball_lower(ball a); /* a double below every point */
double ball_upper(ball a); /* a double above every point */
double ball_sup(ball a);   /* a double above every |point| */

/* The decimal that prints as v: 1e-6 stands for 10^-6, not for the double nearest to it. */
ball ball_decimal(double v);

/* Replaces each of n balls: by its exponential, by its product with b, by its difference from b. */
void ball_exp_all(ball *x, int64_t n);
void ball_mul_all(ball *x, int64_t n, ball b);
void ball_sub_all(ball *x, int64_t n, ball b);

/* The sum of n balls, added in their order. */
ball ball_sum(const ball *x, int64_t n);

#ifdef SAMPLED
#include "sampled/sums.h"
#endif

/*
 * A sum together with its condition: rounding errors grow with the sum of |term| and with n, not with the sum.
 */
typedef struct {
    ball total;
    double sum_abs; /* >= sum of |term|, for every point of the terms */
    int lsb;        /* every term is a multiple of 2^lsb; INT_MIN: unknown */
    int64_t n;      /* terms */
    double flushed; /* the sum changes by at most this when subnormal binary32 factors count as 0 */
    int64_t zeros;  /* so many terms at least are 0 */
#ifdef SAMPLED
    sum_parts of; /* what it is made of; total says nothing of dot products */
#endif
} sum_record;

sum_record empty_sum(void);
ball formed_sum(const sum_record *sum);
void add_term(sum_record *sum, ball term);
sum_record joined(sum_record a, sum_record b); /* of the terms of both */

/*
 * A vector prepared as an operand of ball_dot: its elements, and what decides how their products can be summed. The
 * arrays belong to the caller.
 */
typedef struct operand {
    const double *value;
    const double *low;    /* the centres' second words, |low| <= 2^-53 |value|; NULL: all 0 */
    const double *radius; /* NULL: all 0 */
    const ball *elements; /* the elements as balls; NULL: value and radius say all */
    int64_t n;
    double max_abs;
    double sup;        /* >= every |element|, radii included */
    int bits;          /* no value has more significant bits; MANY_BITS when low isn't NULL */
    int lsb;           /* every value is a multiple of 2^lsb; INT_MAX: all are 0; INT_MIN: unknown */
    int64_t subnormal; /* how many values are subnormal in binary32 */
#ifdef SAMPLED
    uint64_t key; /* of its values, if they are stored numbers; else 0 */
#endif
} operand;

enum { MANY_BITS = 1 << 20 };

/* Describes n numbers with their radii; radius may be NULL. */
operand operand_of(const double *value, const double *radius, int64_t n);

/* The same of balls, which must live as long as the operand; parts: room for 3 n doubles. */
operand operand_of_balls(const ball *b, int64_t n, double *parts);

/* sum of a.value[i] * b.value[i], i < n; a and b have the same n. */
sum_record ball_dot(const operand *a, const operand *b);

struct scratch; /* memory of the evaluation: scratch.h */

/* out[i * n + j] = a_i . b_j, the totals of ball_dot, for i < rows and j < n. */
void ball_dots(struct scratch *memory, const operand *a, int64_t rows, const operand *b, int64_t n, ball *out);

/* Rows of n weights each; row i begins at first[i * stride]. */
typedef struct {
    const ball *first;
    int64_t rows, n, stride;
} weight_rows;

/* out[i * width + c] = sum over j < n of weight (i, j) * value[j * stride + c], for i < rows and c < width. */
void ball_combine(struct scratch *memory, const weight_rows *weight, const double *value, int64_t stride, int64_t width,
                  ball *out);

/* The same with balls as values; no point of a weight is negative. */
void ball_combine_balls(struct scratch *memory, const weight_rows *weight, const ball *value, int64_t stride,
                        int64_t width, ball *out);

#endif
