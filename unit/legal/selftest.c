/* selftest: the primitives of the legal ports against slower or simpler ways to the same numbers. */
#include "number.h"
#include "units.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252u;
static uint64_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static double any_double(int low, int high)
{
    double const x = ldexp((double)(draw() >> 11), -53 + low + (int)(draw() % (uint64_t)(high - low)));
    return draw() & 1 ? -x : x;
}

Test(number, f32_to_nearest_is_the_cast)
{
    for (int i = 0; i < 2000000; i++) {
        double const x = any_double(-160, 130);
        double const want = (double)(float)x;
        cr_assert(number_round(number_f32, x) == want, "%a: %a, cast %a", x, number_round(number_f32, x), want);
    }
}

Test(number, bf16_to_nearest_is_the_bit_trick)
{
    for (int i = 0; i < 2000000; i++) {
        uint32_t bits = (uint32_t)draw();
        float x = 0, want = 0;
        memcpy(&x, &bits, 4);
        if (!isfinite(x)) continue;
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
        memcpy(&want, &bits, 4);
        double const got = number_round(number_bf16, (double)x);
        cr_assert(got == (double)want, "%a: %a, bits say %a", (double)x, got, (double)want);
    }
}

/* A cut to p bits zeroes the lower bits of a double. */
Test(number, cutting_zeroes_bits)
{
    for (int i = 0; i < 2000000; i++) {
        int const bits = 2 + (int)(draw() % 23);
        double const x = any_double(-100, 100);
        if (x == 0) continue;
        uint64_t image = 0;
        memcpy(&image, &x, 8);
        image &= ~(((uint64_t)1 << (53 - bits)) - 1);
        double want = 0;
        memcpy(&want, &image, 8);
        cr_assert(number_round(number_accumulator(bits, true), x) == want);
    }
}

Test(number, e4m3_codes_round_trip_and_nearest_wins)
{
    for (int code = 0; code < 256; code++)
        if ((code & 127) != 127) cr_assert(number_to_e4m3(number_from_e4m3((uint8_t)code)) == code);
    for (int i = 0; i < 200000; i++) {
        double const x = any_double(-12, 10), got = number_from_e4m3(number_to_e4m3(x));
        for (int code = 0; code < 256; code++)
            if ((code & 127) != 127) cr_assert(fabs(got - x) <= fabs(number_from_e4m3((uint8_t)code) - x));
    }
    cr_assert(number_to_e4m3(0x1p-10) == 0 && number_to_e4m3(0x3p-10) == 2 && number_to_e4m3(0xfp-10) == 8);
    cr_assert(number_to_e4m3(17. / 16) == 0x38 && number_to_e4m3(19. / 16) == 0x3a && number_to_e4m3(1e9) == 0x7e);
}

/* Whole numbers below 2^120 have their sum in __int128, whose bits say how it rounds. */
Test(number, exact_sums_are_those_of_whole_numbers)
{
    for (int i = 0; i < 300000; i++) {
        number_sum sum;
        number_clear(&sum);
        __int128 want = 0;
        for (int k = 0; k < 6; k++) {
            double x = rint(any_double(0, 110));
            number_add(&sum, x);
            want += (__int128)x;
        }
        __int128 size = want < 0 ? -want : want;
        int drop = 0, const_bits = 2 + (int)(draw() % 23);
        while (size >> drop >= (__int128)1 << const_bits) drop++;
        __int128 cut = size >> drop << drop, rest = size - cut, half = drop ? (__int128)1 << (drop - 1) : 0;
        bool const up = drop && (rest > half || (rest == half && (cut >> drop & 1)));
        __int128 near = up ? cut + ((__int128)1 << drop) : cut;
        double const sign = want < 0 ? -1 : 1;
        cr_assert(number_total(&sum, number_accumulator(const_bits, true)) == sign * (double)cut);
        cr_assert(number_total(&sum, number_accumulator(const_bits, false)) == sign * (double)near);
    }
}

/* x + tail through the exact sum and through the pair. */
Test(number, pairs_round_like_sums)
{
    for (int i = 0; i < 500000; i++) {
        int const bits = 2 + (int)(draw() % 23);
        number_format const format = number_accumulator(bits, draw() & 1);
        double const a = number_round(number_accumulator(bits + 1, true), any_double(-60, 60));
        double const b = any_double(-130, 60);
        double const x = a + b, back = x - a, tail = (a - (x - back)) + (b - back);
        number_sum sum;
        number_clear(&sum);
        number_add(&sum, a);
        number_add(&sum, b);
        cr_assert(number_total(&sum, format) == number_round2(format, x, tail), "%a + %a, %d bits", a, b, bits);
    }
}

static legal_unit const *named(char const *name)
{
    for (int i = 0; i < legal_unit_count; i++)
        if (!strcmp(legal_unit_list[i].name, name)) return legal_unit_list + i;
    return NULL;
}

/* 1 - 1 + x b: x counts if it is at least 2^-below, and is cut toward zero there. */
static double beside_one(char const *name, double acc, double x, double b)
{
    double const p[] = {1, -1, x}, q[] = {1, 1, b};
    return legal_unit_step(named(name), acc, 3, p, q);
}

Test(units, cut_below_the_largest_term)
{
    static struct {
        char const *name;
        int below;
    } const facts[] = {{"volta.f16", 23}, {"ampere.bf16", 24},    {"ada.bf16", 24}, {"hopper.bf16", 25},
                       {"hopper.f8", 13}, {"blackwell.bf16", 25}, {"ada.f8", 13}};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        for (int sign = -1; sign <= 1; sign += 2) {
            double const last = sign * ldexp(1, -facts[i].below);
            cr_assert(beside_one(facts[i].name, 0, last, 1) == last, "%s", facts[i].name);
            cr_assert(beside_one(facts[i].name, last, 0, 1) == last, "%s", facts[i].name);
            cr_assert(beside_one(facts[i].name, 0, last, 1.75) == last, "%s", facts[i].name);
            cr_assert(beside_one(facts[i].name, 0, last, 0.5) == 0, "%s", facts[i].name);
        }
}

/* 1.5 * 1.5 counts with exponent 0: its neighbours keep one bit more than beside 2.25 * 1. */
Test(units, products_have_the_exponent_of_their_factors)
{
    double const x = 0x1p-25, a[] = {1.5, -1.5, x}, b[] = {1.5, 1.5, 1}, c[] = {2.25, -2.25, x}, d[] = {1, 1, 1};
    cr_assert(legal_unit_step(named("hopper.bf16"), 0, 3, a, b) == x);
    cr_assert(legal_unit_step(named("hopper.bf16"), 0, 3, c, d) == 0);
}

Test(units, results_are_cut_and_not_rounded)
{
    double const ones[32] = {1}, most[32] = {0x1.fffcp0};
    cr_assert(legal_unit_step(named("hopper.f8"), 0, 32, ones, most) == 0x1.fff8p0);
    cr_assert(beside_one("hopper.bf16", 0x1.fffffep0, 0x1.8p-24, 1) == 0x1.fffffep0);
}

Test(units, cdna3_rounds_down_where_the_accumulator_comes_in)
{
    cr_assert(beside_one("cdna3.bf16", 0x1p-30, 1, 1) == 1);
    cr_assert(beside_one("cdna3.bf16", -0x1p-30, 1, 1) == 1 - 0x1p-24);
    cr_assert(beside_one("cdna3.bf16", 0x1p24, -1, 0x1p-12) == 0x1p24);
}

Test(units, cpus_are_chains_of_fma)
{
    for (int i = 0; i < 100000; i++) {
        double a[32], b[32], acc = number_round(number_f32, any_double(-8, 8));
        for (int k = 0; k < 32; k++) {
            a[k] = number_round(number_bf16, any_double(-8, 8));
            b[k] = number_round(number_bf16, any_double(-8, 8));
        }
        float even = 0, odd = 0;
        for (int k = 0; k < 32; k += 2) {
            even = fmaf((float)a[k], (float)b[k], even);
            odd = fmaf((float)a[k + 1], (float)b[k + 1], odd);
        }
        cr_assert(legal_unit_step(named("amx.bf16"), acc, 32, a, b) == (double)((float)acc + (even + odd)));
        float const pair = fmaf((float)a[0], (float)b[0], fmaf((float)a[1], (float)b[1], (float)acc));
        cr_assert(legal_unit_step(named("avx512.bf16"), acc, 2, a, b) == (double)pair);
    }
}

/* ---- sums of a GPU, as unit/cuda/unit_sums.cu prints them ---- */

enum { MOST = 32 };

/* A format's bits, what the instruction does with it, and where its halves are chosen: see sum_of. */
typedef struct {
    char const *name;
    int exponent, mantissa, k;
    legal_unit unit;
} instruction;

static instruction const instructions[] = {
    {"mma.m16n8k8.f16", 5, 10, 8, {"", UNIT_CUT, 8, 25, 24, -14}},
    {"mma.m16n8k16.f16", 5, 10, 16, {"", UNIT_CUT, 16, 25, 24, -14}},
    {"mma.m16n8k8.bf16", 8, 7, 8, {"", UNIT_CUT, 8, 25, 24, -126}},
    {"mma.m16n8k16.bf16", 8, 7, 16, {"hopper.bf16"}},
    {"mma.m16n8k4.tf32", 8, 23, 4, {"", UNIT_CUT, 4, 25, 24, -126}},
    {"mma.m16n8k8.tf32", 8, 23, 8, {"", UNIT_CUT, 8, 25, 24, -126}},
    {"mma.m16n8k32.e4m3", 4, 3, 32, {"", UNIT_CUT, 16, 25, 24, -14}},
    {"mma.m16n8k32.e5m2", 5, 2, 32, {"", UNIT_CUT, 16, 25, 24, -14}},
    {"wgmma.m64n8k16.f16", 5, 10, 16, {"", UNIT_CUT, 16, 25, 24, -14}},
    {"wgmma.m64n8k16.bf16", 8, 7, 16, {"hopper.bf16"}},
    {"wgmma.m64n8k8.tf32", 8, 23, 8, {"", UNIT_CUT, 8, 25, 24, -126}},
    {"wgmma.m64n8k32.e4m3", 4, 3, 32, {"hopper.f8"}},
    {"wgmma.m64n8k32.e5m2", 5, 2, 32, {"", UNIT_CUT, 32, 13, 14, -14}},
};

static double value_of(instruction const *i, uint32_t bits)
{
    int const bias = (1 << (i->exponent - 1)) - 1, field = (int)(bits >> i->mantissa & ((1u << i->exponent) - 1));
    uint32_t const kept = i->mantissa == 23 ? bits & ~0x1fffu : bits; /* tf32 */
    double const mantissa = ldexp(kept & ((1u << i->mantissa) - 1), -i->mantissa);
    double const size = ldexp(mantissa + (field ? 1 : 0), (field ? field : 1) - bias);
    return bits >> (i->exponent + i->mantissa) & 1 ? -size : size;
}

static void read_codes(instruction const *i, char const *hex, double *to)
{
    int const digits = (1 + i->exponent + i->mantissa) / 4;
    for (int k = 0; k < i->k; k++) {
        char code[9] = "";
        memcpy(code, hex + k * digits, (size_t)digits);
        to[k] = value_of(i, (uint32_t)strtoul(code, NULL, 16));
    }
}

/* On Hopper FP8 by mma.sync is two steps by f16 from 0, of the first and of the second two in each four; c is then added. */
static double sum_of(instruction const *i, double c, double const *a, double const *b)
{
    legal_unit const *const u = *i->unit.name ? named(i->unit.name) : &i->unit;
    if (u->step == i->k) return legal_unit_step(u, c, i->k, a, b);
    double half[2][2][MOST / 2];
    for (int k = 0; k < i->k; k++) {
        int const at = k / 4 * 2 + k % 2;
        half[k / 2 % 2][0][at] = a[k], half[k / 2 % 2][1][at] = b[k];
    }
    double const first = legal_unit_step(u, 0, MOST / 2, half[0][0], half[0][1]);
    return number_round(number_f32, c + legal_unit_step(u, first, MOST / 2, half[1][0], half[1][1]));
}

static double float_of(char const *hex)
{
    uint32_t const bits = (uint32_t)strtoul(hex, NULL, 16);
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

Test(units, an_h100_sums_so)
{
    enum { KINDS = sizeof instructions / sizeof *instructions };
    char const *const file = getenv("SUMS") ? getenv("SUMS") : "unit/legal/sums_h100.txt";
    FILE *const in = fopen(file, "r");
    cr_assert(in, "%s", file);
    char line[400], name[40], c[9], hex_a[80], hex_b[80], d[9];
    int seen[KINDS] = {0};
    while (fgets(line, sizeof line, in)) {
        if (line[0] == '#') continue;
        cr_assert(sscanf(line, "%39s %8s %79s %79s %8s", name, c, hex_a, hex_b, d) == 5, "%s", line);
        int n = 0;
        while (n < KINDS && strcmp(instructions[n].name, name) != 0) n++;
        cr_assert(n < KINDS, "%s", name);
        double a[MOST], b[MOST];
        read_codes(&instructions[n], hex_a, a), read_codes(&instructions[n], hex_b, b);
        double const got = sum_of(&instructions[n], float_of(c), a, b);
        cr_expect(got == float_of(d), "%s: %a, the unit says %a", name, got, float_of(d));
        seen[n]++;
    }
    fclose(in);
    for (int n = 0; n < KINDS; n++) cr_expect(seen[n] >= 50, "%s: %d sums", instructions[n].name, seen[n]);
}
