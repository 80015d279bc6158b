/* Angles as legal ports form them in binary32: none may leave the conforming ball of cos or sin. */
#include "ref.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "declared.h"

TestSuite(rotations, .timeout = 60);

/* The frequencies of a port, theta^(-2j/r). */
typedef void frequencies(float theta, int r, float *f);

/* One power and one reciprocal. */
static void by_power(float theta, int r, float *f)
{
    for (int j = 0; j < r / 2; j++) f[j] = 1 / powf(theta, (float)(2 * j) / (float)r);
}

/* Each from the one before. */
static void by_running_product(float theta, int r, float *f)
{
    float const scale = powf(theta, -2 / (float)r);
    float running = 1;
    for (int j = 0; j < r / 2; j++, running *= scale) f[j] = running;
}

/* theta is stored in binary32 only. */
static void by_exp(float theta, int r, float *f)
{
    float const log_theta = logf(theta);
    for (int j = 0; j < r / 2; j++) f[j] = expf(-(float)(2 * j) / (float)r * log_theta);
}

static const struct {
    const char *declared;
    frequencies *of;
    bool legal;
} ports[] = {
    {"angle f32; sincos 1; flush none", by_power, true},
    {"angle f32 40; sincos 1; flush none", by_running_product, true},
    {"angle f32 20; sincos 1; flush none", by_exp, true},
    {"angle f32 4; sincos 1; flush none", by_running_product, false},
    {"angle f32; sincos 1; flush none", by_running_product, false},
};

static float cosine_of(float f, int32_t position)
{
    return (float)cos((double)(f * (float)position));
}

/* The largest distance from the centre of cos over the radius. */
static double used(int port, double theta, int r, int32_t position)
{
    float x[256] = {0}, f[128];
    ref_value y[256];
    dsv3_rope_prob const prob = {1, 1, r, theta, 1, 4096, 32, 1, 1, 1, DSV3_HALF, DSV3_HALF};
    dsv3_rope_io const io = {.x = {x, DSV3_F32, 3, {1, 1, r}, {r, r, 1}},
                             .positions = {&position, DSV3_I32, 1, {1}, {1}},
                             .y = {NULL, DSV3_F32, 3, {1, 1, r}, {r, r, 1}}};
    ref_numerics const n = numerics("rope", ports[port].declared);
    ref_reading const rd = {&n, ref_none(), false};
    double most = 0;
    for (int j = 0; j < r / 2; j++) x[j] = 1;
    cr_assert(ref_dd.rope(&rd, &prob, &io, (ref_value *const[]){y}));
    ports[port].of((float)theta, r, f);
    for (int j = 0; j < r / 2; j++)
        if (y[j].radius < 0.5) most = fmax(most, fabs((double)cosine_of(f[j], position) - y[j].hi) / y[j].radius);
    return most;
}

Test(rotations, frequencies_of_binary32)
{
    static double const theta[] = {1e4, 5e4, 1e6, 1e8, 123456789};
    static int const width[] = {42, 20, 64, 10, 128, 90};
    for (int k = 0; k < (int)(sizeof ports / sizeof *ports); k++) {
        double most = 0;
        for (int i = 0; i < 5; i++)
            for (int w = 0; w < 6; w++)
                for (int32_t position = 1; position < 200000; position = position * 3 + 1)
                    most = fmax(most, used(k, theta[i], width[w], position));
        cr_log_info("rotations %d (%s): %.2f of a radius", k, ports[k].declared, most);
        cr_expect((most <= 1) == ports[k].legal, "%s: %.2f of a radius", ports[k].declared, most);
        if (ports[k].legal) cr_expect(most > 0.5, "%s: only %.2f of a radius is used", ports[k].declared, most);
    }
}
