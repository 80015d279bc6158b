/*
 * Rotary angles as ports form them, far out: Lemma Angle holds for frequencies by powers in binary32 whatever the head's width
 * is, and a running product of frequencies has to say how far off it is.
 */
#include "declared.h"

#include <stdio.h>
#include <stdlib.h>

TestSuite(angles, .timeout = 120);

enum { MOST = 128, TOKENS = 8 };

static float x[TOKENS * MOST], y[TOKENS * MOST];
static int32_t position[TOKENS];
static ref_value legal[TOKENS * MOST];

/* e_j = 1 / theta^(2j/r), the exponent and the power in binary32. */
static float by_power(double theta, int r, int j)
{
    float const exponent = (float)(2 * j) / (float)r;
    return 1 / (float)pow(theta, (double)exponent);
}

/* e_j = e_(j-1) times theta^(-2/r), all in binary32. */
static float by_product(double theta, int r, int j)
{
    float const step = powf((float)theta, -2.0f / (float)r);
    float e = 1;
    for (int i = 0; i < j; i++) e *= step;
    return e;
}

static void rotate(float (*frequency)(double theta, int r, int j), double theta, int r)
{
    for (int t = 0; t < TOKENS; t++)
        for (int j = 0; j < r / 2; j++) {
            float const angle = (float)position[t] * frequency(theta, r, j);
            float const c = (float)cos((double)angle), s = (float)sin((double)angle);
            const float *const in = x + t * r + 2 * j;
            y[t * r + 2 * j] = in[0] * c - in[1] * s;
            y[t * r + 2 * j + 1] = in[1] * c + in[0] * s;
        }
}

static void enclose(const char *declared, double theta, int r)
{
    ref_numerics const n = numerics("rope", declared);
    ref_reading const rd = {&n, ref_none()};
    dsv3_rope_prob const prob = {TOKENS, 1, r, theta, 1, 4096, 32, 1, 1, 1, DSV3_INTERLEAVED, DSV3_INTERLEAVED};
    dsv3_rope_io const io = {.x = {x, DSV3_F32, 3, {TOKENS, 1, r}, {r, r, 1}},
                             .positions = {position, DSV3_I32, 1, {TOKENS}, {1}},
                             .y = {NULL, DSV3_F32, 3, {TOKENS, 1, r}, {r, r, 1}}};
    cr_assert(ref_dd.rope(&rd, &prob, &io, (ref_value *const[]){legal}));
}

static void fill(int r)
{
    for (int i = 0; i < TOKENS * r; i++) x[i] = (float)(2 * drand48() - 1);
    for (int t = 0; t < TOKENS; t++) position[t] = 100000 + (int32_t)(60000 * drand48());
}

static int outside(int r)
{
    int n = 0;
    for (int i = 0; i < TOKENS * r; i++) n += !inside(&legal[i], (double)y[i]);
    return n;
}

Test(angles, powers_are_inside_at_every_width)
{
    static const double thetas[] = {1e4, 5e4, 1e6, 1e8};
    static const int widths[] = {2, 6, 10, 22, 42, 48, 64, 96, 128};
    srand48(3);
    double worst = 0;
    for (size_t i = 0; i < sizeof thetas / sizeof *thetas; i++)
        for (size_t k = 0; k < sizeof widths / sizeof *widths; k++)
            for (int round = 0; round < 40; round++) {
                int const r = widths[k];
                fill(r);
                rotate(by_power, thetas[i], r);
                enclose("sincos 1; flush none; cos_sin f32 must", thetas[i], r);
                cr_assert(outside(r) == 0, "theta %g, width %d: %d outside", thetas[i], r, outside(r));
                for (int e = 0; e < TOKENS * r; e++)
                    if (r == 42 && legal[e].radius > 1e-4)
                        worst = fmax(worst, fabs((double)y[e] - legal[e].hi) / legal[e].radius);
            }
    printf("angles: width 42 uses %.2f of a radius\n", worst);
    cr_expect(worst > 0.3, "the worst uses %.3f of a radius", worst);
}

/* Where an exponent just above 1/2 rounds by nearly a whole unit, and what it does to the angle is large against all else. */
Test(angles, exponents_use_their_term)
{
    srand48(5);
    double worst = 0;
    for (int r = 6; r <= MOST; r += 2)
        for (int round = 0; round < 4; round++) {
            fill(r);
            for (int t = 0; t < TOKENS; t++) position[t] = 1900000000 + (int32_t)(240000000 * drand48());
            rotate(by_power, 1e17, r);
            enclose("sincos 1; flush none; cos_sin f32 must", 1e17, r);
            cr_assert(outside(r) == 0, "width %d: %d outside", r, outside(r));
            for (int e = 0; e < TOKENS * r; e++)
                if (legal[e].radius > 1e-4) worst = fmax(worst, fabs((double)y[e] - legal[e].hi) / legal[e].radius);
        }
    printf("angles: exponents above 1/2 use %.2f of a radius\n", worst);
    cr_expect(worst > 0.5, "the worst uses %.3f of a radius", worst);
}

Test(angles, a_running_product_says_its_units)
{
    srand48(4);
    int undeclared = 0, declared = 0;
    for (int round = 0; round < 40; round++) {
        fill(64);
        rotate(by_product, 5e4, 64);
        enclose("sincos 1; flush none; cos_sin f32 must", 5e4, 64);
        undeclared += outside(64);
        enclose("sincos 1; flush none; cos_sin f32 must; angle f32 40", 5e4, 64);
        declared += outside(64);
    }
    cr_expect(undeclared > 0, "nothing to declare");
    cr_expect(declared == 0, "%d outside", declared);
}
