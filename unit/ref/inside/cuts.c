/*
 * What ports that are drawn make of sums that are exact, and of sums that are cut; and how far their functions are off.
 */
#include "reading.h"
#include "sampled/accumulate.h"
#include "sampled/draw.h"
#include "softmax_error.h"

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

/* ---- how far ports go: beside sums and roundings that are carried out, and as far as a declaration lets them ---- */

enum { NUMBERS = 400 };

/* v to so many bits. */
static double to_nearest(double v, int bits)
{
    int exponent;
    double const scaled = ldexp(frexp(v, &exponent), bits);
    return ldexp(nearbyint(scaled), exponent - bits);
}

/* Each term and each sum to nearest, in parts that are added in binary32; part 0: there is one. */
static double added(const double *term, int64_t n, int bits, int64_t part)
{
    double total = 0, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (part && i % part == 0) total = to_nearest(total + sum, 24), sum = 0;
        sum = to_nearest(sum + to_nearest(term[i], bits), bits);
    }
    return part ? to_nearest(total + sum, 24) : sum;
}

typedef struct {
    double carried_out, ports; /* squares of errors, of ports in the mean */
} spread;

static void add_carried_out(spread *s, double error)
{
    s->carried_out += error * error;
}

static void add_of_port(spread *s, double error)
{
    s->ports += error * error / PORTS;
}

/* The ratio is a known one: a port's rounding is off by u in the mean, one that is carried out by 0.41 u. */
static void expect_ratio(const char *what, const spread *s, double known)
{
    double const ratio = sqrt(s->carried_out / s->ports);
    printf("%s: carried out %.3f of what ports have\n", what, ratio);
    cr_expect(ratio > known / 1.5 && ratio < 1.5 * known, "%s: %.3f, not about %g", what, ratio, known);
}

static double term_of(bool positive)
{
    double const v = drand48() + drand48() + drand48() - 1.5;
    return positive ? fabs(v) : v;
}

static spread spread_of_sums(const ref_accumulator *acc, bool positive)
{
    spread s = {0, 0};
    for (int i = 0; i < NUMBERS; i++) {
        double term[MOST];
        for (int k = 0; k < MOST; k++) term[k] = term_of(positive);
        moments const m = moments_of_terms(term, MOST);
        add_carried_out(&s, added(term, MOST, acc->bits, acc->promote) - m.total);
        for (int k = 0; k < PORTS; k++) {
            ref_sample const p = port(k);
            add_of_port(&s, accumulated(&p, acc, &m) - m.total);
        }
    }
    return s;
}

Test(cuts, sums_to_nearest_go_as_far_as_those_that_are_carried_out)
{
    static const ref_accumulator whole = {.bits = 20, .rounding = REF_RN, .block = 1, .guard = 255};
    static const ref_accumulator parts = {
        .bits = 14, .rounding = REF_RN, .block = 1, .guard = 255, .promote = 16, .promote_bits = 24};
    spread const positive = spread_of_sums(&whole, true), signs = spread_of_sums(&whole, false),
                 in_parts = spread_of_sums(&parts, true);
    expect_ratio("a sum of one sign", &positive, 0.46);
    expect_ratio("a sum of both", &signs, 0.42);
    expect_ratio("a sum in parts", &in_parts, 0.43);
}

/* What is left of errors beside their share of the sums. */
static double scatter_of(const double *sum, const double *error, int n)
{
    double const scale = scale_of(sum, error, n) * 0x1p-24;
    double squares = 0;
    for (int i = 0; i < n; i++) squares += (error[i] - scale * sum[i]) * (error[i] - scale * sum[i]);
    return squares;
}

Test(cuts, cut_sums_are_scattered_as_those_that_are_carried_out)
{
    static double sum[SUMS], error[SUMS], drawn[PORTS][SUMS];
    spread s = {0, 0};
    for (int i = 0; i < SUMS; i++) {
        double term[MOST];
        for (int k = 0; k < MOST; k++) term[k] = term_of(false);
        moments const m = moments_of_terms(term, MOST);
        sum[i] = m.total, error[i] = carried_out(term, MOST) - m.total;
        for (int k = 0; k < PORTS; k++) {
            ref_sample const p = port(k);
            drawn[k][i] = accumulated(&p, &accumulators[2], &m) - m.total;
        }
    }
    s.carried_out = scatter_of(sum, error, SUMS);
    for (int k = 0; k < PORTS; k++) s.ports += scatter_of(sum, drawn[k], SUMS) / PORTS;
    expect_ratio("sums that are cut", &s, 0.25);
}

static ref_numerics numerics(const char *op, const char *text)
{
    char why[200];
    ref_numerics n;
    cr_assert(ref_numerics_parse(op, text, &n, why, sizeof why), "%s", why);
    return n;
}

Test(cuts, operations_go_as_far_as_roundings_to_binary32)
{
    ref_numerics const n = numerics("rmsnorm", "acc 24 rn");
    spread s = {0, 0};
    int nearby = 0;
    for (int k = 0; k < PORTS; k++) {
        ref_sample const p = port(k);
        nearby += rounds_nearby(&p);
    }
    for (int i = 0; i < NUMBERS; i++) {
        double const v = 1 + drand48();
        add_carried_out(&s, (double)(float)v - v);
        for (int k = 0; k < PORTS; k++) {
            ref_sample const p = port(k);
            ref_reading const rd = {.declared = &n, .sample = &p};
            double const error = round_op(&rd, ball_of(v)).c.hi - v;
            if (rounds_nearby(&p)) s.ports += error * error / nearby;
        }
    }
    expect_ratio("an operation", &s, 0.69);
}

/* Beside the middle of two BF16 numbers, by as much as the draw is wide, one port of six goes the other way. */
Test(cuts, some_ports_round_the_other_way_inside)
{
    ref_numerics const n = numerics("experts", "acc 24 rn; act bf16 must");
    int other = 0;
    for (int i = 0; i < NUMBERS; i++)
        for (int k = 0; k < PORTS; k++) {
            ref_sample const p = port(k);
            ref_reading const rd = {.declared = &n, .sample = &p};
            double const middle = 1 + (2 * (i % 128) + 1) * 0x1p-8, above = middle * (1 + 0x1p-15) + i * 0x1p-40;
            other += cast_at(&rd, POINT_experts_act, DSV3_BF16, ball_of(above)).c.hi < middle;
        }
    double const share = (double)other / (NUMBERS * PORTS);
    printf("%.3f round the other way\n", share);
    cr_expect(share > 0.1 && share < 0.22);
}

/* Partial sums in BF16. */
Test(cuts, partial_sums_go_as_far_as_those_that_are_carried_out)
{
    ref_numerics const n = numerics("experts", "acc 24 rn; routed bf16 must");
    enum { FEW = 8 };
    spread s = {0, 0};
    for (int i = 0; i < NUMBERS; i++) {
        sum_record sum = empty_sum();
        double by_steps = 0;
        for (int k = 0; k < FEW; k++) {
            double const v = (double)(float)(0.5 + drand48());
            add_term(&sum, ball_of(v));
            by_steps = to_nearest(by_steps + v, 8);
        }
        add_carried_out(&s, by_steps - sum.total.c.hi);
        for (int k = 0; k < PORTS; k++) {
            ref_sample const p = port(k);
            ref_reading const rd = {.declared = &n, .sample = &p};
            add_of_port(&s, sum_rounded_at(&rd, POINT_experts_routed, DSV3_BF16, &sum).c.hi - sum.total.c.hi);
        }
    }
    expect_ratio("partial sums in BF16", &s, 0.44);
}

/* A block of codes, whose sum is exact, and two scales. */
Test(cuts, scaled_sums_go_as_far_as_those_that_are_carried_out)
{
    ref_numerics const n = numerics("linear", "acc 53 rn; x f32 may; weight f32 may");
    spread s = {0, 0};
    int scaling = 0;
    for (int k = 0; k < PORTS; k++) {
        ref_sample const p = port(k);
        scaling += way_of(&p, MATTER_SCALES, 3) != 0;
    }
    for (int i = 0; i < NUMBERS; i++) {
        float const of_x = (float)(1 + drand48()), of_w = (float)(1 + drand48());
        double x[MOST], w[MOST], codes = 0;
        for (int k = 0; k < MOST; k++) {
            double const a = 16 + floor(16 * drand48()), b = 16 + floor(16 * drand48());
            codes += a * b, x[k] = a * (double)of_x, w[k] = b * (double)of_w;
        }
        operand const of_rows = operand_of(x, NULL, MOST), of_columns = operand_of(w, NULL, MOST);
        sum_record const sum = ball_dot(&of_rows, &of_columns);
        double const exact = codes * (double)of_x * (double)of_w;
        add_carried_out(&s, ((double)((float)codes * of_x * of_w) - exact) / exact);
        for (int k = 0; k < PORTS; k++) {
            ref_sample const p = port(k);
            ref_reading const rd = {.declared = &n, .sample = &p};
            double const error = scaled_by_blocks(&rd, ball_of(exact), &sum, 2, 0).c.hi / exact - 1;
            s.ports += error * error / scaling;
        }
    }
    expect_ratio("a sum that is scaled", &s, 0.61);
}

/* How far a port's function is off, of what it may be. */
typedef double function(const ref_reading *rd, double v);

static const double unit = 0x1p-24;

static double of_rsqrt(const ref_reading *rd, double v)
{
    return (rsqrt_of(rd, ball_of(v)).c.hi * sqrt(v) - 1) / (3 * unit);
}

static double of_division(const ref_reading *rd, double v)
{
    return (quotient_of(rd, ball_of(v), ball_of(3)).c.hi * 3 / v - 1) / (3 * unit);
}

static double of_exp(const ref_reading *rd, double v)
{
    return (exp_of(rd, ball_of(v), 0).c.hi / exp(v) - 1) / (64 * unit);
}

static double of_sigmoid(const ref_reading *rd, double v)
{
    return (sigmoid_of(rd, ball_of(v)).c.hi / ball_sigmoid(ball_of(v)).c.hi - 1) / (64 * unit);
}

static double of_log(const ref_reading *rd, double v)
{
    return (log_of(rd, ball_of(v)).c.hi - log(v)) / (64 * unit * (1 + log(v)));
}

/* The maximum that is taken off each argument. */
static double of_maximum(const ref_reading *rd, double v)
{
    return (exp_of(rd, ball_of(4096 * v), 4096 * v).c.hi - 1) / (4096 * v * unit);
}

static double of_sine(const ref_reading *rd, double v)
{
    ball cosine, sine;
    cos_sin_of(rd, ball_of(0.1 + v / 100), 0, 0, &cosine, &sine);
    return (cosine.c.hi - cos(2 * M_PI * (0.1 + v / 100))) / (64 * unit);
}

static double of_angle(const ref_reading *rd, double v)
{
    ball cosine, sine;
    cos_sin_of(rd, ball_of(0), 1e6, v, &cosine, &sine);
    return asin(sine.c.hi) / (1e6 * v * unit);
}

/* A weight whose score is the maximum less 1. */
static double of_weight(const ref_reading *rd, double v)
{
    score_range const range = {v, v, v, v, v};
    softmax m = {.n = 1};
    ball weight = ball_of(exp(-1) * v);
    double const eta = exponent_error(rd, ball_of(v - 1), &range, &m);
    weight_error(rd, &weight, eta, &m);
    return (weight.c.hi / (exp(-1) * v) - 1) / (64 * unit);
}

Test(cuts, functions_err_by_all_that_they_may)
{
    static const struct {
        const char *what, *op, *declared;
        function *off;
    } rows[] = {
        {"rsqrt", "rmsnorm", "rsqrt 3", of_rsqrt},
        {"a quotient", "rmsnorm", "div 3", of_division},
        {"exp", "mla_decode", "exp 64 0", of_exp},
        {"a weight", "mla_decode", "exp 63 1", of_weight},
        {"sigmoid", "gate", "sigmoid 64", of_sigmoid},
        {"log", "mla_decode", "log 64 64", of_log},
        {"a maximum", "mla_decode", "exp 1", of_maximum},
        {"cos", "rope", "sincos 64; angle f64", of_sine},
        {"an angle", "rope", "sincos 1; angle f32", of_angle},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ref_numerics const n = numerics(rows[i].op, rows[i].declared);
        double most = 0;
        for (int t = 0; t < NUMBERS; t++)
            for (int k = 0; k < PORTS; k++) {
                ref_sample const p = port(k);
                ref_reading const rd = {.declared = &n, .sample = &p};
                most = fmax(most, fabs(rows[i].off(&rd, 1 + (t + 0.5) / NUMBERS)));
            }
        printf("%s: at most %.3f of what it may be off by\n", rows[i].what, most);
        cr_expect(most > 0.85 && most < 1.1, "%s: %.3f", rows[i].what, most);
    }
}

/* The maximum, the logarithm and their sum are rounded to binary32. */
Test(cuts, lse_goes_as_far_as_what_is_carried_out)
{
    ref_numerics const n = numerics("mla_decode", "log 1");
    spread s = {0, 0};
    for (int i = 0; i < NUMBERS; i++) {
        double const maximum = 4 + 4 * drand48(), sum = 1 + 30 * drand48(), lse = maximum + log(sum);
        softmax const m = {.n = 32, .maximum = ball_of(maximum), .sum = ball_of(sum)};
        add_carried_out(&s, (double)((float)maximum + (float)log(sum)) - lse);
        for (int k = 0; k < PORTS; k++) {
            ref_sample const p = port(k);
            ref_reading const rd = {.declared = &n, .sample = &p};
            add_of_port(&s, softmax_lse(&rd, &m, 0).c.hi - lse);
        }
    }
    expect_ratio("lse", &s, 0.4);
}
