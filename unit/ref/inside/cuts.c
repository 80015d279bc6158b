/*
 * What ports that are drawn make of sums that are exact, and of sums that are cut; and how far their functions are off.
 */
#include "sampled/accumulate.h"
#include "sampled/draw.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(cuts, .timeout = 60);

enum { PORTS = 32, MOST = 64, SUMS = 400 };

static ref_sample port(int number)
{
    return (ref_sample){.seed = 1, .number = number};
}

static moments moments_of_terms(const double *term, int64_t n)
{
    sum_record sum = empty_sum();
    for (int64_t i = 0; i < n; i++) add_term(&sum, ball_of(term[i]));
    return moments_of_sum(&sum, NULL, ALL_ORDERS);
}

/* ---- sums that nothing rounds ---- */

/* How many ports have another sum than the exact one. */
static int ports_that_err(const ref_accumulator *acc, const double *term, int64_t n)
{
    moments const m = moments_of_terms(term, n);
    int count = 0;
    for (int k = 0; k < PORTS; k++) {
        ref_sample const p = port(k);
        count += accumulated(&p, acc, &m) != m.total;
    }
    return count;
}

static const ref_accumulator accumulators[] = {
    {.bits = 24, .rounding = REF_RN, .block = 1, .guard = 255},
    {.bits = 24, .rounding = REF_RZ, .block = 1, .guard = 255, .fused = true},
    {.bits = 24, .rounding = REF_RZ, .block = 4, .guard = 0, .fused = true, .splits = 1},
    {.bits = 24, .rounding = REF_RD, .block = 8, .guard = 1, .fused = true},
    {.bits = 14, .rounding = REF_RZ, .block = 32, .guard = 0, .fused = true, .promote = 128, .promote_bits = 24},
};
enum { ACCUMULATORS = sizeof accumulators / sizeof *accumulators };

/* Of 8 bits, and their exponents are near: whole numbers in units of 2^-9, which add up to less than 2^14 of those. */
Test(cuts, exact_sums_have_no_error)
{
    for (int a = 0; a < ACCUMULATORS; a++)
        for (int64_t n = 1; n <= MOST; n++) {
            double term[MOST];
            for (int64_t i = 0; i < n; i++) term[i] = ldexp(floor(512 * drand48()) - 256, -9);
            int const err = ports_that_err(&accumulators[a], term, n);
            cr_expect(err == 0, "accumulator %d: %d ports of %lld terms err", a, err, (long long)n);
        }
}

/* One term more, and some partial sum is no number of the accumulator. */
Test(cuts, a_term_that_does_not_fit_is_rounded)
{
    for (int a = 0; a < ACCUMULATORS; a++) {
        int err = 0;
        for (int64_t n = 4; n <= MOST; n++) {
            double term[MOST];
            for (int64_t i = 0; i < n; i++) term[i] = ldexp(floor(512 * drand48()) - 256, -9);
            term[n / 2] = 0x1.000002p15;
            err += ports_that_err(&accumulators[a], term, n);
        }
        cr_expect(err > PORTS * MOST / 2, "accumulator %d: %d times a port errs", a, err);
    }
}

/* Two terms of 24 bits that cancel are exact, though their grid is too fine. */
Test(cuts, two_terms_that_cancel_have_no_error)
{
    double const term[] = {0x1.fffffep0, -0x1.000002p0};
    cr_expect(ports_that_err(&accumulators[0], term, 2) == 0);
    cr_expect(ports_that_err(&accumulators[1], term, 2) == 0);
}

/* One product a step enters a fused accumulator unaligned. */
Test(cuts, one_fused_product_is_not_aligned)
{
    double term[MOST];
    ref_accumulator aligned = {.bits = 24, .rounding = REF_RZ, .block = 1, .guard = 0, .fused = true, .splits = 1};
    ref_accumulator whole = aligned;
    whole.guard = 255;
    for (int64_t i = 0; i < MOST; i++) term[i] = (double)(float)(drand48() - 0.5);
    moments const m = moments_of_terms(term, MOST);
    for (int k = 0; k < PORTS; k++) {
        ref_sample const p = port(k);
        cr_expect(accumulated(&p, &aligned, &m) == accumulated(&p, &whole, &m), "port %d", k);
    }
}

/* ---- sums of both signs that are cut ---- */

/* Four products a step, each cut toward zero to the last place of the largest addend, their sum likewise. */
static double carried_out(const double *term, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += 4) {
        double most = fabs(sum);
        for (int64_t k = i; k < n && k < i + 4; k++) most = fmax(most, fabs(term[k]));
        double const unit = ldexp(1, ilogb(most) - 23);
        double total = trunc(sum / unit) * unit;
        for (int64_t k = i; k < n && k < i + 4; k++) total += trunc(term[k] / unit) * unit;
        double const place = ldexp(1, ilogb(total) - 23);
        sum = trunc(total / place) * place;
    }
    return sum;
}

/* How much of all sums errors are, in units of 2^-24. */
static double scale_of(const double *sum, const double *error, int n)
{
    double along = 0, squares = 0;
    for (int i = 0; i < n; i++) along += sum[i] * error[i], squares += sum[i] * sum[i];
    return along / squares * 0x1p24;
}

typedef struct {
    double unit, least, most, mean; /* of the unit, and of ports */
} scales;

/* Of sums of 37 terms, near-normal ones or their absolute values. */
static scales scales_of(bool positive)
{
    enum { TERMS = 37 };
    static double sum[SUMS], error[SUMS], drawn[PORTS][SUMS];
    for (int i = 0; i < SUMS; i++) {
        double term[TERMS];
        for (int k = 0; k < TERMS; k++) {
            double const v = drand48() + drand48() + drand48() - 1.5;
            term[k] = positive ? fabs(v) : v;
        }
        moments const m = moments_of_terms(term, TERMS);
        sum[i] = m.total, error[i] = carried_out(term, TERMS) - m.total;
        for (int k = 0; k < PORTS; k++) {
            ref_sample const p = port(k);
            drawn[k][i] = accumulated(&p, &accumulators[2], &m) - m.total;
        }
    }
    scales s = {scale_of(sum, error, SUMS), HUGE_VAL, -HUGE_VAL, 0};
    for (int k = 0; k < PORTS; k++) {
        double const one = scale_of(sum, drawn[k], SUMS);
        s.least = fmin(s.least, one), s.most = fmax(s.most, one), s.mean += one / PORTS;
    }
    return s;
}

/* Sums of one sign lose half a place with each addend; of those of both signs only what their signs leave over. */
Test(cuts, addends_lose_by_their_own_signs)
{
    scales const of_one = scales_of(true), of_both = scales_of(false);
    printf("cuts of one sign %.2f, ports %.2f to %.2f; of both %.2f, ports %.2f to %.2f; mean %.2f and %.2f\n",
           of_one.unit, of_one.least, of_one.most, of_both.unit, of_both.least, of_both.most, of_one.mean,
           of_both.mean);
    cr_expect(of_one.unit > of_one.least && of_one.unit < of_one.most);
    cr_expect(of_both.unit > of_both.least && of_both.unit < of_both.most);
    double const unit = of_both.unit / of_one.unit, ports = of_both.mean / of_one.mean;
    cr_expect(ports > unit / 2 && ports < 2 * unit, "both signs lose %.2f of what one does, in ports %.2f", unit,
              ports);
}

/* ---- functions ---- */

/* One port of four errs by all that it may, either way; others by less. */
Test(cuts, some_ports_err_by_all_that_they_may)
{
    int always = 0;
    for (int k = 0; k < PORTS; k++) {
        ref_sample const p = port(k);
        int full = 0, up = 0;
        for (uint64_t i = 0; i < 100; i++) {
            double const d = leaning(&p, 1, mixed(i));
            cr_assert(fabs(d) <= 1);
            full += fabs(d) == 1, up += d > 0;
        }
        cr_expect(full == 0 || (full == 100 && up > 20 && up < 80), "port %d: %d, %d of 100", k, full, up);
        always += full == 100;
    }
    cr_expect(always > 2 && always < 16, "%d ports", always);
}
