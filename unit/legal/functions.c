/* functions: elementwise operations and functions with errors as large as declared. */
#include "legal.h"

#include <math.h>
#include <string.h>

static double flushed(legal const *c, double x)
{
    return c->ftz && fabs(x) < 0x1p-126 ? copysign(0, x) : x;
}

double legal_op(legal const *c, double x)
{
    if (c->arith == IN_F64) return x;
    return flushed(c, number_round(c->arith == IN_F32 ? number_f32 : number_bf16, x));
}

double legal_cast(legal const *c, double sum)
{
    return c->acc.bits == 53 && !legal_draw(c, "cast", 2) ? sum : legal_op(c, sum);
}

double legal_constant(legal const *c, double x)
{
    return c->arith == IN_F64 ? x : number_round(number_f32, x);
}

/* Which way the error of this result goes. */
static int direction(legal const *c, double x)
{
    if (c->direction) return c->direction;
    uint64_t bits = 0;
    memcpy(&bits, &x, 8);
    return (bits ^ c->habits) * 0x9e3779b97f4a7c15u >> 63 ? 1 : -1;
}

/* The binary32 farthest from exact that the error allows on one side; binary64 if arithmetic is wider. */
double legal_shift(legal const *c, long double exact, legal_error error, double argument)
{
    long double const room =
        fabsl(exact) * (error.rel + error.slope * fabs(argument)) * 0x1p-24L + error.absolute * 0x1p-24L;
    int const way = direction(c, (double)exact);
    if (c->arith == IN_F64) return (double)(exact + way * room * (1 - 0x1p-40L));
    double const nearest = (double)(float)(double)exact;
    float x = (float)(double)(exact + way * room);
    for (int i = 0; i < 4; i++) { /* back towards exact until it is within */
        if (fabsl((long double)x - exact) <= room) return flushed(c, number_round(number_f32, (double)x));
        x = nextafterf(x, (float)nearest);
    }
    return flushed(c, nearest);
}

static double rounded(legal const *c, double x)
{
    return c->arith == IN_BF16 ? flushed(c, number_round(number_bf16, x)) : x;
}

static double quotient(legal const *c, double a, double b)
{
    int exponent = 0;
    bool const by_two = frexp(fabs(b), &exponent) == 0.5 && !c->error_by_two;
    if (c->div > 0 && !by_two && a != 0 && isfinite(a / b) && b != 0)
        return legal_shift(c, (long double)a / (long double)b, (legal_error){c->div, 0, 0}, 0);
    return c->arith == IN_F64 ? a / b : flushed(c, number_round(number_f32, a / b));
}

double legal_div(legal const *c, double a, double b)
{
    if (c->reciprocal && c->div == 0) return rounded(c, legal_op(c, a * quotient(c, 1, b)));
    return rounded(c, quotient(c, a, b));
}

double legal_exp(legal const *c, double x)
{
    if (x == 0) return 1;
    return rounded(c, legal_shift(c, expl(x), c->exp, x));
}

double legal_log(legal const *c, double x)
{
    return rounded(c, legal_shift(c, logl(x), c->log, 0));
}

double legal_sigmoid(legal const *c, double x)
{
    return rounded(c, legal_shift(c, 1 / (1 + expl(-(long double)x)), c->sigmoid, x < 0 ? x : 0));
}

double legal_rsqrt(legal const *c, double x)
{
    if (c->rsqrt > 0) return rounded(c, legal_shift(c, 1 / sqrtl(x), (legal_error){c->rsqrt, 0, 0}, 0));
    double const root = legal_op(c, sqrt(x));
    return legal_op(c, 1 / root);
}
