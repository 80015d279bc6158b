/*
 * As unit/properties/terms_of_ops, for gradients where several ways are legal: each port here goes a way, on inputs where no
 * other way comes so far. All are legal; unit/terms shows that each is accused where its way is taken from the reference.
 */
#include "ref.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "declared.h"

TestSuite(terms_of_gradients, .timeout = 120);

static double draw(double from, double to)
{
    return from + (to - from) * drand48();
}

static float bf16(float v)
{
    return (float)ref_round(DSV3_BF16, (double)v);
}

/* A number in `bits` significant bits. */
static double to_bits(double v, int bits)
{
    int e = 0;
    double const fraction = frexp(v, &e);
    return ldexp(rint(ldexp(fraction, bits)), e - bits);
}

static void expect(const ref_value *v, double got, const char *what)
{
    double const stored = (double)(float)got;
    cr_expect(inside(v, stored), "%s: %a not in [%a, %a]", what, stored, ref_lower(*v), ref_upper(*v));
}

/* ---- silu' ---- */

/* What a port makes of a gate z. */
typedef struct {
    float s, silu, inner, slope; /* sigmoid; silu in BF16; 1 + z (1 - s); s + silu (1 - s) */
    double exact;                /* silu' */
} gate;

static gate gate_of(float z)
{
    double const s = 1 / (1 + exp(-(double)z));
    gate g = {.s = (float)s, .exact = s * (1 + (double)z * (1 - s))};
    g.silu = bf16(z * g.s);
    g.inner = 1 + z * (1 - g.s);
    g.slope = g.s + g.silu * (1 - g.s);
    return g;
}

static const float least = 0x1p-149f; /* of binary32 */

/* A gate, and a number of which the product with a silu' from silu in BF16 is farthest out: below silu' what both roundings lose
 * is of one sign. */
static void find_rounded_silu(float *z, float *grad)
{
    double most = 0;
    srand48(1);
    for (int i = 0; i < 1000000; i++) {
        float const at = (float)draw(-1.2, -0.9), x = (float)(8192 - (int)draw(0, 100)) * least;
        gate const g = gate_of(at);
        double const off = (double)x * g.exact - (double)(x * g.slope);
        double const lost = (double)x * (double)g.slope - (double)(x * g.slope);
        if (lost > 0.45 * (double)least && off > most) most = off, *z = at, *grad = x;
    }
    printf("terms_of_gradients: a silu in BF16 and a product off by %.3f of the least number\n", most / (double)least);
}

/* At this gate 1 + z (1 - s) is -19: it enlarges what a product with s loses. */
static const float steep = -20;

/* What the product of two numbers loses, in units of the least number. */
static float lost_by(float a, float b)
{
    return (float)(((double)a * (double)b - (double)(a * b)) / (double)least);
}

static ref_value swiglu_gradient(const char *declaration, float z, float grad, float up)
{
    float out[1] = {0};
    ref_value legal[1];
    ref_numerics const port = numerics("swiglu_backward", declaration);
    dsv3_swiglu_backward_prob const prob = {1, 1};
    dsv3_tensor const result = {out, DSV3_F32, 2, {1, 1}, {1, 1}};
    dsv3_swiglu_backward_io const io = {.gate = {&z, DSV3_F32, 2, {1, 1}, {1, 1}},
                                        .up = {&up, DSV3_F32, 2, {1, 1}, {1, 1}},
                                        .grad_y = {&grad, DSV3_F32, 2, {1, 1}, {1, 1}},
                                        .grad_gate = result,
                                        .grad_up = result};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.swiglu_backward(&rd, &prob, &io, (ref_value *const[]){legal, NULL}));
    return *legal;
}

/* grad_y silu', which loses half of the least number, times up; silu' of a silu in BF16. */
Test(terms_of_gradients, one_slope_first)
{
    float z = 0, grad = 0, up = 0x1p100f;
    find_rounded_silu(&z, &grad);
    ref_value const legal =
        swiglu_gradient("sigmoid 0.001; flush none; silu bf16 must; grad_silu f32 must", z, grad, up);
    expect(&legal, (double)(grad * gate_of(z).slope * up), "grad_y silu' first");
}

/* grad_y up, rounded down to BF16, times s, which loses nearly half of the least number, times the rest. */
Test(terms_of_gradients, factors_after_a_point)
{
    gate const g = gate_of(steep);
    float const first = bf16(1000 * least / g.s), up = 0.75f;
    float best = first, most = 0;
    for (float grad_silu = first; grad_silu < 4 * first; grad_silu = bf16(grad_silu * 1.008f)) {
        float const lost = lost_by(grad_silu, g.s);
        if (lost > most) most = lost, best = grad_silu;
    }
    printf("terms_of_gradients: a product off by %.3f of the least number\n", (double)most);
    float const grad = (float)((double)best + 0.95 * ref_half_ulp(DSV3_BF16, (double)best)) / up;
    cr_assert(bf16(grad * up) == best);
    ref_value const legal =
        swiglu_gradient("sigmoid 0.001; flush none; silu f32 must; grad_silu bf16 must", steep, grad, up);
    expect(&legal, (double)(best * g.s * g.inner), "grad_y up, then s");
}

/* ---- experts: one token, which all of them take ---- */

enum { EXPERTS = 8, WIDTH = 60, MOST = 2 * EXPERTS * WIDTH };

typedef struct {
    int hidden, width, experts;
    float x[2], grad_y[2], weight[EXPERTS];
    float gate[MOST], up[MOST], down[2 * WIDTH]; /* one down_proj for all */
} experts_case;

enum { BY_X = 0, BY_GATE_PROJ = 2 };

/* The output `which`. */
static void find_gradient(const char *declaration, const experts_case *e, int which, ref_value *legal)
{
    static const char *const leaf[3] = {"gate", "up", "down"};
    static float out[MOST];
    char names[3 * EXPERTS][40];
    int32_t idx[EXPERTS];
    dsv3_weight items[3 * EXPERTS];
    int64_t const k = e->experts, n = e->width, h = e->hidden;
    for (int i = 0; i < 3 * e->experts; i++) {
        const float *const value[3] = {e->gate + i / 3 * n * h, e->up + i / 3 * n * h, e->down};
        int64_t const rows = i % 3 == 2 ? h : n, columns = i % 3 == 2 ? n : h;
        snprintf(names[i], sizeof *names, "experts.%d.%s_proj.weight", i / 3, leaf[i % 3]);
        items[i] = (dsv3_weight){names[i], {(void *)value[i % 3], DSV3_F32, 2, {rows, columns}, {columns, 1}}};
        idx[i / 3] = i / 3;
    }
    ref_numerics const port = numerics("experts_backward", declaration);
    dsv3_experts_backward_prob const prob = {1, h, n, k, k};
    dsv3_experts_backward_io const io = {.hidden_states = {(void *)e->x, DSV3_F32, 2, {1, h}, {h, 1}},
                                         .topk_idx = {idx, DSV3_I32, 2, {1, k}, {k, 1}},
                                         .topk_weight = {(void *)e->weight, DSV3_F32, 2, {1, k}, {k, 1}},
                                         .grad_y = {(void *)e->grad_y, DSV3_F32, 2, {1, h}, {h, 1}},
                                         .weights = {(int)(3 * k), items},
                                         .grad_hidden_states = {out, DSV3_F32, 2, {1, h}, {h, 1}},
                                         .grad_gate_proj = {out, DSV3_F32, 3, {k, n, h}, {n * h, h, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    ref_value *outputs[5] = {NULL};
    outputs[which] = legal;
    cr_assert(ref_dd.experts_backward(&rd, &prob, &io, outputs));
}

/* Of one expert with the gate z, weight 2^100, all else 1. */
static ref_value weighted_gradient(const char *declaration, float z, float grad)
{
    ref_value legal[1];
    experts_case const e = {.hidden = 1,
                            .width = 1,
                            .experts = 1,
                            .x = {1},
                            .grad_y = {grad},
                            .weight = {0x1p100f},
                            .gate = {z},
                            .up = {1},
                            .down = {1}};
    find_gradient(declaration, &e, BY_GATE_PROJ, legal);
    return *legal;
}

#define WIDE "acc 53 rn; sigmoid 0.001; flush none; "

/* grad_y silu' loses half of the least number before the weight enlarges it. */
Test(terms_of_gradients, a_weight_that_enlarges)
{
    float const grad = 7 * least;
    ref_value legal = weighted_gradient(WIDE "silu f32 must", 1, grad);
    expect(&legal, (double)(grad * gate_of(1).slope * 0x1p100f), "the weight last");

    gate const g = gate_of(steep);
    float const small = (float)(3.49 * (double)least / (double)g.s);
    legal = weighted_gradient(WIDE "silu f32 must", steep, small);
    expect(&legal, (double)(small * g.s * g.inner * 0x1p100f), "the factors of silu', then the weight");
}

/* The same of a silu in BF16. */
Test(terms_of_gradients, a_weight_behind_one_slope)
{
    float z = 0, grad = 0;
    find_rounded_silu(&z, &grad);
    ref_value const legal = weighted_gradient(WIDE "silu bf16 must", z, grad);
    expect(&legal, (double)(grad * gate_of(z).slope * 0x1p100f), "silu', then the weight");
}

/* Sums over experts whose gate is 128, where silu' is 1 and silu 128, and whose up_proj x is 1. Products with gate_proj and with
 * up_proj take turns. */
static ref_value summed(const char *declaration, int experts, int width, const float *term)
{
    static experts_case e;
    ref_value legal[2];
    e = (experts_case){.hidden = 2, .width = width, .experts = experts, .x = {0x1p20f}, .grad_y = {1}};
    for (int i = 0; i < experts; i++) e.weight[i] = 1;
    for (int i = 0; i < 2 * width; i++) e.down[i] = 1;
    for (int i = 0; i < experts * width; i++) {
        e.gate[2 * i] = 0x1p-13f, e.gate[2 * i + 1] = term[2 * i];
        e.up[2 * i] = 0x1p-20f, e.up[2 * i + 1] = term[2 * i + 1] / 128;
    }
    find_gradient(declaration, &e, BY_X, legal);
    return legal[1];
}

/* 1, then terms that each become a unit of `bits` bits when they are added to it; returns the sum that a port has. */
static double rounded_up(int n, int bits, float *term)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        term[i] = i ? 1.0625f * ldexpf(1, -bits) : 1;
        sum = to_bits(sum + (double)term[i], bits);
    }
    return sum;
}

#define NARROW "acc 11 rn fused; sigmoid 0.001; flush none; "

Test(terms_of_gradients, one_sum_of_both_matrices)
{
    float term[2 * WIDTH];
    double const got = rounded_up(2 * WIDTH, 11, term);
    ref_value const legal = summed(NARROW "routed f32 must", 1, WIDTH, term);
    expect(&legal, got, "one sum");
}

Test(terms_of_gradients, one_sum_of_all_entries)
{
    float term[2 * WIDTH];
    double const got = rounded_up(2 * WIDTH, 11, term);
    ref_value const legal = summed(NARROW "routed f32 may", 4, WIDTH / 4, term);
    expect(&legal, got, "all entries");
}

Test(terms_of_gradients, partial_sums_of_matrices)
{
    float term[2 * EXPERTS];
    double const got = rounded_up(2 * EXPERTS, 8, term);
    ref_value const legal = summed(WIDE "routed bf16 must", EXPERTS, 1, term);
    expect(&legal, got, "each matrix's sum");
}

/* up_proj's sum rounded up to BF16, and its sum with gate_proj's, rounded up by BF16's arithmetic. Another expert brings the
 * token's sum next to a number of BF16. */
Test(terms_of_gradients, two_sums)
{
    float const term[4] = {0x1p-7f, 2 + 0x1p-7f + 0x1p-16f, 0, -0x1p-7f};
    float const of_up = bf16(term[1]), both = bf16(term[0] + of_up);
    cr_assert(of_up > term[1] && both > term[0] + of_up);
    ref_value const legal =
        summed(WIDE "arith bf16 sigmoid=f32; grad_act f32 must; grad_x bf16 may; routed f32 may", 2, 1, term);
    expect(&legal, (double)(both + term[3]), "two sums");
}
