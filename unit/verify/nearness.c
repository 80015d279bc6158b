/*
 * Whether chance brings a port as near to a line as an answer is: beside ports whose distances are made, not drawn.
 */
#include "judge/finding.h"
#include "judge/nearness.h"

#include <criterion/criterion.h>
#include <math.h>

TestSuite(nearness, .timeout = 60);

/* Two elements: along the line, and across. */
enum { N = 2 };

static double nothing[N], one[N] = {1, 1};

/* Of BF16, with last places of 1, about 0. */
static null_ports made(double written[NULL_PORTS][N])
{
    return (null_ports){.n = N,
                        .ports = NULL_PORTS,
                        .outputs = 1,
                        .output = {{.count = N, .dtype = DSV3_BF16}},
                        .written = written[0],
                        .mean = nothing,
                        .sd = nothing,
                        .ulp = one,
                        .weight = one};
}

/* Ports stand a, b, a, b ... off the line, in last places squared, the answer so many. */
static double chance(double a, double b, double answer)
{
    static double written[NULL_PORTS][N];
    double const along[N] = {1, 0}, got[N] = {3, sqrt(answer)};
    for (int k = 0; k < NULL_PORTS; k++) written[k][0] = k, written[k][1] = sqrt(k % 2 ? b : a);
    null_ports const ports = made(written);
    return chance_of_nearness(&ports, along, got, &ports);
}

static bool is_left(double a, double b, double answer)
{
    return chance(a, b, answer) < chance_of_suspicion();
}

/* Two values whose variance is half of their mean's square: a shape of 2. */
Test(nearness, its_chance_is_that_of_a_gamma_variable)
{
    double const apart = sqrt(0.5 * (NULL_PORTS - 1) / NULL_PORTS), mean = 1e6;
    for (double x = 1e-4; x < 0.02; x *= 10) {
        double const is = chance(mean * (1 - apart), mean * (1 + apart), mean * x);
        double const exact = 1 - exp(-2 * x) * (1 + 2 * x);
        cr_expect(is >= exact && is < exact * (1 + 2 * x), "%g of the mean: %g is %g", x, exact, is);
    }
}

Test(nearness, ports_that_are_alike_are_hardly_ever_nearer)
{
    cr_expect(is_left(900, 1100, 50));
    cr_expect_eq(chance(900, 1100, 500), 1);
    cr_expect_eq(chance(900, 1100, 1e6), 1);
}

Test(nearness, ports_that_differ_say_less)
{
    cr_expect(is_left(900, 1100, 0));
    cr_expect(!is_left(900, 9e6, 0));
}

/* Poisson's chance of none, at least. */
Test(nearness, few_places_tell_nothing)
{
    cr_expect_float_eq(chance(10, 10, 0), exp(-10), 1e-9);
    cr_expect(!is_left(20, 20, 0) && is_left(21, 21, 0));
    cr_expect(!is_left(30, 30, 9));
    cr_expect_eq(chance(0, 0, 0), 1);
}
