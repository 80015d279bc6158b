/* What cuda/gate.cu declares of its functions, found by the same formulas on this processor beside libm's in binary64. Over every
 * binary32 number (STEP 1) exp is off by 1.293 units of 2^-24 at most, sigmoid by 2.967; subnormal results by 0.86 of 2^-149. */
#include "../../cuda/gate_functions.cuh"

#include <criterion/criterion.h>

TestSuite(gate_functions, .timeout = 60);

enum { STEP = 11 };

static float of_bits(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* In units of 2^-24 of what is right; where that is subnormal in units of 2^-149, of which 1 is granted. */
static double error_of(float found, double right, double granted)
{
    double const off = fabs((double)found - right);
    if (!(off < 1)) return INFINITY; /* a NaN, too */
    if (right >= 0x1p-126) return off / right * 0x1p24;
    return off <= 0x1p-149 ? 0 : granted + 1;
}

Test(gate_functions, errors_are_within_the_declaration)
{
    double of_exp = 0, of_sigmoid = 0;
    for (uint32_t bits = 0x30000000; bits < 0x42d20000; bits += STEP) { /* 2^-31 to 105 */
        float const x = of_bits(bits);
        double const e = exp(-(double)x);
        of_exp = fmax(of_exp, error_of(exp_of_negative(-x), e, 1.3));
        of_sigmoid = fmax(of_sigmoid, error_of(sigmoid(x), 1 / (1 + e), 3));
        of_sigmoid = fmax(of_sigmoid, error_of(sigmoid(-x), e / (1 + e), 3));
    }
    cr_expect(of_exp > 1 && of_exp <= 1.3, "exp: %.4f", of_exp);
    cr_expect(of_sigmoid > 2 && of_sigmoid <= 3, "sigmoid: %.4f", of_sigmoid);
}

Test(gate_functions, ends_are_exact)
{
    static const uint32_t tiny[] = {0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x2fffffff};
    for (size_t i = 0; i < sizeof tiny / sizeof *tiny; i++) {
        cr_expect_eq(exp_of_negative(-fabsf(of_bits(tiny[i]))), 1, "%08x", tiny[i]);
        cr_expect_eq(sigmoid(of_bits(tiny[i])), 0.5F, "%08x", tiny[i]);
    }
    cr_expect_eq(exp_of_negative(-INFINITY), 0);
    cr_expect_eq(exp_of_negative(-0x1.fffffep127F), 0);
    cr_expect_eq(sigmoid(-INFINITY), 0);
    cr_expect_eq(sigmoid(INFINITY), 1);
    cr_expect(isnan(exp_of_negative(NAN)) && isnan(sigmoid(NAN)) && isnan(sigmoid(-NAN)));
}
