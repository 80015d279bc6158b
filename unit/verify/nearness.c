/*
 * Whether chance brings a port as near to a line as an answer is: beside ports whose distances are made, not drawn.
 */
#include "judge/finding.h"
#include "judge/nearness.h"

#include <criterion/criterion.h>
#include <math.h>

TestSuite(nearness, .timeout = 60);

/* The first element is along the line, the others are across. */
enum { N = 4096 };

static double nothing[N], one[N];

/* Of BF16, with last places of 1, about 0. */
static null_ports made(double written[NULL_PORTS][N])
{
    for (int i = 0; i < N; i++) one[i] = 1;
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

/* Somewhere along the line, and off it in so many elements, by so many last places. */
static void write_off(double *written, double along, int elements, double places)
{
    written[0] = along;
    for (int i = 1; i < N; i++) written[i] = i <= elements ? places : 0;
}

/* The first port is off the line in so many elements, the others in a, b, a, b ..., the answer in the last number of them. */
static double chance_of(int first, int a, int b, double places, int answer)
{
    static double written[NULL_PORTS][N], along[N], got[N];
    along[0] = 1;
    for (int k = 0; k < NULL_PORTS; k++) write_off(written[k], k, k == 0 ? first : k % 2 ? b : a, places);
    write_off(got, 3, answer, 1);
    null_ports const ports = made(written);
    return chance_of_nearness(&ports, along, got, &ports);
}

static double chance(int a, int b, int answer)
{
    return chance_of(a, a, b, 1, answer);
}

static bool is_left(int a, int b, int answer)
{
    return chance(a, b, answer) < chance_of_suspicion();
}

/* Two values whose variance is half of their mean's square, nearly: a shape of 2. */
Test(nearness, its_chance_is_that_of_a_gamma_variable)
{
    enum { MEAN = 2000, APART = 1392 };
    for (int answer = 1; answer < 40; answer *= 3) {
        double const x = (double)answer / MEAN, is = chance(MEAN - APART, MEAN + APART, answer);
        double const exact = 1 - exp(-2 * x) * (1 + 2 * x);
        cr_expect(is >= exact && is < exact * (1.01 + 2 * x), "%g of the mean: %g is %g", x, exact, is);
    }
}

Test(nearness, ports_that_are_alike_are_hardly_ever_nearer)
{
    cr_expect(is_left(900, 1100, 50));
    cr_expect_eq(chance(900, 1100, 500), 1);
    cr_expect_eq(chance(900, 1100, 4000), 1);
}

Test(nearness, ports_that_differ_say_less)
{
    cr_expect(is_left(900, 1100, 0));
    cr_expect(!is_left(100, 4000, 0));
}

/* Poisson's chance of none, at least. */
Test(nearness, few_elements_tell_nothing)
{
    cr_expect_float_eq(chance(10, 10, 0), exp(-10), 1e-9);
    cr_expect(!is_left(20, 20, 0) && is_left(21, 21, 0));
    cr_expect(!is_left(30, 30, 9));
    cr_expect_eq(chance(0, 0, 0), 1);
}

/* A rung is left for what none of its ports is like, not for what they are like in the mean. */
Test(nearness, habits_of_each_port_stand_for_themselves)
{
    cr_expect(chance_of(60, 60, 60, 1, 0) < chance_of_suspicion());
    cr_expect(chance_of(15, 60, 60, 1, 0) >= chance_of_suspicion());
}

/* Elements near 0 have small last places, and many of them. */
Test(nearness, an_element_counts_once)
{
    cr_expect_eq(chance_of(40, 40, 50, 1, 9), chance_of(40, 40, 50, 1000, 9));
}
