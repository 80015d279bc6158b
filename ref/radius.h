/* How a radius is rounded up, for the files that make balls. */
#ifndef RADIUS_H
#define RADIUS_H

#include "ball.h"

/* Lemma Up: v came from at most 2000 additions, multiplications and divisions of non-negative doubles. */
static inline double up(double v)
{
    return v * (1 + 0x1p-40) + 0x1p-1000;
}

static inline double up_unless_zero(double v)
{
    return v == 0 ? 0 : up(v);
}

/* Of a product, which may underflow: 0 if a factor is. */
static inline double up_product(double a, double b)
{
    double const product = a * b;
    return product == 0 && (a == 0 || b == 0) ? 0 : up(product);
}

/* The larger of two numbers that aren't negative, without a call; NaN is as infinity. */
static inline double larger(double a, double b)
{
    if (b <= a) return a;
    return isnan(b) ? (double)INFINITY : b;
}

/* A radius that is none, negative or NaN, says nothing. */
static inline ball ball_make(centre c, double r)
{
    if (!centre_finite(c) || !(r >= 0 && r <= 0x1p1000)) return ball_any();
    return (ball){c, r};
}

#endif
