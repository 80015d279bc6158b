/* Sums of matrix units: those that an H100 computed, and beside models of other processors written for other tests. */
#include "../../cuda/emu/tensor.h"

#include "../legal/units.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    tensor_unit unit;
    const char *model; /* of unit/legal/units.c */
} instruction;

static const instruction of_h100[] = {
    {"mma.m16n8k8.f16", {GPU_HOPPER, CODE_F16, 8, false}, NULL},
    {"mma.m16n8k16.f16", {GPU_HOPPER, CODE_F16, 16, false}, NULL},
    {"mma.m16n8k8.bf16", {GPU_HOPPER, CODE_BF16, 8, false}, NULL},
    {"mma.m16n8k16.bf16", {GPU_HOPPER, CODE_BF16, 16, false}, NULL},
    {"mma.m16n8k32.e4m3", {GPU_HOPPER, CODE_E4M3, 32, false}, NULL},
    {"mma.m16n8k32.e5m2", {GPU_HOPPER, CODE_E5M2, 32, false}, NULL},
    {"wgmma.m64n8k16.f16", {GPU_HOPPER, CODE_F16, 16, true}, NULL},
    {"wgmma.m64n8k16.bf16", {GPU_HOPPER, CODE_BF16, 16, true}, NULL},
    {"wgmma.m64n8k32.e4m3", {GPU_HOPPER, CODE_E4M3, 32, true}, NULL},
    {"wgmma.m64n8k32.e5m2", {GPU_HOPPER, CODE_E5M2, 32, true}, NULL},
};
enum { OF_H100 = sizeof of_h100 / sizeof *of_h100 };

static const instruction of_models[] = {
    {"ampere", {GPU_AMPERE, CODE_BF16, 16, false}, "ampere.bf16"},
    {"ampere by 8", {GPU_AMPERE, CODE_BF16, 8, false}, "ampere.bf16"},
    {"ada", {GPU_ADA, CODE_BF16, 16, false}, "ada.bf16"},
    {"ada fp8", {GPU_ADA, CODE_E4M3, 32, false}, "ada.f8"},
    {"hopper", {GPU_HOPPER, CODE_BF16, 16, false}, "hopper.bf16"},
    {"hopper wgmma fp8", {GPU_HOPPER, CODE_E4M3, 32, true}, "hopper.f8"},
    {"blackwell", {GPU_BLACKWELL, CODE_BF16, 16, false}, "blackwell.bf16"},
};
enum { OF_MODELS = sizeof of_models / sizeof *of_models };

static float float_of(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static uint32_t bits_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static bool is_byte(tensor_code code)
{
    return code == CODE_E4M3 || code == CODE_E5M2;
}

/* Codes of a row in hexadecimal, the first code first, into bytes of memory. */
static void read_row(const tensor_unit *u, const char *hex, uint8_t row[TENSOR_DEPTH])
{
    int const size = is_byte(u->code) ? 1 : 2;
    for (int i = 0; i < u->k; i++) {
        char digits[5] = "";
        memcpy(digits, hex + i * size * 2, (size_t)size * 2);
        unsigned long const code = strtoul(digits, NULL, 16);
        row[i * size] = (uint8_t)code;
        if (size == 2) row[i * size + 1] = (uint8_t)(code >> 8);
    }
}

static uint32_t sum_of(const tensor_unit *u, const uint8_t *a, const uint8_t *b, uint32_t c)
{
    uint32_t d;
    tensor_multiply(u, 1, 1, a, b, &c, &d);
    return d;
}

Test(tensor, sums_are_an_h100s)
{
    int seen[OF_H100] = {0};
    char line[400], name[40], c[9], hex_a[80], hex_b[80], d[9];
    FILE *const in = fopen("unit/legal/sums_h100.txt", "r");
    cr_assert(in);
    while (fgets(line, sizeof line, in)) {
        int n = 0;
        if (sscanf(line, "%39s %8s %79s %79s %8s", name, c, hex_a, hex_b, d) != 5) continue;
        while (n < OF_H100 && strcmp(of_h100[n].name, name) != 0) n++;
        if (*line == '#' || n == OF_H100) continue; /* tf32 is not known here */
        uint8_t a[TENSOR_DEPTH] = {0}, b[TENSOR_DEPTH] = {0};
        read_row(&of_h100[n].unit, hex_a, a), read_row(&of_h100[n].unit, hex_b, b);
        uint32_t const got = sum_of(&of_h100[n].unit, a, b, (uint32_t)strtoul(c, NULL, 16));
        cr_expect(float_of(got) == float_of((uint32_t)strtoul(d, NULL, 16)), "%s: %08x, the unit says %s", name, got,
                  d);
        seen[n]++;
    }
    fclose(in);
    for (int n = 0; n < OF_H100; n++) cr_expect(seen[n] >= 50, "%s: %d sums", of_h100[n].name, seen[n]);
}

/* ---- beside the models ---- */

static uint64_t state = 88172645463325252;

static uint32_t draw(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static double value_of(tensor_code code, uint32_t bits)
{
    if (code == CODE_BF16) return (double)float_of(bits << 16);
    int const e = (int)(bits >> 3 & 15);
    double const size = ldexp((e ? 8 : 0) + (bits & 7), (e ? e : 1) - 10);
    return bits & 128 ? -size : size;
}

/* Exponents of BF16 codes. */
typedef struct {
    uint32_t least, most;
} range;

/* A finite code, or zero. */
static uint32_t draw_code(tensor_code code, range of)
{
    if (draw() % 16 == 0) return 0;
    if (code == CODE_BF16) return (draw() & 0x807f) | (of.least + draw() % (of.most - of.least + 1)) << 7;
    uint32_t const bits = draw() & 0xff;
    return (bits & 0x7f) == 0x7f ? 0x7e : bits;
}

static void expect_model(const instruction *n, const legal_unit *model, range of)
{
    uint8_t row[2][TENSOR_DEPTH] = {{0}};
    double factor[2][TENSOR_DEPTH];
    const tensor_unit *const u = &n->unit;
    int const place = (int)(of.least + of.most + draw() % 40) - 2 * 127 - 50;
    uint32_t const c = draw() % 8 ? bits_of(ldexpf((float)(int32_t)draw(), place)) : 0;
    for (int i = 0; i < 2 * u->k; i++) {
        uint32_t const code = draw_code(u->code, of);
        int const side = i % 2, at = i / 2;
        factor[side][at] = value_of(u->code, code);
        if (is_byte(u->code))
            row[side][at] = (uint8_t)code;
        else
            row[side][2 * at] = (uint8_t)code, row[side][2 * at + 1] = (uint8_t)(code >> 8);
    }
    double sum = (double)float_of(c);
    for (int i = 0; i < u->k; i += model->step)
        sum =
            legal_unit_step(model, sum, u->k - i < model->step ? u->k - i : model->step, factor[0] + i, factor[1] + i);
    uint32_t const got = sum_of(u, row[0], row[1], c);
    cr_assert((double)float_of(got) == sum, "%s: %a, the model says %a", n->name, (double)float_of(got), sum);
}

Test(tensor, sums_are_those_of_the_models)
{
    static range const ranges[] = {{125, 129}, {112, 142}, {67, 187}, {54, 74}, {0, 120}};
    for (int n = 0; n < OF_MODELS; n++) {
        int m = 0;
        while (strcmp(legal_unit_list[m].name, of_models[n].model) != 0) m++;
        for (int i = 0; i < 30000; i++) expect_model(&of_models[n], &legal_unit_list[m], ranges[i % 5]);
    }
}

/* ---- what is not finite ---- */

static uint32_t bf16_sum(float a0, float b0, float a1, float b1, float c)
{
    tensor_unit const u = {GPU_AMPERE, CODE_BF16, 16, false};
    uint8_t a[TENSOR_DEPTH] = {0}, b[TENSOR_DEPTH] = {0};
    float const of[4] = {a0, a1, b0, b1};
    for (int i = 0; i < 4; i++) {
        uint8_t *const to = (i < 2 ? a : b) + i % 2 * 20; /* of either half */
        to[0] = (uint8_t)(bits_of(of[i]) >> 16), to[1] = (uint8_t)(bits_of(of[i]) >> 24);
    }
    return sum_of(&u, a, b, bits_of(c));
}

Test(tensor, infinities_and_nan_come_through)
{
    cr_expect(bf16_sum(INFINITY, 1, 1, 1, 0) == 0x7f800000);
    cr_expect(bf16_sum(INFINITY, -1, 1, 1, 0) == 0xff800000);
    cr_expect(bf16_sum(INFINITY, 0, 1, 1, 0) == 0x7fffffff);
    cr_expect(bf16_sum(INFINITY, 1, -INFINITY, 1, 0) == 0x7fffffff);
    cr_expect(bf16_sum(1, 1, 1, 1, -INFINITY) == 0xff800000);
    cr_expect(bf16_sum(1, 1, NAN, 1, 0) == 0x7fffffff);
    cr_expect(bf16_sum(0x1p100f, 0x1p100f, 1, 1, 0) == 0x7f800000);
}

Test(tensor, a_processor_has_what_it_has)
{
    cr_expect(!tensor_has(&(tensor_unit){GPU_AMPERE, CODE_E4M3, 32, false}));
    cr_expect(tensor_has(&(tensor_unit){GPU_ADA, CODE_E4M3, 32, false}));
    cr_expect(!tensor_has(&(tensor_unit){GPU_ADA, CODE_BF16, 16, true}));
}
