/* units: see units.h. Operands are BF16 or E4M3, so that products are exact in binary64. */
#include "units.h"

#include <math.h>
#include <stdbool.h>

legal_unit const legal_unit_list[] = {
    {"volta.f16", UNIT_CUT, 4, 23, 24, -126},       {"ampere.bf16", UNIT_CUT, 8, 24, 24, -126},
    {"ada.bf16", UNIT_CUT, 8, 24, 24, -126},        {"hopper.bf16", UNIT_CUT, 16, 25, 24, -126},
    {"blackwell.bf16", UNIT_CUT, 16, 25, 24, -126}, {"cdna3.bf16", UNIT_DOWN, 8, 24, 24, -126},
    {"avx512.bf16", UNIT_PAIRS, 2, 0, 24, -126},    {"amx.bf16", UNIT_TWO_CHAINS, 32, 0, 24, -126},
    {"hopper.f8", UNIT_CUT, 32, 13, 14, -6},        {"ada.f8", UNIT_CUT, 16, 13, 14, -6},
};
int const legal_unit_count = sizeof legal_unit_list / sizeof *legal_unit_list;

/* Exponent of x as the adder sees it: that of its significand in [1, 2); of 0 and subnormal numbers the least. */
static int exponent_of(double x, int least)
{
    int e = least + 1;
    if (x != 0) frexp(x, &e);
    return e - 1 < least ? least : e - 1;
}

static int product_exponent(legal_unit const *u, double a, double b)
{
    return a == 0 || b == 0 ? -126 : exponent_of(a, u->least) + exponent_of(b, u->least);
}

/* x at `place`, cut toward zero or toward minus infinity. */
static double aligned(double x, int place, bool down)
{
    double const y = ldexp(x, -place);
    return ldexp(down ? floor(y) : trunc(y), place);
}

static double total(number_sum const *sum, int bits, bool to_zero)
{
    return number_total(sum, number_accumulator(bits, to_zero));
}

static double cut_step(legal_unit const *u, double acc, int n, double const *a, double const *b)
{
    int most = exponent_of(acc, -126);
    for (int i = 0; i < n; i++) most = product_exponent(u, a[i], b[i]) > most ? product_exponent(u, a[i], b[i]) : most;
    number_sum sum;
    number_clear(&sum);
    number_add(&sum, aligned(acc, most - u->below, false));
    for (int i = 0; i < n; i++) number_add(&sum, aligned(a[i] * b[i], most - u->below, false));
    return total(&sum, u->bits, true);
}

/* Products cut at 24 bits, their sum at 31 bits and the accumulator at 24 rounded down, the result to nearest. */
static double down_step(legal_unit const *u, double acc, int n, double const *a, double const *b)
{
    int most = product_exponent(u, a[0], b[0]);
    for (int i = 1; i < n; i++) most = product_exponent(u, a[i], b[i]) > most ? product_exponent(u, a[i], b[i]) : most;
    double products = 0; /* exact: at most 29 bits */
    for (int i = 0; i < n; i++) products += aligned(a[i] * b[i], most - u->below, false);
    int const other = exponent_of(acc, -126), top = most > other ? most : other;
    number_sum sum;
    number_clear(&sum);
    number_add(&sum, aligned(products, top - 31, true));
    number_add(&sum, aligned(acc, top - 24, true));
    return total(&sum, u->bits, false);
}

static double flushed(double x)
{
    return fabs(x) < 0x1p-126 ? copysign(0, x) : x;
}

/* a b + c rounded once to binary32; subnormal operands and results count as 0. */
static double fused(double a, double b, double c)
{
    number_sum sum;
    number_clear(&sum);
    number_add(&sum, flushed(a) * flushed(b));
    number_add(&sum, flushed(c));
    return flushed(total(&sum, 24, false));
}

static double pair_step(double acc, int n, double const *a, double const *b)
{
    double const odd = n > 1 ? fused(a[1], b[1], acc) : acc;
    return fused(a[0], b[0], odd);
}

static double two_chains_step(double acc, int n, double const *a, double const *b)
{
    double half[2] = {0, 0};
    for (int i = 0; i < n; i++) half[i % 2] = fused(a[i], b[i], half[i % 2]);
    return fused(1, acc, fused(1, half[0], half[1]));
}

double legal_unit_step(legal_unit const *u, double acc, int n, double const *a, double const *b)
{
    switch (u->kind) {
    case UNIT_CUT: return cut_step(u, acc, n, a, b);
    case UNIT_DOWN: return down_step(u, acc, n, a, b);
    case UNIT_PAIRS: return pair_step(acc, n, a, b);
    case UNIT_TWO_CHAINS: break;
    }
    return two_chains_step(acc, n, a, b);
}

double legal_unit_dot(legal_unit const *u, int64_t n, double const *a, double const *b)
{
    double acc = 0;
    for (int64_t i = 0; i < n; i += u->step)
        acc = legal_unit_step(u, acc, (int)(n - i < u->step ? n - i : u->step), a + i, b + i);
    return acc;
}
