/*
 * Ports that use most of one term of a radius and next to nothing of the others: wide arithmetic but for one rounding, on
 * the inputs where that is worst. All are legal; unit/terms shows that each is accused where its term is weakened.
 */
#include "ref.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "declared.h"

TestSuite(terms, .timeout = 120);

enum { MOST = 1 << 16, RANK = 2, WIDTH = RANK + 2 };

/* ---- attention: the scores are entries of the keys ---- */

static float score[MOST], value[MOST];
static long double p[MOST]; /* the port's weights, relative to its maximum */
static ref_value legal_o[RANK], legal_lse[1];

static void read_keys(const ref_table *tier, const ref_reading *rd, int n, ref_value *o, ref_value *lse)
{
    static float key[MOST * WIDTH];
    float q[WIDTH] = {0};
    int32_t block = 0, length = n;
    q[WIDTH - 1] = 1;
    for (int j = 0; j < n; j++) key[j * WIDTH] = value[j], key[j * WIDTH + WIDTH - 1] = score[j];
    dsv3_mla_decode_prob const prob = {1, 1, 1, RANK, 2, 2, MOST, n, 1};
    dsv3_mla_decode_io const io = {.q = {q, DSV3_F32, 4, {1, 1, 1, WIDTH}, {WIDTH, WIDTH, WIDTH, 1}},
                                   .kv_cache = {key, DSV3_F32, 3, {1, MOST, WIDTH}, {MOST * WIDTH, WIDTH, 1}},
                                   .block_table = {&block, DSV3_I32, 2, {1, 1}, {1, 1}},
                                   .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
                                   .o = {NULL, DSV3_F32, 4, {1, 1, 1, RANK}, {RANK, RANK, RANK, 1}},
                                   .lse = {NULL, DSV3_F32, 3, {1, 1, 1}, {1, 1, 1}}};
    cr_assert(tier->mla_decode(rd, &prob, &io, (ref_value *const[]){o, lse}));
}

static void find_legal_in(const char *declaration, int n, const char *ways)
{
    char text[400];
    snprintf(text, sizeof text, "%s; %s", declaration, ways);
    ref_numerics const port = numerics("mla_decode", text);
    ref_reading const rd = {&port, ref_none(), false};
    read_keys(&ref_dd, &rd, n, legal_o, legal_lse);
}

/* Ports that scale the sum, and take the keys at once. */
static void find_legal(const char *declaration, int n)
{
    find_legal_in(declaration, n, "scaled scores; parts 1");
}

static void expect(const ref_value *legal, long double got, const char *what)
{
    double const stored = (double)(float)got;

    cr_expect(inside(legal, stored), "%s: %a not in [%a, %a]", what, stored, ref_lower(*legal), ref_upper(*legal));
}

static long double total(int n)
{
    long double sum = 0;
    for (int j = 0; j < n; j++) sum += p[j];
    return sum;
}

static long double weighted(int n)
{
    long double sum = 0;
    for (int j = 0; j < n; j++) sum += p[j] * (long double)value[j];
    return sum;
}

/* A weight that carries o alone: the key with the largest score has the value 0. */
static void two_keys(float largest, float other)
{
    score[0] = largest, value[0] = 0;
    score[1] = other, value[1] = 1;
    p[0] = 1;
}

static double draw(double from, double to)
{
    return from + (to - from) * drand48();
}

/* A format of `bits` significant bits, no ends to its exponents. */
static long double to_bits(long double v, int bits)
{
    int e = 0;
    long double const fraction = frexpl(v, &e);
    return ldexpl(rintl(ldexpl(fraction, bits)), e - bits);
}

static const long double log2_e = 1.4426950408889634073599246810019L;

#define WIDE "acc 53 rn; div 0.001; log 0.001; flush none; arith f32; scores f32 must; P f32 may; "

/* s log2 e and m log2 e are rounded, and their difference: e^s from a power of 2. */
static long double folded(float s, float m)
{
    float const c = (float)log2_e;
    float const a = s * c, b = m * c;
    return exp2l((long double)(a - b));
}

Test(terms, softmax_argument)
{
    double most = 0;
    float worst_s = 0, worst_m = 0;
    srand48(1);
    for (int i = 0; i < 3000000; i++) {
        float const m = (float)draw(1e-5, 1e-4), s = (float)-draw(44.3614, 44.3614 + 0.02 * drand48());
        double const off = fabs((double)logl(folded(s, m) / expl((long double)s - (long double)m)));
        if (off > most) most = off, worst_s = s, worst_m = m;
    }
    printf("terms: argument off by %.3f units of |s| + |m|\n", most * 0x1p24 / (double)(worst_m - worst_s));
    two_keys(worst_m, worst_s);
    p[1] = folded(worst_s, worst_m);
    find_legal(WIDE "exp 0.001; rescales 0", 2);
    expect(legal_o, weighted(2) / total(2), "log2 e is folded in");
}

/* One exponential is off by all that is declared. */
Test(terms, softmax_exp)
{
    long double const off = 1 + 0.999L * 4000 * 0x1p-24L;
    two_keys(0, -10);
    p[1] = expl(-10) * off;
    find_legal(WIDE "exp 4000; rescales 0", 2);
    expect(legal_o, weighted(2) / total(2), "exp");

    p[1] = expl(-10) * off;
    find_legal(WIDE "exp 0.001 400; rescales 0", 2);
    expect(legal_o, weighted(2) / total(2), "exp, by its argument");
}

/* Many weights are off the same way: lse moves with their sum. */
Test(terms, lse_of_weights)
{
    enum { N = 300 };
    for (int j = 0; j < N; j++) {
        score[j] = j ? -0.0001f : 0, value[j] = 1;
        p[j] = j ? expl((long double)score[j]) * (1 + 0.999L * 4000 * 0x1p-24L) : 1;
    }
    find_legal(WIDE "exp 4000; rescales 0", N);
    expect(legal_lse, logl(total(N)), "lse of weights");
}

/* Scores that a port rounds to BF16: a weight moves by the power of half a unit. */
Test(terms, softmax_scores)
{
    static const char bf16_scores[] =
        "acc 53 rn; div 0.001; log 0.001; exp 0.001; rescales 0; flush none; arith f32; scores bf16 may; P f32 may";
    two_keys(0, -33.125f);
    p[1] = expl(-33);
    find_legal(bf16_scores, 2);
    expect(legal_o, weighted(2) / total(2), "scores in BF16");

    two_keys(100.25f, 64.75f); /* 100 and 65 */
    p[1] = expl(65 - 100);
    find_legal(bf16_scores, 2);
    expect(legal_o, weighted(2) / total(2), "both scores in BF16, apart");

    two_keys(602, 598); /* 600, both */
    find_legal(bf16_scores, 2);
    expect(legal_o, 0.5L, "two scores become one");

    two_keys(600, 586); /* 600 and 588 */
    p[1] = expl(588 - 600);
    find_legal(bf16_scores, 2);
    expect(legal_o, weighted(2) / total(2), "large scores in BF16");

    score[0] = 64.75f, value[0] = 1; /* 65 */
    find_legal(bf16_scores, 1);
    expect(legal_lse, 65, "one score in BF16");
}

/* The running maximum moves a little and often; each factor has the error that is declared. */
Test(terms, rescale_exp)
{
    enum { MOVES = 8, N = 3000 };
    long double l = N;
    for (int j = 0; j < N; j++) score[j] = 0, value[j] = 1;
    for (int i = 0; i < MOVES; i++) {
        score[N + i] = 0.0001f * (float)(i + 1), value[N + i] = 1;
        long double const before = i ? (long double)score[N + i - 1] : 0;
        l = l * expl(before - (long double)score[N + i]) * (1 + 0.999L * 1000 * 0x1p-24L) + 1;
    }
    find_legal(WIDE "exp 1000; rescales 8", N + MOVES);
    expect(legal_lse, (long double)score[N + MOVES - 1] + logl(l), "factors of a running sum");
}

/* Each factor is 2^(a - b), b = m log2 e rounded, a the last maximum times log2 e, unrounded: the roundings of b add up. */
Test(terms, rescale_argument)
{
    enum { MOVES = 60, N = 3000 };
    float const c = (float)log2_e;
    float m = 0.0f;
    long double l = 0;
    for (int j = 0; j < N; j++) score[j] = 22.1810f, value[j] = 1;
    m = score[0];
    l = N;
    for (int i = 0; i < MOVES; i++) {
        double most = -1;
        float next = m, limit = m;
        for (int k = 0; k < 40; k++) { /* the one of the next 40 numbers whose product is rounded up most */
            limit = nextafterf(limit, 100);
            double const up = (double)((long double)(limit * c) - (long double)limit * log2_e);
            if (up > most) most = up, next = limit;
        }
        float const a = fmaf(m, c, -(next * c));
        l = l * exp2l((long double)a) + 1;
        m = next;
        score[N + i] = m, value[N + i] = 1;
    }
    find_legal(WIDE "exp 0.001; rescales 60", N + MOVES);
    expect(legal_lse, (long double)m + logl(l), "arguments of a running sum");
}

/* The running sum is rounded each time it moves, always the same way. */
Test(terms, rescale_sums)
{
    enum { MOVES = 200, N = 1025 };
    float m = 0x1p-40f, l = N;
    for (int j = 0; j < N; j++) score[j] = m, value[j] = 1;
    for (int i = 0; i < MOVES; i++) {
        float next = m, best = m;
        double most = -1;
        for (int k = 0; k < 60; k++) {
            next += 0x1p-30f * (float)(1 + k % 3);
            long double const exact = (long double)l * expl((long double)m - (long double)next);
            double const up = (double)((long double)(float)exact - exact);
            if (up > most) most = up, best = next;
        }
        l = (float)((long double)l * expl((long double)m - (long double)best));
        m = best;
        score[N + i] = m, value[N + i] = 1;
        l = (float)((long double)l + 1);
    }
    find_legal(
        "acc 53 rn; div 0.001; log 0.001; flush none; arith f32; scores f32 must; P f32 may; exp 0.001; rescales 200",
        N + MOVES);
    expect(legal_lse, (long double)m + logl((long double)l), "a running sum is rounded");
}

/* All products of a sum enter one step, which is rounded once: to 11 bits. */
#define SHORT                                                                                                          \
    "acc 11 rn fused block=4096 promote=4096 bits2=53; div 0.001; log 0.001; exp 0.001; flush none; arith f32; "       \
    "scores f32 must; "                                                                                                \
    "P f32 may; rescales 0"

Test(terms, sums_of_o)
{
    enum { TRIES = 200000 };
    double most_sum = 0, most_both = 0, most_lse = 0;
    float of_sum[3] = {0}, of_both[3] = {0}, of_lse[3] = {0};
    srand48(2);
    for (int i = 0; i < TRIES; i++) {
        score[0] = 0; /* the others have 10 bits, so that q k is exact */
        for (int j = 1; j < 3; j++) score[j] = -(float)rint(draw(1, 1000)) / 128;
        for (int j = 0; j < 3; j++) p[j] = expl((long double)score[j]);
        long double const l = total(3), rounded = to_bits(l, 11), n = p[1] + p[2];
        double const both = (double)(to_bits(n, 11) / rounded / (n / l) - 1), lse = (double)fabsl(rounded / l - 1);
        value[0] = 1, value[1] = -1, value[2] = 0; /* p of either sign, which leaves little of o */
        if (lse > most_lse) most_lse = lse, memcpy(of_lse, score, sizeof of_lse);
        if (both > most_both) most_both = both, memcpy(of_both, score, sizeof of_both);
        double const alone = (double)(fabsl(to_bits(n, 11) / n - 1));
        if (alone > most_sum) most_sum = alone, memcpy(of_sum, score, sizeof of_sum);
    }
    printf("terms: sums of 11 bits off by %.3f and %.3f of 2^-11\n", most_both * 0x1p11, most_lse * 0x1p11);

    memcpy(score, of_both, sizeof of_both);
    value[0] = 0, value[1] = value[2] = 1;
    for (int j = 0; j < 3; j++) p[j] = expl((long double)score[j]);
    find_legal(SHORT, 3);
    expect(legal_o, to_bits(weighted(3), 11) / to_bits(total(3), 11), "both sums in 11 bits");

    memcpy(score, of_lse, sizeof of_lse);
    for (int j = 0; j < 3; j++) p[j] = expl((long double)score[j]);
    find_legal(SHORT, 3);
    expect(legal_lse, logl(to_bits(total(3), 11)), "lse of a sum in 11 bits");
}

/* A sum of 11 bits in order: each small value is rounded up to a whole unit, and the last one takes away all else. */
Test(terms, sum_that_cancels)
{
    enum { N = 60 };
    long double sum = 0;
    for (int j = 0; j < N; j++) {
        score[j] = 0, value[j] = j == 0 ? 1 : j < N - 1 ? 0x1.01p-11f : -1;
        sum = to_bits(sum + (long double)value[j], 11);
    }
    find_legal("acc 11 rn fused splits=1; div 0.001; log 0.001; exp 0.001; flush none; arith f32; scores f32 must; "
               "P f32 may; rescales 0",
               N);
    expect(legal_o, sum / N, "a sum that cancels");
}

/* One key in 2048, and half of the least code is more than that: P, divided first, is 0. */
Test(terms, selected_weights)
{
    enum { N = 2048 };
    for (int j = 0; j < N; j++) score[j] = 0, value[j] = 1;
    find_legal("acc 24 rn; div ieee; exp 2; flush none; scores f32 must; P f8_e4m3 must; rescales 0", N);
    expect(legal_o, 0, "selected weights below the least code");
}

/* Values of 31 times the least number, divided by 64 first: nothing is left of them. */
Test(terms, selected_products)
{
    enum { N = 64 };
    float q[4] = {0}, k[N * 4] = {0}, v[N];
    int32_t queries[] = {0, 1}, keys[] = {0, N};
    for (int j = 0; j < N; j++) v[j] = 31 * 0x1p-149f;
    ref_numerics const port = numerics("mla_prefill", "acc 24 rn; div ieee; rescales 0; flush none; scores f32 must; "
                                                      "P f32 must; scaled scores; parts 1");
    dsv3_mla_prefill_prob const prob = {1, 1, N, 1, 2, 2, 1, 0.5};
    dsv3_mla_prefill_io const io = {.q = {q, DSV3_F32, 3, {1, 1, 4}, {4, 4, 1}},
                                    .k = {k, DSV3_F32, 3, {N, 1, 4}, {4, 4, 1}},
                                    .v = {v, DSV3_F32, 3, {N, 1, 1}, {1, 1, 1}},
                                    .cu_seqlens_q = {queries, DSV3_I32, 1, {2}, {1}},
                                    .cu_seqlens_k = {keys, DSV3_I32, 1, {2}, {1}},
                                    .o = {NULL, DSV3_F32, 3, {1, 1, 1}, {1, 1, 1}},
                                    .lse = {NULL, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.mla_prefill(&rd, &prob, &io, (ref_value *const[]){legal_o, legal_lse}));
    expect(legal_o, 0, "selected values that underflow");
}

/* P is cut to BF16, and to E4M3, where that takes most of it. */
Test(terms, weights_cut)
{
    two_keys(0, (float)logl(0x1p-4L * (1 + 0x1.fcp-8L)));
    long double const exact = expl((long double)score[1]);
    p[1] = 0x1p-4L;
    find_legal("acc 53 rn; div 0.001; log 0.001; exp 0.001; flush none; scores f32 must; P bf16 must rz; rescales 0",
               2);
    expect(legal_o, p[1] / (1 + exact), "P cut to BF16");

    for (int j = 0; j < 65; j++) { /* the sum is made of weights that aren't cut */
        score[j] = j ? (float)logl(0.5L * (1 + 0x1.fcp-8L)) : 0, value[j] = j > 0;
    }
    find_legal("acc 53 rn; div 0.001; log 0.001; exp 0.001; flush none; scores f32 must; P bf16 must rz; rescales 0",
               65);
    expect(legal_o, 32 / (1 + 64 * expl((long double)score[1])), "many P cut to BF16");

    enum { N = 1700 };
    for (int j = 0; j < N; j++) score[j] = j ? (float)logl(0x1.fep-10L) : 0, value[j] = 1;
    find_legal("acc 53 rn; div 0.001; log 0.001; exp 0.001; flush none; scores f32 must; P f8_e4m3 must rz; rescales 0",
               N);
    expect(legal_lse, 0, "lse of P that is cut");

    for (int j = 0; j < MOST; j++) score[j] = j ? (float)logl(0x1.fep-10L) : 0, value[j] = 1;
    find_legal("acc 53 rn; div 0.001; log 0.001; exp 0.001; flush none; scores f32 must; P f8_e4m3 must rz; rescales 0",
               MOST);
    expect(legal_lse, 0, "lse of P that is cut, of many keys");
}

Test(terms, division_of_o)
{
    two_keys(0, -1);
    p[1] = expl(-1);
    find_legal("acc 53 rn; div 4000; log 0.001; exp 0.001; flush none; scores f32 must; P f32 may; rescales 0", 2);
    expect(legal_o, weighted(2) / total(2) * (1 + 0.999L * 4000 * 0x1p-24L), "a division");
}

/* The numerator leaves an accumulator of 53 bits for binary32, and the quotient is rounded the same way. */
Test(terms, numerator_handed_on)
{
    double most = 0;
    float worst_s = 0, worst_v = 0;
    srand48(26);
    for (int i = 0; i < 200000; i++) {
        float const s = (float)-draw(9, 10), v = (float)draw(-1, 1);
        long double const P = expl((long double)s), n = 1 + P * (long double)v, l = 1 + P;
        double const off = (double)fabsl((long double)(float)((long double)(float)n / l) / (n / l) - 1);
        if (off > most) most = off, worst_s = s, worst_v = v;
    }
    printf("terms: a numerator in binary32 and its quotient off by %.3f units\n", most * 0x1p24);
    two_keys(0, worst_s);
    value[0] = 1, value[1] = worst_v, p[1] = expl((long double)worst_s);
    find_legal(
        "acc 53 rn; div 0.001; log 0.001; exp 0.001; flush none; arith f32; scores f32 must; P f64 must; rescales 0",
        2);
    expect(legal_o, (long double)(float)weighted(2) / total(2), "a numerator in binary32");
}

/* P is rounded to BF16 where that moves it most. */
Test(terms, weights_in_bf16)
{
    enum { N = 400 };
    static const char bf16_P[] =
        "acc 53 rn; div 0.001; log 0.001; exp 0.001; flush none; scores f32 must; P bf16 must; rescales 0";
    two_keys(0, (float)logl(0x1p-4L * (1 + 0x1.01p-8L)));
    long double const exact = expl((long double)score[1]);
    p[1] = (long double)ref_round(DSV3_BF16, (double)exact);
    find_legal(bf16_P, 2);
    expect(legal_o, p[1] / (1 + exact), "P in BF16");

    for (int j = 0; j < N; j++) {
        score[j] = j ? (float)logl(0x1p-4L * (1 + 0x1.01p-8L)) : 0, value[j] = 1;
        p[j] = (long double)ref_round(DSV3_BF16, (double)expl((long double)score[j]));
    }
    find_legal(bf16_P, N);
    expect(legal_lse, logl(total(N)), "lse of P in BF16");
    long double sum = 0;
    for (int j = 0; j < N; j++) sum += expl((long double)score[j]);
    expect(legal_o, total(N) / sum, "a mean above every value");
}

/* Half of the least code is lost of each weight. */
Test(terms, weights_below_the_least_code)
{
    enum { N = 1000 };
    for (int j = 0; j < N; j++) score[j] = j ? (float)logl(0x1.fep-11L) : 0, value[j] = 1, p[j] = j ? 0 : 1;
    find_legal("acc 53 rn; div 0.001; log 0.001; exp 0.001; flush none; scores f32 must; P f8_e4m3 must; rescales 0",
               N);
    expect(legal_lse, logl(total(N)), "lse of small P");
    expect(legal_o, 1 / (1 + (N - 1) * expl((long double)score[1])), "a mean below every value");
}

/* Below 2^-126 a weight is flushed, of the one key whose value isn't 0. */
Test(terms, weights_flushed)
{
    two_keys(0, -87.35f);
    value[0] = 0, value[1] = 0x1p10f, p[1] = 0;
    find_legal("acc 53 rn; div 0.001; log 0.001; exp 0.001; flush ftz; scores f32 must; P f32 must; rescales 0", 2);
    expect(legal_o, 0, "a weight that is flushed");
}

Test(terms, logarithm)
{
    enum { N = 64 };
    for (int j = 0; j < N; j++) score[j] = -0.0001f * (float)(j != 0), value[j] = 1, p[j] = expl((long double)score[j]);
    long double const ln = logl(total(N));
    find_legal("acc 53 rn; div 0.001; log 4000; exp 0.001; flush none; scores f32 must; P f32 may; rescales 0", N);
    expect(legal_lse, ln * (1 + 0.999L * 4000 * 0x1p-24L), "a logarithm");
    find_legal("acc 53 rn; div 0.001; log 0.001 4000; exp 0.001; flush none; scores f32 must; P f32 may; rescales 0",
               N);
    expect(legal_lse, ln + 0.999L * 4000 * 0x1p-24L, "a logarithm's absolute error");
}

/* lse in base 2 until the end: the sum of m log2 e and log2 l is rounded, and then the product with ln 2. */
Test(terms, lse_in_base_2)
{
    float const ln_2 = 0.69314718055994530942f;
    double most = 0;
    for (int n = 65; n < 4000; n++) { /* how many keys make the worst of it */
        float const sum = (float)log2l((long double)n), got = sum * ln_2;
        double const off = fabs((double)((long double)got / logl((long double)n) - 1));
        if (off <= most || (n & (n - 1)) == 0) continue;
        most = off;
        for (int j = 0; j < n; j++) score[j] = 0, value[j] = 1;
        find_legal(WIDE "exp 0.001; rescales 0", n);
        expect(legal_lse, (long double)got, "lse in base 2");
    }
    printf("terms: lse in base 2 off by %.3f units\n", most * 0x1p24);
}

/* A port that flushes loses products. */
Test(terms, products_flushed)
{
    enum { N = 65 };
    for (int j = 0; j < N; j++) score[j] = j ? -10 : 0, value[j] = j ? (float)(0x1.fcp-127L * expl(10)) : 0;
    find_legal("acc 53 rn; div 0.001; log 0.001; exp 0.001; flush ftz; scores f32 must; P f32 must; rescales 0", N);
    expect(legal_o, 0, "products are flushed");
}

/* The same where all values are one. */
Test(terms, equal_products_flushed)
{
    for (int j = 0; j < 64; j++) score[j] = j ? -0.5f : 0, value[j] = 0x1.8p-126f;
    value[0] = 0x1.8p-126f;
    find_legal("acc 53 rn; div 0.001; log 0.001; exp 0.001; flush ftz; scores f32 must; P f32 must; rescales 0", 64);
    long double const l = 1 + 63 * expl(-0.5L);
    expect(legal_o, 0x1.8p-126L / l, "all products but one are flushed");
}

/* ---- arithmetic in BF16 ---- */

static float to_bf16(float v)
{
    return (float)ref_round(DSV3_BF16, (double)v);
}

/* lse of two parts, 64.25 and 64.7, becomes 64.5; their own becomes 65. */
Test(terms, coarse_parts)
{
    static const float scores[] = {64, 62.75f, 64, 64, 59.5f};
    for (int j = 0; j < 5; j++) score[j] = scores[j], value[j] = j < 2;
    find_legal_in("acc 53 rn; div 0.001; log 0.001; exp 0.001; flush none; scores f32 must; P f32 may; rescales 0; "
                  "arith bf16",
                  5, "scaled scores; parts 2");
    long double const first = 64 + logl(1 + expl(-1.25L)), second = 64 + logl(2 + expl(-4.5L));
    long double const lse = 65.5L + logl(2 * expl(-1));
    cr_assert(to_bf16((float)first) == 64.5f && to_bf16((float)second) == 64.5f && to_bf16((float)lse) == 65);
    expect(legal_o, expl(-0.5L), "lse of parts in BF16");
}

#define COARSE "acc 53 rn; div 0.001; log 0.001; exp 0.001; flush none; scores f32 must; P f32 may; "

/* A score less the maximum, both of BF16, is rounded by half a unit; with a maximum that may run, too. */
Test(terms, coarse_differences)
{
    two_keys(0x1.fep-3f, -31.875f); /* -32.124 becomes -32 */
    p[1] = expl(-32);
    find_legal(COARSE "arith bf16; rescales 0", 2);
    expect(legal_o, weighted(2) / total(2), "a difference in BF16");
    find_legal(COARSE "arith bf16; rescales 1", 2);
    expect(legal_o, weighted(2) / total(2), "a difference in BF16, of a running maximum");
    find_legal(COARSE "arith bf16 softmax=f32; rescales 0", 2);
    cr_expect(!inside(legal_o, (double)(weighted(2) / total(2))), "the softmax is in binary32");
}

/* Three weights of e^-0.53, their sum and its logarithm are rounded to BF16; the differences are numbers of BF16. */
Test(terms, coarse_exponentials)
{
    for (int j = 0; j < 4; j++) score[j] = j ? -1.53125f : -1, value[j] = 1;
    float const l = to_bf16(1 + 3 * to_bf16((float)exp(-0.53125)));
    find_legal(COARSE "arith bf16; rescales 0", 4);
    expect(legal_lse, (long double)to_bf16(-1 + to_bf16((float)log((double)l))), "exponentials in BF16");
}

/* Weights whose exponentials and quotients by the sum are rounded up, and others where both are rounded down; all but cancel. */
Test(terms, coarse_weights_that_cancel)
{
    enum { UP = 4, DOWN = 7, N = 1 + UP + DOWN };
    float const at[] = {0, -1.2109375f, -1.359375f};
    float got[3] = {1}, l = 0;
    for (int i = 1; i < 3; i++) got[i] = to_bf16((float)exp((double)at[i]));
    l = 1 + UP * got[1] + DOWN * got[2];
    long double const up = to_bf16(got[1] / l), down = to_bf16(got[2] / l);
    long double const exact = 1 + UP * expl((long double)at[1]) + DOWN * expl((long double)at[2]);
    printf("terms: weights of BF16 off by %.3f and %.3f units\n",
           (double)(up / expl((long double)at[1]) * exact - 1) * 0x1p8,
           (double)(1 - down / expl((long double)at[2]) * exact) * 0x1p8);
    for (int j = 0; j < N; j++) score[j] = at[(j > 0) + (j > UP)], value[j] = j > UP ? -1 : j > 0;
    for (int j = 1; j <= UP; j++) value[j] = (float)(DOWN * exp((double)at[2] - (double)at[1]) / UP);
    find_legal(COARSE "arith bf16; rescales 0", N);
    expect(legal_o, UP * up * (long double)value[1] - DOWN * down, "weights of BF16 that cancel");
}

/* ln 3075 is 8.031, and 8 in BF16. */
Test(terms, coarse_logarithm)
{
    enum { N = 3075 };
    for (int j = 0; j < N; j++) score[j] = -8, value[j] = 1;
    find_legal(COARSE "arith bf16; rescales 0", N);
    expect(legal_lse, 0, "a logarithm in BF16");
}

/* Both sums of o leave an accumulator of 53 bits for binary32, and for BF16: one is rounded up, the other down. */
Test(terms, sums_handed_on)
{
    for (int coarse = 0; coarse < 2; coarse++) {
        double up = 0, down = 0;
        float s = 0, v = 0;
        double const unit = coarse ? 0x1p-8 : 0x1p-24;
        float (*const store)(float) = coarse ? to_bf16 : NULL;
        srand48(25);
        for (int i = 0; i < 100000; i++) {
            float const at = coarse ? -(float)rint(draw(1, 8) * 16) / 16 : -(float)draw(9, 10);
            double const l = 1 + exp((double)at), kept = (double)(store ? store((float)l) : (float)l);
            if (kept - l > up) up = kept - l, s = at;
        }
        for (int i = 0; i < 100000; i++) {
            float const at = coarse ? to_bf16((float)draw(-1, 1)) : (float)draw(-1, 1);
            double const n = 1 + exp((double)s) * (double)at, kept = (double)(store ? store((float)n) : (float)n);
            if (n > 1 && n - kept > down) down = n - kept, v = at;
        }
        two_keys(0, s);
        value[0] = 1, value[1] = v, p[1] = expl((long double)s);
        long double const n = weighted(2), l = total(2);
        printf("terms: sums handed on, off by %.3f and %.3f units\n", down / unit, up / unit);
        find_legal(coarse ? "acc 53 rn; div 0.001; log 0.001; exp 0.001; flush none; scores f32 must; P f64 must; "
                            "rescales 0; arith bf16"
                          : "acc 53 rn; div 0.001; log 0.001; exp 0.001; flush none; scores f32 must; P f64 must; "
                            "rescales 0; arith f32",
                   2);
        if (coarse)
            expect(legal_o, (long double)to_bf16(to_bf16((float)n) / to_bf16((float)l)), "sums in BF16");
        else
            expect(legal_o, (long double)(float)n / (long double)(float)l, "sums in binary32");
    }
}

/* ---- two parts of the keys, merged by their lse ---- */

/* o of the values 1 in the first part and 0 in the second: the errors of both parts' weights and of lse, relative. */
static long double merged(long double first, long double second, long double error, long double error_of_lse)
{
    return first / (first + second) * (1 + error) * (1 + error_of_lse);
}

Test(terms, parts)
{
    enum { N = 64, MANY = 4000 };
    long double const off = 0.999L * 4000 * 0x1p-24L;
    for (int j = 0; j < 2 * N; j++) score[j] = 0, value[j] = j < N;
    find_legal_in("acc 53 rn; div 0.001; log 0.001 4000; exp 0.001; flush none; scores f32 must; P f32 may; rescales 0",
                  2 * N, "scaled scores; parts 2");
    expect(legal_o, merged(N, N, off, off), "the lse of a part, and lse");

    find_legal_in("acc 53 rn; div 0.001; log 4000; exp 0.001; flush none; scores f32 must; P f32 may; rescales 0",
                  2 * N, "scaled scores; parts 2");
    expect(legal_o, merged(N, N, off * logl(N), off * logl(2 * N)), "logarithms of parts");

    for (int j = 0; j < 2 * N; j++) score[j] = j % N ? -0.0001f : 0; /* e^0 is 1 */
    find_legal_in("acc 53 rn; div 0.001; log 0.001; exp 4000; flush none; scores f32 must; P f32 may; rescales 0",
                  2 * N, "scaled scores; parts 2");
    expect(legal_o, merged(N * (1 + off), N * (1 - off), off, off), "exponentials of parts");

    for (int j = 0; j < MANY; j++) score[j] = 0, value[j] = j % 2 ? 1 : -1; /* each key is a part */
    find_legal_in("acc 53 rn; div 0.001; log 0.001; exp 0.001 4000; flush none; scores f32 must; P f32 may; rescales 0",
                  MANY, "scaled scores; parts any");
    expect(legal_o, off * logl(MANY), "arguments of exponentials");

    for (int j = 0; j < 2 * N; j++) value[j] = j == 0; /* one key, and the others */
    find_legal_in("acc 53 rn; div 0.001; log 0.001; exp 0.001 1000; flush none; scores f32 must; P f32 may; rescales 0",
                  2 * N, "scaled scores; parts 2");
    expect(legal_o, merged(1, 2 * N - 1, 0.999L * 1000 * 0x1p-24L * logl(2 * N), 0), "an exponential's argument");

    find_legal_in("acc 53 rn; div 4000; log 0.001; exp 0.001; flush none; scores f32 must; P f32 may; rescales 0",
                  2 * N, "scaled scores; parts 2");
    expect(legal_o, merged(1, 2 * N - 1, 2 * off, 0), "two divisions");
}

/* q is scaled first, each entry rounded the wrong way; k has signs that leave little of q k. */
Test(terms, query_scaled_first)
{
    enum { HALF = 8, K = 2 * HALF };
    float q[K] = {0}, key[K], scaled[K];
    int32_t block = 0, length = 1;
    float const scale = 0.7f;
    double up = -1, down = -1;
    srand48(4);
    for (int i = 0; i < 400000; i++) {
        float const x = (float)draw(1.42858, 1.4287); /* times 0.7: just above 1 */
        double const off = (double)(x * scale) - (double)x * (double)scale;
        if (off > up) up = off, q[0] = x;
        if (-off > down) down = -off, q[1] = x;
    }
    long double s = 0;
    for (int c = 0; c < K; c++) {
        q[c] = q[c % 2];
        key[c] = c % 2 ? -1 : 1;
        scaled[c] = q[c] * scale;
        s += (long double)scaled[c] * (long double)key[c];
    }
    ref_numerics const port = numerics("mla_decode", WIDE "exp 0.001; rescales 0; scaled q; scale f32 may; parts 1");
    dsv3_mla_decode_prob const prob = {1, 1, 1, HALF, HALF, HALF, 1, 1, (double)scale};
    ref_value o[HALF];
    dsv3_mla_decode_io const io = {.q = {q, DSV3_F32, 4, {1, 1, 1, K}, {K, K, K, 1}},
                                   .kv_cache = {key, DSV3_F32, 3, {1, 1, K}, {K, K, 1}},
                                   .block_table = {&block, DSV3_I32, 2, {1, 1}, {1, 1}},
                                   .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
                                   .o = {NULL, DSV3_F32, 4, {1, 1, 1, HALF}, {HALF, HALF, HALF, 1}},
                                   .lse = {NULL, DSV3_F32, 3, {1, 1, 1}, {1, 1, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.mla_decode(&rd, &prob, &io, (ref_value *const[]){o, legal_lse}));
    expect(legal_lse, s, "q is scaled first");
}

/* ---- the scale of mla's softmax, in a port that scales queries first ---- */

enum { NOPE = 2, PE = 16, QK = NOPE + PE, MOST_QK = 50 }; /* entries of a query: only those of q_pe aren't 0 */

/* o of one cached key with the value 1, and a new one with the value 0 and the score of kv, from the port's own q and kv. */
static void find_scaled(const char *ways, int pe, double mscale_all_dim, float *q, float *cached, float *kv)
{
    static float zeros[MOST_QK], one[1] = {1}, values[NOPE + 1] = {[NOPE] = 1};
    int32_t starts[2] = {0, 1}, block = 0, length = 2;
    int64_t const qk = NOPE + pe, latent = 1 + pe;
    char text[400];
    dsv3_weight const items[] = {{"q_proj.weight", {zeros, DSV3_F32, 2, {qk, 1}, {1, 1}}},
                                 {"kv_a_proj_with_mqa.weight", {zeros, DSV3_F32, 2, {latent, 1}, {1, 1}}},
                                 {"kv_a_layernorm.weight", {one, DSV3_F32, 1, {1}, {1}}},
                                 {"kv_b_proj.weight", {values, DSV3_F32, 2, {NOPE + 1, 1}, {1, 1}}},
                                 {"o_proj.weight", {one, DSV3_F32, 2, {1, 1}, {1, 1}}}};
    dsv3_mla_prob const prob = {
        1, 1, 2, 2, 1, 1, 0, 1, NOPE, pe, 1, 1e-6, 10000, 40, 4096, 32, 1, 1, mscale_all_dim, DSV3_INTERLEAVED, 1};
    dsv3_tensor const cell = {one, DSV3_F32, 2, {1, 1}, {1, 1}};
    dsv3_mla_io const io = {.hidden_states = cell,
                            .cu_seqlens = {starts, DSV3_I32, 1, {2}, {1}},
                            .kv_cache = {cached, DSV3_F32, 3, {1, 2, latent}, {2 * latent, latent, 1}},
                            .block_table = {&block, DSV3_I32, 2, {1, 1}, {1, 1}},
                            .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
                            .weights = {5, items},
                            .q = {q, DSV3_F32, 3, {1, 1, qk}, {qk, qk, 1}},
                            .kv = {kv, DSV3_F32, 2, {1, latent}, {latent, 1}},
                            .attn_output = cell,
                            .y = cell};
    snprintf(text, sizeof text,
             "acc 53 rn; div 0.001; log 0.001; flush none; exp 0.001; rescales 0; sincos 0.001; "
             "rsqrt 0.001; angle f32; form absorbed; parts 1; P f32 may; %s",
             ways);
    ref_numerics const port = numerics("mla", text);
    ref_reading const rd = {&port, ref_none(), true};
    cr_assert(ref_dd.mla(&rd, &prob, &io, (ref_value *const[]){NULL, NULL, NULL, legal_o, NULL}));
}

/* A scale that is a number of binary32, nearly, and the next number as three rounded steps make it: an entry near 96 times
 * that is next to a tie, so that some entries move by two units and some by one. Their keys have either sign. */
Test(terms, scale_of_softmax)
{
    float const root = (float)(1 / sqrtl(QK));
    float q[QK] = {0}, cached[2 * (1 + PE)] = {1}, kv[1 + PE] = {0}, scale = 0, nearest = 0, entry[2] = {0};
    double mscale = 0;
    long double exact = 0;
    for (int i = 400; i < 2000 && !(scale > nearest && fabsl(exact - (long double)nearest) < 0x1p-29L); i++) {
        mscale = i / 4096.0;
        long double const g = 0.1L * (long double)mscale * logl(40) + 1;
        exact = g * g / sqrtl(QK), nearest = (float)exact, scale = root * (float)(g * g);
    }
    cr_assert(scale > nearest, "no such scale");
    for (float v = 96; v < 96.2f; v = nextafterf(v, 97)) {
        long double const product = exact * (long double)v, off = (product - (long double)(float)product) * 0x1p19L;
        if (fabsl(off) > 0.05L && fabsl(off) < 0.2L) entry[off < 0] = v;
    }
    for (int c = 0; c < PE; c++) q[NOPE + c] = entry[c % 2], cached[1 + c] = c % 2 ? -1 : 1;
    long double const s = PE / 2 * ((long double)(scale * entry[0]) - (long double)(scale * entry[1]));
    printf("terms: a score of %.4f off by %.1f units of 1\n", (double)s,
           (double)(s - PE / 2 * exact * ((long double)entry[0] - (long double)entry[1])) * 0x1p24);
    find_scaled("arith f32; scores f32 must; scaled q; scale f32 must", PE, mscale, q, cached, kv);
    expect(legal_o, 1 / (1 + expl(-s)), "the scale of a softmax");
}

/* A scale 2.3 units below a tie of BF16, which three rounded steps bring to the tie: it becomes the number above, and so does
 * its product with 200. That with 197 is the same number for each scale. Found by search. */
Test(terms, scale_of_softmax_in_bf16)
{
    enum { LONG_PE = 48 };
    static float q[NOPE + LONG_PE], cached[2 * (1 + LONG_PE)], kv[1 + LONG_PE];
    long double const square = 1.2118869424462317L, root = 1 / sqrtl(NOPE + LONG_PE);
    float const scale = (float)root * (float)square, stored = to_bf16(scale), score_0 = to_bf16(stored * 200);
    cr_assert(square * root < (long double)scale && to_bf16(nextafterf(scale, 0)) < stored);
    cr_assert(score_0 > to_bf16(nextafterf(stored, 0) * 200));
    q[NOPE] = 1, cached[0] = 1, cached[1] = 200, kv[1] = 197;
    find_scaled("arith bf16 softmax=f32; scores bf16 must; scaled scores", LONG_PE,
                (double)((sqrtl(square) - 1) / (0.1L * logl(40))), q, cached, kv);
    expect(legal_o, 1 / (1 + expl((long double)(to_bf16(stored * 197) - score_0))), "the scale of a softmax in BF16");
}

/* ---- keys that are codes times scales: bytes with a scale for each of two tiles ---- */

enum { CODES = 256, ROW = CODES + 2 * 4 + 2 * 2, TILE = 128, KEYS = 35 };
static const char late[] =
    "acc 53 rn; div 0.001; log 0.001; exp 0.001; flush none; arith bf16 softmax=f32; scores f32 may; P f32 may; "
    "rescales 0";

/* `n` keys of so many codes, and q, an entry for each of those and 2. */
static void find_of_cache(const char *declaration, int n, int codes, uint8_t *cache, float *q)
{
    static ref_value o[CODES];
    char text[400];
    snprintf(text, sizeof text, "%s; scaled scores; parts 1", declaration);
    int32_t block = 0, length = n;
    int64_t const row = codes + 4 * (codes / TILE) + 2 * 2, width = codes + 2;
    ref_numerics const port = numerics("mla_decode", text);
    dsv3_mla_decode_prob const prob = {1, 1, 1, codes, 2, 2, KEYS, n, 1};
    dsv3_mla_decode_io const io = {.q = {q, DSV3_F32, 4, {1, 1, 1, width}, {width, width, width, 1}},
                                   .kv_cache = {cache, DSV3_U8, 3, {1, KEYS, row}, {KEYS * row, row, 1}},
                                   .block_table = {&block, DSV3_I32, 2, {1, 1}, {1, 1}},
                                   .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
                                   .o = {NULL, DSV3_F32, 4, {1, 1, 1, codes}, {codes, codes, codes, 1}},
                                   .lse = {NULL, DSV3_F32, 3, {1, 1, 1}, {1, 1, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.mla_decode(&rd, &prob, &io, (ref_value *const[]){o, legal_lse}));
    legal_o[0] = o[0];
}

/* `n` keys of two tiles: their codes are 0 but for the first `places` of each tile, and so is q. */
static void find_coded(const char *declaration, int n, int places, float (*scale)[2], float (*code)[2], float *entry)
{
    static uint8_t cache[KEYS * ROW];
    static float q[CODES + 2];
    memset(cache, 0, sizeof cache);
    memset(q, 0, sizeof q);
    for (int j = 0; j < n; j++)
        for (int t = 0; t < 2; t++) {
            for (int c = 0; c < places; c++)
                ref_encode(DSV3_F8_E4M3, cache + j * ROW, t * TILE + c, (double)code[j][t]);
            memcpy(cache + j * ROW + CODES + 4 * t, &scale[j][t], 4);
        }
    for (int c = 0; c < places; c++) q[c] = entry[0], q[TILE + c] = entry[1];
    find_of_cache(declaration, n, CODES, cache, q);
}

/* The sums of two tiles, their scales and the products of these are rounded to BF16; the tiles all but cancel. */
Test(terms, scales_after_sums)
{
    double up = 0, down = 0;
    float scale[1][2] = {{0}}, code[1][2] = {{1, -1}}, q[2] = {0}, got[2] = {0};
    srand48(10);
    for (int i = 0; i < 1000000; i++) {
        float const v = (float)draw(1, 1.2), s = (float)draw(1, 1.2), result = to_bf16(to_bf16(v) * to_bf16(s));
        double const off = (double)result - (double)v * (double)s;
        if (off > up) up = off, q[0] = v, scale[0][0] = s, got[0] = result;
        if (-off > down) down = -off, q[1] = v, scale[0][1] = s, got[1] = result;
    }
    find_coded(late, 1, 1, scale, code, q);
    expect(legal_lse, (long double)got[0] - (long double)got[1], "scales after sums");
}

/* Keys of one weight, two of them codes of either sign whose dequantised numbers are numbers of BF16 and all but cancel;
 * their scales, and the products of these with P, are rounded to BF16, up and down. */
Test(terms, scales_after_weights)
{
    double most[2] = {0};
    float scale[KEYS][2] = {{0}}, code[KEYS][2] = {{0}}, q[2] = {0, 0};
    long double o = 0;
    for (int j = 0; j < KEYS; j++) scale[j][0] = scale[j][1] = 1.1f;
    for (int k = 0; k < 2 * 8 * 64; k++) {
        int const down = k % 2;
        float const c = 1 + (float)(k / 2 % 8) / 8, key = 1.5f + (float)(k / 16) / 128, s = key / c;
        float const got = to_bf16(to_bf16(s) / (float)KEYS) * c;
        double const off = (down ? -1 : 1) * ((double)got * KEYS / (double)key - 1);
        bool const exact = fabs((double)s * (double)c - (double)key) < 0x1p-20;
        if (exact && off > most[down]) most[down] = off, scale[down][0] = s, code[down][0] = down ? -c : c;
    }
    printf("terms: weights times scales off by %.3f and %.3f units of BF16\n", most[0] * 0x1p8, most[1] * 0x1p8);
    for (int j = 0; j < 2; j++) o += (long double)to_bf16(to_bf16(scale[j][0]) / (float)KEYS) * (long double)code[j][0];
    find_coded(late, KEYS, 1, scale, code, q);
    expect(legal_o, o, "scales after weights");
}

/* The sum of one tile overflows before the scale makes it small, and before the other tile, or k_pe, takes it back. */
Test(terms, codes_overflow)
{
    static const char port[] =
        "acc 24 rn; div 0.001; exp 0.001; flush none; arith f32; scores f32 may; P f32 may; rescales 0";
    float scale[1][2] = {{0x1p-60f, 0x1p-60f}}, code[1][2] = {{448, -448}}, q[2] = {0x1p113f, 0x1p113f};
    find_coded(port, 1, TILE, scale, code, q);
    cr_expect(isinf(legal_lse->radius), "[%a, %a]", ref_lower(*legal_lse), ref_upper(*legal_lse));

    static uint8_t cache[KEYS * ROW];
    float query[TILE + 2];
    for (int c = 0; c < TILE + 2; c++) query[c] = 0x1.28p112f;
    for (int c = 0; c < TILE; c++) ref_encode(DSV3_F8_E4M3, cache, c, 448);
    memcpy(cache + TILE, &scale[0][0], 4);
    ref_encode(DSV3_BF16, cache + TILE + 4, 0, TILE * -448 * 0x1p-60);
    cr_assert(isinf(TILE * (448 * query[0])));
    find_of_cache(port, 1, TILE, cache, query);
    cr_expect(isinf(legal_lse->radius), "[%a, %a]", ref_lower(*legal_lse), ref_upper(*legal_lse));
}

static const char late_exact[] =
    "acc 53 rn; div 0; log 0; exp 0; flush ftz; arith f32; scores f32 may; P f32 may; rescales 0";

/* A weight times its key's scale is flushed, before a code makes it large again. */
Test(terms, scaled_weights_flushed)
{
    float scale[2][2] = {{0x1p-60f, 0x1p-60f}, {0x1p-60f, 0x1p-60f}}, code[2][2] = {{0, 0}, {448, 0}};
    float q[2] = {-46 * 0x1p60f / 448, 0};
    find_coded(late_exact, 2, 1, scale, code, q);
    cr_assert_lt(expl(-46) * 0x1p-60L, 0x1p-126L);
    expect(legal_o, 0, "P times a scale is flushed");
}

/* ---- the exact reading: the working tier beside one of 512 bits ---- */

static double apart(ref_value a, ref_value b)
{
    return fabs((a.hi - b.hi) + (a.lo - b.lo)) - (a.radius + b.radius);
}

Test(terms, exact_readings_agree)
{
    enum { N = 2 };
    static float key[N * WIDTH];
    float q[WIDTH];
    int32_t block = 0, length = N;
    dsv3_mla_decode_prob const prob = {1, 1, 1, RANK, 2, 2, N, N, 0.1};
    dsv3_mla_decode_io const io = {.q = {q, DSV3_F32, 4, {1, 1, 1, WIDTH}, {WIDTH, WIDTH, WIDTH, 1}},
                                   .kv_cache = {key, DSV3_F32, 3, {1, N, WIDTH}, {N * WIDTH, WIDTH, 1}},
                                   .block_table = {&block, DSV3_I32, 2, {1, 1}, {1, 1}},
                                   .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
                                   .o = {NULL, DSV3_F32, 4, {1, 1, 1, RANK}, {RANK, RANK, RANK, 1}},
                                   .lse = {NULL, DSV3_F32, 3, {1, 1, 1}, {1, 1, 1}}};
    ref_reading const rd = {NULL, ref_none(), false};
    ref_value o[RANK], log_sum[1], better_o[RANK], better_log_sum[1];
    srand48(9);
    for (int round = 0; round < 200; round++) {
        double const size = exp2(draw(0, 9));
        for (int c = 0; c < WIDTH; c++) q[c] = (float)(draw(-1, 1) * size);
        for (int i = 0; i < N * WIDTH; i++) key[i] = (float)draw(-1, 1);
        for (int c = 0; c < WIDTH && round % 2; c++) { /* large scores that are nearly the same, of other values */
            q[c] *= c < RANK ? 0 : 0x1p12f;
            if (c >= RANK) key[WIDTH + c] = key[c] + (float)draw(-0x1p-20, 0x1p-20);
        }
        cr_assert(ref_dd.mla_decode(&rd, &prob, &io, (ref_value *const[]){o, log_sum}));
        cr_assert(ref_512.mla_decode(&rd, &prob, &io, (ref_value *const[]){better_o, better_log_sum}));
        for (int c = 0; c < RANK; c++)
            cr_assert(apart(o[c], better_o[c]) <= 0, "o: %g apart", apart(o[c], better_o[c]));
        cr_assert(apart(*log_sum, *better_log_sum) <= 0, "lse: %g apart", apart(*log_sum, *better_log_sum));
    }
}

/* Values of few bits whose weighted sum nearly vanishes: nothing but the exponential errs. */
Test(terms, exact_weights_that_cancel)
{
    ref_reading const rd = {NULL, ref_none(), false};
    ref_value o[RANK], lse[1], better_o[RANK], better_lse[1];
    for (int k = 1; k <= 8; k++) {
        double const unit = ldexp(1, ilogb(exp(k)) - 15);
        two_keys(0, (float)-k);
        value[0] = 1, value[1] = (float)(-rint(exp(k) / unit) * unit);
        read_keys(&ref_dd, &rd, 2, o, lse);
        read_keys(&ref_512, &rd, 2, better_o, better_lse);
        cr_expect(apart(*o, *better_o) <= 0, "e^-%d: %g apart", k, apart(*o, *better_o));
    }
}
