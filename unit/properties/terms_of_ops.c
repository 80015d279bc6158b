/*
 * As unit/properties/terms, for the other ops: ports in wide arithmetic but for one rounding, on the inputs where that is
 * worst. All are legal; unit/terms shows that each is accused where its term is weakened.
 */
#include "ref.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "declared.h"

TestSuite(terms_of_ops, .timeout = 120);

enum { MOST = 4096 };

static float x[MOST], w[MOST], y32[1];
static uint16_t y16[1], x16[MOST], w16[MOST];
static ref_value legal[MOST];

static double draw(double from, double to)
{
    return from + (to - from) * drand48();
}

/* A format of `bits` significant bits, no ends to its exponents. */
static long double to_bits(long double v, int bits)
{
    int e = 0;
    long double const fraction = frexpl(v, &e);
    return ldexpl(rintl(ldexpl(fraction, bits)), e - bits);
}

/* The same, toward minus infinity. */
static long double down_to_bits(long double v, int bits)
{
    int e = 0;
    long double const fraction = frexpl(v, &e);
    return ldexpl(floorl(ldexpl(fraction, bits)), e - bits);
}

static float bf16(float v)
{
    return (float)ref_round(DSV3_BF16, (double)v);
}

static void expect(const ref_value *v, long double got, const char *what)
{
    double const stored = (double)(float)got;
    cr_expect(inside(v, stored), "%s: %a not in [%a, %a]", what, stored, ref_lower(*v), ref_upper(*v));
}

/* ---- sums: linear with one row, the products x[i] w[i] ---- */

static void find_sum(const char *declaration, int n)
{
    ref_numerics const port = numerics("linear", declaration);
    dsv3_weight const item = {"weight", {w, DSV3_F32, 2, {1, n}, {n, 1}}};
    dsv3_linear_prob const prob = {1, n, 1};
    dsv3_linear_io const io = {{x, DSV3_F32, 2, {1, n}, {n, 1}}, {1, &item}, {y32, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.linear(&rd, &prob, &io, (ref_value *const[]){legal}));
}

/* Subnormal factors of normal products: exact where they don't count as 0, and an aligned step has the bits. */
Test(terms_of_ops, subnormal_factors_of_exact_sums)
{
    for (int i = 0; i < 2; i++) x[i] = i ? 0x1.8p-139f : 0x1p-140f, w[i] = 0x1p30f;
    find_sum("acc 53 rn; flush none", 2);
    cr_expect(legal->radius == 0 && legal->hi == 0x1p-108, "%a, %a", legal->hi, legal->radius);
    find_sum("acc 53 rn; flush ftz", 2);
    cr_expect(legal->radius == 0 && legal->hi == 0x1p-108, "%a, %a", legal->hi, legal->radius);
    find_sum("acc 53 rn; flush daz", 2);
    cr_expect(legal->radius > 0 && inside(legal, 0));
    find_sum("acc 8 rz fused block=2; flush none", 2);
    cr_expect(legal->radius > 0, "aligned with 2^-126 2^30, both products may be lost");
}

static const double up_11 = 0x1.01p-11; /* added to 1 and more, it becomes a whole unit of 11 bits */

/* 1, then small terms at every `step`-th place. */
static void small_terms(int n, int step)
{
    for (int i = 0; i < n; i++) x[i] = 1, w[i] = i == 0 ? 1 : i % step ? 0 : (float)up_11;
}

/* The running sum after each place, rounded to 11 bits. */
static long double chain_of_11(int n)
{
    long double sum = 0;
    for (int i = 0; i < n; i++) sum = to_bits(sum + (long double)x[i] * (long double)w[i], 11);
    return sum;
}

Test(terms_of_ops, steps)
{
    small_terms(60, 1);
    find_sum("acc 11 rn fused splits=1; flush none", 60);
    expect(legal, chain_of_11(60), "steps");
}

/* Two chains of sums that are rounded down end above 4, where the last bit is larger; then 40 more sums are added. */
Test(terms_of_ops, growth)
{
    enum { CHAIN = 44, CHAINS = 42 };
    long double sum = 0;
    for (int i = 0; i < CHAINS * CHAIN; i++) x[i] = 1, w[i] = i == 0 ? -1 : i == CHAIN ? -2 : -0x1p-40f;
    for (int k = 0; k < CHAINS; k++) {
        long double chain = 0;
        for (int i = k * CHAIN; i < (k + 1) * CHAIN; i++) chain = down_to_bits(chain + (long double)w[i], 8);
        sum = down_to_bits(sum + chain, 8);
    }
    find_sum("acc 8 rd fused splits=42; flush none", CHAINS * CHAIN);
    expect(legal, sum, "sums that grow");
}

Test(terms_of_ops, products)
{
    w[0] = w[1] = 1 + (float)up_11, w[2] = 0x1p-10f * (1 + 2 * (float)up_11);
    long double sum = 0;
    for (int i = 0; i < 3; i++) x[i] = 1, sum += to_bits((long double)w[i], 11);
    find_sum("acc 11 rn block=4096 promote=4096 bits2=53; flush none", 3);
    expect(legal, to_bits(sum, 11), "products");
}

/* One step cuts what is below the last bit of its largest product. */
Test(terms_of_ops, cuts)
{
    for (int i = 0; i < 60; i++) x[i] = 1, w[i] = i ? 0x1.fp-11f : 1;
    find_sum("acc 11 rz fused block=4096 guard=0 promote=4096 bits2=53; flush none", 60);
    expect(legal, 1, "cuts");
}

Test(terms_of_ops, promotions)
{
    small_terms(60, 1);
    find_sum("acc 53 rn fused promote=1 bits2=11; flush none", 60);
    expect(legal, chain_of_11(60), "promotions");

    w[0] = 1 + (float)up_11;
    find_sum("acc 53 rn fused promote=1 bits2=11; flush none", 1);
    expect(legal, to_bits((long double)w[0], 11), "the first promotion");
}

/* Sixteen parts of sixteen products, one step each; then they are merged. */
Test(terms_of_ops, parts)
{
    small_terms(256, 16);
    find_sum("acc 11 rn fused block=16 splits=16; flush none", 256);
    expect(legal, chain_of_11(256), "parts");
    find_sum("acc 53 rn fused promote=16 bits2=11 splits=16; flush none", 256);
    expect(legal, chain_of_11(256), "chains");
}

/* Every product is flushed. */
Test(terms_of_ops, flushed_products)
{
    for (int i = 0; i < 64; i++) x[i] = 0x1.fcp-64f, w[i] = 0x1p-63f;
    find_sum("acc 24 rn; flush ftz", 64);
    expect(legal, 0, "flushed products");
}

/* Normal numbers whose products lose half a unit of the subnormal numbers, nearly, or a whole one. */
static const float loses_half = 0x1.0001fep-126f, loses_one = 0x1.0003fcp-126f; /* times 2^-9 */

Test(terms_of_ops, subnormal_products)
{
    for (int i = 0; i < 64; i++) x[i] = loses_half, w[i] = 0x1p-9f;
    find_sum("acc 24 rn; flush none", 64);
    expect(legal, 64 * 0x1p-135L, "subnormal products");

    for (int i = 0; i < 64; i++) x[i] = loses_one;
    find_sum("acc 24 rz; flush none", 64);
    expect(legal, 64 * 0x1p-135L, "subnormal products that are truncated");
}

/* Half of the terms overflow before the others take them back. */
Test(terms_of_ops, overflow)
{
    for (int i = 0; i < 4; i++) x[i] = 1, w[i] = (i < 2 ? 1 : -1) * 0x1.02p127f;
    find_sum("acc 24 rn; flush none", 4);
    cr_expect(isinf(legal->radius), "[%a, %a]", ref_lower(*legal), ref_upper(*legal));
}

/* BF16: the sum goes through binary32, where it becomes a tie. */
Test(terms_of_ops, rounded_twice)
{
    ref_numerics const port = numerics("linear", "acc 53 rn; flush none; arith bf16");
    static const double term[3] = {1, 0x1p-8, 0x1p-30};
    dsv3_weight const item = {"weight", {w16, DSV3_BF16, 2, {1, 3}, {3, 1}}};
    dsv3_linear_prob const prob = {1, 3, 1};
    dsv3_linear_io const io = {{x16, DSV3_BF16, 2, {1, 3}, {3, 1}}, {1, &item}, {y16, DSV3_BF16, 2, {1, 1}, {1, 1}}};
    for (int i = 0; i < 3; i++) ref_encode(DSV3_BF16, x16, i, 1), ref_encode(DSV3_BF16, w16, i, term[i]);
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.linear(&rd, &prob, &io, (ref_value *const[]){legal}));
    expect(legal, 1, "rounded twice");
}

/* ---- FP8: a port sums codes and scales the sum ---- */

static void find_coded(const char *declaration, int n, double code, float scale)
{
    static uint8_t codes[MOST];
    ref_numerics const port = numerics("linear", declaration);
    for (int i = 0; i < n; i++) ref_encode(DSV3_F8_E4M3, codes, i, code);
    dsv3_weight const items[] = {{"weight", {codes, DSV3_F8_E4M3, 2, {1, n}, {n, 1}}},
                                 {"weight_scale_inv", {&scale, DSV3_F32, 2, {1, 1}, {1, 1}}}};
    dsv3_linear_prob const prob = {1, n, 1};
    dsv3_linear_io const io = {{x, DSV3_F32, 2, {1, n}, {n, 1}}, {2, items}, {y32, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.linear(&rd, &prob, &io, (ref_value *const[]){legal}));
}

/* The sum, the scale and their product are rounded to BF16. */
Test(terms_of_ops, scaled_sums)
{
    double most = 0;
    float best_x = 0, best_scale = 0, got = 0;
    srand48(5);
    for (int i = 0; i < 2000000; i++) {
        float const v = (float)draw(1, 1.2), scale = (float)draw(1, 1.2), result = bf16(bf16(v) * bf16(scale));
        double const off = fabs((double)result / ((double)v * (double)scale) - 1);
        if (off > most) most = off, best_x = v, best_scale = scale, got = result;
    }
    printf("terms_of_ops: a scaled sum off by %.3f units of BF16\n", most * 0x1p8);
    x[0] = best_x;
    find_coded("acc 53 rn; flush none; arith bf16; weight f32 may", 1, 1, best_scale);
    expect(legal, (long double)got, "scaled sums");
}

Test(terms_of_ops, scaled_underflow)
{
    for (int i = 0; i < 64; i++) x[i] = loses_half;
    find_coded("acc 24 rn; flush none; weight f32 may", 64, 0x1p-9, 0x1p20f);
    expect(legal, 64 * 0x1p-115L, "codes that underflow");
}

/* Two blocks, of codes 1: their sums are rounded to binary32, and so are the products with the scales. */
Test(terms_of_ops, scaled_sums_of_blocks)
{
    enum { BLOCK = 128, N = BLOCK + 2 };
    uint8_t codes[N] = {0};
    float scale[2] = {0}, product[2] = {0};
    double most[2] = {0};
    srand48(21);
    for (int i = 0; i < 4000000; i++) { /* the second block's product is an odd multiple of 2^-22 off the first one's */
        float const v = (float)draw(1, 1.03), rest = (float)draw(0.5, 0.6) * 0x1p-23f;
        float const s = 1 + (float)(1 + lrand48() % 8192) * 0x1p-19f, result = (float)((double)v + (double)rest) * s;
        double const off = ((double)result - ((double)v + (double)rest) * (double)s) / (double)result;
        int const odd = (int)((double)result * 0x1p23) & 1;
        if (off <= most[odd]) continue;
        most[odd] = off, scale[odd] = s, product[odd] = result;
        x[odd * BLOCK] = v, x[odd * BLOCK + 1] = rest;
    }
    for (int i = 2; i < BLOCK; i++) x[i] = 0;
    for (int i = 0; i < N; i++) ref_encode(DSV3_F8_E4M3, codes, i, 1);
    printf("terms_of_ops: scaled sums of blocks off by %.3f and %.3f units\n", most[0] * 0x1p24, most[1] * 0x1p24);
    ref_numerics const port = numerics("linear", "acc 53 rn; flush none; arith f32; weight f32 must");
    dsv3_weight const items[] = {{"weight", {codes, DSV3_F8_E4M3, 2, {1, N}, {N, 1}}},
                                 {"weight_scale_inv", {scale, DSV3_F32, 2, {1, 2}, {2, 1}}}};
    dsv3_linear_prob const prob = {1, N, 1};
    dsv3_linear_io const io = {{x, DSV3_F32, 2, {1, N}, {N, 1}}, {2, items}, {y32, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.linear(&rd, &prob, &io, (ref_value *const[]){legal}));
    expect(legal, (long double)product[0] + (long double)product[1], "scaled sums of blocks");
}

/* 448 x overflows before the scale makes it small. */
Test(terms_of_ops, scaled_overflow)
{
    x[0] = (float)(0x1.1p128 / 448);
    find_coded("acc 24 rn; flush none; weight f32 may", 1, 448, 0x1p-100f);
    cr_expect(isinf(legal->radius), "[%a, %a]", ref_lower(*legal), ref_upper(*legal));
}

/* ---- W8A8: a port sums codes and multiplies the sum by both scales ---- */

/* One output of codes in blocks of 128, a row of x and one of weights. */
static void find_twice_scaled(const char *declaration, int n, const uint8_t *code_x, const uint8_t *code_w,
                              const float *of_x, const float *of_w)
{
    int const blocks = (n + 127) / 128;
    ref_numerics const port = numerics("linear", declaration);
    dsv3_weight const items[] = {
        {"weight", {(void *)(uintptr_t)code_w, DSV3_F8_E4M3, 2, {1, n}, {n, 1}}},
        {"weight_scale_inv", {(void *)(uintptr_t)of_w, DSV3_F32, 2, {1, blocks}, {blocks, 1}}}};
    dsv3_linear_prob const prob = {1, n, 1};
    dsv3_linear_io const io = {{(void *)(uintptr_t)code_x, DSV3_F8_E4M3, 2, {1, n}, {n, 1}},
                               {2, items},
                               {y32, DSV3_F32, 2, {1, 1}, {1, 1}},
                               {(void *)(uintptr_t)of_x, DSV3_F32, 2, {1, blocks}, {blocks, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.linear(&rd, &prob, &io, (ref_value *const[]){legal}));
}

static void set_codes(uint8_t *codes, int n, double value)
{
    for (int i = 0; i < n; i++) ref_encode(DSV3_F8_E4M3, codes, i, value);
}

/* The sum p of a block, exact in its accumulator, is rounded to binary32, and so are its products with either scale. */
static float scaled_in_f32(double p, float of_x, float of_w)
{
    return (float)p * of_x * of_w;
}

/* Two blocks of opposite signs, one too large and the other too small; codes are powers of two, which lose nothing when they
 * are dequantised. */
Test(terms_of_ops, twice_scaled_sums)
{
    enum { BLOCK = 128, TERMS = 6, N = BLOCK + TERMS };
    static double const terms[2][TERMS] = {{0x1p16, 0x1p11, 0x1p6, 0x1p2, 0x1p-8, 0x1p-17},
                                           {-0x1p16, -0x1p11, -0x1p6, -0x1p2, -0x1p-8, 0x1p-17}};
    uint8_t code_x[N] = {0}, code_w[N] = {0};
    float of_x[2] = {0}, of_w[2] = {0};
    double most[2] = {0}, got = 0;
    srand48(22);
    for (int b = 0; b < 2; b++) {
        double p = 0;
        for (int i = 0; i < TERMS; i++) {
            double const root = exp2(floor(log2(fabs(terms[b][i])) / 2));
            ref_encode(DSV3_F8_E4M3, code_x, b * BLOCK + i, root);
            ref_encode(DSV3_F8_E4M3, code_w, b * BLOCK + i, terms[b][i] / root);
            p += terms[b][i];
        }
        for (int i = 0; i < 2000000; i++) {
            float const s = (float)draw(1, 1.1), v = (float)draw(1, 1.1);
            double const exact = p * (double)s * (double)v, off = (double)scaled_in_f32(p, s, v) / exact - 1;
            if ((b ? -off : off) > most[b]) most[b] = b ? -off : off, of_x[b] = s, of_w[b] = v;
        }
        got += (double)scaled_in_f32(p, of_x[b], of_w[b]);
    }
    printf("terms_of_ops: twice scaled sums off by %.3f and %.3f units\n", most[0] * 0x1p24, most[1] * 0x1p24);
    find_twice_scaled("acc 53 rn; flush none; arith f32; x f32 may; weight f32 may", N, code_x, code_w, of_x, of_w);
    expect(legal, (long double)got, "twice scaled sums");
}

/* The product of the scales is half of the least subnormal number, and a little: it doubles. */
Test(terms_of_ops, scales_underflow)
{
    enum { N = 128 };
    uint8_t codes[N];
    float const of_x = 0x1p-75f, of_w = 0x1.001p-75f, both = of_x * of_w;
    set_codes(codes, N, 448);
    find_twice_scaled("acc 24 rn; flush none; x f32 may; weight f32 may", N, codes, codes, &of_x, &of_w);
    expect(legal, (long double)(N * 448 * 448 * (double)both), "scales that underflow");
}

/* The sum times the first scale is half of the least subnormal number, and a little; the second scale enlarges that. */
Test(terms_of_ops, scaled_once_underflows)
{
    uint8_t code;
    float const of_x = 0x1.001p-132f, of_w = 0x1p100f, half = 0x1p-18f * of_x;
    set_codes(&code, 1, 0x1p-9);
    find_twice_scaled("acc 24 rn; flush none; x f32 may; weight f32 may", 1, &code, &code, &of_x, &of_w);
    expect(legal, (long double)(half * of_w), "a sum scaled once");
}

/* The sum times the first scale overflows, and so may a sum of what both scales made. */
Test(terms_of_ops, twice_scaled_overflow)
{
    uint8_t code;
    float const of_x = (float)(0x1.04p128 / (448 * 448)), of_w = 0x1p-100f;
    set_codes(&code, 1, 448);
    find_twice_scaled("acc 24 rn; flush none; x f32 may; weight f32 may", 1, &code, &code, &of_x, &of_w);
    cr_expect(isinf(legal->radius), "[%a, %a]", ref_lower(*legal), ref_upper(*legal));
}

/* ---- experts ---- */

/* gate_proj is rounded to BF16 where silu is steepest. */
Test(terms_of_ops, steepest_silu)
{
    float one[1] = {1}, gate[1] = {2.3984375f + 0x1p-8f}, up[1] = {1}, down[1] = {1};
    int32_t idx[1] = {0};
    ref_numerics const port =
        numerics("experts", "acc 53 rn; sigmoid 0.001; flush none; gate_proj bf16 may; up_proj f32 must; silu f32 "
                            "must; act f32 must; expert_out f32 must; routed f32 must");
    dsv3_weight const items[] = {{"experts.0.gate_proj.weight", {gate, DSV3_F32, 2, {1, 1}, {1, 1}}},
                                 {"experts.0.up_proj.weight", {up, DSV3_F32, 2, {1, 1}, {1, 1}}},
                                 {"experts.0.down_proj.weight", {down, DSV3_F32, 2, {1, 1}, {1, 1}}}};
    dsv3_experts_prob const prob = {1, 1, 1, 1, 1, 0};
    dsv3_experts_io const io = {.hidden_states = {one, DSV3_F32, 2, {1, 1}, {1, 1}},
                                .topk_idx = {idx, DSV3_I32, 2, {1, 1}, {1, 1}},
                                .topk_weight = {one, DSV3_F32, 2, {1, 1}, {1, 1}},
                                .weights = {3, items},
                                .y = {y32, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.experts(&rd, &prob, &io, (ref_value *const[]){NULL, legal}));
    double const z = (double)bf16(gate[0]);
    expect(legal, (long double)(z / (1 + exp(-z))), "the steepest silu");
}

/* ---- W8A8: act is quantised, whichever of its values a port has ---- */

/* One token of one number, an expert of two neurons: their codes of gate_proj and up_proj, and which of them y shows. */
typedef struct {
    uint8_t gate[2], up[2], down[2];
    float of_gate, of_up;
} two_neurons;

/* act, kept in binary32 or rounded to BF16. */
static void activate(const two_neurons *e, bool rounded, float act[2])
{
    for (int i = 0; i < 2; i++) {
        float const z = (float)(ref_decode(DSV3_F8_E4M3, e->gate, i) * (double)e->of_gate);
        float const up = (float)(ref_decode(DSV3_F8_E4M3, e->up, i) * (double)e->of_up);
        act[i] = (float)((double)z / (1 + exp(-(double)z))) * up;
        if (rounded) act[i] = bf16(act[i]);
    }
}

static double code_of_second(const float act[2])
{
    return ref_round(DSV3_F8_E4M3, (double)(act[1] / (act[0] / 448)));
}

/* Does rounding act move the code of the smaller one, so that a port may have either? */
static bool moves_a_code(const two_neurons *e)
{
    float kept[2], rounded[2];
    activate(e, false, kept), activate(e, true, rounded);
    bool const largest_first = kept[0] > 1.5f * fabsf(kept[1]) && kept[0] > 1e-3f && kept[1] > 0;
    return largest_first && code_of_second(kept) != code_of_second(rounded);
}

static two_neurons that_move_a_code(void)
{
    two_neurons e = {{0}, {0}, {0}, 1, 1};
    do {
        for (int i = 0; i < 2; i++)
            e.gate[i] = (uint8_t)(0x30 + lrand48() % 24), e.up[i] = (uint8_t)(0x30 + lrand48() % 24);
        e.of_gate = (float)draw(0.5, 1), e.of_up = (float)draw(0.5, 1);
    } while (!moves_a_code(&e));
    return e;
}

static void find_requantised(const two_neurons *e)
{
    static const uint8_t one = 0x38; /* 1 */
    static float const unit = 1;
    static int32_t const first = 0;
    ref_numerics const port = numerics(
        "experts",
        "acc 53 rn; sigmoid 0.001; flush none; x f32 may; weight f32 may; gate_proj f32 must; up_proj f32 must; "
        "silu f32 must; act bf16 may; act_scale f32 must; expert_out f32 must; routed f32 must; div ieee; "
        "quotient div");
#define OF(pointer) ((void *)(uintptr_t)(pointer))
    dsv3_weight const items[] = {
        {"experts.0.gate_proj.weight", {OF(e->gate), DSV3_F8_E4M3, 2, {2, 1}, {1, 1}}},
        {"experts.0.gate_proj.weight_scale_inv", {OF(&e->of_gate), DSV3_F32, 2, {1, 1}, {1, 1}}},
        {"experts.0.up_proj.weight", {OF(e->up), DSV3_F8_E4M3, 2, {2, 1}, {1, 1}}},
        {"experts.0.up_proj.weight_scale_inv", {OF(&e->of_up), DSV3_F32, 2, {1, 1}, {1, 1}}},
        {"experts.0.down_proj.weight", {OF(e->down), DSV3_F8_E4M3, 2, {1, 2}, {2, 1}}},
        {"experts.0.down_proj.weight_scale_inv", {OF(&unit), DSV3_F32, 2, {1, 1}, {1, 1}}}};
    dsv3_experts_prob const prob = {
        .n_tokens = 1, .hidden_size = 1, .moe_intermediate_size = 2, .n_routed_experts = 1, .num_experts_per_tok = 1};
    dsv3_experts_io const io = {.hidden_states = {OF(&one), DSV3_F8_E4M3, 2, {1, 1}, {1, 1}},
                                .topk_idx = {OF(&first), DSV3_I32, 2, {1, 1}, {1, 1}},
                                .topk_weight = {OF(&unit), DSV3_F32, 2, {1, 1}, {1, 1}},
                                .weights = {6, items},
                                .y = {y32, DSV3_F32, 2, {1, 1}, {1, 1}},
                                .x_scale = {OF(&unit), DSV3_F32, 2, {1, 1}, {1, 1}}};
#undef OF
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.experts(&rd, &prob, &io, (ref_value *const[]){NULL, legal, NULL, NULL}));
}

/* Either port, of the neuron that y shows. */
static void expect_both(const two_neurons *e, const char *what)
{
    find_requantised(e);
    for (int rounded = 0; rounded < 2; rounded++) {
        float act[2];
        activate(e, rounded, act);
        double const code = e->down[0] ? 448 : code_of_second(act);
        expect(legal, (long double)((double)(act[0] / 448) * code), what);
    }
}

Test(terms_of_ops, codes_that_act_decides)
{
    srand48(24);
    for (int i = 0; i < 20; i++) {
        two_neurons e = that_move_a_code();
        e.down[1] = 0x38;
        expect_both(&e, "a code of act");
    }
}

Test(terms_of_ops, scales_that_act_decides)
{
    srand48(25);
    for (int i = 0; i < 20; i++) {
        two_neurons e = that_move_a_code();
        e.down[0] = 0x38;
        expect_both(&e, "a scale of act");
    }
}

/* ---- quant ---- */

static ref_value quantised_scale(const char *declaration)
{
    static ref_value scale[1], codes[1];
    static uint8_t code[1];
    float stored[1] = {1};
    ref_numerics const port = numerics("quant", declaration);
    dsv3_quant_prob const prob = {.n_tokens = 1, .in_features = 1};
    dsv3_quant_io const io = {.x = {x, DSV3_F32, 2, {1, 1}, {1, 1}},
                              .q = {code, DSV3_F8_E4M3, 2, {1, 1}, {1, 1}},
                              .scale = {stored, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {&port, ref_none(), true};
    cr_assert(ref_dd.quant(&rd, &prob, &io, (ref_value *const[]){scale, codes}));
    return *scale;
}

/* A quotient of 4 units is off by 4 of the least number where it is subnormal. */
Test(terms_of_ops, subnormal_quotient)
{
    x[0] = 100 * 0x1p-149f;
    ref_value const scale = quantised_scale("div 4; flush none");
    expect(&scale, 0x1p-147L, "a subnormal quotient");
}

/* ---- gate ---- */

typedef struct {
    ref_value idx[8], weight[8];
} routed;

/* Experts chosen from eight with these logits and biases. */
static routed route(const char *declaration, dsv3_gate_prob prob, float *logits, float *bias, int32_t *idx)
{
    routed r;
    int64_t const k = prob.num_experts_per_tok, n = prob.n_routed_experts;
    ref_numerics const port = numerics("gate", declaration);
    dsv3_weight const item = {"e_score_correction_bias", {bias, DSV3_F32, 1, {n}, {1}}};
    dsv3_gate_io const io = {.logits = {logits, DSV3_F32, 2, {1, n}, {n, 1}},
                             .weights = {bias ? 1 : 0, &item},
                             .topk_idx = {idx, DSV3_I32, 2, {1, k}, {k, 1}},
                             .topk_weight = {NULL, DSV3_F32, 2, {1, k}, {k, 1}}};
    ref_reading const rd = {&port, ref_none(), true};
    cr_assert(ref_dd.gate(&rd, &prob, &io, (ref_value *const[]){r.idx, r.weight}));
    return r;
}

/* Two groups whose scores are one number in binary32: 1 + 1 and, behind it, 1 + (1 + 2^-23). */
Test(terms_of_ops, groups_that_tie_in_binary32)
{
    float logits[4] = {0}, bias[4] = {0.5f, 0.5f, 0.5f, 0.5f + 0x1p-23f};
    int32_t idx[2] = {0, 1};
    routed const r = route("acc 24 rn; sigmoid 0.001; div ieee; flush none; scores f32 must",
                           (dsv3_gate_prob){1, 4, 2, 1, 2, 1, 1, DSV3_SIGMOID, DSV3_NOAUX_TC}, logits, bias, idx);
    cr_expect(!isnan(r.idx[0].hi));
}

/* 1/2 + z/4 - z^3/48: below the middle of two binary32 numbers by 0.7 of half a unit of binary64, where it is that middle. */
Test(terms_of_ops, sigmoid_rounded_twice)
{
    float logits[1] = {103 * 0x1p-23f}, bias[1] = {0};
    int32_t idx[1] = {0};
    routed const r = route("acc 53 rn; sigmoid 0; div 0.001; flush none; scores f32 must",
                           (dsv3_gate_prob){1, 1, 1, 1, 1, 1, 0, DSV3_SIGMOID, DSV3_NOAUX_TC}, logits, bias, idx);
    cr_assert((1 / (1 + exp(-(double)logits[0]))) == 0.5 + 103 * 0x1p-25);
    expect(r.weight, (long double)(float)(0.5 + 103 * 0x1p-25), "a sigmoid rounded twice");
}

/* 1 / (1 + e^-z) of operations in BF16, where e^-z and the sum are both rounded down, or up, by half a unit. */
Test(terms_of_ops, sigmoid_of_rounded_operations)
{
    double most[2] = {0}, share[2] = {0};
    float bias[1] = {0};
    int32_t idx[1] = {0};
    for (float z = -20; z < 0; z = nextafterf(z, 0) * (1 - 0x1p-17f)) {
        float const d = bf16(1 + bf16(expf(-z))), s = bf16(1 / d);
        double const off = (double)s * (1 + exp(-(double)z)) - 1;
        int const up = off > 0;
        if (fabs(off) < most[up] - 0x1p-12) continue;
        float logits[1] = {z};
        routed const r = route("acc 53 rn; sigmoid 0.001; div 0.001; flush none; scores bf16 must; arith bf16",
                               (dsv3_gate_prob){1, 1, 1, 1, 1, 1, 0, DSV3_SIGMOID, DSV3_NOAUX_TC}, logits, bias, idx);
        cr_assert(inside(r.weight, (double)s), "z %a: %a", (double)z, (double)s);
        double const exact = 1 / (1 + exp(-(double)z)), end = up ? ref_upper(*r.weight) : ref_lower(*r.weight);
        most[up] = fmax(most[up], fabs(off));
        share[up] = fmax(share[up], ((double)s - exact) / (end - exact));
    }
    for (int up = 0; up < 2; up++)
        printf("terms_of_ops: a sigmoid in BF16 off by %.3f units, %.3f of its ball\n", most[up] * 0x1p8, share[up]);
}

/* e^x that is below 2^-126, and a sigmoid whose e^-x overflows, are 0. */
Test(terms_of_ops, scores_that_vanish)
{
    static const char wide[] = "acc 53 rn; exp 0.001; sigmoid 0.001; div 0.001; flush none; scores f32 must";
    float logits[2] = {0, -87.5f}, bias[2] = {0};
    int32_t idx[2] = {0, 1};
    routed r = route(wide, (dsv3_gate_prob){1, 2, 1, 1, 2, 1, 0, DSV3_SOFTMAX, DSV3_GREEDY}, logits, NULL, idx);
    expect(&r.weight[1], 0, "a softmax score");
    logits[1] = -88.75f;
    r = route(wide, (dsv3_gate_prob){1, 2, 1, 1, 2, 1, 0, DSV3_SIGMOID, DSV3_NOAUX_TC}, logits, bias, idx);
    expect(&r.weight[1], 0, "a sigmoid");
}

/* One of 13 equal scores s, so that the weight is gamma: two roundings that end farthest above it. */
Test(terms_of_ops, weights_scaled_first)
{
    const char *const ways[2] = {"acc 24 rn; exp 1; div 0.001; flush none; scores f32 must",
                                 "acc 24 rn; exp 1; div ieee; flush none; scores f32 must"};
    float const s = 1.0f / 13;
    float gammas[2] = {0}, logits[13] = {0};
    long double most[2] = {0}, got[2] = {0};
    int32_t idx[1] = {0};
    srand48(16);
    for (int i = 0; i < 100000; i++) {
        float const gamma = (float)draw(1, 4), scaled = s * gamma, factor = gamma / s;
        long double const way[2] = {(long double)scaled / (long double)s, (long double)s * (long double)factor};
        for (int k = 0; k < 2; k++) {
            long double const off = way[k] / (long double)gamma - 1;
            bool const alone = (float)way[k] > gamma && (float)way[1 - k] <= gamma;
            if (alone && off > most[k]) most[k] = off, gammas[k] = gamma, got[k] = way[k];
        }
    }
    for (int k = 0; k < 2; k++) {
        dsv3_gate_prob const prob = {1, 13, 1, 1, 1, (double)gammas[k], 1, DSV3_SOFTMAX, DSV3_GREEDY};
        routed const r = route(ways[k], prob, logits, NULL, idx);
        printf("terms_of_ops: a weight off by %.3Lf units\n", most[k] * 0x1p24L);
        expect(&r.weight[0], got[k], k ? "by gamma / sum" : "scaled first");
    }
}

/* The exponential of a gate, off by what is declared for its argument; and log2 e folded in. */
Test(terms_of_ops, softmax_scores)
{
    static const long double log2_e = 1.4426950408889634073599246810019L;
    dsv3_gate_prob const prob = {1, 2, 1, 1, 2, 1, 0, DSV3_SOFTMAX, DSV3_GREEDY};
    float logits[2] = {0, -40};
    int32_t idx[2] = {0, 1};
    routed r = route("acc 53 rn; exp 0.001 100; div 0.001; flush none; scores f32 must", prob, logits, NULL, idx);
    expect(&r.weight[1], expl(-40) * (1 + 0.999L * 4000 * 0x1p-24L), "slope of a softmax score");

    double most = 0;
    float const c = (float)log2_e;
    srand48(6);
    for (int i = 0; i < 3000000; i++) {
        float const m = (float)draw(1e-5, 1e-4), s = (float)-draw(44.3614, 44.3614 + 0.02 * drand48());
        float const a = s * c, b = m * c;
        double const off = fabs((double)logl(exp2l((long double)(a - b)) / expl((long double)s - (long double)m)));
        if (off > most) most = off, logits[0] = m, logits[1] = s;
    }
    float const a = logits[1] * c, b = logits[0] * c;
    r = route("acc 53 rn; exp 0.001; div 0.001; flush none; scores f32 must", prob, logits, NULL, idx);
    expect(&r.weight[1], exp2l((long double)(a - b)), "log2 e is folded in");
}

/* ---- acceptance ---- */

typedef struct {
    float p[2], q[2], u;
} draft;

static bool accepts_is_legal(const char *declaration, draft d, int accepted)
{
    ref_numerics const port = numerics("mtp_accept", declaration);
    float p[4] = {d.p[0], d.p[1], 1, 0}, u[2] = {d.u, 0.5f};
    int32_t drafted = 0, count = accepted, next = 0;
    dsv3_mtp_accept_prob const prob = {1, 1, 2, 0};
    dsv3_mtp_accept_io const io = {.draft_tokens = {&drafted, DSV3_I32, 2, {1, 1}, {1, 1}},
                                   .draft_probs = {d.q, DSV3_F32, 3, {1, 1, 2}, {2, 2, 1}},
                                   .target_probs = {p, DSV3_F32, 3, {1, 2, 2}, {4, 2, 1}},
                                   .uniforms = {u, DSV3_F32, 2, {1, 2}, {2, 1}},
                                   .accepted = {&count, DSV3_I32, 1, {1}, {1}},
                                   .next_token = {&next, DSV3_I32, 1, {1}, {1}}};
    ref_reading const rd = {&port, ref_none(), true};
    ref_value n, token;
    cr_assert(ref_dd.mtp_accept(&rd, &prob, &io, (ref_value *const[]){&n, &token}));
    return !isnan(n.hi);
}

/* u q' < p', q' = q / Q and p' = p / P in wide arithmetic; q', p' and u q' are rounded to binary32. */
Test(terms_of_ops, acceptance)
{
    double most = 0;
    draft worst = {{0}};
    int decided = 0;
    srand48(7);
    for (int i = 0; i < 1000000; i++) {
        draft d = {{(float)draw(0.1, 0.4)}, {(float)draw(0.5, 0.7)}, 0};
        d.p[1] = 1.5f - d.p[0], d.q[1] = 1.5f - d.q[0];
        double const P = (double)d.p[0] + (double)d.p[1], Q = (double)d.q[0] + (double)d.q[1];
        if (P != Q) continue;
        float const q = (float)((double)d.q[0] / Q);
        double const p = (double)(float)((double)d.p[0] / P), ratio = (double)d.p[0] / (double)d.q[0];
        for (int k = -6; k <= 6; k++) {
            d.u = (float)(ratio * (1 + k * 0x1p-25));
            double const exact = (double)d.u * (double)d.q[0] / (double)d.p[0] - 1;
            bool const accepted = (double)(d.u * q) < p;
            if (accepted == (exact < 0) || fabs(exact) <= most) continue;
            most = fabs(exact), worst = d, decided = accepted;
        }
    }
    printf("terms_of_ops: acceptance off by %.3f units\n", most * 0x1p24);
    cr_expect(accepts_is_legal("acc 53 rn; div 0.001; flush none", worst, decided), "roundings of an acceptance");
}

/* Divisions of 1000 units, both the wrong way. */
Test(terms_of_ops, acceptance_by_divisions)
{
    draft d = {{0.25f, 1.25f}, {0.5f, 1}, 0.5f * (1 + 1990 * 0x1p-24f)};
    cr_expect(accepts_is_legal("acc 53 rn; div 1000; flush none", d, 1), "divisions of an acceptance");
}

/* The same where the roundings are those of subnormal numbers. */
Test(terms_of_ops, acceptance_of_subnormal_numbers)
{
    double most = 0;
    draft worst = {{0}};
    int decided = 0;
    srand48(8);
    for (int i = 0; i < 4000000; i++) {
        int const k = 20 + (int)(lrand48() % 400);
        float const sum = (float)draw(1.5, 1.9), q = (float)k * 0x1p-149f, u = 1 - (float)draw(0, 0.02);
        float const p = (float)(k - (int)(lrand48() % 12)) * 0x1p-149f;
        float const q_stored = (float)((double)q / (double)sum), p_stored = (float)((double)p / (double)sum);
        bool const accepted = u * q_stored < p_stored;
        double const off = ((double)u * (double)q - (double)p) / (double)sum * 0x1p149;
        if (accepted == (off < 0) || fabs(off) <= most) continue;
        most = fabs(off), worst = (draft){{p, sum}, {q, sum}, u}, decided = accepted;
    }
    printf("terms_of_ops: acceptance off by %.3f of the least number\n", most);
    cr_expect(accepts_is_legal("acc 53 rn; div 0.001; flush none", worst, decided));
}

/* A scan in 16 chains of 60 probabilities. The first one's roundings lose all but its first number, those of the others and
 * of their sums go up. */
Test(terms_of_ops, scan_in_chains)
{
    enum { CHAIN = 60, V = 16 * CHAIN };
    float p[2 * V] = {1}, q[V] = {1}, u[2] = {0.5f, 0}, *const next = p + V;
    int32_t drafted = 0, accepted = 1, token = CHAIN;
    for (int k = 0; k < 16; k++) next[k * CHAIN] = k == 1 ? 1 : (float)up_11;
    for (int i = 1; i < CHAIN; i++) next[i] = 0x1.fp-23f, next[CHAIN + i] = (float)up_11;
    long double chain[16] = {0}, total = 0;
    for (int i = 0; i < V; i++) chain[i / CHAIN] = to_bits(chain[i / CHAIN] + (long double)next[i], 11);
    total = chain[1];
    for (int k = 0; k < 16; k++) total = k == 1 ? total : to_bits(total + chain[k], 11);
    u[1] = (float)(chain[0] / total * (1 + 0x1p-20L));
    ref_numerics const port = numerics("mtp_accept", "acc 11 rn fused splits=16; div 0.001; flush none");
    dsv3_mtp_accept_prob const prob = {1, 1, V, 0};
    dsv3_mtp_accept_io const io = {.draft_tokens = {&drafted, DSV3_I32, 2, {1, 1}, {1, 1}},
                                   .draft_probs = {q, DSV3_F32, 3, {1, 1, V}, {V, V, 1}},
                                   .target_probs = {p, DSV3_F32, 3, {1, 2, V}, {2 * V, V, 1}},
                                   .uniforms = {u, DSV3_F32, 2, {1, 2}, {2, 1}},
                                   .accepted = {&accepted, DSV3_I32, 1, {1}, {1}},
                                   .next_token = {&token, DSV3_I32, 1, {1}, {1}}};
    ref_reading const rd = {&port, ref_none(), true};
    ref_value n, drawn;
    cr_assert(ref_dd.mtp_accept(&rd, &prob, &io, (ref_value *const[]){&n, &drawn}));
    cr_expect(!isnan(drawn.hi), "a scan in chains");
}

/* ---- swiglu ---- */

static void find_swiglu(const char *declaration, float gate, float up)
{
    ref_numerics const port = numerics("swiglu", declaration);
    dsv3_swiglu_prob const prob = {1, 1};
    dsv3_swiglu_io const io = {.gate = {&gate, DSV3_F32, 2, {1, 1}, {1, 1}},
                               .up = {&up, DSV3_F32, 2, {1, 1}, {1, 1}},
                               .y = {y32, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.swiglu(&rd, &prob, &io, (ref_value *const[]){legal}));
}

Test(terms_of_ops, subnormal_inputs)
{
    find_swiglu("sigmoid 0.001; flush daz; silu f32 must", 100, 0x1p-127f);
    expect(legal, 0, "a subnormal input");
}

/* The sigmoid is 1.502 times the least number, and rounded to 2 of it. */
Test(terms_of_ops, subnormal_sigmoid)
{
    float const z = (float)logl(1.502L * 0x1p-149L);
    find_swiglu("sigmoid 0.001; flush none; silu f32 must", z, 1);
    expect(legal, (long double)z * 0x1p-148L, "a subnormal sigmoid");
}

/* The sigmoid is rounded to BF16 where that moves it most, and to E4M3 where nothing is left of it. */
Test(terms_of_ops, rounded_sigmoid)
{
    float const z = (float)-logl(1 / (0x1p-3L * (1 + 0x1.01p-8L)) - 1), far = -6.95f;
    find_swiglu("sigmoid 0.001; gate_sigmoid bf16 may; flush none; silu f32 must", z, 1);
    expect(legal, (long double)z * (long double)ref_round(DSV3_BF16, 1 / (1 + exp(-(double)z))), "a sigmoid in BF16");
    find_swiglu("sigmoid 0.001; gate_sigmoid f8_e4m3 may; flush none; silu f32 must", far, 1);
    expect(legal, 0, "a sigmoid in E4M3");
}

/* ---- experts: a sum of equal outputs with these weights ---- */

enum { EXPERTS = 48 };

/* Each expert makes 100 down of the token; down, if `act` are the port's own. */
static void find_experts(const char *declaration, int n, float *weight, float down, float *act)
{
    static char name[3 * EXPERTS][40];
    static dsv3_weight item[3 * EXPERTS];
    static float one[1] = {1}, hundred[1] = {100};
    static const char *const leaf[] = {"gate_proj", "up_proj", "down_proj"};
    float *const data[] = {hundred, one, &down};
    int32_t idx[EXPERTS];
    ref_numerics const port = numerics("experts", declaration);
    for (int i = 0; i < 3 * n; i++) {
        snprintf(name[i], sizeof name[i], "experts.%d.%s.weight", i / 3, leaf[i % 3]);
        item[i] = (dsv3_weight){name[i], {data[i % 3], DSV3_F32, 2, {1, 1}, {1, 1}}};
        idx[i / 3] = i / 3;
    }
    dsv3_experts_prob const prob = {1, 1, 1, n, n, act != NULL};
    dsv3_experts_io const io = {.hidden_states = {one, DSV3_F32, 2, {1, 1}, {1, 1}},
                                .topk_idx = {idx, DSV3_I32, 2, {1, n}, {n, 1}},
                                .topk_weight = {weight, DSV3_F32, 2, {1, n}, {n, 1}},
                                .weights = {3 * n, item},
                                .act = {act, DSV3_F32, 3, {1, n, 1}, {n, 1, 1}},
                                .y = {y32, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {.declared = &port, .teacher_forced = act != NULL};
    cr_assert(ref_dd.experts(&rd, &prob, &io, (ref_value *const[]){NULL, legal}));
}

#define EXACT_EXPERTS                                                                                                  \
    "sigmoid 0.001; gate_proj f32 must; up_proj f32 must; silu f32 must; act f32 must; expert_out f32 must; "

Test(terms_of_ops, sums_of_experts)
{
    float weight[EXPERTS];
    for (int i = 0; i < EXPERTS; i++) weight[i] = i ? (float)up_11 : 1;
    long double sum = 0;
    for (int i = 0; i < EXPERTS; i++) sum = to_bits(sum + 100 * (long double)weight[i] * 0.0125L, 11);
    find_experts(EXACT_EXPERTS "acc 11 rn fused splits=1; flush none; routed f32 may", EXPERTS, weight, 0.0125f, NULL);
    expect(legal, sum, "experts in 11 bits");

    sum = 0;
    for (int i = 0; i < EXPERTS; i++) weight[i] = i ? 0x1.01p-8f : 1;
    for (int i = 0; i < EXPERTS; i++) sum = to_bits(sum + 100 * (long double)weight[i] * 0.0101L, 8);
    find_experts(EXACT_EXPERTS "acc 53 rn; flush none; routed bf16 may", EXPERTS, weight, 0.0101f, NULL);
    expect(legal, sum, "experts in BF16");
}

Test(terms_of_ops, experts_underflow)
{
    float weight[EXPERTS];
    for (int i = 0; i < EXPERTS; i++) weight[i] = (i % 2 ? -0.68f : 1.2f) * 0x1p-126f;
    find_experts(EXACT_EXPERTS "acc 53 rn; flush ftz; routed f32 must", EXPERTS, weight, 0x1p-6f, NULL);
    expect(legal, 0, "sums of two experts are flushed");

    for (int i = 0; i < EXPERTS; i++) weight[i] = 0x1.3ep-133f;
    find_experts(EXACT_EXPERTS "acc 53 rn; flush none; routed bf16 may", EXPERTS, weight, 0x1p-8f, NULL);
    expect(legal, 0, "sums of experts below the least number of BF16");

    for (int i = 0; i < 8; i++) weight[i] = (i ? -0.02f : 8.4f) * 0x1p-133f / 1.5625f;
    find_experts(EXACT_EXPERTS "acc 53 rn; flush none; routed bf16 may rz", 8, weight, 0x1p-6f, NULL);
    expect(legal, 0x1p-133L, "seven sums lose a unit each"); /* 8 units, less almost nothing, are 7 */

    for (int i = 0; i < EXPERTS; i++) weight[i] = 655 * 0x1p-149f;
    find_experts(EXACT_EXPERTS "acc 14 rz fused splits=1; flush none; routed f32 may", EXPERTS, weight, 0x1p-6f, NULL);
    expect(legal, 0, "experts below the least number of 14 bits");
}

/* Terms of one unit and of half a unit, which are added to a BF16 sum as they are: ties, each to the even number above. */
Test(terms_of_ops, subnormal_ties_of_experts)
{
    float weight[EXPERTS], act[EXPERTS];
    double sum = 0;
    for (int i = 0; i < EXPERTS; i++) {
        weight[i] = i % 2 ? 0x1p-134f : 0x1p-133f, act[i] = 1;
        sum = ref_round(DSV3_BF16, sum + (double)weight[i]);
    }
    cr_assert(sum == EXPERTS * 0x1p-133);
    find_experts(EXACT_EXPERTS "acc 24 rn; flush none; routed bf16 may", EXPERTS, weight, 1, act);
    expect(legal, (long double)sum, "ties of subnormal sums");
}

/* ---- gate, quant ---- */

/* A port adds 10^-20 to the sum that divides. */
Test(terms_of_ops, guarded_sum)
{
    float logits[1] = {-46.05f}, bias[1] = {0};
    int32_t idx[1] = {0};
    routed const r = route("acc 53 rn; sigmoid 0.001; div 0.001; flush none; scores f32 must",
                           (dsv3_gate_prob){1, 1, 1, 1, 1, 1, 1, DSV3_SIGMOID, DSV3_NOAUX_TC}, logits, bias, idx);
    long double const s = 1 / (1 + expl(46.05L));
    expect(r.weight, s / (s + 1e-20L), "a guarded sum");
}

/* One tile of two numbers: the largest and another. */
static void find_quant(const char *declaration, float scale, ref_value *legal_scale, ref_value *legal_code)
{
    static uint8_t codes[2];
    ref_numerics const port = numerics("quant", declaration);
    dsv3_quant_prob const prob = {.n_tokens = 1, .in_features = 2};
    dsv3_quant_io const io = {.x = {x, DSV3_F32, 2, {1, 2}, {2, 1}},
                              .q = {codes, DSV3_F8_E4M3, 2, {1, 2}, {2, 1}},
                              .scale = {&scale, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {&port, ref_none(), true};
    cr_assert(ref_dd.quant(&rd, &prob, &io, (ref_value *const[]){legal_scale, legal_code}));
}

Test(terms_of_ops, quant_corners)
{
    ref_value scale[1], code[2];
    x[0] = 448 * 0x1p-140f, x[1] = 0;
    find_quant("div 4; flush none", 0x1p-140f, scale, code);
    cr_expect(isinf(code[0].radius), "1 / scale overflows: [%a, %a]", ref_lower(*code), ref_upper(*code));
    x[0] = 0x1p-130f;
    find_quant("div ieee; flush daz", 1, scale, code);
    expect(scale, 1, "a tile of subnormal numbers");
}

/* a / b, correctly rounded, or as much too large as so many units allow. */
static float quotient(float a, float b, double units)
{
    double const most = (double)a / (double)b * (1 + units * 0x1p-24);
    float const q = (float)most;
    return units > 0 && (double)q > most ? nextafterf(q, 0) : q;
}

/* scale = amax / 448, code = x (448 / amax), for an x near the middle of two codes: how far x times the reciprocal of the
 * scale, or x / scale, is from that middle on the other side. */
static void worst_code(bool by_reciprocal, const char *declaration)
{
    double const units = by_reciprocal ? 0 : 4;
    double most = 0;
    float worst[3] = {0}, best_code = 0;
    srand48(12);
    for (int i = 0; i < (by_reciprocal ? 4000000 : 100000); i++) {
        float const amax = (float)draw(1, 2), s = quotient(amax, 448, units), r = quotient(448, amax, units);
        if (fabs((double)r / (by_reciprocal ? (double)(1 / s) : 1 / (double)s) - 1) <
            (by_reciprocal ? 1.7 : 6) * 0x1p-24)
            continue;
        for (int k = 0; k < 8 * 13; k++) {
            float const half = 1 + (float)(2 * (k / 13) + 1) / 16,
                        v = half * s * (float)(1 + (k % 13 - 6) * (by_reciprocal ? 1 : 2) * 0x1p-24);
            double const from = by_reciprocal ? (double)v * (double)(1 / s) : (double)v / (double)s;
            double const off = fabs(from / (double)half - 1);
            if (off <= most || ((v * r > half) == (from > (double)half))) continue;
            most = off, worst[0] = amax, worst[1] = v, worst[2] = s;
            best_code = (float)ref_round(DSV3_F8_E4M3, (double)(v * r));
        }
    }
    ref_value scale[1], code[2];
    x[0] = worst[0], x[1] = worst[1];
    find_quant(declaration, worst[2], scale, code);
    printf("terms_of_ops: a code off by %.3f units, %s\n", most * 0x1p24, declaration);
    expect(&code[1], (long double)best_code, declaration);
}

Test(terms_of_ops, codes_by_another_reciprocal)
{
    worst_code(true, "div ieee; flush none; quotient recip");
    worst_code(false, "div 4; flush none; quotient any");
}

/* ---- losses ---- */

static float stored_loss[MOST];

static void find_entropy(const char *declaration, int tokens, int words, float *logits, int32_t *labels,
                         ref_value *loss, ref_value *mean)
{
    float out[1] = {0};
    ref_numerics const port = numerics("cross_entropy", declaration);
    dsv3_cross_entropy_prob const prob = {tokens, words, 0};
    dsv3_cross_entropy_io const io = {.logits = {logits, DSV3_F32, 2, {tokens, words}, {words, 1}},
                                      .labels = {labels, DSV3_I32, 1, {tokens}, {1}},
                                      .loss = {stored_loss, DSV3_F32, 1, {tokens}, {1}},
                                      .mean = {out, DSV3_F32, 1, {1}, {1}}};
    ref_reading const rd = {&port, ref_none(), true};
    cr_assert(ref_dd.cross_entropy(&rd, &prob, &io, (ref_value *const[]){loss, mean}));
}

#define WIDE_LOSS "acc 53 rn; exp 0.001; log 0.001; rescales 0; flush none; "

Test(terms_of_ops, losses_of_two_words)
{
    float logits[2] = {0, -10};
    int32_t label[1] = {0};
    ref_value loss[1], mean[1];
    double most = 0;
    float worst = 0;
    for (float z = -10; z > -10.01f; z = nextafterf(z, -11)) { /* the sum is rounded most */
        double const sum = 1 + exp((double)z), off = fabs((double)(float)sum - sum);
        if (off > most) most = off, worst = z;
    }
    logits[1] = worst;
    find_entropy(WIDE_LOSS "div 0.001", 1, 2, logits, label, loss, mean);
    expect(loss, logl((long double)(float)(1 + exp((double)worst))), "a sum that is rounded");
}

/* z less the maximum is rounded, and ln of the sum less that once more, the same way. */
Test(terms_of_ops, a_logit_less_the_maximum)
{
    float const m = 39321.498f * 0x1p-17f, z = -64; /* z - m is 0.498 of a bit from what is stored of it */
    float logits[3] = {m, z, 0};
    int32_t label[1] = {1};
    ref_value loss[1], mean[1];
    double most = 0;
    float worst = 0, got = 0;
    srand48(17);
    for (int i = 0; i < 100000; i++) {
        float const other = -(float)drand48();
        double const ln = log(1 + exp((double)other - (double)m) + exp((double)z - (double)m));
        float const result = (float)(ln - (double)(z - m));
        double const off = fabs((double)result - (ln - ((double)z - (double)m)));
        if (off > most) most = off, worst = other, got = result;
    }
    printf("terms_of_ops: a loss off by %.3f units of its logit\n", most * 0x1p24 / 64);
    logits[2] = worst;
    find_entropy(WIDE_LOSS "div 0.001", 1, 3, logits, label, loss, mean);
    expect(loss, (long double)got, "a logit less the maximum");
}

/* In BF16 lse, 64.2, becomes 64; and a logit less the maximum, -32.124, becomes -32. */
Test(terms_of_ops, losses_in_bf16)
{
    float logits[4] = {64, 62.5f};
    int32_t label[1] = {0};
    ref_value loss[1], mean[1];
    find_entropy(WIDE_LOSS "div 0.001; arith bf16", 1, 2, logits, label, loss, mean);
    expect(loss, 0, "lse in BF16");

    for (int j = 0; j < 3; j++) logits[j] = 0x1.fep-3f;
    logits[3] = -31.875f, label[0] = 3;
    find_entropy(WIDE_LOSS "div 0.001; arith bf16", 1, 4, logits, label, loss, mean);
    expect(loss, 33, "a logit less the maximum, in BF16"); /* 32 + ln 3 */
}

/* Losses that are given: what a port makes of their mean. */
static ref_value mean_of(const char *declaration, int tokens)
{
    static float logits[2 * MOST];
    static int32_t labels[MOST];
    static ref_value loss[MOST], mean[1];
    find_entropy(declaration, tokens, 2, logits, labels, loss, mean);
    return *mean;
}

Test(terms_of_ops, means)
{
    ref_value mean;
    for (int i = 0; i < 50; i++) stored_loss[i] = 1 + (i == 0) * 0x1p-23f; /* their mean: 1 and a fiftieth of a bit */
    mean = mean_of(WIDE_LOSS "div 0.001; terms f32 may; arith f64", 50);
    expect(&mean, 1 + (0.02L + 0.499L) * 0x1p-23L, "losses before they are stored");

    long double sum = 0;
    for (int i = 0; i < 43; i++) { /* their sum is exact in 11 bits, that of their quotients is not */
        stored_loss[i] = i ? 0x1p-10f : 1;
        sum = to_bits(sum + (long double)stored_loss[i] / 43, 11);
    }
    mean = mean_of("exp 0.001; log 0.001; rescales 0; flush none; acc 11 rn fused splits=1; div 0.001; terms f32 must",
                   43);
    expect(&mean, sum, "quotients in 11 bits");

    for (int i = 0; i < 101; i++) stored_loss[i] = 50 * 0x1p-149f;
    mean = mean_of(WIDE_LOSS "div ieee; terms f32 must", 101);
    expect(&mean, 0, "quotients that underflow");
}

/* Each loss divided first: quotients of either sign, each rounded up by nearly half a unit, which all but cancel. */
Test(terms_of_ops, quotients_of_losses)
{
    enum { TOKENS = 127 };
    double most[2] = {0};
    float worst[2] = {0};
    srand48(14);
    for (int i = 0; i < 100000; i++) {
        float const loss = (i % 2 ? -1 : 1) * (float)draw(127, 127.4);
        double const up = (double)(loss / TOKENS) - (double)loss / TOKENS;
        if (up > most[i % 2]) most[i % 2] = up, worst[i % 2] = loss;
    }
    long double sum = 0;
    for (int t = 0; t < TOKENS; t++)
        stored_loss[t] = t ? worst[t % 2] : 0, sum += (long double)(stored_loss[t] / TOKENS);
    printf("terms_of_ops: quotients of losses off by %.3f and %.3f units\n", most[0] * 0x1p24, most[1] * 0x1p24);
    ref_value const mean = mean_of(WIDE_LOSS "div ieee; terms f32 must", TOKENS);
    expect(&mean, sum, "quotients of losses");
}

/* ---- rope: pairs (1, 0), which become cos and sin ---- */

/* Of pair j, at a position, for an angle that is off and functions that are. */
static void turn(const char *declaration, int64_t r, int64_t j, int32_t position, double factor, double frequency,
                 double off_by, double function_off)
{
    float in[64] = {0}, out[64] = {0};
    ref_numerics const port = numerics("rope", declaration);
    dsv3_rope_prob const prob = {1, 1, r, 10000, factor, 4096, 32, 1, 1, 1, DSV3_INTERLEAVED, DSV3_INTERLEAVED};
    dsv3_rope_io const io = {.x = {in, DSV3_F32, 3, {1, 1, r}, {r, r, 1}},
                             .positions = {&position, DSV3_I32, 1, {1}, {1}},
                             .y = {out, DSV3_F32, 3, {1, 1, r}, {r, r, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    in[2 * j] = 1;
    cr_assert(ref_dd.rope(&rd, &prob, &io, (ref_value *const[]){legal}));
    double const angle = position * (frequency + off_by);
    expect(&legal[2 * j], (long double)(cos(angle) + function_off), "cos");
    expect(&legal[2 * j + 1], (long double)(sin(angle) + function_off), "sin");
}

Test(terms_of_ops, frequencies)
{
    static const char in_f32[] = "sincos 0.001; angle f32; flush none; cos_sin f32 must";
    double const u = 0x1p-24, f = pow(10000, -2 * 5 / 64.0), e = pow(10000, -2 * 22 / 64.0);
    turn(in_f32, 64, 5, 100000, 1, f, 6.9 * u * f, 0);
    double const ramp = (22 - 10.0) / (23 - 10.0), blended = e * (1 - ramp) + e / 40 * ramp;
    turn(in_f32, 64, 22, 10000000, 40, blended, u * (6.9 * blended + 1.9 * e), 0);
    double const third = 2 * 5 / 42.0, g = pow(10000, -third); /* the exponent rounds, too */
    turn(in_f32, 42, 5, 100000, 1, g, (6.9 + 0.99 * third * log(10000)) * u * g, 0);
    turn("sincos 0.001; angle f32 1000; flush none; cos_sin f32 must", 64, 5, 1000, 1, f, 999 * u * f, 0);
    turn("sincos 4000; angle f64; flush none; cos_sin f32 must", 64, 5, 1, 1, f, 0, 3990 * u);
}

/* ---- balance_loss: three tokens, all for expert 0 of 7, which alone has a score ---- */

static ref_value balance_of(const char *declaration, float alpha, float score)
{
    float scores[3 * 7] = {score}, out[1] = {0};
    int32_t idx[3] = {0}, starts[2] = {0, 3};
    ref_value loss[1];
    ref_numerics const port = numerics("balance_loss", declaration);
    dsv3_balance_loss_prob const prob = {1, 3, 7, 1, (double)alpha, 0};
    dsv3_balance_loss_io const io = {.scores = {scores, DSV3_F32, 2, {3, 7}, {7, 1}},
                                     .topk_idx = {idx, DSV3_I32, 2, {3, 1}, {1, 1}},
                                     .cu_seqlens = {starts, DSV3_I32, 1, {2}, {1}},
                                     .loss = {out, DSV3_F32, 1, {1}, {1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.balance_loss(&rd, &prob, &io, (ref_value *const[]){loss}));
    return *loss;
}

/* Of one sequence, or the classic loss. */
static ref_value loss_by(const char *declaration, bool seq_aux, int tokens, int experts, int chosen, float *scores,
                         int32_t *idx)
{
    float out[1] = {0};
    int32_t starts[2] = {0, tokens};
    ref_value loss[1];
    ref_numerics const port = numerics("balance_loss", declaration);
    dsv3_balance_loss_prob const prob = {1, tokens, experts, chosen, 1, seq_aux};
    dsv3_balance_loss_io const io = {.scores = {scores, DSV3_F32, 2, {tokens, experts}, {experts, 1}},
                                     .topk_idx = {idx, DSV3_I32, 2, {tokens, chosen}, {chosen, 1}},
                                     .cu_seqlens = {starts, DSV3_I32, 1, {2}, {1}},
                                     .loss = {out, DSV3_F32, 1, {1}, {1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.balance_loss(&rd, &prob, &io, (ref_value *const[]){loss}));
    return *loss;
}

/* Numbers whose sum is exact in 11 bits, and their quotients by the number of tokens, whose sum is not. */
Test(terms_of_ops, sums_of_rounded_terms)
{
    enum { MANY = 45, FEW = 15, LONG = 43 };
    const char *const declaration = "acc 11 rn fused splits=1; div 0.001; flush none";
    static float mean[3 * MANY], share[LONG * 2];
    static int32_t idx[LONG + 3 * FEW];

    long double sum = 0; /* every f is 1 */
    for (int e = 0; e < MANY; e++) {
        mean[e] = e ? 0x1p-10f : 0.75f + 0x1p-10f, idx[e] = e;
        sum = to_bits(sum + (long double)(mean[e] / 3), 11);
    }
    ref_value loss = loss_by(declaration, false, 3, MANY, FEW, mean, idx);
    expect(&loss, sum, "f P, each rounded");

    sum = 0; /* the first expert has all scores, and one token */
    for (int t = 0; t < LONG; t++) {
        share[2 * t] = t ? 0x1p-10f : 1, idx[t] = t != 0;
        sum = to_bits(sum + (long double)(share[2 * t] / LONG), 11);
    }
    loss = loss_by(declaration, false, LONG, 2, 1, share, idx);
    expect(&loss, to_bits(sum * (long double)(2.0f / LONG), 11), "shares, each divided");
}

/* One expert: s times RN(1/s) is less than 1. */
Test(terms_of_ops, shares_by_a_reciprocal)
{
    float s = 1.0f / 13;
    int32_t idx = 0;
    float const inverse = 1 / s, product = s * inverse;
    cr_assert(product < 1);
    ref_value const loss = loss_by("acc 24 rn; div ieee; flush none", true, 1, 1, 1, &s, &idx);
    expect(&loss, (long double)product, "a share by the reciprocal");
    expect(&loss, 1, "a share by a division");
}

Test(terms_of_ops, constants_of_a_loss)
{
    ref_value loss = balance_of("acc 53 rn; div 4000; flush none", 1, 0.5f);
    expect(&loss, 7.0L / 3 * 0.5L * (1 + 3.9L * 2000 * 0x1p-24L), "two divisions");

    double most = 0;
    float worst[2] = {0}, got = 0;
    srand48(15);
    for (int i = 0; i < 1000000; i++) {
        float const alpha = (float)draw(1, 1.2), score = (float)draw(0.5, 1);
        float const f = 7.0f / 3, constant = alpha * f, counted = constant * 3, mean = score / 3,
                    result = counted * mean;
        double const off = fabs((double)result / ((double)alpha * 7 / 3 * (double)score) - 1);
        if (off > most) most = off, worst[0] = alpha, worst[1] = score, got = result;
    }
    printf("terms_of_ops: the constants of a loss off by %.3f units\n", most * 0x1p24);
    loss = balance_of("acc 53 rn; div 0.001; flush none", worst[0], worst[1]);
    expect(&loss, (long double)got, "constants");
}

/* ---- gradients of losses: one token ---- */

static float grad_mean = 1;

static void find_loss_gradient(const char *declaration, int tokens, int words, float *logits, int32_t *labels)
{
    static float out[MOST];
    ref_numerics const port = numerics("cross_entropy_backward", declaration);
    dsv3_cross_entropy_backward_prob const prob = {tokens, words, 0};
    dsv3_cross_entropy_backward_io const io = {.logits = {logits, DSV3_F32, 2, {tokens, words}, {words, 1}},
                                               .labels = {labels, DSV3_I32, 1, {tokens}, {1}},
                                               .grad_mean = {&grad_mean, DSV3_F32, 1, {1}, {1}},
                                               .grad_logits = {out, DSV3_F32, 2, {tokens, words}, {words, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.cross_entropy_backward(&rd, &prob, &io, (ref_value *const[]){legal}));
}

#define WIDE_P "rescales 0; flush none; P f32 must; "

/* Exponentials, and both divisions, off by as much as they may. */
Test(terms_of_ops, probabilities_off)
{
    static float logits[101];
    int32_t label = 0;
    long double const off = 3990 * 0x1p-24L, first = expl(-5), v = expl((long double)-0.01f);
    logits[1] = -5, grad_mean = 1;
    find_loss_gradient("acc 53 rn; exp 4000; log 0.001; div 4000; " WIDE_P, 1, 2, logits, &label);
    expect(&legal[1], first * (1 + off) / (1 + first * (1 + off)) * (1 + off) * (1 + off), "a weight and a division");

    for (int i = 1; i < 101; i++) logits[i] = -0.01f;
    find_loss_gradient("acc 53 rn; exp 4000; log 0.001; div 4000; " WIDE_P, 1, 101, logits, &label);
    long double const sum = 1 + v * (1 + off) + 99 * v * (1 - off);
    expect(&legal[1], v * (1 + off) / sum * (1 + off) * (1 + off), "all other weights");

    label = 1, logits[1] = -900;
    find_loss_gradient("acc 53 rn; exp 0.001; log 0.001; div 4000; " WIDE_P, 1, 2, logits, &label);
    expect(&legal[0], (1 + off) * (1 + off), "1 over 1");
}

/* 1 and 100 weights that are each lost: the sum is 1. */
Test(terms_of_ops, probabilities_of_a_short_sum)
{
    static float logits[101];
    int32_t label = 1;
    long double const off = 999 * 0x1p-24L;
    for (int i = 1; i < 101; i++) logits[i] = (float)log(0.99 * 0x1p-24);
    grad_mean = 1;
    find_loss_gradient("acc 24 rn fused splits=1; exp 0.001; log 0.001; div 1000; " WIDE_P, 1, 101, logits, &label);
    expect(&legal[0], (1 + off) * (1 + off), "weights that are lost");
}

/* A sum in binary64 that becomes 1, and a division by it that is rounded up at the point. */
Test(terms_of_ops, probabilities_of_a_stored_sum)
{
    float logits[2] = {0, (float)log(0.99 * 0x1p-24)}, share = 0;
    int32_t label = 1;
    double const off = 9.05 * 0x1p-24;
    double least = 1;
    srand48(21);
    for (int i = 0; i < 10000; i++) {
        float const g = (float)draw(1.9, 1.99);
        float s = (float)((double)g * (1 + off));
        if ((double)s > (double)g * (1 + off)) s = nextafterf(s, 0);
        double const left = (double)g * (1 + off) - (double)s;
        if (left < least) least = left, grad_mean = g, share = s;
    }
    find_loss_gradient("acc 53 rn; exp 0.001; log 0.001; div 9.05; " WIDE_P, 1, 2, logits, &label);
    expect(&legal[0], (long double)((float)(1 + off) * share), "a sum that is stored");
}

/* (z - m) - ln l in BF16, each difference rounded the same way. */
Test(terms_of_ops, probabilities_in_bf16)
{
    float logits[3] = {0, 0, -16};
    float best[2] = {0}, got = 0;
    double most = 0;
    int32_t label = 0;
    for (float m = 0x1p-6f; m < 0x1p-4f; m = bf16(m * 1.01f))
        for (float other = -4; other < -2; other = bf16(other + 0x1p-6f)) {
            float const e = bf16(expf(bf16(other - m))), ln = bf16(logf(bf16(1 + e)));
            float const z = bf16(bf16(-16 - m) - ln);
            double const off =
                (double)z + 16 + (double)m + log1p(exp((double)other - (double)m) + exp(-16 - (double)m));
            if (off > most) most = off, best[0] = m, best[1] = other, got = bf16(bf16(expf(z)));
        }
    printf("terms_of_ops: an argument off by %.3f of two roundings\n", most / 0.125);
    logits[0] = best[0], logits[1] = best[1], grad_mean = 1;
    find_loss_gradient("acc 53 rn; exp 1; log 1; div 0.001; arith bf16; " WIDE_P, 1, 3, logits, &label);
    expect(&legal[2], (long double)got, "two differences");
}

/* P share - share: the product is rounded, and what is left is small. */
Test(terms_of_ops, a_share_less_a_share)
{
    float logits[2] = {0, -13};
    int32_t label = 0;
    float const P = (float)(1 / (1 + exp(-13.0)));
    double most = 0;
    float worst = 1;
    srand48(22);
    for (int i = 0; i < 10000; i++) {
        float const share = (float)draw(1, 2);
        double const off = fabs((double)(P * share) - (double)P * (double)share) / (double)share;
        if (off > most) most = off, worst = share;
    }
    grad_mean = worst;
    find_loss_gradient("acc 53 rn; exp 0.001; log 0.001; div 0.001; arith f32 softmax=f64; " WIDE_P, 1, 2, logits,
                       &label);
    expect(&legal[0], (long double)(P * worst - worst), "a share less a share");
}

/* P grad_mean, rounded, and divided by 7, where grad_mean is 7. */
Test(terms_of_ops, a_product_that_is_divided)
{
    enum { TOKENS = 7 };
    float logits[2 * TOKENS] = {0}, P = 0;
    int32_t labels[TOKENS] = {1};
    for (float z = -16; z < -9; z += 0x1p-8f) {
        P = (float)(1 / (1 + exp((double)z)));
        logits[1] = z;
        if (P * TOKENS / TOKENS != P) break;
    }
    float const got = P * TOKENS / TOKENS;
    cr_assert(got != P);
    grad_mean = TOKENS;
    find_loss_gradient("acc 53 rn; exp 0.001; log 0.001; div 0.001; arith f32 softmax=f64; " WIDE_P, TOKENS, 2, logits,
                       labels);
    expect(&legal[0], (long double)got, "a product that is divided");
}

/* ---- gradients of activations and rotations ---- */

/* grad_y sigmoid, times the rest of silu', times up: what two products lose below the least number, up enlarges. */
Test(terms_of_ops, products_that_up_enlarges)
{
    double const up = 0x1p100;
    double most = 0;
    float best[2] = {0}, got = 0;
    srand48(23);
    for (int i = 0; i < 200000; i++) {
        float const gate = (float)draw(-1, 2), grad = (float)(1 + (int)draw(0, 20)) * 0x1p-149f;
        double const s = 1 / (1 + exp(-(double)gate)), rest = 1 + (double)gate * (1 - s);
        float const result = (float)((double)(float)((double)(float)((double)grad * s) * rest) * up);
        double const off = fabs((double)result - (double)grad * s * rest * up) / (0x1p-149 * up);
        if (off > most) most = off, best[0] = gate, best[1] = grad, got = result;
    }
    printf("terms_of_ops: two products off by %.3f of the least number\n", most);
    float out[1] = {0}, larger = (float)up;
    ref_numerics const port = numerics("swiglu_backward", "sigmoid 0.001; flush none; silu f32 must");
    dsv3_swiglu_backward_prob const prob = {1, 1};
    dsv3_swiglu_backward_io const io = {.gate = {best, DSV3_F32, 2, {1, 1}, {1, 1}},
                                        .up = {&larger, DSV3_F32, 2, {1, 1}, {1, 1}},
                                        .grad_y = {best + 1, DSV3_F32, 2, {1, 1}, {1, 1}},
                                        .grad_gate = {out, DSV3_F32, 2, {1, 1}, {1, 1}},
                                        .grad_up = {out, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.swiglu_backward(&rd, &prob, &io, (ref_value *const[]){legal, NULL}));
    expect(legal, (long double)got, "products that up enlarges");
}

/* Heads rotated first: both products of each are just below 2^-126, though all gradients are multiples of it. */
Test(terms_of_ops, rotated_heads_flushed)
{
    enum { HEADS = 4, WIDTH = 64, PAIR = 31 };
    static float in[HEADS * WIDTH], out[WIDTH];
    int32_t position = 1;
    double const f = pow(10000, -2.0 * PAIR / WIDTH);
    for (int h = 0; h < HEADS; h++) in[h * WIDTH + PAIR] = 0x1p-126f;
    for (int h = 0; h < HEADS; h++) in[h * WIDTH + PAIR + WIDTH / 2] = (float)floor(0.9999 / sin(f)) * 0x1p-126f;
    ref_numerics const port =
        numerics("rope_backward", "acc 24 rn; sincos 0.001; angle f64; flush ftz; cos_sin f32 must");
    dsv3_rope_backward_prob const prob = {1, HEADS, 1, WIDTH, 10000, 1, 4096, 32, 1, 1, 1, DSV3_HALF, DSV3_HALF};
    dsv3_rope_backward_io const io = {.grad_y = {in, DSV3_F32, 3, {1, HEADS, WIDTH}, {HEADS * WIDTH, WIDTH, 1}},
                                      .positions = {&position, DSV3_I32, 1, {1}, {1}},
                                      .grad_x = {out, DSV3_F32, 3, {1, 1, WIDTH}, {WIDTH, WIDTH, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.rope_backward(&rd, &prob, &io, (ref_value *const[]){legal}));
    expect(&legal[PAIR], 0, "rotated heads");
}
