/*
 * Ball arithmetic against MPFR at 2400 bits and more and against Arb at 400, for the tier that this file is compiled
 * for. Each test prints the worst err/radius of its corpus; test-of-test: a radius of half that, one rounded down, a
 * dropped low word and a radius of 0 are caught by the same check.
 */
#include "ball.h"
#include "scratch.h"

#include <arb.h>
#include <criterion/criterion.h>
#include <mpfr.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(ball, .timeout = 120);

/* The oracle holds products of two centres. Radii of 2^-1000 and less say nothing about the arithmetic. */
enum { BITS = 2400 + 2 * CENTRE_BITS, ROUNDS = 4000, FLOOR = CENTRE_BITS > 900 };

typedef enum { ADD, SUB, MUL, DIV, SQRT, RSQRT, EXP, LOG, SIGMOID, COS, SIN, OPERATIONS } operation;
typedef enum { HONEST, SHRUNK, ROUNDED_DOWN, LOW_DROPPED, NO_RADIUS } tampering;

static const char *const names[] = {"add", "sub", "mul", "div", "sqrt", "rsqrt", "exp", "log", "sigmoid", "cos", "sin"};

/* ---- the corpus ---- */

static uint64_t state;

static uint64_t draw(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Any size, few or many digits, sometimes a power of two, a small whole number, or a binary32 subnormal. */
static double draw_double(int spread)
{
    double const sign = draw() & 1 ? 1 : -1;
    double const m = 1 + (double)(draw() >> 12) * 0x1p-52;
    switch (draw() % 9) {
    case 4: return sign * ldexp(m, spread > 200 ? -1060 : -spread);
    case 0: return sign * (double)(draw() % 1000);
    case 1: return sign * ldexp(1, (int)(draw() % 200) - 100);
    case 2: return sign * ldexp((double)(draw() % 0x800000), -149);
    case 3: return sign * (double)(float)m;
    default: return sign * ldexp(m, (int)(draw() % (unsigned)(2 * spread + 1)) - spread);
    }
}

/* A point or a ball, its centre one word or more. */
static ball draw_ball(int spread)
{
    double const v = draw_double(spread);
    ball b = ball_of(v);
    if (draw() % 2) b = ball_add(b, ball_of(v * 0x1p-60 * (double)(draw() % 1000)));
    if (draw() % 3 == 0) b = ball_add(b, ball_of(v * 0x1.5p-54));
    if (draw() % 4 == 0) b = ball_div(b, ball_of(3)); /* every bit of the centre */
    b.r = draw() % 2 ? 0 : fabs(v) * ldexp(1, -(int)(draw() % 100) - 3);
    return b;
}

/* The second operand: sometimes nearly the negative or the same as the first. */
static ball draw_partner(ball a, int spread)
{
    if (draw() % 4) return draw_ball(spread);
    ball b = draw() % 2 ? ball_neg(a) : a;
    b.c = ball_add(b, ball_of(ball_sup(a) * ldexp(1, -(int)(draw() % 110)))).c;
    return b;
}

/* ---- the check ---- */

static void exact_of(mpfr_t out, const centre *c)
{
#ifdef PROOF_BITS
    mpfr_t m;
    centre_view(m, c);
    mpfr_set(out, m, MPFR_RNDN);
#else
    mpfr_set_d(out, c->hi, MPFR_RNDN);
    mpfr_add_d(out, out, c->lo, MPFR_RNDN);
#endif
}

static ball apply(operation o, ball a, ball b)
{
    switch (o) {
    case ADD: return ball_add(a, b);
    case SUB: return ball_sub(a, b);
    case MUL: return ball_mul(a, b);
    case DIV: return ball_div(a, b);
    case SQRT: return ball_sqrt(a);
    case RSQRT: return ball_rsqrt(a);
    case EXP: return ball_exp(a);
    case LOG: return ball_log(a);
    case SIGMOID: return ball_sigmoid(a);
    default: ball_cos_sin(a, &a, &b); return o == COS ? a : b;
    }
}

/* One of the functions, of x. */
static void apply_function(operation o, mpfr_t out, mpfr_t x)
{
    if (mpfr_sgn(x) < 0 && (o == SQRT || o == RSQRT || o == LOG)) mpfr_set_zero(x, 1);
    switch (o) {
    case SQRT: mpfr_sqrt(out, x, MPFR_RNDN); break;
    case RSQRT: mpfr_rec_sqrt(out, x, MPFR_RNDN); break;
    case EXP: mpfr_exp(out, x, MPFR_RNDN); break;
    case LOG: mpfr_log(out, x, MPFR_RNDN); break;
    case SIGMOID:
        mpfr_neg(x, x, MPFR_RNDN);
        mpfr_exp(out, x, MPFR_RNDN);
        mpfr_add_ui(out, out, 1, MPFR_RNDN);
        mpfr_ui_div(out, 1, out, MPFR_RNDN);
        break;
    default:
        mpfr_const_pi(out, MPFR_RNDN);
        mpfr_mul(x, x, out, MPFR_RNDN);
        mpfr_mul_ui(x, x, 2, MPFR_RNDN);
        (o == COS ? mpfr_cos : mpfr_sin)(out, x, MPFR_RNDN);
    }
}

/* The operation on one point of each operand: the centre, moved by a share of the radius in [-1, 1]. */
static void apply_exactly(operation o, mpfr_t out, const ball *a, const ball *b, double move_a, double move_b)
{
    mpfr_t x, y;
    mpfr_inits2(BITS, x, y, (mpfr_ptr)0);
    exact_of(x, &a->c);
    exact_of(y, &b->c);
    mpfr_add_d(x, x, move_a * a->r, MPFR_RNDN);
    mpfr_add_d(y, y, move_b * b->r, MPFR_RNDN);
    switch (o) {
    case ADD: mpfr_add(out, x, y, MPFR_RNDN); break;
    case SUB: mpfr_sub(out, x, y, MPFR_RNDN); break;
    case MUL: mpfr_mul(out, x, y, MPFR_RNDN); break;
    case DIV: mpfr_div(out, x, y, MPFR_RNDN); break;
    default: apply_function(o, out, x);
    }
    mpfr_clears(x, y, (mpfr_ptr)0);
}

/* |exact - centre| / radius; 0 when both are 0. */
static double share_of_radius(const ball *result, mpfr_t exact)
{
    mpfr_t c;
    mpfr_init2(c, BITS);
    exact_of(c, &result->c);
    mpfr_sub(c, c, exact, MPFR_RNDA);
    mpfr_abs(c, c, MPFR_RNDN);
    bool const hit = mpfr_zero_p(c);
    /* the oracle itself is right to 2^-1900 of the result */
    mpfr_div_d(c, c, result->r > 0 ? result->r : 0x1p-1070, MPFR_RNDU);
    double const share = hit ? 0 : mpfr_get_d(c, MPFR_RNDN);
    mpfr_clear(c);
    return share;
}

static ball tamper(ball b, tampering how, double factor)
{
    if (how == SHRUNK) b.r *= factor;
    if (how == ROUNDED_DOWN) b.r *= 1 - 0x1p-38;
    if (how == NO_RADIUS) b.r = 0;
#ifndef PROOF_BITS
    if (how == LOW_DROPPED) b.c.lo = 0;
#endif
    return b;
}

/* Corners, middles of sides and the centre; then anywhere. */
static double moved(int move)
{
    return move < 3 ? move - 1 : (double)(draw() >> 11) * 0x1p-52 - 1;
}

/* The worst share over the corpus; points: operands are points, so that the error is the arithmetic's alone. */
static double worst_share(operation o, bool points, tampering how, double factor)
{
    double worst = 0;
    mpfr_t exact;
    mpfr_init2(exact, BITS);
    state = 7 + (uint64_t)o;
    bool const function = o > RSQRT, root = o == SQRT || o == RSQRT || o == LOG;
    for (int i = 0; i < (function ? ROUNDS / 20 : ROUNDS); i++) {
        int const spread = function && o != LOG ? 9 : i % 4 ? 120 : 440;
        ball a = draw_ball(spread), b = draw_partner(a, spread);
        if (root && ball_upper(a) < 0) a = ball_neg(a);
        if (points) a.r = b.r = 0;
        ball const result = tamper(apply(o, a, b), how, factor);
        for (int move = 0; move < (points ? 1 : function ? 4 : 12) && !ball_is_any(result); move++) {
            double const by_a = move < 9 ? moved(move % 3) : moved(3), by_b = move < 9 ? moved(move / 3) : moved(3);
            apply_exactly(o, exact, &a, &b, points ? 0 : by_a, points ? 0 : by_b);
            worst = fmax(worst, share_of_radius(&result, exact));
        }
    }
    mpfr_clear(exact);
    return worst;
}

Test(ball, contains_every_point)
{
    for (operation o = ADD; o < OPERATIONS; o++) {
        double const points = worst_share(o, true, HONEST, 1), balls = worst_share(o, false, HONEST, 1);
        printf("ball %-4s %-4s worst err/radius %.3g on points, %.6f on balls\n", CENTRE_TIER, names[o], points, balls);
        cr_expect(points <= 1, "%s of points leaves its ball: %g", names[o], points);
        cr_expect(balls <= 1, "%s of balls leaves its ball: %g", names[o], balls);
        cr_expect(FLOOR || points > 0x1p-30, "%s: the corpus does not try the radius: %g", names[o], points);
    }
}

Test(ball, planted_faults_are_caught)
{
    for (operation o = ADD; o < OPERATIONS; o++) {
        double const honest = worst_share(o, true, HONEST, 1);
        cr_expect(worst_share(o, true, SHRUNK, honest / 2) > 1, "%s: half of the needed radius passes", names[o]);
        cr_expect(worst_share(o, true, NO_RADIUS, 1) > 1, "%s: no radius passes", names[o]);
        if (o < SQRT)
            cr_expect(worst_share(o, false, ROUNDED_DOWN, 1) > 1, "%s: a radius rounded down passes", names[o]);
#ifndef PROOF_BITS
        cr_expect(worst_share(o, true, LOW_DROPPED, 1) > 1, "%s: a dropped low word passes", names[o]);
#endif
    }
}

/* The radius is small: about 2^-100 of the result in the working tier, 2^-PROOF_BITS in a proof tier. */
Test(ball, radius_is_tight)
{
#ifdef PROOF_BITS
    int const bits = FLOOR ? 800 : PROOF_BITS - 6, function_bits = FLOOR ? 700 : PROOF_BITS - 20;
#else
    int const bits = 98, function_bits = 90;
#endif
    state = 3;
    for (int i = 0; i < ROUNDS; i++) {
        ball const a = ball_add(ball_of(draw_double(90)), ball_of(0x1p-70)), b = ball_of(1.1 + (double)(draw() % 100));
        ball const results[] = {ball_mul(a, b), ball_div(a, b), ball_sqrt(ball_mul(b, b))};
        ball const x = ball_of(10 * (double)(draw() >> 12) * 0x1p-52 + 0x1p-10), turns = ball_mul(x, ball_of(1.1));
        ball cosine, sine;
        ball_cos_sin(turns, &cosine, &sine);
        ball const of_x[] = {ball_rsqrt(x), ball_exp(x), ball_sigmoid(ball_neg(x)), cosine, sine, ball_log(x)};
        for (int k = 0; k < 6 && i % 20 == 0; k++)
            cr_assert(of_x[k].r <= ldexp(k < 3 ? ball_sup(of_x[k]) : 16, -function_bits),
                      "function %d: radius %g of %g", k, of_x[k].r, ball_sup(of_x[k]));
        for (int k = 0; k < 3; k++)
            cr_assert(results[k].r <= ldexp(ball_sup(results[k]), -bits) + 0x1p-990, "operation %d: radius %g of %g", k,
                      results[k].r, ball_sup(results[k]));
    }
}

Test(ball, exact_results_have_radius_0)
{
    cr_expect(ball_is_point(ball_mul(ball_of(3), ball_of(0x1.8p-70))));
    cr_expect(ball_is_point(ball_div(ball_of(7168), ball_of(7))));
    cr_expect(ball_is_point(ball_sqrt(ball_of(0x1p40))));
    cr_expect(ball_is_point(ball_add(ball_of(0x1p80), ball_of(-1))));
    cr_expect(!ball_is_point(ball_div(ball_of(1), ball_of(3))));
    cr_expect(ball_is_any(ball_div(ball_of(1), ball_hull(-1, 2))));
    cr_expect(ball_is_any(ball_of((double)INFINITY)) && ball_is_any(ball_of((double)NAN)));
    cr_expect(ball_is_any(ball_sqrt(ball_of(-1))));
    cr_expect(ball_is_any(ball_mul(ball_of(0x1p600), ball_of(0x1p600))) ||
              ball_sup(ball_mul(ball_of(0x1p600), ball_of(0x1p600))) > 0x1p1000);
    cr_expect(ball_is_any(ball_add(ball_any(), ball_of(1))) && ball_is_any(ball_mul(ball_any(), ball_of(0))));
}

/* The corners of the functions. */
Test(ball, corners_of_functions)
{
    ball c, s;
    ball_cos_sin(ball_of(0), &c, &s);
    cr_expect(ball_is_point(c) && ball_lower(c) == 1 && ball_is_point(s) && ball_upper(s) == 0);
    ball_cos_sin(ball_of(1234567.25), &c, &s);
    cr_expect(ball_is_point(c) && ball_upper(c) == 0 && ball_is_point(s) && ball_lower(s) == 1);
    cr_expect(ball_is_point(ball_exp(ball_of(0))) && ball_lower(ball_exp(ball_of(0))) == 1);
    cr_expect(ball_is_point(ball_log(ball_of(1))));
    cr_expect(ball_is_any(ball_exp(ball_of(1e6))) || ball_upper(ball_exp(ball_of(1e6))) > 1e300);
    ball const tiny = ball_exp(ball_of(-1e6));
    cr_expect(ball_lower(tiny) <= 0 && ball_upper(tiny) >= 0 && ball_upper(tiny) < 1e-290);
    cr_expect(ball_is_any(ball_log(ball_of(0))) && ball_is_any(ball_log(ball_of(-1))) &&
              ball_is_any(ball_rsqrt(ball_of(0))));
    ball const wide = {ball_of(0).c, 5};
    cr_expect(ball_lower(ball_exp(wide)) <= exp(-5) && ball_upper(ball_exp(wide)) >= exp(5));
    cr_expect(ball_lower(ball_sigmoid(wide)) <= 0.0067 && ball_upper(ball_sigmoid(wide)) >= 0.9933);
    cr_expect(ball_upper(ball_sigmoid(ball_any())) >= 1 && ball_lower(ball_sigmoid(ball_any())) <= 0);
    cr_expect(ball_is_any(ball_exp(ball_any())) && ball_is_any(ball_log(ball_any())));
}

static bool same_ball(const ball *a, const ball *b)
{
#ifdef PROOF_BITS
    return ball_lower(*a) == ball_lower(*b) && ball_upper(*a) == ball_upper(*b) && a->r == b->r;
#else
    return !memcmp(a, b, sizeof *a);
#endif
}

/* Products and differences of many are those of each, bit by bit. */
Test(ball, each_of_many)
{
    enum { N = 600 };
    static ball x[N], product[N], difference[N];
    state = 22;
    for (int round = 0; round < 300; round++) {
        int const spread = round % 3 ? 5 : 400, n = (int)(draw() % N);
        ball const b = round % 50 == 7 ? ball_any() : draw_ball(spread);
        for (int i = 0; i < n; i++) {
            x[i] = i % 5 ? draw_partner(b, spread) : draw_ball(spread);
            if (i % 97 == 0) x[i] = i % 2 ? ball_any() : ball_of(draw() % 2 ? 0x1p1000 : -0.0);
            product[i] = difference[i] = x[i];
        }
        ball_mul_all(product, n, b);
        ball_sub_all(difference, n, b);
        for (int i = 0; i < n; i++) {
            ball const times = ball_mul(x[i], b), less = ball_sub(x[i], b);
            cr_assert(same_ball(&product[i], &times), "product %d of %d, round %d", i, n, round);
            cr_assert(same_ball(&difference[i], &less), "difference %d of %d, round %d", i, n, round);
        }
    }
}

/* Many at once are what they are one by one; weighted sums hold the sums of balls. */
Test(ball, many_at_once)
{
    enum { N = 150, WIDTH = 37, WEIGHTS = 2 };
    static ball x[N], e[N], weight[WEIGHTS * N], out[WEIGHTS * WIDTH];
    static double value[N * WIDTH];
    state = 21;
    for (int i = 0; i < N; i++) {
        x[i] = e[i] = draw_ball(i % 3 ? 5 : 10);
        for (int c = 0; c < WIDTH; c++) value[i * WIDTH + c] = (double)(float)draw_double(c % 2 ? 3 : 60);
    }
    ball_exp_all(e, N);
    for (int i = 0; i < N; i++) {
        ball const one = ball_exp(x[i]);
        cr_assert(ball_lower(one) <= ball_upper(e[i]) && ball_lower(e[i]) <= ball_upper(one), "%d", i);
        cr_assert(ball_is_any(one) == ball_is_any(e[i]) &&
                  !(e[i].r > 1.01 * one.r + ball_sup(one) * 0x1p-90 + 0x1p-990));
    }
    for (int i = 0; i < WEIGHTS * N; i++) weight[i] = ball_div(draw_ball(6), ball_of(3)), weight[i].r *= i < N ? 0 : 1;
    scratch memory = {NULL};
    ball_combine(&memory, &(weight_rows){weight, WEIGHTS, N, N}, value, WIDTH, WIDTH, out);
    scratch_back(&memory, NULL);
    mpfr_t exact, w;
    mpfr_inits2(BITS, exact, w, (mpfr_ptr)0);
    double worst = 0;
    for (int i = 0; i < WEIGHTS; i++)
        for (int c = 0; c < WIDTH; c++) {
            mpfr_set_zero(exact, 1);
            for (int j = 0; j < N; j++) {
                exact_of(w, &weight[i * N + j].c);
                mpfr_add_d(w, w, (j % 3 - 1) * weight[i * N + j].r, MPFR_RNDN);
                mpfr_mul_d(w, w, value[j * WIDTH + c], MPFR_RNDN);
                mpfr_add(exact, exact, w, MPFR_RNDN);
            }
            worst = fmax(worst, share_of_radius(&out[i * WIDTH + c], exact));
            ball thin = out[i * WIDTH + c];
            thin.r *= 0x1p-60;
            cr_expect(i || FLOOR || share_of_radius(&thin, exact) > 1 ||
                      share_of_radius(&out[i * WIDTH + c], exact) < 0x1p-50);
        }
    printf("ball %-4s combine worst err/radius %.3g\n", CENTRE_TIER, worst);
    cr_expect(worst <= 1 && worst > 0);
    mpfr_clears(exact, w, (mpfr_ptr)0);
}

/* ---- many dot products and weighted sums at once ---- */

/* Exact sums of products of any doubles are kept whole. */
enum { SUM_BITS = 5600 };

typedef enum {
    WHOLE,
    POWERS,
    ZEROS,
    FP8,
    BF16,
    BINARY32,
    WIDE32,
    WIDEST32,
    DOUBLES,
    ONE_HUGE,
    SUBNORMAL32,
    SUBNORMAL64,
    NUMBER_KINDS
} number_kind;

typedef enum { NO_RADII, RELATIVE_RADII, SOME_RADII, SMALL_RADII, WIDE_RADII, RADIUS_KINDS } radius_kind;

typedef enum { SINGLE, TWO_WORDS, ALL_BITS, FORMS } number_form;

static int64_t draw_between(int64_t least, int64_t most)
{
    return least + (int64_t)(draw() % (uint64_t)(most - least + 1));
}

static double draw_of_kind(number_kind kind, bool huge)
{
    double const sign = draw() & 1 ? 1 : -1, m = 1 + (double)(draw() >> 12) * 0x1p-52,
                 whole = (double)draw_between(1, 1000);
    switch (kind) {
    case WHOLE: return (double)draw_between(-8, 8);
    case POWERS: return ldexp(sign, (int)draw_between(-90, 90));
    case ZEROS: return sign * 0;
    case FP8: return sign * ldexp((double)draw_between(0, 15), (int)draw_between(-9, 5));
    case BF16: return sign * ldexp((double)draw_between(128, 255), (int)draw_between(-14, -7));
    case BINARY32: return sign * (double)(float)m * ldexp(1, (int)draw_between(-8, 0));
    case WIDE32: return sign * ldexp((double)(float)m, (int)draw_between(-90, 90));
    case WIDEST32: return sign * (double)(float)ldexp(m, (int)draw_between(-149, 120));
    case DOUBLES: return sign * ldexp(m, (int)draw_between(-20, 0));
    case ONE_HUGE: return sign * ldexp(m, huge ? 120 : -100);
    case SUBNORMAL32: return sign * ldexp(whole, -149);
    default: return sign * ldexp(whole, -1074);
    }
}

static double draw_radius(radius_kind kind, double value)
{
    bool const some = draw() % 5 == 0;
    switch (kind) {
    case NO_RADII: return 0;
    case RELATIVE_RADII: return fabs(value) * ldexp(1, -(int)draw_between(3, 110));
    case SOME_RADII: return some ? fabs(value) * 0x1p-9 : 0;
    case SMALL_RADII: return some ? 0x1p-900 : 0;
    default: return some ? 0x1p10 : fabs(value);
    }
}

static ball draw_element(number_kind kind, number_form form, radius_kind radius, bool huge)
{
    double const v = draw_of_kind(kind, huge);
    ball b = ball_of(v);
    if (form == TWO_WORDS) b = ball_add(b, ball_of(v * 0x1p-54 * (draw() & 1 ? 0.9 : -0.4)));
    if (form == ALL_BITS) b = ball_div(b, ball_of(3));
    b.r = draw_radius(radius, v);
    return b;
}

static ball *room_for_balls(int64_t n)
{
    ball *const b = calloc((size_t)n + 1, sizeof *b);
    cr_assert(b != NULL);
    return b;
}

static double *room_for_numbers(int64_t n)
{
    double *const v = calloc((size_t)n + 1, sizeof *v);
    cr_assert(v != NULL);
    return v;
}

/* `count` vectors of `width` elements, as balls and prepared. */
typedef struct {
    int64_t count, width;
    number_form form;
    ball *element;
    double *parts;
    operand *row;
} vector_set;

static vector_set room_for_vectors(int64_t count, int64_t width)
{
    return (vector_set){count,
                        width,
                        SINGLE,
                        room_for_balls(count * width),
                        room_for_numbers(3 * count * width),
                        calloc((size_t)count, sizeof(operand))};
}

static void free_vectors(vector_set *v)
{
    free(v->element), free(v->parts), free(v->row);
}

/* As operands: numbers and radii, or balls. */
static void prepare(vector_set *v)
{
    for (int64_t i = 0; i < v->count; i++) {
        ball *const b = v->element + i * v->width;
        double *const value = v->parts + 3 * i * v->width, *const radius = value + v->width;
        bool balls = false;
        if (v->form != SINGLE) {
            v->row[i] = operand_of_balls(b, v->width, value);
            continue;
        }
        for (int64_t k = 0; k < v->width; k++) {
            value[k] = centre_up(b[k].c), radius[k] = b[k].r;
            balls |= b[k].r != 0;
        }
        v->row[i] = operand_of(value, balls ? radius : NULL, v->width);
    }
}

/* stored: of one format and near in size, as keys are. */
static void draw_vectors(vector_set *v, bool stored, bool mixed)
{
    static const number_kind stored_kinds[] = {WHOLE, FP8, BF16, BINARY32, POWERS, FP8, BF16};
    number_kind kind = stored ? stored_kinds[draw() % 7] : (number_kind)(draw() % SUBNORMAL64);
    radius_kind radius = (radius_kind)(draw() % 3 ? NO_RADII : draw() % RADIUS_KINDS);
    int const spread = draw() % 2 ? 0 : stored ? 3 : 45;
    for (int64_t i = 0; i < v->count; i++) {
        if (mixed) kind = (number_kind)(draw() % SUBNORMAL64);
        if (mixed) radius = (radius_kind)(draw() % 2 ? NO_RADII : draw() % RADIUS_KINDS);
        int const exponent = (int)draw_between(-spread, spread);
        int64_t const huge = draw_between(0, v->width - 1);
        for (int64_t k = 0; k < v->width; k++) {
            ball const b = draw_element(kind, v->form, radius, k == huge);
            ball const scaled = spread ? ball_mul(b, ball_of(ldexp(1, exponent))) : b;
            v->element[i * v->width + k] = ball_is_point(b) == ball_is_point(scaled) ? scaled : b;
        }
    }
    prepare(v);
}

/* Points move to an end of their balls: that one which makes the product larger, or smaller, or any; 0: they stay. */
static void point_of(mpfr_t out, const ball *b, int toward, bool other_is_negative)
{
    exact_of(out, &b->c);
    if (b->r == 0 || toward == 0) return;
    double const share = toward == 2 ? (double)(draw() >> 11) * 0x1p-52 - 1 : other_is_negative ? -toward : toward;
    mpfr_add_d(out, out, share * b->r, MPFR_RNDN);
}

static void add_product(mpfr_t sum, const ball *a, const ball *b, int toward)
{
    mpfr_t x, y, p;
    mpfr_init2(x, SUM_BITS), mpfr_init2(y, SUM_BITS), mpfr_init2(p, SUM_BITS);
    mpfr_prec_t const bits = CENTRE_BITS < 120 && a->r == 0 && b->r == 0 ? 2200 : SUM_BITS;
    mpfr_set_prec(x, bits), mpfr_set_prec(y, bits);
    exact_of(x, &b->c);
    exact_of(y, &a->c);
    bool const a_negative = mpfr_sgn(y) < 0, b_negative = mpfr_sgn(x) < 0;
    point_of(x, a, toward, b_negative);
    point_of(y, b, toward, a_negative);
    mpfr_mul(p, x, y, MPFR_RNDN);
    mpfr_add(sum, sum, p, MPFR_RNDN);
    mpfr_clear(x), mpfr_clear(y), mpfr_clear(p);
}

/* The share of the radius that the sum uses; infinite where a radius of 0 is no proof. */
static double strict_share(const ball *result, mpfr_t exact)
{
    if (ball_is_any(*result)) return 0;
    double const share = share_of_radius(result, exact);
    return result->r == 0 && share > 0 ? (double)INFINITY : share;
}

static double worst_share_of_dot(const ball *result, const ball *a, const ball *b, int64_t n)
{
    double worst = 0;
    mpfr_t exact;
    mpfr_init2(exact, SUM_BITS);
    for (int toward = -1; toward <= 2; toward++) {
        mpfr_set_zero(exact, 1);
        for (int64_t k = 0; k < n; k++) add_product(exact, a + k, b + k, toward);
        worst = fmax(worst, strict_share(result, exact));
    }
    mpfr_clear(exact);
    return worst;
}

static bool is_one_word(const ball *b)
{
    return ball_is_point(*b) && centre_up(b->c) == centre_down(b->c);
}

typedef struct {
    double share, share_of_points; /* of the radius, at most */
    int64_t dots, other;           /* how many, and how many with a smaller radius than ball_dot's */
    double of_points, of_balls;    /* radii, in those of ball_dot and radius_by_sizes */
} dots_seen;

/* What the radii of factors do to the product of any factors so large. */
static double radius_by_sizes(const operand *a, const operand *b)
{
    double of_a = 0, of_b = 0;
    for (int64_t k = 0; k < a->n; k++) {
        of_a += a->radius ? a->radius[k] : 0;
        of_b += b->radius ? b->radius[k] : 0;
    }
    return of_a * b->sup + of_b * a->sup;
}

/* All beside ball_dot; `checked` of them beside the exact sums. */
static void check_dots(const vector_set *a, const vector_set *b, int checked, dots_seen *seen, const char *what)
{
    int64_t const rows = a->count, n = b->count, width = a->width;
    ball *const out = room_for_balls(rows * n);
    scratch memory = {NULL};
    ball_dots(&memory, a->row, rows, b->row, n, out);
    scratch_back(&memory, NULL);
    for (int64_t i = 0; i < rows * n; i++) {
        ball const one = ball_dot(a->row + i / n, b->row + i % n).total;
        cr_assert(ball_is_any(one) == ball_is_any(out[i]), "%s: (%d, %d) is any in one of them: %g, %g", what,
                  (int)(i / n), (int)(i % n), out[i].r, one.r);
        cr_assert(!is_one_word(&one) || is_one_word(&out[i]), "%s: (%d, %d): radius %g", what, (int)(i / n),
                  (int)(i % n), out[i].r);
        seen->dots++, seen->other += out[i].r < one.r;
        bool const points = !a->row[i / n].radius && !b->row[i % n].radius;
        double const least = points ? one.r : one.r + radius_by_sizes(a->row + i / n, b->row + i % n);
        double *const factor = points ? &seen->of_points : &seen->of_balls;
        if (least > 0 && !ball_is_any(one)) *factor = fmax(*factor, out[i].r / least);
        cr_assert(least > 0 || out[i].r == 0, "%s: (%d, %d): radius %g of two words", what, (int)(i / n), (int)(i % n),
                  out[i].r);
    }
    for (int k = 0; k < checked; k++) {
        int64_t const place = k == 0   ? 0
                              : k == 1 ? rows * n - 1
                                       : draw_between(0, rows * n - 1),
                      i = place / n, j = place % n;
        double const share = worst_share_of_dot(&out[place], a->element + i * width, b->element + j * width, width);
        cr_assert(share <= 1, "%s: (%d, %d) of (%d, %d), width %d: %g of radius %g", what, (int)i, (int)j, (int)rows,
                  (int)n, (int)width, share, out[place].r);
        double *const worst = a->row[i].radius || b->row[j].radius ? &seen->share : &seen->share_of_points;
        *worst = fmax(*worst, share);
    }
    free(out);
}

static const int64_t widths[] = {1, 31, 64, 65, 576, 1000, 2, 128};

Test(ball, many_dots)
{
    dots_seen seen = {0};
    for (int round = 0; round < (CENTRE_BITS > 200 ? 40 : 500); round++) {
        state = 1000 + (uint64_t)round;
        int64_t const width = widths[draw() % 8], rows = draw_between(1, width > 500 && draw() % 4 ? 3 : 40),
                      n = draw_between(1, width > 500 && draw() % 4 ? 10 : 100);
        bool const mixed = draw() % 4 == 0;
        char what[40];
        snprintf(what, sizeof what, "round %d", round);
        vector_set a = room_for_vectors(rows, width), b = room_for_vectors(n, width);
        if (draw() % 3 == 0) a.form = (number_form)(draw() % FORMS);
        if (draw() % 3 == 0) b.form = (number_form)(draw() % FORMS);
        bool const stored = draw() % 3 > 0;
        if (stored) b.form = SINGLE;
        draw_vectors(&a, false, mixed && draw() % 2);
        draw_vectors(&b, stored, mixed && !stored);
        check_dots(&a, &b, 6, &seen, what);
        free_vectors(&a), free_vectors(&b);
    }
    printf("ball %-4s many dots: worst err/radius %.3g on points, %.6f on balls; radii %.3g and %.6f times that "
           "of one at most; %lld of %lld smaller\n",
           CENTRE_TIER, seen.share_of_points, seen.share, seen.of_points, seen.of_balls, (long long)seen.other,
           (long long)seen.dots);
    cr_expect(seen.of_points <= 100 && seen.of_balls <= 2);
}

/* One product, alone among zeros, of n equal vectors b. */
static void check_one_product(double value, double radius, double b_value, number_form form, int64_t n)
{
    vector_set a = room_for_vectors(2, 2), b = room_for_vectors(n, 2);
    dots_seen seen = {0};
    char what[90];
    snprintf(what, sizeof what, "(%a +- %g) %a, form %d", value, radius, b_value, (int)form);
    a.form = form;
    for (int k = 0; k < 4; k++) {
        a.element[k] = k % 2 ? ball_of(0) : ball_of(value);
        if (form == ALL_BITS) a.element[k] = ball_div(a.element[k], ball_of(3));
        a.element[k].r = k % 2 ? 0 : radius;
    }
    for (int k = 0; k < 2 * n; k++) b.element[k] = ball_of(b_value);
    prepare(&a), prepare(&b);
    check_dots(&a, &b, 3, &seen, what);
    free_vectors(&a), free_vectors(&b);
}

/* Below every binary64 number there are products, and radii of them: neither makes a result exact. */
Test(ball, radii_that_vanish)
{
    static const double rows[][3] = {
        {0x1p86, 0x1p-1074, 0x1.36p-5}, {0x1p-40, 0x1p-1000, 0x1p-80}, {0, 0x1p-1000, 0x1p-80}};
    for (int i = 0; i < 3 * FORMS; i++)
        for (int64_t n = 1; n < 70; n += 33)
            check_one_product(rows[i / FORMS][0], rows[i / FORMS][1], rows[i / FORMS][2], (number_form)(i % FORMS), n);
}

Test(ball, products_that_vanish)
{
    static const double rows[][2] = {
        {0x1p-1060, 0x1.1p-20}, {0x1.fffffffffffffp-600, 0x1p-600}, {0x1.fffffffffffffp-600, 0x1.8p-420}};
    for (int i = 0; i < 3 * FORMS; i++)
        for (int64_t n = 1; n < 70; n += 33)
            check_one_product(rows[i / FORMS][0], 0, rows[i / FORMS][1], (number_form)(i % FORMS), n);
}

/* What is no number makes any of the results that it enters, and of no other. */
Test(ball, dots_of_no_numbers)
{
    static const double odd[] = {NAN, HUGE_VAL, -HUGE_VAL};
    state = 77;
    for (int round = 0; round < 60; round++) {
        int64_t const rows = draw_between(1, 20), n = draw_between(1, 70), width = draw_between(1, 70);
        vector_set a = room_for_vectors(rows, width), b = room_for_vectors(n, width);
        a.form = (number_form)(draw() % FORMS);
        draw_vectors(&a, false, false), draw_vectors(&b, true, false);
        vector_set *const one = round % 2 ? &a : &b;
        int64_t const row = draw_between(0, one->count - 1), place = draw_between(0, width - 1);
        double *const value = one->parts + 3 * row * width;
        if (one->form == SINGLE) {
            value[place] = odd[round / 2 % 3];
            one->row[row] = operand_of(value, round % 5 ? NULL : value + width, width);
        } else {
            one->element[row * width + place] = ball_any();
            one->row[row] = operand_of_balls(one->element + row * width, width, value);
        }
        ball *const out = room_for_balls(rows * n);
        scratch memory = {NULL};
        ball_dots(&memory, a.row, rows, b.row, n, out);
        scratch_back(&memory, NULL);
        for (int64_t i = 0; i < rows * n; i++) {
            bool const enters = (round % 2 ? i / n : i % n) == row;
            cr_assert(ball_is_any(out[i]) == enters, "round %d: (%d, %d), odd one in %d", round, (int)(i / n),
                      (int)(i % n), (int)row);
        }
        free(out), free_vectors(&a), free_vectors(&b);
    }
    ball untouched = ball_of(3);
    scratch memory = {NULL};
    ball_dots(&memory, NULL, 0, NULL, 0, &untouched);
    scratch_back(&memory, NULL);
    cr_expect(ball_upper(untouched) == 3);
}

/* ---- weighted sums ---- */

typedef enum { NO_BALLS, LAST_BALLS, ALL_BALLS, ONE_BALL, ANY_BALLS, BALL_PATTERNS } ball_pattern;

typedef enum {
    SOFTMAX,
    WIDE_WEIGHTS,
    HUGE_WEIGHT,
    ONE_WEIGHT,
    NO_WEIGHT,
    WHOLE_WEIGHTS,
    EQUAL_WEIGHTS,
    WEIGHT_KINDS
} weight_kind;

typedef struct {
    int64_t rows, n, weight_stride, width, stride;
    bool balls;
    ball *weight, *value;
    double *number; /* the values, unless they are balls */
    ball *out;
} combination;

static combination room_for_combination(int64_t rows, int64_t n, int64_t width, bool balls)
{
    combination c = {rows, n, n + draw_between(0, 3), width, width + draw_between(0, 40), balls};
    c.weight = room_for_balls(rows * c.weight_stride);
    c.value = room_for_balls(n * c.stride);
    c.number = room_for_numbers(n * c.stride);
    c.out = room_for_balls(rows * width);
    /* what lies between rows is nobody's */
    for (int64_t i = 0; i < rows * c.weight_stride; i++) c.weight[i] = ball_any();
    for (int64_t i = 0; i < n * c.stride; i++) c.value[i] = ball_any(), c.number[i] = NAN;
    return c;
}

static void free_combination(combination *c)
{
    free(c->weight), free(c->value), free(c->number), free(c->out);
}

static double draw_weight(weight_kind kind, int64_t j, int64_t chosen)
{
    double const m = 1 + (double)(draw() >> 12) * 0x1p-52;
    switch (kind) {
    case SOFTMAX: return exp(-(double)(draw() % 4000) * 0x1p-8);
    case WIDE_WEIGHTS: return ldexp(m, (int)draw_between(-60, 0));
    case HUGE_WEIGHT: return j == chosen ? m : ldexp(m, -70);
    case ONE_WEIGHT: return j == chosen ? m : 0;
    case NO_WEIGHT: return 0;
    case WHOLE_WEIGHTS: return (double)draw_between(0, 9);
    default: return 1;
    }
}

static void draw_weights(combination *c, bool negative)
{
    for (int64_t i = 0; i < c->rows; i++) {
        weight_kind const kind = (weight_kind)(draw() % WEIGHT_KINDS);
        number_form const form = (number_form)(draw() % FORMS);
        radius_kind const radius = draw() % 2 ? NO_RADII : (radius_kind)(draw() % SMALL_RADII);
        ball const size = ball_of(ldexp(1, (int)draw_between(-150, 100)));
        bool const whole = kind == WHOLE_WEIGHTS && draw() % 2;
        int64_t const chosen = draw_between(0, c->n - 1);
        for (int64_t j = 0; j < c->n; j++) {
            double const v = draw_weight(kind, j, chosen) * (negative && draw() % 2 ? -1 : 1);
            ball b = ball_of(v);
            if (form == TWO_WORDS && !whole) b = ball_add(b, ball_of(v * 0x1p-54 * (draw() & 1 ? 0.9 : -0.4)));
            if (form == ALL_BITS && !whole) b = ball_div(b, ball_of(3));
            b.r = 0;
            if (!whole) b = ball_mul(b, size);
            b.r = whole ? 0 : draw_radius(radius, ball_sup(b)) * (draw() % 7 ? 1 : 0.99);
            c->weight[i * c->weight_stride + j] = b;
        }
    }
}

static void draw_values(combination *c, ball_pattern pattern)
{
    number_kind const kind = (number_kind)(draw() % SUBNORMAL64);
    number_form const form = (number_form)(draw() % FORMS);
    radius_kind const radius = (radius_kind)(draw() % RADIUS_KINDS);
    int const spread = draw() % 2 ? 0 : draw() % 2 ? 4 : 30;
    int64_t const first = draw_between(0, c->n);
    for (int64_t j = 0; j < c->n; j++) {
        bool const is_ball = pattern == ALL_BALLS || (pattern == LAST_BALLS && j >= first) ||
                             (pattern == ONE_BALL && j == first) || (pattern == ANY_BALLS && draw() % 3 == 0);
        double const size = ldexp(1, (int)draw_between(-spread, spread));
        for (int64_t k = 0; k < c->width; k++) {
            double const v = draw_of_kind(kind, k == j % 8) * size;
            ball b = ball_of(v);
            if (is_ball && form == TWO_WORDS) b = ball_add(b, ball_of(v * 0x1.2p-54));
            if (is_ball && form == ALL_BITS) b = ball_div(b, ball_of(3));
            b.r = is_ball ? draw_radius(radius, v) : 0;
            c->value[j * c->stride + k] = b;
            c->number[j * c->stride + k] = v;
        }
    }
}

static void combine(combination *c)
{
    scratch memory = {NULL};
    weight_rows const w = {c->weight, c->rows, c->n, c->weight_stride};
    if (c->balls)
        ball_combine_balls(&memory, &w, c->value, c->stride, c->width, c->out);
    else
        ball_combine(&memory, &w, c->number, c->stride, c->width, c->out);
    scratch_back(&memory, NULL);
}

static double worst_share_of_sum(const combination *c, int64_t i, int64_t k)
{
    double worst = 0;
    mpfr_t exact;
    mpfr_init2(exact, SUM_BITS);
    for (int toward = -1; toward <= 2; toward++) {
        mpfr_set_zero(exact, 1);
        for (int64_t j = 0; j < c->n; j++)
            add_product(exact, c->weight + i * c->weight_stride + j, c->value + j * c->stride + k, toward);
        worst = fmax(worst, strict_share(&c->out[i * c->width + k], exact));
    }
    mpfr_clear(exact);
    return worst;
}

/* The radius that the sizes of weights and of column k make likely. */
static double likely_radius(const combination *c, int64_t i, int64_t k)
{
    double of_weights = 0, of_values = 0, total = 0, sup = 0;
    for (int64_t j = 0; j < c->n; j++) {
        const ball *const w = c->weight + i * c->weight_stride + j, *const v = c->value + j * c->stride + k;
        of_weights += w->r, total += ball_sup(*w), of_values += ball_sup(*w) * v->r;
        sup = fmax(sup, ball_sup(*v));
    }
    return of_weights * sup + of_values + total * sup * 0x1p-90 + 0x1p-990;
}

typedef struct {
    double points, balls; /* shares of radii, at most */
    double size;          /* of radii, in likely ones */
    int64_t exact;
} sums_seen;

static void check_sums(const combination *c, int checked, sums_seen *seen, const char *what)
{
    for (int64_t i = 0; i < c->rows; i++)
        for (int64_t k = 0; k < c->width; k++) {
            ball const *const sum = &c->out[i * c->width + k];
            cr_assert(!ball_is_any(*sum), "%s: (%d, %d) is any", what, (int)i, (int)k);
            seen->size = fmax(seen->size, sum->r / likely_radius(c, i, k));
            seen->exact += sum->r == 0;
        }
    for (int m = 0; m < checked; m++) {
        int64_t const last = c->rows * c->width - 1,
                      place = m == 0   ? 0
                              : m == 1 ? last
                                       : draw_between(0, last),
                      i = place / c->width, k = place % c->width;
        bool points = true;
        for (int64_t j = 0; j < c->n; j++)
            points &= c->weight[i * c->weight_stride + j].r == 0 && c->value[j * c->stride + k].r == 0;
        double const share = worst_share_of_sum(c, i, k);
        cr_assert(share <= 1, "%s: (%d, %d) of (%d, %d), n = %d: %g of radius %g", what, (int)i, (int)k, (int)c->rows,
                  (int)c->width, (int)c->n, share, c->out[place].r);
        double *const worst = points ? &seen->points : &seen->balls;
        *worst = fmax(*worst, share);
    }
}

Test(ball, weighted_sums)
{
    for (int balls = 0; balls < 2; balls++) {
        sums_seen seen = {0};
        for (int round = 0; round < (CENTRE_BITS > 200 ? 60 : 700); round++) {
            state = 5000 + (uint64_t)(2 * round + balls);
            int64_t const rows = draw_between(1, 40), n = draw() % 4 ? draw_between(1, 40) : draw_between(1, 300),
                          width = draw() % 3 ? draw_between(1, 40) : widths[draw() % 8];
            combination c = room_for_combination(n > 100 || width > 100 ? 1 + rows % 4 : rows, n, width, balls);
            char what[40];
            snprintf(what, sizeof what, "%s, round %d", balls ? "balls" : "numbers", round);
            draw_weights(&c, !balls && draw() % 4 == 0);
            draw_values(&c, balls ? (ball_pattern)(draw() % BALL_PATTERNS) : NO_BALLS);
            combine(&c);
            check_sums(&c, 6, &seen, what);
            free_combination(&c);
        }
        printf("ball %-4s weighted sums of %s: worst err/radius %.3g on points, %.6f on balls; %.3g times the likely "
               "radius; %lld exact\n",
               CENTRE_TIER, balls ? "balls" : "numbers", seen.points, seen.balls, seen.size, (long long)seen.exact);
        cr_expect(seen.points > 0.01 && seen.balls > 0.99 && seen.size <= 2 && seen.exact > 0);
    }
}

/* Odd numbers and any balls make any of the sums that they enter, and of no other; a sum of none is 0. */
Test(ball, weighted_sums_of_no_numbers)
{
    static const double odd[] = {NAN, HUGE_VAL, -HUGE_VAL};
    for (int round = 0; round < 60; round++) {
        state = 9000 + (uint64_t)round;
        bool const balls = round % 2, in_weight = round % 3 == 0;
        int64_t const rows = draw_between(1, 9), n = draw_between(1, 60), width = draw_between(1, 70),
                      j = draw_between(0, n - 1), i = draw_between(0, rows - 1), k = draw_between(0, width - 1);
        combination c = room_for_combination(rows, n, width, balls);
        draw_weights(&c, false);
        draw_values(&c, balls ? (ball_pattern)(draw() % BALL_PATTERNS) : NO_BALLS);
        if (in_weight) {
            c.weight[i * c.weight_stride + j] = ball_any();
        } else {
            for (int64_t row = 0; row < rows; row++) c.weight[row * c.weight_stride + j] = ball_of(0.75);
            c.value[j * c.stride + k] = ball_any();
            c.number[j * c.stride + k] = odd[round / 2 % 3];
        }
        combine(&c);
        for (int64_t place = 0; place < rows * width; place++) {
            bool const enters = in_weight ? place / width == i : place % width == k;
            cr_assert(ball_is_any(c.out[place]) == enters, "round %d: (%d, %d), odd one at (%d, %d)", round,
                      (int)(place / width), (int)(place % width), (int)i, (int)k);
        }
        free_combination(&c);
        combination none = room_for_combination(2, 0, 33, balls);
        combine(&none);
        for (int place = 0; place < 66; place++)
            cr_assert(ball_is_point(none.out[place]) && ball_upper(none.out[place]) == 0);
        free_combination(&none);
    }
}

/* Likewise of weights and values. */
Test(ball, weighted_sums_that_vanish)
{
    static const double rows[][4] = {/* weight, its radius, value, its radius */
                                     {0x1p-600, 0, 0x1p-600, 0},         {0x1.fffffffffffffp-600, 0, 0x1.8p-430, 0},
                                     {0x1p-900, 0, 0x1.1p-149, 0},       {0x1p-40, 0x1p-1000, 0x1p-80, 0},
                                     {0x1p-1000, 0x1p-1000, 0x1p-80, 0}, {0x1p-200, 0, 0, 0x1p-1000},
                                     {0x1p-80, 0, 1, 0x1p-1074},         {1, 0x1p-1074, 0x1p-80, 0}};
    state = 1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int form = SINGLE; form < 2 * FORMS; form++) {
            bool const balls = form >= FORMS;
            combination c = room_for_combination(2, 3, 33, balls);
            for (int64_t j = 0; j < c.rows * c.weight_stride; j++) {
                ball b = ball_of(j % 2 ? rows[i][0] : 0);
                if (form % FORMS == ALL_BITS) b = ball_div(b, ball_of(3)), b = ball_add(b, b);
                b.r = j % 2 ? rows[i][1] : 0;
                c.weight[j] = b;
            }
            for (int64_t j = 0; j < c.n * c.stride; j++) {
                c.number[j] = rows[i][2];
                c.value[j] = (ball){ball_of(rows[i][2]).c, rows[i][3]};
                if (balls && form % FORMS == TWO_WORDS) c.value[j].c = ball_div(c.value[j], ball_of(3)).c;
            }
            combine(&c);
            sums_seen seen = {0};
            char what[40];
            snprintf(what, sizeof what, "row %zu, form %d", i, form);
            if (balls || rows[i][3] == 0) check_sums(&c, 10, &seen, what);
            free_combination(&c);
        }
}

/* A weight that is any, infinity or NaN, makes any of 0 too, as ball_mul does: of rows of zeros alone and beside others. */
Test(ball, any_weights_of_zeros)
{
    state = 3;
    for (int form = 0; form < 4; form++) {
        bool const balls = form & 1;
        combination c = room_for_combination(1, 3, 2, balls);
        for (int64_t j = 0; j < 3; j++) {
            c.weight[j] = j == 0 ? ball_any() : ball_of(0.5);
            for (int64_t k = 0; k < 2; k++) {
                c.number[j * c.stride + k] = form & 2 && j > 0 ? 3 : 0;
                c.value[j * c.stride + k] = ball_of(c.number[j * c.stride + k]);
                if (form & 2 && j > 0) c.value[j * c.stride + k].r = 0.25;
            }
        }
        combine(&c);
        cr_expect(ball_is_any(c.out[0]) && ball_is_any(c.out[1]), "%s, %s: radius %g", balls ? "balls" : "numbers",
                  form & 2 ? "others beside" : "zeros alone", c.out[0].r);
        free_combination(&c);
    }
}

/* The smallest numbers beside large ones: no grid has both. */
Test(ball, smallest_values_beside_large_ones)
{
    state = 4;
    for (int balls = 0; balls < 2; balls++)
        for (int exponent = -1074; exponent < -900; exponent += 13)
            for (int large = 0; large < 100; large += 11) {
                combination c = room_for_combination(1, 2, 2, balls);
                double const value[2][2] = {{ldexp(1, large), 0}, {ldexp(1, exponent), 0}};
                for (int64_t j = 0; j < 2; j++) {
                    c.weight[j] = ball_of(j ? 1 : 1.25);
                    for (int64_t k = 0; k < 2; k++)
                        c.number[j * c.stride + k] = value[j][k], c.value[j * c.stride + k] = ball_of(value[j][k]);
                }
                combine(&c);
                sums_seen seen = {0};
                char what[60];
                snprintf(what, sizeof what, "%s, 2^%d beside 2^%d", balls ? "balls" : "numbers", exponent, large);
                check_sums(&c, 6, &seen, what);
                free_combination(&c);
            }
}

#ifndef PROOF_BITS
#include "kernel.h"

Test(ball, table_of_powers)
{
    mpfr_t x, t;
    mpfr_inits2(300, x, t, (mpfr_ptr)0);
    for (int j = 0; j < 128; j++) {
        mpfr_set_d(x, j / 128.0, MPFR_RNDN);
        mpfr_exp2(x, x, MPFR_RNDN);
        mpfr_set_d(t, exp2_table[j][0], MPFR_RNDN);
        mpfr_add_d(t, t, exp2_table[j][1], MPFR_RNDN);
        mpfr_sub(t, t, x, MPFR_RNDN);
        cr_assert(fabs(mpfr_get_d(t, MPFR_RNDN)) <= 0x1p-106, "entry %d", j);
    }
    mpfr_clears(x, t, (mpfr_ptr)0);
}

/* The claim 2^-95 where it is tightest: large arguments with a full low word. */
Test(ball, exponential_of_the_working_tier)
{
    mpfr_t x, y;
    mpfr_inits2(400, x, y, (mpfr_ptr)0);
    double worst = 0;
    state = 31;
    for (int i = 0; i < 40000; i++) {
        double const h = (i % 4 == 0   ? 1300
                          : i % 4 == 1 ? 120
                          : i % 4 == 2 ? 2
                                       : 0x1p-9) *
                         ((double)(draw() >> 11) * 0x1p-53 - 0.5);
        centre const a = fast_two_sum(h, h * 0x1p-53 * ((double)(draw() >> 11) * 0x1p-53 - 0.5));
        centre const e = exp_dd(a);
        exact_of(x, &a);
        mpfr_exp(y, x, MPFR_RNDN);
        exact_of(x, &e);
        mpfr_sub(x, x, y, MPFR_RNDN);
        mpfr_div(x, x, y, MPFR_RNDN);
        worst = fmax(worst, fabs(mpfr_get_d(x, MPFR_RNDN)));
    }
    printf("ball exp: worst relative error 2^%.2f over 40000 points\n", log2(worst));
    cr_expect(worst <= 0x1p-96 && worst > 0x1p-100);
    mpfr_clears(x, y, (mpfr_ptr)0);
}
#endif

/* A decimal constant is the decimal, not the double nearest to it. */
Test(ball, decimals)
{
    static const struct {
        double v;
        const char *decimal;
    } rows[] = {{1e-6, "1e-6"},
                {0.1, "0.1"},
                {1e-20, "1e-20"},
                {10000, "10000"},
                {-2.5, "-2.5"},
                {0, "0"},
                {1.0 / 3, "0.3333333333333333"},
                {1e22, "1e22"}};
    mpfr_t exact;
    mpfr_init2(exact, BITS);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ball const b = ball_decimal(rows[i].v);
        mpfr_set_str(exact, rows[i].decimal, 10, MPFR_RNDN);
        double const share = share_of_radius(&b, exact);
        cr_expect(share <= 1, "%s: %g of the radius", rows[i].decimal, share);
        cr_expect(b.r <= fabs(rows[i].v) * 0x1p-95, "%s: radius %g", rows[i].decimal, b.r);
    }
    cr_expect(ball_sup(ball_decimal(5e-324)) < 0x1p-900, "the least double");
    state = 5;
    for (int i = 0; i < 500; i++) {
        char text[40];
        double const v = draw_double(100);
        ball const b = ball_decimal(v);
        int digits = 1;
        do snprintf(text, sizeof text, "%.*e", digits - 1, v);
        while (strtod(text, NULL) != v && digits++ < 17);
        mpfr_set_str(exact, text, 10, MPFR_RNDN);
        cr_assert(share_of_radius(&b, exact) <= 1, "%s", text);
    }
    mpfr_clear(exact);
}

static bool holds(const ball *b, double v)
{
    mpfr_t m;
    mpfr_init2(m, BITS);
    mpfr_set_d(m, v, MPFR_RNDN);
    bool const inside = share_of_radius(b, m) <= 1;
    mpfr_clear(m);
    return inside && ball_lower(*b) <= v && v <= ball_upper(*b) && fabs(v) <= ball_sup(*b);
}

/* A hull holds its ends, a widened ball every point within the distance; ends are outside, and close. */
Test(ball, hull_and_widen)
{
    state = 9;
    for (int i = 0; i < ROUNDS; i++) {
        double const v = draw_double(120), w = i % 3 ? draw_double(120) : v * (1 + ldexp(1, -(int)(draw() % 60)));
        ball const hull = ball_hull(fmin(v, w), fmax(v, w));
        cr_assert(holds(&hull, v) && holds(&hull, w), "hull of %a and %a", v, w);
        cr_assert(v != w || ball_is_point(hull), "%a", v);
        cr_assert(ball_upper(hull) - ball_lower(hull) <= fabs(v - w) * (1 + 0x1p-38) + 0x1p-50 * fabs(v) + 0x1p-990);
        ball const wide = ball_widen(ball_of(v), fabs(w));
        cr_assert(holds(&wide, v), "%a widened by %a", v, w);
        cr_assert(ball_lower(wide) <= v - fabs(w) && v + fabs(w) <= ball_upper(wide), "%a widened by %a", v, w);
    }
    cr_expect(ball_is_any(ball_hull(1, (double)INFINITY)) && ball_is_any(ball_widen(ball_of(1), (double)NAN)));
}

/* Values and weights of any value make such sums, in their columns and rows alone. (UBSan: no exponent is that of infinity) */
Test(ball, combining_what_is_unbounded)
{
    enum { N = 3, WIDTH = 2 };
    double const value[N * WIDTH] = {1, 2, (double)INFINITY, 3, 4, 5};
    ball const one[N] = {ball_of(1), ball_of(0.5), ball_of(0.25)}, open[N] = {ball_of(1), ball_any(), ball_of(1)};
    ball values[N * WIDTH], out[WIDTH];
    scratch memory = {NULL};
    for (int i = 0; i < N * WIDTH; i++) values[i] = ball_of(value[i]);
    ball_combine(&memory, &(weight_rows){one, 1, N, N}, value, WIDTH, WIDTH, out);
    cr_expect(ball_is_any(out[0]) && holds(&out[1], 4.75));
    ball_combine_balls(&memory, &(weight_rows){one, 1, N, N}, values, WIDTH, WIDTH, out);
    cr_expect(ball_is_any(out[0]));
    ball_combine_balls(&memory, &(weight_rows){open, 1, N, N}, values, WIDTH, WIDTH, out);
    cr_expect(ball_is_any(out[0]) && ball_is_any(out[1]));
    scratch_back(&memory, NULL);
}

/* However small: what was rounded has a radius. */
Test(ball, inexact_is_no_point)
{
    ball const third = ball_div(ball_of(1), ball_of(3));
    for (int scale = 0; scale < 500; scale += 20) {
        ball small = ball_mul(third, ball_of(ldexp(1, -scale)));
        small.r = 0;
        cr_assert(!ball_is_point(ball_mul(small, third)), "2^-%d: product", scale);
        cr_assert(!ball_is_point(ball_div(small, ball_of(7))), "2^-%d: quotient", scale);
        cr_assert(!ball_is_point(ball_sqrt(small)), "2^-%d: root", scale);
        small = ball_mul(small, (ball){third.c, 0});
        small.r = 0;
        cr_assert(!ball_is_point(ball_mul(small, small)) || ball_is_point(small), "2^-%d: square", scale);
    }
}

/* Arb computes the same and overlaps. */
Test(ball, agrees_with_arb)
{
    arb_t x, y, z;
    mpfr_t mid;
    mpfr_init2(mid, BITS);
    arb_init(x), arb_init(y), arb_init(z);
    state = 11;
    for (int i = 0; i < ROUNDS; i++) {
        ball a = draw_ball(80), b = draw_partner(a, 80);
        if (i % 2) a.r = b.r = 0;
        exact_of(mid, &a.c), arf_set_mpfr(arb_midref(x), mid), mag_set_d(arb_radref(x), a.r);
        exact_of(mid, &b.c), arf_set_mpfr(arb_midref(y), mid), mag_set_d(arb_radref(y), b.r);
        for (operation o = ADD; o <= DIV; o++) {
            ball const result = apply(o, a, b);
            if (ball_is_any(result)) continue;
            arb_zero(z);
            (o == ADD ? arb_add : o == SUB ? arb_sub : o == MUL ? arb_mul : arb_div)(z, x, y, 400);
            if (!arb_is_finite(z)) continue; /* it sees 0 in the divisor, its radius having 30 bits */
            arf_get_mpfr(mid, arb_midref(z), MPFR_RNDN);
            ball wide = result;
            wide.r = result.r + mag_get_d(arb_radref(z)) + 0x1p-1070;
            cr_assert(share_of_radius(&wide, mid) <= 1.000001, "%s: apart from Arb", names[o]);
        }
    }
    arb_clear(x), arb_clear(y), arb_clear(z);
    mpfr_clear(mid);
    flint_cleanup();
}
