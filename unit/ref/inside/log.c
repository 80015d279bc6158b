/*
 * log_of, the hook for logarithms, against MPFR: every port whose logarithm is off by no more than it declares stays in the ball,
 * one that is off by 1/1000 more leaves it.
 */
#include "reading.h"

#include <criterion/criterion.h>
#include <math.h>
#include <mpfr.h>
#include <stdlib.h>

TestSuite(log, .timeout = 60);

enum { BITS = 2200, ROUNDS = 3000 };

/* Where the port's result is: (1 + rel 2^-24) ln x + more 2^-24, between the ball's ends or beyond one. */
static bool inside(ball legal, double x, double rel, double more)
{
    mpfr_t v;
    mpfr_init2(v, BITS);
    mpfr_set_d(v, x, MPFR_RNDN);
    mpfr_log(v, v, MPFR_RNDN);
    mpfr_mul_d(v, v, 1 + rel * 0x1p-24, MPFR_RNDN);
    mpfr_add_d(v, v, more * 0x1p-24, MPFR_RNDN);
    bool const in = mpfr_cmp_d(v, ball_lower(legal)) >= 0 && mpfr_cmp_d(v, ball_upper(legal)) <= 0;
    mpfr_clear(v);
    return in;
}

/* Any size; or near 1, where the logarithm is small. */
static double draw_argument(int round)
{
    double const m = 1 + drand48();
    return round % 3 ? ldexp(m, (int)(200 * drand48()) - 100) : 1 + ldexp(drand48() - 0.5, -(int)(20 * drand48()));
}

static ref_numerics declaring(double rel, double more)
{
    ref_numerics n;
    char why[200];
    cr_assert(ref_numerics_parse("cross_entropy", "flush none", &n, why, sizeof why), "%s", why);
    n.log = (ref_function){.rel = rel, .more = more};
    return n;
}

Test(log, what_is_declared_is_inside_and_no_more)
{
    static const double rows[][2] = {{0, 0}, {0.5, 0}, {2, 0}, {4, 8}, {0, 8}, {300, 1}};
    srand48(3);
    for (int round = 0; round < ROUNDS; round++) {
        double const *const error = rows[round % 6], x = draw_argument(round);
        double const rel = error[0], more = error[1], side = log(x) < 0 ? -1 : 1;
        ref_numerics const n = declaring(rel, more);
        ref_reading const exact = {.declared = NULL}, conforming = {.declared = &n};
        ball const truth = log_of(&exact, ball_of(x)), legal = log_of(&conforming, ball_of(x));
        cr_assert(inside(truth, x, 0, 0) && truth.r <= 0x1p-80 * fabs(log(x)) + 0x1p-90, "ln %a: radius %g", x,
                  truth.r);
        for (int s = -1; s <= 1; s++)
            cr_assert(inside(legal, x, s * rel, s * side * more), "ln %a, rel %g, more %g", x, rel, more);
        for (int s = -1; s <= 1 && rel + more > 0; s += 2)
            cr_assert(!inside(legal, x, s * 1.001 * rel, s * side * 1.001 * more), "ln %a, rel %g, more %g: too wide",
                      x, rel, more);
    }
}

/* A ball of arguments: its ends, with the error that is declared. */
Test(log, arguments_with_a_radius)
{
    ref_numerics const n = declaring(2, 1);
    ref_reading const conforming = {.declared = &n};
    srand48(4);
    for (int round = 0; round < ROUNDS; round++) {
        double const x = draw_argument(round), radius = x * ldexp(drand48(), -(int)(40 * drand48()) - 1);
        ball const legal = log_of(&conforming, ball_hull(x - radius, x + radius));
        for (int s = -1; s <= 1; s += 2) {
            double const end = x + s * radius, side = log(end) < 0 ? -1 : 1;
            cr_assert(inside(legal, end, 2 * side * s, s) && inside(legal, end, -2 * side * s, -s), "ln %a", end);
        }
    }
}

Test(log, corners)
{
    ref_numerics const none = declaring(4, 0), some = declaring(4, 8);
    ref_reading const relative = {.declared = &none}, absolute = {.declared = &some}, exact = {.declared = NULL};
    cr_expect(log_of(&exact, ball_of(1)).r == 0, "ln 1 is 0");
    cr_expect(ball_sup(log_of(&relative, ball_of(1))) <= 0x1p-146, "an error relative to 0");
    cr_expect(inside(log_of(&absolute, ball_of(1)), 1, 0, 8) && !inside(log_of(&absolute, ball_of(1)), 1, 0, 8.001));
    cr_expect(ball_is_any(log_of(&absolute, ball_of(0))), "ln 0");
    cr_expect(ball_is_any(log_of(&exact, ball_hull(-1, 1))), "a point without a logarithm");
}

Test(log, it_is_noted)
{
    ref_numerics const n = declaring(4, 8);
    ref_set called = ref_none();
    ref_reading const rd = {.declared = &n, .called = &called};
    log_of(&rd, ball_of(2));
    cr_expect(ref_has(called, CLAUSE_LOG));
    cr_expect(!ref_has(called, CLAUSE_EXP));
}
