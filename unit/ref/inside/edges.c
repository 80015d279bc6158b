/* Arguments at which the working tier errs most, against MPFR: the terms of its own radii are used there. */
#include "attention.h"
#include "scratch.h"

#include <criterion/criterion.h>
#include <mpfr.h>
#include <stdio.h>
#include <stdlib.h>

#include "declared.h"

TestSuite(edges, .timeout = 60);

enum { BITS = 2400 };

static void exact_of(mpfr_t out, centre c)
{
    mpfr_set_d(out, c.hi, MPFR_RNDN);
    mpfr_add_d(out, out, c.lo, MPFR_RNDN);
}

/* |exact - centre| / radius */
static double share(ball b, mpfr_t exact)
{
    mpfr_t c;
    mpfr_init2(c, BITS);
    exact_of(c, b.c);
    mpfr_sub(c, c, exact, MPFR_RNDA);
    mpfr_abs(c, c, MPFR_RNDN);
    bool const hit = mpfr_zero_p(c);
    mpfr_div_d(c, c, b.r > 0 ? b.r : 0x1p-1070, MPFR_RNDU);
    double const used = hit ? 0 : mpfr_get_d(c, MPFR_RNDN);
    mpfr_clear(c);
    return used;
}

static ball two_words(double hi, double lo)
{
    return (ball){{hi, lo}, 0};
}

static double draw(double from, double to)
{
    return from + (to - from) * drand48();
}

/* Sums and products of numbers whose low words are as large as they may be, and of either sign. */
static double worst_of(bool product, int rounds, mpfr_t x, mpfr_t y)
{
    double worst = 0;
    srand48(31);
    for (int i = 0; i < rounds; i++) {
        double const a = product ? draw(1, 1 + 0x1p-20) : draw(1, 2),
                     b = product ? draw(1, 1 + 0x1p-20) : -draw(0.5, 1);
        ball const p = two_words(a, copysign(0x1.fffffffffffffp-54, drand48() - 0.5)),
                   q = two_words(b, copysign(product ? 0x1.fffffffffffffp-54 : 0x1.fffffffffffffp-55, drand48() - 0.5));
        exact_of(x, p.c);
        exact_of(y, q.c);
        (product ? mpfr_mul : mpfr_add)(x, x, y, MPFR_RNDN);
        ball const thin = {p.c, 0x1p-200}; /* takes the way of balls */
        worst = fmax(worst, share(product ? ball_mul(p, q) : ball_add(p, q), x));
        worst = fmax(worst, share(product ? ball_mul(thin, q) : ball_add(thin, q), x));
    }
    return worst;
}

Test(edges, sums_and_products)
{
    mpfr_t x, y;
    mpfr_inits2(BITS, x, y, (mpfr_ptr)0);
    double const sums = worst_of(false, 200000, x, y), products = worst_of(true, 200000, x, y);
    printf("edges: sums use %.3f of their radius, products %.3f\n", sums, products);
    cr_expect(sums <= 1 && products <= 1);

    /* the largest error that Joldes, Muller and Popescu found: 2.25 u^2 */
    ball const a = two_words(9007199254740991.0, -9007199254740991.0 * 0x1p-54);
    ball const b = two_words(-9007199254740987.0 / 2, -9007199254740991.0 * 0x1p-56);
    exact_of(x, a.c);
    exact_of(y, b.c);
    mpfr_add(x, x, y, MPFR_RNDN);
    double const used = share(ball_add(a, b), x);
    printf("edges: the published sum uses %.3f\n", used);
    cr_expect(used <= 1);
    mpfr_clears(x, y, (mpfr_ptr)0);
}

/* Near 700, where the low word of the argument is largest. */
Test(edges, exponentials)
{
    mpfr_t x;
    double one = 0, many = 0, moved = 0;
    mpfr_init2(x, BITS);
    srand48(32);
    for (int i = 0; i < 20000; i++) {
        double const hi = draw(512, 700);
        ball const a = two_words(hi, copysign(0x1p-44 * (1 - 0x1p-20 * drand48()), drand48() - 0.5));
        exact_of(x, a.c);
        mpfr_exp(x, x, MPFR_RNDN);
        one = fmax(one, share(ball_exp(a), x));
        ball together = a;
        ball_exp_all(&together, 1);
        many = fmax(many, share(together, x));
        if (i % 10) continue;
        ball wide = a;
        wide.r = 0.5 * drand48();
        exact_of(x, wide.c);
        mpfr_add_d(x, x, wide.r, MPFR_RNDN);
        mpfr_exp(x, x, MPFR_RNDN);
        ball_exp_all(&wide, 1);
        moved = fmax(moved, share(wide, x));
    }
    printf("edges: exponentials use %.3f of their radius, many at once %.3f, of balls %.3f\n", one, many, moved);
    cr_expect(one <= 1 && many <= 1 && moved <= 1);
    mpfr_clear(x);
}

Test(edges, pi)
{
    mpfr_t x;
    mpfr_init2(x, BITS);
    mpfr_const_pi(x, MPFR_RNDN);
    cr_expect(share(ball_pi(), x) <= 1, "%g", share(ball_pi(), x));
    mpfr_clear(x);
}

Test(edges, roots_near_0)
{
    ball const b = {{0, 0}, 0x1p-20}, below = {{-0x1p-20, 0}, 0x1p-19};
    cr_expect(ball_upper(ball_sqrt(b)) >= 0x1p-10, "%a", ball_upper(ball_sqrt(b)));
    cr_expect(ball_upper(ball_sqrt(below)) >= 0x1p-10, "%a", ball_upper(ball_sqrt(below)));
}

/* Products of one word and of two whose sums lose bits beyond the second word. */
static double worst_dot(bool low, double radius_a, double radius_b)
{
    enum { N = 200 };
    static double a[3 * N], b[3 * N], ra[N], rb[N];
    static ball ba[N], bb[N];
    double worst = 0;
    mpfr_t sum, x, y;
    mpfr_inits2(BITS, sum, x, y, (mpfr_ptr)0);
    srand48(33);
    for (int round = 0; round < 300; round++) {
        mpfr_set_zero(sum, 1);
        for (int i = 0; i < N; i++) {
            double const size = ldexp(1, -(int)(lrand48() % 70));
            a[i] = low ? draw(1, 2) * size : (double)(float)(draw(1, 2) * size);
            b[i] = low ? draw(-2, 2) * size : (double)(float)(draw(-2, 2) * size);
            ra[i] = radius_a * fabs(a[i]), rb[i] = radius_b * fabs(b[i]);
            ba[i] = two_words(a[i], low ? a[i] * 0x1p-55 : 0), bb[i] = two_words(b[i], low ? b[i] * 0x1p-55 : 0);
            exact_of(x, ba[i].c);
            exact_of(y, bb[i].c);
            mpfr_add_d(x, x, ra[i], MPFR_RNDN);
            mpfr_add_d(y, y, b[i] > 0 ? rb[i] : -rb[i], MPFR_RNDN);
            mpfr_mul(x, x, y, MPFR_RNDN);
            if (radius_a + radius_b > 0) mpfr_abs(x, x, MPFR_RNDN), b[i] = fabs(b[i]), bb[i] = two_words(b[i], 0);
            mpfr_add(sum, sum, x, MPFR_RNDN);
        }
        operand const p = low ? operand_of_balls(ba, N, a) : operand_of(a, radius_a > 0 ? ra : NULL, N);
        operand const q = low ? operand_of_balls(bb, N, b) : operand_of(b, radius_b > 0 ? rb : NULL, N);
        sum_record const dot = ball_dot(&p, &q);
        worst = fmax(worst, share(dot.total, sum));
        double const most = mpfr_get_d(sum, MPFR_RNDU);
        cr_expect(!(radius_a + radius_b > 0) || dot.sum_abs >= most * (1 - 0x1p-40), "%g < %g", dot.sum_abs, most);
    }
    mpfr_clears(sum, x, y, (mpfr_ptr)0);
    return worst;
}

Test(edges, dots)
{
    double const plain = worst_dot(false, 0, 0), pairs = worst_dot(true, 0, 0);
    double const both = worst_dot(false, 0.9, 0.9), one = worst_dot(false, 0.9, 0);
    printf("edges: dots use %.3g of their radius, of pairs %.3g, of balls %.3f and %.3f\n", plain, pairs, both, one);
    cr_expect(plain <= 1 && pairs <= 1 && both <= 1 && one <= 1);
}

/* Values on the grid of Lemma Slices, and off it; weights with and without a radius. */
static double worst_combined(bool on_grid, double radius)
{
    enum { N = 100, WIDTH = 3 };
    static ball weight[N], out[WIDTH];
    static double value[N * WIDTH];
    scratch memory = {NULL};
    double worst = 0;
    mpfr_t sum, x;
    mpfr_inits2(BITS, sum, x, (mpfr_ptr)0);
    srand48(34);
    for (int round = 0; round < 300; round++) {
        for (int j = 0; j < N; j++) {
            weight[j] = ball_div(ball_of(draw(0, 1)), ball_of(3));
            weight[j].r = radius * weight[j].c.hi;
            for (int c = 0; c < WIDTH; c++)
                value[j * WIDTH + c] = on_grid ? ldexp(rint(draw(1, 128)), -7)
                                               : draw(0.99, 1) * (radius > 0 ? 1 : ldexp(1, -(int)(lrand48() % 50)));
        }
        ball_combine(&memory, &(weight_rows){weight, 1, N, N}, value, WIDTH, WIDTH, out);
        scratch_back(&memory, NULL);
        for (int c = 0; c < WIDTH; c++) {
            mpfr_set_zero(sum, 1);
            for (int j = 0; j < N; j++) {
                exact_of(x, weight[j].c);
                mpfr_add_d(x, x, weight[j].r, MPFR_RNDN);
                mpfr_mul_d(x, x, value[j * WIDTH + c], MPFR_RNDN);
                mpfr_add(sum, sum, x, MPFR_RNDN);
            }
            worst = fmax(worst, share(out[c], sum));
        }
    }
    mpfr_clears(sum, x, (mpfr_ptr)0);
    return worst;
}

Test(edges, weighted_sums)
{
    double const grid = worst_combined(true, 0), any = worst_combined(false, 0);
    double const grid_of_balls = worst_combined(true, 0.1), any_of_balls = worst_combined(false, 0.1);
    printf("edges: weighted sums use %.3g and %.3g of their radius, of balls %.3f and %.3f\n", grid, any, grid_of_balls,
           any_of_balls);
    cr_expect(grid <= 1 && any <= 1 && grid_of_balls <= 1 && any_of_balls <= 1);
}

/* A weight so far below the largest that some of it is cut off; the largest meets a 0, so that its own rounding is none. */
static double share_of_a_cut_weight(int below, int bits, bool pair)
{
    enum { WIDTH = 2 };
    double const most = ldexp(1, bits) - 1, hi = ldexp(draw(1, 2), -below);
    double const value[2 * WIDTH] = {0, most, most, most};
    ball const weight[2] = {two_words(1, 0), two_words(hi, pair ? hi * draw(-0x1p-54, 0x1p-54) : 0)};
    ball out[WIDTH];
    scratch memory = {NULL};
    ball_combine(&memory, &(weight_rows){weight, 1, 2, 2}, value, WIDTH, WIDTH, out);
    scratch_back(&memory, NULL);
    mpfr_t sum;
    mpfr_init2(sum, BITS);
    exact_of(sum, weight[1].c);
    mpfr_mul_d(sum, sum, most, MPFR_RNDN);
    double const used = share(out[0], sum);
    mpfr_clear(sum);
    return used;
}

Test(edges, cut_weights)
{
    double worst = 0;
    srand48(35);
    for (int below = 40; below < 400; below++)
        for (int bits = 1; bits < 20; bits++) worst = fmax(worst, share_of_a_cut_weight(below, bits, below % 2));
    printf("edges: what is cut off a weight uses %.3f of its radius\n", worst);
    cr_expect(worst <= 1 && worst > 0.5, "%g", worst);
}

/* The largest sums of pieces: the largest values times weights that all leave half a unit of their first piece. */
static double share_of_full_pieces(int n)
{
    enum { MOST = 2047 };
    static ball weight[MOST];
    static double value[MOST];
    double const unit = ldexp(1, -33), whole = floor(1.99 / n / unit);
    ball out[1];
    scratch memory = {NULL};
    mpfr_t sum, x;
    mpfr_inits2(BITS, sum, x, (mpfr_ptr)0);
    mpfr_set_zero(sum, 1);
    for (int j = 0; j < n; j++) {
        double const hi = (whole + 0.5 - draw(0, 0x1p-15)) * unit;
        weight[j] = two_words(hi, hi * draw(-0x1p-54, 0x1p-54));
        value[j] = 0x1p18 - 1;
        exact_of(x, weight[j].c);
        mpfr_mul_d(x, x, value[j], MPFR_RNDN);
        mpfr_add(sum, sum, x, MPFR_RNDN);
    }
    ball_combine(&memory, &(weight_rows){weight, 1, n, n}, value, 1, 1, out);
    scratch_back(&memory, NULL);
    double const used = share(out[0], sum);
    mpfr_clears(sum, x, (mpfr_ptr)0);
    return used;
}

Test(edges, full_pieces)
{
    double worst = 0;
    srand48(36);
    for (int n = 1; n < 2048; n = 2 * n + 1)
        for (int round = 0; round < 10; round++) worst = fmax(worst, share_of_full_pieces(n));
    printf("edges: sums of full pieces use %.3f of their radius\n", worst);
    cr_expect(worst <= 1, "%g", worst);
}

/* ---- attention over values that are balls ---- */

enum { KEYS = 11 };

/* Keys of one weight, nearly: score[j], and values in middle +- off[j]. */
static ball mean_around(double middle, const char *declaration, const double *score, const double *off)
{
    static const double one[1] = {1};
    static double key[KEYS];
    static ball value[KEYS];
    static operand rows[KEYS];
    ref_numerics const port = numerics("mla_prefill", declaration);
    scratch memory = {NULL};
    ref_reading const rd = {.declared = &port, .scratch = &memory};
    operand const query = operand_of(one, NULL, 1);
    int64_t const seen = KEYS;
    ball o[1], lse[1];
    for (int j = 0; j < KEYS; j++) {
        key[j] = score[j];
        rows[j] = operand_of(key + j, NULL, 1);
        value[j] = ball_widen(ball_of(middle), off[j]);
    }
    attention const a = {.rd = &rd,
                         .scores = POINT_mla_prefill_scores,
                         .P = POINT_mla_prefill_P,
                         .scale_q = POINT_mla_prefill_scale,
                         .output = DSV3_F32,
                         .scale = ball_of(1),
                         .rows = 1,
                         .len = KEYS,
                         .width = 1,
                         .query = &query,
                         .key = rows,
                         .seen = &seen,
                         .value = value,
                         .stride = 1};
    attend(&a, o, lse);
    scratch_back(&memory, NULL);
    return o[0];
}

static ball mean_of(const char *declaration, const double *score, const double *off)
{
    return mean_around(0, declaration, score, off);
}

#define WIDE "acc 53 rn; div 0.001; log 0.001; flush none; rescales 0; scores f32 must; scaled scores; parts 1; "

/* One value at the end of its ball, and its weight off one way while the others' are off the other way. */
Test(edges, weights_of_balls)
{
    double score[KEYS] = {0}, off[KEYS] = {0};
    long double sum = 0, part = 0;
    for (int j = 1; j < KEYS; j++) score[j] = (double)(float)-0.0001;
    off[1] = 1;
    for (int j = 0; j < KEYS; j++) {
        long double const error = j == 0 ? 0 : (j == 1 ? 1 : -1) * 0.999L * 16000 * 0x1p-24L;
        long double const p = expl((long double)score[j]) * (1 + error);
        sum += p, part += j == 1 ? p : 0;
    }
    ball const o = mean_of(WIDE "exp 16000; P f32 may", score, off);
    cr_expect(ball_upper(o) >= (double)(part / sum), "%a above %a", (double)(part / sum), ball_upper(o));
}

/* Its weight is rounded up to BF16 before it meets the value. */
Test(edges, rounded_weights_of_balls)
{
    double score[KEYS] = {0}, off[KEYS] = {0};
    for (int j = 1; j < KEYS; j++) score[j] = j > 1 ? -30 : (double)(float)log(0x1p-4 * (1 + 0x1.01p-8));
    off[1] = 1;
    long double sum = 0;
    for (int j = 0; j < KEYS; j++) sum += expl((long double)score[j]);
    double const got = (double)((long double)ref_round(DSV3_BF16, exp(score[1])) / sum);
    ball const o = mean_of(WIDE "exp 0.001; P bf16 must", score, off);
    cr_expect(ball_upper(o) >= got, "%a above %a", got, ball_upper(o));
}

/* Values at the upper ends of their balls; all weights but the largest are rounded up to BF16, and the sum has them unrounded. */
Test(edges, rounded_weights_of_equal_balls)
{
    double score[KEYS] = {0}, off[KEYS];
    long double sum = 0, rounded = 0;
    for (int j = 0; j < KEYS; j++) {
        score[j] = j ? (double)(float)log(0x1.01p-1 * (1 + 0x1p-20)) : 0, off[j] = 1;
        long double const p = expl((long double)score[j]);
        sum += p, rounded += (long double)ref_round(DSV3_BF16, (double)p);
    }
    double const got = (double)(2 * rounded / sum);
    ball const o = mean_around(1, WIDE "exp 0.001; P bf16 must", score, off);
    cr_expect(ball_upper(o) >= got, "%a above %a", got, ball_upper(o));
}
