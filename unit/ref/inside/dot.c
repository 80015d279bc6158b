/* ball_dot of the working tier against exact sums, and its builds against each other. */
#include "ball.h"
#include "kernel.h"
#include "ref.h"

#include <criterion/criterion.h>
#include <mpfr.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(dot, .timeout = 120);

enum { BITS = 2400, MOST = 1 << 17 };

typedef enum { NORMAL, CANCELLING, DECADES, SUBNORMAL, WHOLE, SCALED_FP8, KINDS } data_kind;

static const char *const kinds[] = {"normal",    "half-cancelling", "many decades",
                                    "subnormal", "whole numbers",   "FP8 times scale"};
static const int64_t sizes[] = {0, 1, 2, 31, 32, 33, 100, 7168};

static double uniform(void)
{
    return drand48() - 0.5;
}

/* Normal numbers in binary32 with 24 bits wherever they lie: their sums fit no double. */
static double normal(void)
{
    return (double)(float)(sqrt(-2 * log(1 - drand48())) * cos(6.283185307179586 * drand48()));
}

static void fill(data_kind kind, double *a, double *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        a[i] = normal();
        b[i] = normal();
        if (kind == DECADES)
            a[i] = (double)(float)ldexp(a[i], (int)(80 * uniform())),
            b[i] = (double)(float)ldexp(b[i], (int)(80 * uniform()));
        if (kind == SUBNORMAL) a[i] = ldexp(rint(1000 * uniform()), -149), b[i] = ldexp(rint(1000 * uniform()), -149);
        if (kind == WHOLE) a[i] = rint(8 * uniform()), b[i] = rint(8 * uniform());
        if (kind == SCALED_FP8) b[i] = rint(16 * uniform()) * (double)(1 + (float)drand48());
    }
    for (int64_t i = n / 2; kind == CANCELLING && i < n; i++) a[i] = -a[i - n / 2], b[i] = b[i - n / 2];
}

static void exact_sum(mpfr_t out, const double *a, const double *b, int64_t n)
{
    mpfr_t p;
    mpfr_init2(p, 120);
    mpfr_set_zero(out, 1);
    for (int64_t i = 0; i < n; i++) {
        mpfr_set_d(p, a[i], MPFR_RNDN);
        mpfr_mul_d(p, p, b[i], MPFR_RNDN);
        mpfr_add(out, out, p, MPFR_RNDN);
    }
    mpfr_clear(p);
}

/* |hi + lo - exact| */
static double error_of(double hi, double lo, mpfr_t exact)
{
    mpfr_t e;
    mpfr_init2(e, BITS);
    mpfr_sub_d(e, exact, hi, MPFR_RNDN);
    mpfr_sub_d(e, e, lo, MPFR_RNDN);
    mpfr_abs(e, e, MPFR_RNDN);
    double const d = mpfr_get_d(e, MPFR_RNDU);
    mpfr_clear(e);
    return d;
}

static double *numbers(void)
{
    double *const v = calloc(MOST, sizeof *v);
    cr_assert(v != NULL);
    return v;
}

Test(dot, contains_the_exact_sum)
{
    double *const a = numbers(), *const b = numbers();
    mpfr_t exact;
    mpfr_init2(exact, BITS);
    srand48(5);
    for (data_kind kind = 0; kind < KINDS; kind++) {
        double worst = 0;
        int uncertified = 0;
        for (int round = 0; round < 40; round++) {
            int64_t const n = sizes[round % 8];
            fill(kind, a, b, n);
            operand const x = operand_of(a, NULL, n), y = operand_of(b, NULL, n);
            sum_record const sum = ball_dot(&x, &y);
            exact_sum(exact, a, b, n);
            double const err = error_of(sum.total.c.hi, sum.total.c.lo, exact);
            cr_assert(err <= sum.total.r, "%s, n = %lld: %g outside %g", kinds[kind], (long long)n, err, sum.total.r);
            cr_assert(sum.total.r <= 0x1p-85 * sum.sum_abs + 0x1p-999, "%s, n = %lld: radius %g of %g", kinds[kind],
                      (long long)n, sum.total.r, sum.sum_abs);
            if (sum.total.r > 0) worst = fmax(worst, err / sum.total.r), uncertified++;
            bool const certified = kind == WHOLE || kind == SUBNORMAL || n == 0;
            cr_assert(!certified || sum.total.r == 0, "%s, n = %lld: radius %g", kinds[kind], (long long)n,
                      sum.total.r);
            /* the loop behind it, whether or not the plain sum was certified */
            dot_sum const s = kernels_baseline.compensated(a, b, n);
            double const steps = (double)(n / LANES + 2 * LANES + 2);
            cr_assert(error_of(s.hi, s.lo, exact) <= sum.sum_abs * (steps * steps * 0x1p-106), "%s, n = %lld",
                      kinds[kind], (long long)n);
        }
        printf("dot %-16s worst err/radius %.3g, %d of 40 not exact in binary64\n", kinds[kind], worst, uncertified);
        cr_expect(uncertified > 0 || kind != DECADES, "%s: always certified", kinds[kind]);
    }
    mpfr_clear(exact);
    free(a), free(b);
}

/* The check above is able to fail: without the error sum the compensated result leaves the radius. */
Test(dot, a_dropped_error_sum_is_caught)
{
    double *const a = numbers(), *const b = numbers();
    mpfr_t exact;
    mpfr_init2(exact, BITS);
    srand48(6);
    fill(DECADES, a, b, 7168);
    operand const x = operand_of(a, NULL, 7168), y = operand_of(b, NULL, 7168);
    sum_record const sum = ball_dot(&x, &y);
    exact_sum(exact, a, b, 7168);
    dot_sum const without = kernels_baseline.plain(a, b, 7168);
    cr_expect(sum.total.r > 0 && error_of(without.hi, 0, exact) > sum.total.r);
    cr_expect(error_of(sum.total.c.hi, sum.total.c.lo, exact) <= sum.total.r);
    mpfr_clear(exact);
    free(a), free(b);
}

Test(dot, a_long_sum)
{
    double *const a = numbers(), *const b = numbers();
    mpfr_t exact;
    mpfr_init2(exact, BITS);
    srand48(7);
    for (data_kind kind = 0; kind < KINDS; kind++) {
        fill(kind, a, b, MOST);
        operand const x = operand_of(a, NULL, MOST), y = operand_of(b, NULL, MOST);
        sum_record const sum = ball_dot(&x, &y);
        exact_sum(exact, a, b, MOST);
        cr_expect(error_of(sum.total.c.hi, sum.total.c.lo, exact) <= sum.total.r, "%s", kinds[kind]);
        cr_expect(sum.total.r <= 0x1p-79 * sum.sum_abs, "%s: radius %g of %g", kinds[kind], sum.total.r, sum.sum_abs);
    }
    mpfr_clear(exact);
    free(a), free(b);
}

/* Radius 0 is claimed while sum |term|, or what bounds the sum of the errors, is below 2^53 units of the lowest bit. */
Test(dot, the_certificate)
{
    static const struct {
        double a[3], b[3];
        bool exact;
    } rows[] = {
        {{0x1p26, 1, 0}, {0x1p26, 1, 0}, true}, /* 2^52 + 1 */
        {{0x1p27, 1, 0}, {0x1p26, 1, 0}, true}, /* 2^53 + 1: of two words */
        {{0x1p27, -0x1p27, 1}, {0x1p26, 0x1p26, 1}, true},
        {{0x1p99, 1, 0}, {1, 1, 0}, true},
        {{0x1p101, 1, 0}, {1, 1, 0}, false}, /* 66 errors of 2^48 may need more than 53 bits */
        {{0x1p27, 0, 0}, {0x1p26, 1, 5}, true},
        {{0x1p27, 1, 0}, {0x1p26, 4, 1}, true},
        {{0x1p-149, 0x1p-149, 0}, {0x1p-149, 0x1p-100, 7}, true},
        {{0, 0, 0}, {1, 2, 3}, true},
        {{0x1p100, 0x1p-100, 0}, {0x1p20, 1, 0}, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        operand const x = operand_of(rows[i].a, NULL, 3), y = operand_of(rows[i].b, NULL, 3);
        sum_record const sum = ball_dot(&x, &y);
        cr_expect(ball_is_point(sum.total) == rows[i].exact, "row %zu: radius %g", i, sum.total.r);
    }
    double const huge[] = {0x1p600, 1}, bad[] = {1, (double)NAN}, one[] = {0x1p600, 1};
    operand const h = operand_of(huge, NULL, 2), n = operand_of(bad, NULL, 2), o = operand_of(one, NULL, 2);
    cr_expect(ball_is_any(ball_dot(&h, &o).total), "overflow");
    cr_expect(ball_is_any(ball_dot(&n, &o).total), "a NaN");
}

/* Every build that runs here gives the same bits. */
/* operand_of by its definition, one number after the other. */
static operand plainly_described(const double *value, int64_t n)
{
    operand r = {.lsb = INT_MAX};
    for (int64_t i = 0; i < n; i++) {
        int exponent;
        if (value[i] == 0) continue;
        double whole = frexp(fabs(value[i]), &exponent) * 0x1p53;
        int low = exponent - 53, bits = 53;
        for (; fmod(whole, 2) == 0; low++, bits--) whole /= 2;
        r.bits = bits > r.bits ? bits : r.bits;
        r.lsb = low < r.lsb ? low : r.lsb;
        r.max_abs = fmax(r.max_abs, fabs(value[i]));
        r.subnormal += fabs(value[i]) < 0x1p-126;
    }
    return r;
}

/* Few bits and many, every size, zeros, powers of two, subnormal in binary32 and in binary64. */
static double number_of_any_kind(int kind)
{
    switch (kind) {
    case 0: return rint(16 * uniform());
    case 1: return ldexp(1, (int)(200 * uniform()));
    case 2: return (double)(float)uniform();
    case 3: return ldexp(uniform(), (int)(1900 * uniform()));
    case 4: return ldexp(rint(1000 * uniform()), -149);
    default: return ldexp(rint(1000 * uniform()), -1074);
    }
}

Test(dot, rows_are_described)
{
    double value[100];
    srand48(11);
    for (int round = 0; round < 6000; round++) {
        int64_t const n = round % 100;
        for (int64_t i = 0; i < n; i++)
            value[i] = number_of_any_kind(round % 7 == 6 ? (int)(lrand48() % 5) : round % 7);
        operand const r = operand_of(value, NULL, n), e = plainly_described(value, n);
        cr_assert(r.bits == e.bits && r.lsb == e.lsb && r.max_abs == e.max_abs && r.subnormal == e.subnormal,
                  "round %d: %d bits, lsb 2^%d, %a, %lld; expected %d, 2^%d, %a, %lld", round, r.bits, r.lsb, r.max_abs,
                  (long long)r.subnormal, e.bits, e.lsb, e.max_abs, (long long)e.subnormal);
    }
    double const odd[] = {1, NAN, 3}, infinite[] = {HUGE_VAL}, radius[] = {0, 0x1p-1074, 0};
    cr_expect(operand_of(odd, NULL, 3).bits > MANY_BITS && operand_of(infinite, NULL, 1).bits > MANY_BITS);
    cr_expect(operand_of(odd, radius, 3).radius == radius && operand_of(odd, radius, 1).radius == NULL);
}

/* What the sampled tier asks of a build, one number behind another. */
enum { OF_SAMPLED = 8 };

static void sampled_sums(const kernels *k, const double *a, const double *b, int64_t n, double all[OF_SAMPLED])
{
    all[0] = k->terms(a, b, n);
    k->moments(a, b, n, all + 1);
    k->digest(a, n, all + 5);
}

Test(dot, builds_are_bit_identical)
{
    const kernels *builds[3] = {&kernels_baseline};
    int count = 1;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) builds[count++] = &kernels_v3;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) builds[count++] = &kernels_v4;
#endif
    double *const a = numbers(), *const b = numbers();
    srand48(8);
    for (data_kind kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            fill(kind, a, b, sizes[i]);
            dot_sum const plain = builds[0]->plain(a, b, sizes[i]),
                          compensated = builds[0]->compensated(a, b, sizes[i]);
            number_survey const told = builds[0]->survey(a, sizes[i]);
            double sampled[OF_SAMPLED], others[OF_SAMPLED];
            sampled_sums(builds[0], a, b, sizes[i], sampled);
            for (int k = 1; k < count; k++) {
                dot_sum const p = builds[k]->plain(a, b, sizes[i]), c = builds[k]->compensated(a, b, sizes[i]);
                cr_assert(!memcmp(&p, &plain, sizeof p), "plain, %s, %s, n = %lld", builds[k]->isa, kinds[kind],
                          (long long)sizes[i]);
                cr_assert(!memcmp(&c, &compensated, sizeof c), "compensated, %s, %s, n = %lld", builds[k]->isa,
                          kinds[kind], (long long)sizes[i]);
                number_survey const s = builds[k]->survey(a, sizes[i]);
                cr_assert(s.odd == told.odd && s.max_abs == told.max_abs && s.unit == told.unit &&
                              s.fraction == told.fraction && s.tiny == told.tiny,
                          "survey, %s, %s, n = %lld", builds[k]->isa, kinds[kind], (long long)sizes[i]);
                sampled_sums(builds[k], a, b, sizes[i], others);
                cr_assert(!memcmp(others, sampled, sizeof others), "of the sampled tier, %s, %s, n = %lld",
                          builds[k]->isa, kinds[kind], (long long)sizes[i]);
            }
        }
    printf("dot %d builds compared, the fastest is %s\n", count, builds[count - 1]->isa);
    free(a), free(b);
}

/* Factors with radii: the sum of any points of them stays inside. */
Test(dot, radii_of_factors_are_covered)
{
    enum { N = 257 };
    double a[N], b[N], r[N], moved[N];
    mpfr_t exact;
    mpfr_init2(exact, BITS);
    srand48(9);
    for (int round = 0; round < 50; round++) {
        fill(NORMAL, a, b, N);
        for (int i = 0; i < N; i++) {
            r[i] = i % 3 ? fabs(b[i]) * 0x1p-9 : 0;
            moved[i] = b[i] + copysign(r[i], round % 2 ? a[i] : uniform());
        }
        operand const x = operand_of(a, NULL, N), y = operand_of(b, r, N);
        sum_record const sum = ball_dot(&x, &y);
        exact_sum(exact, a, moved, N);
        cr_assert(error_of(sum.total.c.hi, sum.total.c.lo, exact) <= sum.total.r);
        cr_assert(sum.lsb == INT_MIN);
    }
    mpfr_clear(exact);
}

/* ---- balls of two words ---- */

enum { PAIR_N = 1000 };

static void fill_balls(ball *b, int64_t n, bool low, double radius)
{
    for (int64_t i = 0; i < n; i++) {
        double const hi = ldexp(drand48() - 0.5, (int)(40 * uniform()));
        b[i] = (ball){{hi, low ? hi * 0x1p-53 * uniform() : 0}, radius * fabs(hi)};
    }
}

/* The sum of the products of centres, or of centres moved by their radii in the direction of `toward`. */
static void exact_sum_of_balls(mpfr_t out, const ball *a, const ball *b, int64_t n, double toward)
{
    mpfr_t x, y;
    mpfr_init2(x, 600), mpfr_init2(y, 600);
    mpfr_set_zero(out, 1);
    for (int64_t i = 0; i < n; i++) {
        mpfr_set_d(x, a[i].c.hi, MPFR_RNDN), mpfr_add_d(x, x, a[i].c.lo, MPFR_RNDN);
        mpfr_set_d(y, b[i].c.hi, MPFR_RNDN), mpfr_add_d(y, y, b[i].c.lo, MPFR_RNDN);
        mpfr_add_d(x, x, toward * copysign(a[i].r, b[i].c.hi), MPFR_RNDN);
        mpfr_add_d(y, y, toward * copysign(b[i].r, a[i].c.hi), MPFR_RNDN);
        mpfr_mul(x, x, y, MPFR_RNDN);
        mpfr_add(out, out, x, MPFR_RNDN);
    }
    mpfr_clear(x), mpfr_clear(y);
}

Test(dot, pairs_contain_the_exact_sum)
{
    static ball a[PAIR_N], b[PAIR_N];
    static double parts[2][3 * PAIR_N];
    mpfr_t exact;
    mpfr_init2(exact, BITS);
    srand48(10);
    double worst = 0, without = 0;
    for (int round = 0; round < 200; round++) {
        int64_t const n = round % 5 ? PAIR_N - round : round;
        double const radius = round % 3 == 2 ? 0x1p-60 : 0;
        fill_balls(a, n, round & 1, radius);
        fill_balls(b, n, round & 2, 0);
        if (round % 4 == 0) fill_balls(a, n, true, radius);
        operand const x = operand_of_balls(a, n, parts[0]), y = operand_of_balls(b, n, parts[1]);
        sum_record const sum = ball_dot(&x, &y);
        for (int toward = -1; toward <= 1; toward++) {
            exact_sum_of_balls(exact, a, b, n, toward);
            double const err = error_of(sum.total.c.hi, sum.total.c.lo, exact);
            cr_assert(err <= sum.total.r, "round %d, n = %lld: %g outside %g", round, (long long)n, err, sum.total.r);
            if (radius == 0 && sum.total.r > 0) worst = fmax(worst, err / sum.total.r);
        }
        cr_assert(radius > 0 || sum.total.r <= 0x1p-89 * sum.sum_abs + 0x1p-999, "radius %g", sum.total.r);
        /* the low words forgotten: must be seen */
        exact_sum_of_balls(exact, a, b, n, 0);
        operand const bare = operand_of(parts[0], NULL, n);
        sum_record const less = ball_dot(&bare, &y);
        if (x.low)
            without = fmax(without, error_of(less.total.c.hi, less.total.c.lo, exact) / (less.total.r + 0x1p-999));
    }
    printf("dot pairs: worst err/radius %.3g; without the low words %.3g\n", worst, without);
    cr_expect(without > 1, "low words don't matter");
    mpfr_clear(exact);
}

Test(dot, pairs_are_bit_identical)
{
    static ball a[PAIR_N], b[PAIR_N];
    static double parts[2][3 * PAIR_N];
    const kernels *builds[2];
    int count = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) builds[count++] = &kernels_v3;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) builds[count++] = &kernels_v4;
#endif
    srand48(11);
    for (int64_t n = 0; n < PAIR_N; n = 2 * n + 1) {
        fill_balls(a, n, true, 0), fill_balls(b, n, n % 4 == 3, 0);
        operand const x = operand_of_balls(a, n, parts[0]), y = operand_of_balls(b, n, parts[1]);
        dot_sum const first = kernels_baseline.pairs(x.value, x.low, y.value, y.low, n);
        for (int k = 0; k < count; k++) {
            dot_sum const s = builds[k]->pairs(x.value, x.low, y.value, y.low, n);
            cr_assert(!memcmp(&s, &first, sizeof s), "%s, n = %lld", builds[k]->isa, (long long)n);
        }
    }
}

/* ---- weights in pieces ---- */

enum { CUT_N = 150, CUT_STRIDE = 160, COLUMNS = 32 };

static int other_builds(const kernels **builds)
{
    int count = 0;
    (void)builds;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) builds[count++] = &kernels_v3;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) builds[count++] = &kernels_v4;
#endif
    return count;
}

typedef struct {
    double hi[CUT_N], lo[CUT_N], piece[PIECES * CUT_STRIDE];
} cut_weights;

/* Sizes of many kinds, some 0, some halfway between two multiples. */
static void draw_cut_weights(cut_weights *w, int first)
{
    for (int j = 0; j < CUT_N; j++) {
        double const size = ldexp(1, -first - (int)(lrand48() % 2 * (lrand48() % 240)));
        double const hi = lrand48() % 9 == 0   ? 0
                          : lrand48() % 5 == 0 ? ldexp((double)(lrand48() % 8), -first - 45)
                                               : size * uniform();
        double const lo = hi * (lrand48() % 3 ? 0x1p-53 * uniform() : 0);
        w->hi[j] = hi + lo, w->lo[j] = (hi - w->hi[j]) + lo;
    }
    memset(w->piece, -1, sizeof w->piece);
}

/* The pieces and what is left are all of the weight; each piece is a multiple of its unit and the nearest to the high word. */
static void check_pieces(const cut_weights *before, const cut_weights *after, int n, const int *cut)
{
    mpfr_t left;
    mpfr_init2(left, BITS);
    for (int j = 0; j < n; j++) {
        mpfr_set_d(left, before->hi[j], MPFR_RNDN);
        mpfr_add_d(left, left, before->lo[j], MPFR_RNDN);
        for (int i = 0; i < PIECES; i++) {
            double const piece = after->piece[i * CUT_STRIDE + j], whole = ldexp(piece, cut[i]);
            cr_assert(whole == rint(whole), "piece %d of weight %d: %a", i, j, piece);
            mpfr_sub_d(left, left, piece, MPFR_RNDN);
            double const over = fabs(mpfr_get_d(left, MPFR_RNDA));
            cr_assert(over <= ldexp(0.625, -cut[i]), "piece %d of weight %d: %a is left", i, j, over);
        }
        mpfr_sub_d(left, left, after->hi[j], MPFR_RNDN);
        mpfr_sub_d(left, left, after->lo[j], MPFR_RNDN);
        cr_assert(mpfr_zero_p(left), "weight %d: pieces aren't all of it", j);
    }
    for (int i = 0; i < PIECES * CUT_STRIDE; i++)
        cr_assert(i % CUT_STRIDE < n || !memcmp(&after->piece[i], &before->piece[i], sizeof(double)), "%d", i);
    mpfr_clear(left);
}

Test(dot, cut_weights_are_whole_and_bit_identical)
{
    static cut_weights before, first, other;
    const kernels *builds[2];
    int const count = other_builds(builds);
    srand48(12);
    for (int round = 0; round < 200; round++) {
        int const n = round % CUT_N, start = (int)(lrand48() % 300) - 150, step = 20 + (int)(lrand48() % 31);
        int cut[PIECES];
        double magic[PIECES];
        for (int i = 0; i < PIECES; i++) cut[i] = start + step * (i + 1), magic[i] = ldexp(1.5, 52 - cut[i]);
        draw_cut_weights(&before, start);
        first = before;
        kernels_baseline.cut(first.hi, first.lo, n, magic, CUT_STRIDE, first.piece);
        check_pieces(&before, &first, n, cut);
        for (int k = 0; k < count; k++) {
            other = before;
            builds[k]->cut(other.hi, other.lo, n, magic, CUT_STRIDE, other.piece);
            cr_assert(!memcmp(&first, &other, sizeof first), "%s, n = %d", builds[k]->isa, n);
        }
    }
}

/* Sums that binary64 holds: they are these numbers, in every build. */
Test(dot, slices_are_exact_and_bit_identical)
{
    static double piece[PIECES * CUT_STRIDE], value[CUT_N * COLUMNS], begin[PIECES * COLUMNS], first[PIECES * COLUMNS],
        other[PIECES * COLUMNS];
    const kernels *builds[2];
    int const count = other_builds(builds);
    srand48(13);
    for (int round = 0; round < 400; round++) {
        int const n = round % CUT_N, pieces = 1 + round % PIECES, bits = 1 + (int)(lrand48() % 22);
        double const unit = ldexp(1, (int)(lrand48() % 200) - 100);
        for (int i = 0; i < PIECES * CUT_STRIDE; i++)
            piece[i] = i % CUT_STRIDE < n ? unit * rint(ldexp(uniform(), 44 - bits)) : (double)NAN;
        for (int i = 0; i < CUT_N * COLUMNS; i++)
            value[i] = i < n * COLUMNS ? rint(ldexp(uniform(), bits)) : (double)NAN;
        for (int i = 0; i < PIECES * COLUMNS; i++) begin[i] = first[i] = unit * rint(0x1p50 * uniform());
        kernels_baseline.slices(piece, CUT_STRIDE, pieces, value, n, first);
        for (int i = 0; i < PIECES * COLUMNS; i++) {
            long double sum = (long double)begin[i];
            for (int j = 0; j < n && i < pieces * COLUMNS; j++)
                sum += (long double)piece[i / COLUMNS * CUT_STRIDE + j] * (long double)value[j * COLUMNS + i % COLUMNS];
            cr_assert((long double)first[i] == sum, "piece %d, column %d, n = %d", i / COLUMNS, i % COLUMNS, n);
        }
        for (int k = 0; k < count; k++) {
            memcpy(other, begin, sizeof other);
            builds[k]->slices(piece, CUT_STRIDE, pieces, value, n, other);
            cr_assert(!memcmp(first, other, sizeof first), "%s, n = %d", builds[k]->isa, n);
        }
    }
}

/* The same sums however the weights, the columns and the rows lie. */
Test(dot, combined_columns_are_bit_identical)
{
    enum { WIDTH = 77, STRIDE = 81 };
    static double hi[CUT_N], lo[CUT_N], value[CUT_N * STRIDE], first[2][WIDTH], other[2][WIDTH];
    const kernels *builds[2];
    int const count = other_builds(builds);
    srand48(14);
    for (int n = 0; n < CUT_N; n = n * 3 / 2 + 1) {
        for (int j = 0; j < n; j++) hi[j] = drand48(), lo[j] = hi[j] * 0x1p-53 * uniform();
        for (int i = 0; i < n * STRIDE; i++) value[i] = ldexp(uniform(), (int)(40 * uniform()));
        for (int width = 1; width <= WIDTH; width += 19) {
            memset(first, 0, sizeof first), memset(other, 0, sizeof other);
            kernels_baseline.combine(hi, lo, value, n, STRIDE, width, first[0], first[1]);
            for (int k = 0; k < count; k++) {
                memset(other, 0, sizeof other);
                builds[k]->combine(hi, lo, value, n, STRIDE, width, other[0], other[1]);
                cr_assert(!memcmp(first, other, sizeof first), "%s, n = %d, width %d", builds[k]->isa, n, width);
            }
        }
    }
}

/* Balls times a ball, and plus one. */
Test(dot, balls_of_kernels_are_bit_identical)
{
    static double before[3][CUT_N], first[3][CUT_N], other[3][CUT_N];
    const kernels *builds[2];
    int const count = other_builds(builds);
    srand48(53);
    for (int n = 0; n < CUT_N; n++)
        for (int k = 0; k < 2 * count; k++) {
            double const b[] = {uniform(), n % 3 ? 0x1p-55 : -0x1p-58, n % 4 ? 0x1p-60 : 0};
            for (int j = 0; j < CUT_N; j++) {
                before[0][j] = ldexp(uniform(), (int)(90 * uniform()));
                before[1][j] = lrand48() % 3 ? before[0][j] * uniform() * 0x1p-53 : 0;
                before[2][j] = lrand48() % 3 ? fabs(before[0][j]) * 0x1p-50 : 0;
            }
            memcpy(first, before, sizeof first), memcpy(other, before, sizeof other);
            (k % 2 ? kernels_baseline.add : kernels_baseline.multiply)(first[0], first[1], first[2], n, b);
            (k % 2 ? builds[k / 2]->add : builds[k / 2]->multiply)(other[0], other[1], other[2], n, b);
            cr_assert(!memcmp(first, other, sizeof first), "%s, n = %d, add %d", builds[k / 2]->isa, n, k % 2);
        }
}

/* The largest size of each column and of what was there; infinite for NaN, whatever comes before or after it. */
Test(dot, column_sup_is_the_largest)
{
    enum { WIDTH = 37, STRIDE = 41, ROWS = 9 };
    static double value[ROWS * STRIDE], sup[STRIDE], expected[STRIDE];
    const kernels *builds[3] = {&kernels_baseline};
    int const count = 1 + other_builds(builds + 1);
    srand48(52);
    for (int round = 0; round < 500 * count; round++) {
        int const rows = (int)(lrand48() % (ROWS + 1)), width = (int)(lrand48() % (WIDTH + 1));
        for (int i = 0; i < ROWS * STRIDE; i++) value[i] = lrand48() % 5 ? uniform() : -0.0;
        if (round % 3 == 0) value[lrand48() % (ROWS * STRIDE)] = round % 2 ? (double)NAN : -HUGE_VAL;
        for (int c = 0; c < STRIDE; c++) {
            expected[c] = sup[c] = c % 4 ? 0 : 0.75;
            for (int j = 0; j < rows && c < width; j++) {
                double const v = fabs(value[j * STRIDE + c]);
                expected[c] = isnan(v) ? HUGE_VAL : fmax(expected[c], v);
            }
        }
        builds[round % count]->column_sup(value, rows, STRIDE, width, sup);
        cr_assert(!memcmp(sup, expected, sizeof sup), "%s, %d rows of %d", builds[round % count]->isa, rows, width);
    }
}

/* ---- codes ---- */

/* Codes times a scale, or nothing: where a kernel takes them it takes all normal numbers and zeros. */
Test(dot, scaled_codes_are_products)
{
    enum { N = 128 };
    static const double scales[] = {1, 0x1.6abcdep-9, -0x1.fffffep+127, 0x1p-149, 0x1.000002p-126, 0};
    const kernels *builds[3] = {&kernels_baseline};
    int const count = 1 + other_builds(builds + 1);
    srand48(51);
    for (int round = 0; round < 600; round++) {
        uint8_t code[N];
        double value[N];
        double const scale = scales[round % 6];
        int const odd = round % 3 ? -1 : (int)(lrand48() % N);
        for (int i = 0; i < N; i++) {
            do code[i] = (uint8_t)(lrand48() >> 8);
            while ((code[i] & 0x7f) == 0x7f || ((code[i] & 0x78) == 0 && code[i] & 7));
            if (i == odd) code[i] = (uint8_t)(lrand48() % 2 ? 0xff : 1 + lrand48() % 7);
        }
        for (int k = 0; k < count; k++) {
            bool const taken = builds[k]->scaled_codes(code, N, scale, value);
            cr_assert(!taken || odd < 0, "%s took code %d", builds[k]->isa, code[odd]);
            cr_assert(taken || odd >= 0 || strcmp(builds[k]->isa, "v4"), "round %d: v4 took none", round);
            for (int i = 0; taken && i < N; i++) {
                double const product = ref_decode(DSV3_F8_E4M3, code, i) * scale;
                cr_assert(!memcmp(&value[i], &product, sizeof product), "%s, code %d: %a", builds[k]->isa, code[i],
                          value[i]);
            }
        }
    }
}
