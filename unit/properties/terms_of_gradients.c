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

/* ---- attention: one head, keys of two entries, the first of which makes the score ---- */

enum { KEYS = 256, COLUMNS = 64 };

typedef struct {
    int queries, keys, columns;
    double scale;
    float q[2 * KEYS], k[2 * KEYS], v[COLUMNS * KEYS], grad_o[COLUMNS * KEYS];
} attention_case;

enum { BY_Q, BY_K, BY_V };

static void find_attention_gradient(const char *declaration, const attention_case *a, int which, ref_value *legal)
{
    static float out[COLUMNS * KEYS];
    int32_t const to_q[2] = {0, a->queries}, to_k[2] = {0, a->keys};
    int64_t const n = a->queries, m = a->keys, c = a->columns;
    ref_numerics const port = numerics("mla_prefill_backward", declaration);
    dsv3_mla_prefill_backward_prob const prob = {1, n, m, 1, 1, 1, c, a->scale};
    dsv3_mla_prefill_backward_io const io = {.q = {(void *)a->q, DSV3_F32, 3, {n, 1, 2}, {2, 2, 1}},
                                             .k = {(void *)a->k, DSV3_F32, 3, {m, 1, 2}, {2, 2, 1}},
                                             .v = {(void *)a->v, DSV3_F32, 3, {m, 1, c}, {c, c, 1}},
                                             .cu_seqlens_q = {(void *)to_q, DSV3_I32, 1, {2}, {1}},
                                             .cu_seqlens_k = {(void *)to_k, DSV3_I32, 1, {2}, {1}},
                                             .o = {out, DSV3_F32, 3, {n, 1, c}, {c, c, 1}},
                                             .lse = {out, DSV3_F32, 2, {n, 1}, {1, 1}},
                                             .grad_o = {(void *)a->grad_o, DSV3_F32, 3, {n, 1, c}, {c, c, 1}},
                                             .grad_q = {out, DSV3_F32, 3, {n, 1, 2}, {2, 2, 1}},
                                             .grad_k = {out, DSV3_F32, 3, {m, 1, 2}, {2, 2, 1}},
                                             .grad_v = {out, DSV3_F32, 3, {m, 1, c}, {c, c, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    ref_value *outputs[3] = {NULL};
    outputs[which] = legal;
    cr_assert(ref_dd.mla_prefill_backward(&rd, &prob, &io, outputs));
}

/* One query with these scores: what comes back to its other entry is dS of key 0. */
static attention_case one_query(int keys, int columns, const float *score)
{
    attention_case a = {.queries = 1, .keys = keys, .columns = columns, .scale = 1, .q = {1}};
    for (int j = 0; j < keys; j++) a.k[2 * j] = score[j], a.k[2 * j + 1] = j == 0;
    return a;
}

static ref_value first_dS(const char *declaration, const attention_case *a)
{
    ref_value legal[2];
    find_attention_gradient(declaration, a, BY_Q, legal);
    return legal[1];
}

#define ATTENTION "rescales 0; scaled scores; parts 1; flush none; "
#define EXACT     "acc 53 rn; exp 0.001; log 0.001; div 0.001; " ATTENTION

/* Queries from 180 on see key 180, and it has all their weight: one of four parts has all of its sum. */
Test(terms_of_gradients, a_part_with_all_terms)
{
    enum { N = 240, FIRST = 180 };
    static attention_case a;
    static ref_value legal[N];
    double sum = 0;
    a = (attention_case){.queries = N, .keys = N, .columns = 1, .scale = 1};
    for (int i = 0; i < N; i++) a.q[2 * i] = 1, a.k[2 * i] = i == FIRST ? 0 : -1000;
    for (int i = FIRST; i < N; i++) {
        a.grad_o[i] = i == FIRST ? 1 : 1.0625f * 0x1p-11f;
        sum = to_bits(sum + (double)a.grad_o[i], 11);
    }
    find_attention_gradient("acc 11 rn fused splits=4; exp 1; log 1; div ieee; " ATTENTION, &a, BY_V, legal);
    expect(&legal[FIRST], sum, "a part with all terms");
}

/* P dP and P D, each rounded, of a D in BF16 that is nearly dP. */
Test(terms_of_gradients, nearly_equal_products)
{
    static attention_case a;
    float const D = 1 + 0x1p-7f, dP = D + 0x1p-20f;
    float best = 0, got = 0;
    double most = 0;
    for (float score = -1; score < -0.5f; score += 0x1p-14f) {
        float const P = (float)(1 / (1 + exp((double)score))), dS = P * dP - P * D;
        double const off = fabs((double)dS - (double)P * (double)(dP - D));
        if (off > most) most = off, best = score, got = dS;
    }
    printf("terms_of_gradients: a difference off by %.3f units of a product\n", most * 0x1p24);
    a = one_query(2, 1, (float const[]){0, best});
    a.v[0] = dP, a.v[1] = D, a.grad_o[0] = 1;
    ref_value const legal = first_dS(EXACT "P f32 must; D bf16 must", &a);
    expect(&legal, (double)got, "P dP - P D");
}

/* dP - D is rounded, P times that is a tie of BF16, and P dP - P D lies below it; softmax_scale comes last. Found by search. */
Test(terms_of_gradients, a_difference_that_makes_a_tie)
{
    static attention_case a;
    float const score = -0x1.2acp+1f, dP = 57546 * 0x1p-25f, D = 1 + 0x1p-7f;
    double const P = 1 / (1 + exp(1.375 * (double)score));
    float const stored = bf16((float)P), dS = bf16(stored * (dP - D));
    cr_assert(bf16((float)((double)stored * ((double)dP - (double)D))) != dS);
    a = one_query(2, 1, (float const[]){0, score});
    a.scale = 1.375, a.v[0] = dP, a.v[1] = (float)(((double)D - P * (double)dP) / (1 - P)), a.grad_o[0] = 1;
    ref_value const legal = first_dS(EXACT "P bf16 must; dP f32 must; D bf16 must; dS bf16 must", &a);
    expect(&legal, (double)(1.375f * dS), "P (dP - D)");
}

/* Keys whose weights are rounded up by nearly half a unit of BF16, all with dP = 1. Two have dP = 0, and the second brings lse
 * next to a number of BF16. */
Test(terms_of_gradients, weights_rounded_together)
{
    enum { N = 102 };
    static attention_case a;
    float score[N] = {0};
    double const w = 0.5 * (1 + 0x1p-8 * 1.02), sum = exp(3.9375);
    for (int j = 1; j < N - 1; j++) score[j] = (float)log(w);
    score[N - 1] = (float)log(sum - 1 - (N - 2) * w);
    a = one_query(N, 2, score);
    for (int j = 1; j < N - 1; j++) a.v[2 * j] = 2, a.v[2 * j + 1] = 1;
    a.grad_o[0] = 1, a.grad_o[1] = -1;
    ref_value const legal = first_dS(EXACT "P f32 must; P_v bf16 may; lse bf16 must", &a);
    double const D = (N - 2) * (double)bf16((float)w) / sum;
    expect(&legal, -D / sum, "weights that are rounded alike");
}

/* A few weights rounded up, which have dP = 1, and many down, all divided by their sum. The last key as there. */
Test(terms_of_gradients, weights_rounded_apart)
{
    enum { FEW = 4, N = 106 };
    static attention_case a;
    float score[N] = {0};
    double const up = 0.5 * (1 + 0x1p-8 * 1.02), down = 0.5 * (1 + 0x1p-8 * 0.98), sum = exp(3.984375);
    double const last = sum - 1 - FEW * up - (N - 2 - FEW) * down;
    for (int j = 1; j < N - 1; j++) score[j] = (float)log(j <= FEW ? up : down);
    score[N - 1] = (float)log(last);
    a = one_query(N, 2, score);
    for (int j = 1; j <= FEW; j++) a.v[2 * j] = 2, a.v[2 * j + 1] = 1;
    a.grad_o[0] = 1, a.grad_o[1] = -1;
    ref_value const legal = first_dS(EXACT "P f32 must; P_v bf16 may; lse bf16 must", &a);
    double const size = FEW * (double)bf16((float)up),
                 rounded = 1 + size + (N - 2 - FEW) * (double)bf16((float)down) + (double)bf16((float)last);
    expect(&legal, -size / rounded / sum, "weights that are rounded apart");
}

/* Exponentials off as dP is signed. */
Test(terms_of_gradients, exponentials_off_together)
{
    enum { N = 5 };
    static attention_case a;
    double const w = exp(-1), off = 3990 * 0x1p-24;
    a = one_query(N, 2, (float const[]){0, -1, -1, -1, -1});
    for (int j = 1; j < N; j++) a.v[2 * j] = j % 2 ? 2 : -2, a.v[2 * j + 1] = j % 2 ? 1 : -1;
    a.grad_o[0] = 1, a.grad_o[1] = -1;
    ref_value const legal =
        first_dS("acc 53 rn; exp 4000; log 0.001; div 0.001; " ATTENTION "P bf16 must; P_v f32 must", &a);
    double const P = (double)bf16((float)(1 / (1 + 4 * w))), D = 4 * w * off / (1 + 4 * w);
    expect(&legal, -P * D, "exponentials that are off");
}

/* Entries of o so near to ties of BF16 that an exponential decides: each rounded as grad_o is signed. */
Test(terms_of_gradients, an_o_that_is_stored)
{
    static attention_case a;
    double const w = exp((double)-0.01f), off = w * (1 - 3990 * 0x1p-24), tie = 1 + 0x1p-8;
    double D = 0, dP = 0;
    a = one_query(2, COLUMNS, (float const[]){0, -0.01f});
    for (int c = 0; c < COLUMNS; c++) {
        double const sign = c % 2 ? 1 : -1, exact = tie - sign * 0x1p-20;
        a.v[c] = (float)(tie + sign * 0x1p-5);
        a.v[COLUMNS + c] = (float)((exact * (1 + w) - (double)a.v[c]) / w);
        float const o = (float)(((double)a.v[c] + off * (double)a.v[COLUMNS + c]) / (1 + off));
        a.grad_o[c] = (float)sign, D += sign * (double)bf16(o), dP += sign * (double)a.v[c];
    }
    cr_assert(D == COLUMNS * 0x1p-8);
    ref_value const legal =
        first_dS("acc 53 rn; exp 4000; log 0.001; div 0.001; " ATTENTION "P f32 must; P_v f32 must; o bf16 must", &a);
    expect(&legal, (dP - D) / (1 + off), "o in BF16");
}

/* Two keys, each a part: both lse_i and lse are off, and P of the smaller part is its own share times e^(lse_i - lse). */
Test(terms_of_gradients, a_share_of_a_part)
{
    static attention_case a;
    ref_value legal[2];
    double const off = 3990 * 0x1p-24, score = -4;
    double const small = score + off, large = 0 - off, lse = log(exp(small) + exp(large)) - off;
    a = one_query(2, 1, (float const[]){-4, 0});
    a.grad_o[0] = 1;
    find_attention_gradient(
        "acc 53 rn; exp 0.001; log 0.001 4000; div 0.001; rescales 0; scaled scores; parts 2; flush none; "
        "P_v f32 must",
        &a, BY_V, legal);
    expect(&legal[0], exp(small - lse), "a share of a part");
}

/* ---- cross-entropy ---- */

/* P - 1 and grad_mean / 7, rounded the same way; their product is the gradient at the label. Found by search. */
Test(terms_of_gradients, a_share_first)
{
    enum { TOKENS = 7 };
    float const z = -0x1.63e3bep+2f, P = (float)(1 / (1 + exp(-(double)z)));
    float grad_mean = 0x1.cb400ep+0f, logits[2 * TOKENS] = {0, z}, out[2 * TOKENS] = {0};
    float const share = grad_mean / TOKENS, got = (P - 1) * share;
    int32_t labels[TOKENS] = {1};
    ref_value legal[2 * TOKENS];
    ref_numerics const port = numerics("cross_entropy_backward",
                                       "acc 53 rn; exp 0.001; log 0.001; div ieee; arith f32 softmax=f64; rescales 0; "
                                       "flush none; P f32 must");
    dsv3_cross_entropy_backward_prob const prob = {TOKENS, 2, 0};
    dsv3_cross_entropy_backward_io const io = {.logits = {logits, DSV3_F32, 2, {TOKENS, 2}, {2, 1}},
                                               .labels = {labels, DSV3_I32, 1, {TOKENS}, {1}},
                                               .grad_mean = {&grad_mean, DSV3_F32, 1, {1}, {1}},
                                               .grad_logits = {out, DSV3_F32, 2, {TOKENS, 2}, {2, 1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.cross_entropy_backward(&rd, &prob, &io, (ref_value *const[]){legal}));
    expect(&legal[1], (double)got, "(P - 1) share");
}

/* ---- norms: x_hat in BF16, whose sum with g is exact, and entry 0 of grad_x, where g is nearly x_hat m. Found by search ---- */

enum { NORM = 15 };

static ref_value norm_gradient(const char *declaration, int64_t n, float *x, float *grad_y)
{
    float weight[NORM], out[NORM] = {0};
    ref_value legal[NORM];
    for (int i = 0; i < NORM; i++) weight[i] = 1;
    ref_numerics const port = numerics("rmsnorm_backward", declaration);
    dsv3_weight const item = {"weight", {weight, DSV3_F32, 1, {n}, {1}}};
    dsv3_rmsnorm_backward_prob const prob = {1, n, 0, 0};
    dsv3_rmsnorm_backward_io const io = {.x = {x, DSV3_F32, 2, {1, n}, {n, 1}},
                                         .grad_y = {grad_y, DSV3_F32, 2, {1, n}, {n, 1}},
                                         .weights = {1, &item},
                                         .grad_x = {out, DSV3_F32, 2, {1, n}, {n, 1}},
                                         .grad_weight = {out, DSV3_F32, 1, {n}, {1}}};
    ref_reading const rd = {&port, ref_none(), false};
    cr_assert(ref_dd.rmsnorm_backward(&rd, &prob, &io, (ref_value *const[]){legal, NULL}));
    return legal[0];
}

#define NORM_IN_F32 "acc 24 rn fused splits=1; div ieee; flush none; g f32 must; x_hat bf16 must; "

/* r g less x_hat r m, each rounded away from the other. */
Test(terms_of_gradients, a_mean_by_x_hat)
{
    float x[2] = {0x1.abp+0f, 0x1.7p+0f}, g[2] = {0x1.aa9p+0f, 0x1.6ffp+0f};
    float const r = 1 / sqrtf((x[0] * x[0] + x[1] * x[1]) / 2), x_hat[2] = {bf16(x[0] * r), bf16(x[1] * r)};
    float const m = (g[0] * x_hat[0] + g[1] * x_hat[1]) / 2;
    ref_value const legal = norm_gradient(NORM_IN_F32 "rsqrt recip", 2, x, g);
    expect(&legal, (double)(g[0] * r - x_hat[0] * r * m), "r g less x_hat r m");
}

/* The same over the root, whose reciprocal would be rounded the other way. */
Test(terms_of_gradients, a_product_over_the_root)
{
    float x[2] = {0x1.67p+0f, 0x1.53p+0f}, g[2] = {0x1.674p+0f, 0x1.52cp+0f};
    float const root = sqrtf((x[0] * x[0] + x[1] * x[1]) / 2), x_hat[2] = {bf16(x[0] / root), bf16(x[1] / root)};
    float const m = (g[0] * x_hat[0] + g[1] * x_hat[1]) / 2;
    ref_value const legal = norm_gradient(NORM_IN_F32 "rsqrt root", 2, x, g);
    expect(&legal, (double)(g[0] / root - x_hat[0] * m / root), "g over the root less x_hat m over the root");
}

/* x r^3 times the sum of g x, rounded four times one way, and then divided; the mean would be rounded the other way. */
Test(terms_of_gradients, a_mean_that_is_divided_late)
{
    static const int of_x[NORM] = {517, 508, 473, 497, 487, 472, 507, 483, 479, 487, 509, 502, 505, 500, 483};
    static const int of_g[NORM] = {1195, 1175, 1094, 1149, 1126, 1091, 1172, 1117,
                                   1108, 1126, 1177, 1161, 1168, 1156, 1117};
    float x[NORM], g[NORM], squares = 0, sum = 0;
    for (int i = 0; i < NORM; i++) {
        x[i] = (float)of_x[i] / 512, g[i] = (float)of_g[i] / 1024;
        squares += x[i] * x[i], sum += g[i] * x[i];
    }
    float const r = 1 / sqrtf(squares / NORM);
    ref_value const legal = norm_gradient(NORM_IN_F32 "rsqrt recip", NORM, x, g);
    expect(&legal, (double)(g[0] * r - x[0] * r * r * r * sum / NORM), "x r^3 times a sum, divided");
}
