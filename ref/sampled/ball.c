/* Balls of the sampled tier: binary64 numbers; what can't be one is any number. */
#include "../ball.h"

#include "draw.h"

static ball number(double v)
{
    return isfinite(v) ? (ball){{v}, 0} : ball_any();
}

/* v, of arguments of which one may be any number. */
static ball number_of(double v, ball a, ball b)
{
    return ball_is_any(a) || ball_is_any(b) ? ball_any() : number(v);
}

ball ball_any(void)
{
    return (ball){{0}, INFINITY};
}

bool ball_is_any(ball a)
{
    return a.r != 0;
}

bool ball_is_point(ball a)
{
    return a.r == 0;
}

ball ball_of(double v)
{
    return number(v);
}

ball ball_neg(ball a)
{
    return (ball){{-a.c.hi}, a.r};
}

ball ball_add(ball a, ball b)
{
    return number_of(a.c.hi + b.c.hi, a, b);
}

ball ball_sub(ball a, ball b)
{
    return number_of(a.c.hi - b.c.hi, a, b);
}

ball ball_mul(ball a, ball b)
{
    return number_of(a.c.hi * b.c.hi, a, b);
}

ball ball_div(ball a, ball b)
{
    return number_of(a.c.hi / b.c.hi, a, b);
}

ball ball_sqrt(ball a)
{
    return number_of(sqrt(a.c.hi), a, a);
}

ball ball_rsqrt(ball a)
{
    return number_of(1 / sqrt(a.c.hi), a, a);
}

ball ball_exp(ball a)
{
    return number_of(exp(a.c.hi), a, a);
}

ball ball_log(ball a)
{
    return number_of(log(a.c.hi), a, a);
}

ball ball_sigmoid(ball a)
{
    double const e = exp(-fabs(a.c.hi));
    return number_of(a.c.hi < 0 ? e / (1 + e) : 1 / (1 + e), a, a);
}

static const double pi = 0x1.921fb54442d18p+1;

ball ball_pi(void)
{
    return number(pi);
}

void ball_cos_sin(ball turns, ball *cosine, ball *sine)
{
    double const angle = 2 * pi * (turns.c.hi - rint(turns.c.hi));
    *cosine = number_of(cos(angle), turns, turns);
    *sine = number_of(sin(angle), turns, turns);
}

/* Radii are errors of the reference itself here: none that counts. */
ball ball_widen(ball a, double radius)
{
    return radius >= 0 && isfinite(radius) ? a : ball_any();
}

/* One of the two ends, as their bits have it. */
ball ball_hull(double lo, double hi)
{
    return number((key_of(lo) ^ key_of(hi)) & 1 ? lo : hi);
}

double ball_lower(ball a)
{
    return ball_is_any(a) ? (double)-INFINITY : a.c.hi;
}

double ball_upper(ball a)
{
    return ball_is_any(a) ? (double)INFINITY : a.c.hi;
}

double ball_sup(ball a)
{
    return ball_is_any(a) ? (double)INFINITY : fabs(a.c.hi);
}

void ball_exp_all(ball *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] = ball_exp(x[i]);
}

void ball_mul_all(ball *x, int64_t n, ball b)
{
    for (int64_t i = 0; i < n; i++) x[i] = ball_mul(x[i], b);
}

void ball_sub_all(ball *x, int64_t n, ball b)
{
    for (int64_t i = 0; i < n; i++) x[i] = ball_sub(x[i], b);
}

ball ball_sum(const ball *x, int64_t n)
{
    ball sum = ball_of(0);
    for (int64_t i = 0; i < n; i++) sum = ball_add(sum, x[i]);
    return sum;
}
