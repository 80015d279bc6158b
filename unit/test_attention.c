/* Attention over values that are balls: every point of them is inside, exact and conforming, and not much else. */
#include "attention.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(attention, .timeout = 60);

enum { ROWS = 5, LEN = 23, DIM = 4, WIDTH = 3 };

static double query[ROWS * DIM], key[LEN * DIM], number[LEN * WIDTH];
static ball value[LEN * WIDTH];
static row query_row[ROWS], key_row[LEN];
static int64_t seen[ROWS];

static double draw(void)
{
    return (double)ref_round(DSV3_BF16, 2 * drand48() - 1);
}

/* Values near 1 with a radius each, and low words if `low`. */
static attention prepare(const ref_reading *rd, double radius, bool low)
{
    for (int i = 0; i < ROWS * DIM; i++) query[i] = draw();
    for (int i = 0; i < LEN * DIM; i++) key[i] = draw();
    for (int i = 0; i < LEN * WIDTH; i++) {
        number[i] = 1 + draw();
        value[i] = ball_of(number[i]);
        if (low) value[i] = ball_add(value[i], ball_of(draw() * 0x1p-60));
        value[i] = ball_widen(value[i], radius * drand48());
    }
    for (int r = 0; r < ROWS; r++) query_row[r] = row_of(query + r * DIM, NULL, DIM), seen[r] = LEN - ROWS + 1 + r;
    for (int j = 0; j < LEN; j++) key_row[j] = row_of(key + j * DIM, NULL, DIM);
    return (attention){.rd = rd,
                       .scores = POINT_mla_prefill_scores,
                       .P = POINT_mla_prefill_P,
                       .output = DSV3_F32,
                       .scale = ball_of(2),
                       .rows = ROWS,
                       .len = LEN,
                       .width = WIDTH,
                       .query = query_row,
                       .key = key_row,
                       .seen = seen,
                       .value = value,
                       .stride = WIDTH};
}

/* o of a row for some points of the values, by a softmax in binary32 whose weights meet the values rounded to `stored`. */
static double simulate(int r, int c, double end, dsv3_dtype stored)
{
    float max = -INFINITY, sum = 0, total = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int j = 0; j < seen[r]; j++) {
            float s = 0;
            for (int i = 0; i < DIM; i++) s += (float)query[r * DIM + i] * (float)key[j * DIM + i];
            s *= 2;
            if (pass == 0) max = fmaxf(max, s);
            if (pass == 0) continue;
            float const w = expf(s - max);
            double const v = number[j * WIDTH + c] + end * value[j * WIDTH + c].r * 0.999;
            sum += w;
            total += (float)ref_round(stored, (double)w) * (float)v;
        }
    return (double)(total / sum);
}

/* |got - centre| / radius */
static double used(ball b, double got)
{
    return ball_sup(ball_sub(ball_of(got), (ball){b.c, 0})) / b.r;
}

/* The ends of all values at once reach the ends of o, within the errors of binary32. */
Test(attention, every_point_of_the_values_is_inside)
{
    ref_reading const exact = {0};
    ball o[ROWS * WIDTH], lse[ROWS];
    double worst = 0, least = 1;
    srand48(3);
    for (int round = 0; round < 200; round++) {
        attention const a = prepare(&exact, 0x1p-6, round % 2);
        cr_assert(attend(&a, o, lse));
        for (int i = 0; i < ROWS * WIDTH; i++) {
            double const up = used(o[i], simulate(i / WIDTH, i % WIDTH, 1, DSV3_F32));
            double const down = used(o[i], simulate(i / WIDTH, i % WIDTH, -1, DSV3_F32));
            worst = fmax(worst, fmax(up, down));
            least = fmin(least, fmin(up, down));
        }
    }
    printf("attention: ends of the values at %.4f to %.4f of the radius\n", least, worst);
    cr_expect(worst <= 1 && least > 0.99);
}

/* What a port with P in BF16 makes of any of these values. */
Test(attention, ports_are_inside)
{
    static const char *const declared[] = {
        "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; scores f32 must; P bf16 must",
        "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; scores f32 must; P f32 must"};
    ball o[ROWS * WIDTH], lse[ROWS];
    char why[200];
    ref_numerics n;
    srand48(4);
    for (int d = 0; d < 2; d++)
        for (int size = 0; size < 3; size++) {
            double worst = 0;
            ref_reading const rd = {.port = &n};
            cr_assert(ref_numerics_parse("mla_prefill", declared[d], &n, why, sizeof why), "%s", why);
            for (int round = 0; round < 100; round++) {
                attention const a = prepare(&rd, size ? ldexp(1, -30 + 12 * size) : 0, false);
                cr_assert(attend(&a, o, lse));
                for (int i = 0; i < 2 * ROWS * WIDTH; i++) {
                    int const k = i / 2;
                    double const port = simulate(k / WIDTH, k % WIDTH, i % 2 ? 1 : -1, d ? DSV3_F32 : DSV3_BF16);
                    worst = fmax(worst, used(o[k], port));
                }
            }
            printf("attention: P in %s, radius %d: %.3f of the radius\n", d ? "f32" : "bf16", size, worst);
            cr_expect(worst <= 1 && worst > 0.02);
        }
}

/* Points are points, whichever way they are handed over. */
Test(attention, balls_of_radius_0_are_numbers)
{
    ref_reading const exact = {0};
    ball o[2][ROWS * WIDTH], lse[2][ROWS];
    srand48(5);
    attention a = prepare(&exact, 0, false);
    cr_assert(attend(&a, o[0], lse[0]));
    a.number = number;
    a.value = NULL;
    cr_assert(attend(&a, o[1], lse[1]));
    for (int i = 0; i < ROWS * WIDTH; i++) {
        double const apart = ball_sup(ball_sub((ball){o[0][i].c, 0}, (ball){o[1][i].c, 0}));
        cr_expect(apart <= o[0][i].r + o[1][i].r && o[0][i].r < 0x1p-80, "%g apart, radius %g", apart, o[0][i].r);
    }
    seen[0] = 0;
    cr_assert(attend(&a, o[1], lse[1]));
    cr_expect(ball_is_point(o[1][0]) && ball_sup(o[1][0]) == 0 && ball_is_any(lse[1][0]));
}

/* More rows than are in work at once. */
Test(attention, blocks_of_rows_do_not_matter)
{
    enum { MANY = 300 };
    static row many[MANY];
    static int64_t many_seen[MANY];
    static ball o[MANY * WIDTH], lse[MANY];
    ball once[ROWS * WIDTH], lse_once[ROWS];
    ref_reading const exact = {0};
    srand48(6);
    attention a = prepare(&exact, 0x1p-20, true);
    cr_assert(attend(&a, once, lse_once));
    for (int i = 0; i < MANY; i++) many[i] = query_row[i % ROWS], many_seen[i] = seen[i % ROWS];
    a.rows = MANY;
    a.query = many;
    a.seen = many_seen;
    cr_assert(attend(&a, o, lse));
    for (int i = 0; i < MANY * WIDTH; i++) {
        ball const apart = ball_sub(o[i], once[i % (ROWS * WIDTH)]);
        cr_expect(ball_lower(apart) <= 0 && ball_upper(apart) >= 0);
    }
}
