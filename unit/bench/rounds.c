/*
 * What bench compare concludes from rounds whose truth is known, because a seeded generator made them: a planted
 * slowdown is found, two equal builds raise no alarm, drift and interruptions do neither, a bad machine voids the run.
 */
#include "compare_rounds.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>

TestSuite(rounds, .timeout = 60);

/* ---- synthetic machines ---- */

/* How a machine's times behave. Seconds of a call are 1 on the base, without all of it. */
typedef struct {
    double slower;  /* of the next build: 0.05 is 5 % */
    double copy;    /* of the base's own copy */
    double noise;   /* spread of a time, as a fraction */
    double drift;   /* growth of all times from the first round to the last */
    double outlier; /* share of times that are three times as long */
    double jump;    /* from the middle on the limit is this much lower, and all times longer */
    double skewed;  /* share of rounds in which next alone is half as fast, the limit being lower by a half */
} machine;

static uint64_t state;

static double uniform(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (double)(state >> 11) * 0x1p-53;
}

static double seconds(const machine *m, double from)
{
    double const spread = uniform() + uniform() + uniform() + uniform() - 2; /* of standard deviation 0.58 */
    return from * (1 + m->noise * spread / 0.58) * (uniform() < m->outlier ? 3 : 1);
}

static round_times synthetic_round(const machine *m, double place)
{
    bool const late = place >= 0.5, skewed = uniform() < m->skewed;
    double const all = (1 + m->drift * place) * (late ? 1 + m->jump : 1), limit = late ? 1 / (1 + m->jump) : 1;
    return (round_times){.base = seconds(m, all),
                         .copy = seconds(m, all * (1 + m->copy)),
                         .next = seconds(m, all * (1 + m->slower) * (skewed ? 2 : 1)),
                         .before = limit * (skewed ? 0.5 : 1),
                         .after = limit};
}

/* A run as the command makes it: prolonged until it is decided. */
static comparison run(const machine *m, uint64_t seed, int cases)
{
    static round_times round[MOST_ROUNDS];
    enum { MOST = 150 };
    comparison c = {0};
    state = 0x9e3779b97f4a7c15u * (seed + 1);
    for (int i = 0; i < 20; i++) uniform();
    for (int n = 0; n < MOST; n++) {
        round[n] = synthetic_round(m, (double)n / MOST);
        if (!compare_is_look(n + 1, MOST)) continue;
        c = compare_decide(round, n + 1, compare_miss(cases, MOST));
        if (c.verdict != COMPARE_UNDECIDED) break;
    }
    return c;
}

enum { RUNS = 200 };

static int how_often(const machine *m, compare_verdict v, int cases)
{
    int n = 0;
    for (uint64_t seed = 0; seed < RUNS; seed++) n += run(m, seed, cases).verdict == v;
    return n;
}

/* ---- what is concluded ---- */

Test(rounds, planted_slowdown_is_found)
{
    machine const m = {.slower = 0.05, .noise = 0.03};
    cr_expect_geq(how_often(&m, COMPARE_SLOWER, 1), RUNS * 99 / 100);
    cr_expect_geq(how_often(&m, COMPARE_SLOWER, 100), RUNS * 95 / 100);
}

Test(rounds, equal_builds_raise_no_alarm)
{
    for (int noisy = 1; noisy <= 9; noisy += 2) {
        machine const m = {.noise = 0.02 * noisy};
        cr_expect_eq(how_often(&m, COMPARE_SLOWER, 1), 0, "spread %g", m.noise);
        cr_expect_eq(how_often(&m, COMPARE_VOID, 1), 0, "spread %g", m.noise);
    }
}

Test(rounds, quiet_equal_builds_are_not_slower)
{
    machine const m = {.noise = 0.02};
    cr_expect_geq(how_often(&m, COMPARE_NOT_SLOWER, 1), RUNS * 95 / 100);
}

/* Significant, and too small to matter: 1 % never alarms. */
Test(rounds, slower_within_the_margin_is_no_alarm)
{
    machine const m = {.slower = 0.01, .noise = 0.01};
    cr_expect_eq(how_often(&m, COMPARE_SLOWER, 1), 0);
    cr_expect_geq(how_often(&m, COMPARE_NOT_SLOWER, 1), RUNS * 95 / 100);
}

Test(rounds, drift_and_jumps_cancel)
{
    machine const drift = {.drift = 1, .noise = 0.02}, slower = {.slower = 0.05, .drift = 1, .noise = 0.03},
                  jump = {.jump = 0.1, .noise = 0.03};
    cr_expect_eq(how_often(&drift, COMPARE_SLOWER, 1) + how_often(&jump, COMPARE_SLOWER, 1), 0);
    cr_expect_geq(how_often(&drift, COMPARE_NOT_SLOWER, 1), RUNS * 95 / 100);
    cr_expect_geq(how_often(&slower, COMPARE_SLOWER, 1), RUNS * 99 / 100);
}

Test(rounds, interruptions_neither_alarm_nor_hide)
{
    machine const equal = {.noise = 0.02, .outlier = 0.1}, slower = {.slower = 0.05, .noise = 0.02, .outlier = 0.1};
    cr_expect_eq(how_often(&equal, COMPARE_SLOWER, 1), 0);
    cr_expect_geq(how_often(&slower, COMPARE_SLOWER, 1), RUNS * 95 / 100);
}

/* Two rounds of five in which the machine was slow, and next with it: the limit says so, and they are left out. */
Test(rounds, rounds_of_an_uneasy_machine_are_left_out)
{
    machine const m = {.noise = 0.02, .skewed = 0.4};
    cr_expect_eq(how_often(&m, COMPARE_SLOWER, 1), 0);
    comparison const c = run(&m, 1, 1);
    cr_expect(c.kept < c.rounds && c.kept > c.rounds / 2, "kept %d of %d", c.kept, c.rounds);
}

/* If half of them are to be left out, nothing is said, whatever the rest looks like. */
Test(rounds, an_uneasy_machine_decides_nothing)
{
    round_times round[60];
    for (int i = 0; i < 60; i++) round[i] = (round_times){1, 1, 1.2, 1, i % 5 < 2 ? 1 : 0.5 + i % 5};
    cr_expect_eq(compare_decide(round, 60, 0.01).verdict, COMPARE_UNDECIDED);
}

Test(rounds, a_base_that_differs_from_its_copy_voids)
{
    machine const slow = {.copy = 0.05, .noise = 0.02, .slower = 0.05}, quick = {.copy = -0.05, .noise = 0.02};
    cr_expect_geq(how_often(&slow, COMPARE_VOID, 1), RUNS * 99 / 100);
    cr_expect_geq(how_often(&quick, COMPARE_VOID, 1), RUNS * 99 / 100);
}

/* ---- the interval ---- */

/* Of 1..n: which values bound it says how many were left out. 2 P(X <= 1) of ten is 0.0215, 2 P(X <= 2) 0.109. */
Test(rounds, interval_is_that_of_the_signs)
{
    double value[] = {10, 9, 8, 7, 6, 5, 4, 3, 2, 1};
    interval i = median_interval(value, 10, 0.05);
    cr_expect(i.lo == 2 && i.hi == 9 && i.median == 5.5, "%g %g %g", i.lo, i.median, i.hi);
    i = median_interval(value, 10, 0.01);
    cr_expect(i.lo == 1 && i.hi == 10, "%g %g", i.lo, i.hi);
    i = median_interval(value, 10, 0.001);
    cr_expect(isinf(i.lo) && isinf(i.hi), "%g %g", i.lo, i.hi);
}

/* It misses the true median as seldom as it promises, for a skewed distribution too. */
Test(rounds, interval_keeps_its_promise)
{
    enum { DRAWS = 4000, N = 60 };
    int missed = 0;
    state = 7;
    for (int d = 0; d < DRAWS; d++) {
        double value[N];
        for (int i = 0; i < N; i++) value[i] = -log(1 - uniform()); /* its median is log 2 */
        interval const i = median_interval(value, N, 0.05);
        missed += i.lo > log(2) || i.hi < log(2);
    }
    cr_expect(missed <= DRAWS * 5 / 100 && missed >= DRAWS * 2 / 100, "%d of %d", missed, DRAWS);
}

/* One in a hundred for the run: shared by cases and looks. */
Test(rounds, cases_and_looks_share_the_error)
{
    int looks = 0;
    for (int n = 1; n <= 150; n++) looks += compare_is_look(n, 150);
    cr_expect_eq(looks, 4);
    cr_expect_float_eq(compare_miss(1, 150), 0.01 / 4, 1e-15);
    cr_expect_float_eq(compare_miss(25, 150), 0.01 / 100, 1e-15);
    cr_expect_float_eq(compare_miss(1, 20), 0.01, 1e-15);
}
