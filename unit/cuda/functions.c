/* The kernels' functions, compiled for this processor: their errors against libm's in binary64 are within what ops declare. Every
 * STRIDE-th number of binary32 is tried; STRIDE 1 tries all. */
#include "../../cuda/emu/translated.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What of CUDA the header has. */
#define __device__                 static
#define __int_as_float(bits)       of_bits_f32((uint32_t)(bits))
#define __float_as_int(v)          ((int)bits_of_f32(v))
#define __double_as_longlong(v)    ((long long)bits_of_f64(v))
#define __longlong_as_double(bits) of_bits_f64((uint64_t)(bits))

#include "../../cuda/functions.cuh"

TestSuite(functions, .timeout = 300);

static double const unit = 0x1p-24;

static uint32_t stride(void)
{
    const char *const asked = getenv("STRIDE");
    return asked ? (uint32_t)strtoul(asked, NULL, 10) : 499;
}

/* The largest relative error of f, in units, over arguments from -size to size whose truth is normal. */
static double worst_relative(float (*f)(float), double (*truth)(double), float size)
{
    double worst = 0;
    for (uint64_t bits = 0; bits <= bits_of_f32(size); bits += stride())
        for (int sign = 0; sign < 2; sign++) {
            float const v = of_bits_f32((uint32_t)bits | (uint32_t)sign << 31);
            double const right = truth((double)v), error = fabs((double)f(v) - right);
            if (fabs(right) < 0x1p-126 || fabs(right) > 0x1.fffffep127) continue;
            if (!(error <= worst * unit * fabs(right))) worst = error / fabs(right) / unit;
        }
    return worst;
}

static double true_sigmoid(double z)
{
    return 1 / (1 + exp(-z));
}

static double true_silu(double z)
{
    return z / (1 + exp(-z));
}

/* Declared: exp 2. */
Test(functions, exponential_is_within_2_units)
{
    double const worst = worst_relative(exponential, exp, 89);
    cr_log_info("exponential: %.3f units", worst);
    cr_expect_leq(worst, 1.5);
    cr_expect_eq(exponential(0), 1.0f);
    cr_expect_eq(exponential(-0.0f), 1.0f);
    cr_expect_eq(exponential(INFINITY), INFINITY);
    cr_expect_eq(exponential(89), INFINITY);
    cr_expect_eq(exponential(-INFINITY), 0.0f);
    cr_expect_eq(exponential(-1e30f), 0.0f);
    cr_expect(exponential(NAN) != exponential(NAN));
    for (float v = -87.3f; v > -106; v -= 0x1p-10f)
        cr_expect_leq(fabs((double)exponential(v) - exp((double)v)), 0x1p-149, "%.9g", (double)v);
}

/* Declared: sigmoid 4. Beyond 88 e^-z is infinite, as it is in any port that forms it in binary32. */
Test(functions, sigmoid_and_silu_are_within_4_units)
{
    double const of_sigmoid = worst_relative(sigmoid, true_sigmoid, 88), of_silu = worst_relative(silu, true_silu, 88);
    cr_log_info("sigmoid: %.3f units, silu: %.3f", of_sigmoid, of_silu);
    cr_expect_leq(of_sigmoid, 3);
    cr_expect_leq(of_silu, 3);
    cr_expect_eq(sigmoid(-INFINITY), 0.0f);
    cr_expect_eq(sigmoid(INFINITY), 1.0f);
    cr_expect(silu(NAN) != silu(NAN));
}

/* Declared: log 1, of sums in binary64 from 1 on; beside a power of 2 and the roots as well. */
Test(functions, logarithm_is_far_within_a_unit)
{
    double worst = 0;
    for (uint64_t i = 0; i < 4000000; i++) {
        double const base = i % 4 == 0   ? 1
                            : i % 4 == 1 ? sqrt(2)
                            : i % 4 == 2 ? 1 + ldexp(1, -(int)(i / 4 % 50))
                                         : 1.9999;
        double const x = ldexp(base + (double)(i / 4) * 0x1p-20 * (double)(i % 7 != 0), (int)(i % 18));
        double const right = log(x), error = fabs(logarithm(x) - right);
        if (right > 0 && !(error <= worst * unit * right)) worst = error / right / unit;
    }
    cr_log_info("logarithm: %.3g units", worst);
    cr_expect_eq(logarithm(1), 0.0);
    cr_expect_leq(worst, 2e-6);
}

/* Declared: sincos 1. Angles to 2^24 radians, the last position of the cases at the fastest pair. */
Test(functions, cos_sin_is_far_within_a_unit)
{
    double worst = 0, c, s;
    for (uint64_t i = 0; i < 3000000; i++) {
        double const few = (double)i * 0x1.1p-12, angle = i % 3 ? few * (i % 3 == 1 ? 1 : -0x1p15) : few * 0x1.001p-20;
        cos_sin(angle, &c, &s);
        double const error = fmax(fabs(c - cos(angle)), fabs(s - sin(angle)));
        if (!(error <= worst * unit)) worst = error / unit;
    }
    cr_log_info("cos_sin: %.3g units", worst);
    cos_sin(0, &c, &s);
    cr_expect_eq(c, 1.0);
    cr_expect_eq(s, 0.0);
    cr_expect_leq(worst, 3e-4);
}
