/*
 * Whole ops as legal ports compute them, simulated operation by operation: RMSNorm in eleven ways, FP8 linear in seven,
 * on data that underflows, overflows, cancels or is exact. No element may leave the conforming ball. Then corners, one
 * row each, in which a result that looks wrong is legal.
 */
#include "ref.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "declared.h"

TestSuite(simulated, .timeout = 120);

enum { WIDTH = 300, BLOCK = 128 };

static float x[WIDTH], residual[WIDTH], weight[WIDTH], y[WIDTH];
static ref_value legal[WIDTH];
static ref_set quirks; /* of the next norm_legal */
static uint16_t x16[WIDTH], residual16[WIDTH], weight16[WIDTH];

static float bf16(float v)
{
    return (float)ref_round(DSV3_BF16, (double)v);
}

/* ---- arithmetic of a port ---- */

typedef struct {
    bool flushes;   /* subnormal results and factors are 0 */
    bool truncates; /* the accumulator rounds toward zero */
} arithmetic;

static float flush(const arithmetic *a, float v)
{
    return a->flushes && fabsf(v) < 0x1p-126f ? 0 : v;
}

static float multiply(const arithmetic *a, float p, float q)
{
    return flush(a, flush(a, p) * flush(a, q));
}

static float add(const arithmetic *a, float p, float q)
{
    return flush(a, flush(a, p) + flush(a, q));
}

/* A product or a sum of the accumulator; both are exact in binary64 or nearly, and cut from there. */
static float rounded(const arithmetic *a, double v)
{
    return flush(a, a->truncates && isfinite(v) ? (float)ref_truncate(DSV3_F32, v) : (float)v);
}

static float accumulate(const arithmetic *a, float sum, float p, float q)
{
    float const product = rounded(a, (double)flush(a, p) * (double)flush(a, q));
    return rounded(a, (double)sum + (double)product);
}

/* ---- data ---- */

typedef enum { ORDINARY, TINY, SUBNORMAL, HUGE_VALUES, SPIKE, ZERO, WHOLE, DECADES, DATA } data_kind;

static const char *const data_names[] = {"ordinary", "tiny", "subnormal", "huge", "spike", "zero", "whole", "decades"};

static double uniform(void)
{
    return 2 * drand48() - 1;
}

static float draw(data_kind kind, int i)
{
    switch (kind) {
    case TINY: return (float)(uniform() * 0x1p-72);
    case SUBNORMAL: return (float)ldexp(rint(100 * uniform()), -149 + (int)(20 * drand48()));
    case HUGE_VALUES: return (float)(uniform() * 0x1p58);
    case SPIKE: return i == 3 ? 1e4f : 1e-3f;
    case ZERO: return 0;
    case WHOLE: return (float)rint(4 * uniform());
    case DECADES: return (float)(uniform() * exp2(60 * uniform()));
    default: return (float)uniform();
    }
}

static void fill(data_kind kind, bool as_bf16)
{
    for (int i = 0; i < WIDTH; i++) {
        x[i] = draw(kind, i), residual[i] = draw(kind, i + 1), weight[i] = draw(kind == ZERO ? WHOLE : kind, i);
        if (kind == TINY) weight[i] = (float)uniform();
        if (!as_bf16) continue;
        x[i] = bf16(x[i]), residual[i] = bf16(residual[i]), weight[i] = bf16(weight[i]);
        ref_encode(DSV3_BF16, x16, i, (double)x[i]);
        ref_encode(DSV3_BF16, residual16, i, (double)residual[i]);
        ref_encode(DSV3_BF16, weight16, i, (double)weight[i]);
    }
}

/* ---- RMSNorm ---- */

typedef struct {
    const char *name, *declared;
    arithmetic a;
    bool backward;     /* sums from the end */
    bool reciprocal;   /* multiplies by 1 / n, and by 1 / sqrt from a reciprocal with an error of 2 units */
    bool weight_first; /* (z weight) r */
    bool norm_bf16;    /* x_norm is rounded to BF16 */
    bool z_rounded;    /* z is rounded to the output's format, not kept in binary32 */
    bool binary64;     /* all in binary64, rounded once at the end */
    int only;          /* DSV3_BF16, or DSV3_F32, or 0: both */
} norm_port;

static const norm_port norm_ports[] = {
    {.name = "plain, undeclared", .declared = ""},
    {.name = "plain", .declared = "acc 24 rn; rsqrt ieee; div ieee; flush none; x_norm f32 must; z f32 must"},
    {.name = "backward, reciprocals", .declared = "", .backward = true, .reciprocal = true},
    {.name = "backward, reciprocals, declared",
     .declared = "acc 24 rn; rsqrt 5; div 2; flush none",
     .backward = true,
     .reciprocal = true},
    {.name = "weight first", .declared = "rsqrt 5", .weight_first = true},
    {.name = "x_norm in BF16",
     .declared = "acc 24 rn; rsqrt ieee; div ieee; flush none; x_norm bf16 must; z bf16 must",
     .norm_bf16 = true,
     .z_rounded = true,
     .only = DSV3_BF16},
    {.name = "flushing",
     .declared = "acc 24 rn; rsqrt ieee; div ieee; x_norm f32 must; z f32 must",
     .a = {true, false}},
    {.name = "truncating, flushing, undeclared", .declared = "", .a = {true, true}, .z_rounded = true},
    {.name = "truncating",
     .declared = "acc 24 rz guard=255; rsqrt ieee; div ieee; flush none; x_norm f32 must; z f32 must",
     .a = {false, true}},
    {.name = "binary64, undeclared", .declared = "", .binary64 = true},
    {.name = "binary64", .declared = "acc 53 rn; rsqrt 1; div 1; flush none; z f32 may", .binary64 = true},
};

static float z_of(const norm_port *p, int i, bool has_residual, bool as_bf16)
{
    float const z = has_residual ? add(&p->a, x[i], residual[i]) : flush(&p->a, x[i]);
    return p->z_rounded && as_bf16 ? bf16(z) : z;
}

static float inverse_rms(const norm_port *p, const float *z, int n, float eps)
{
    float sum = 0;
    for (int i = 0; i < n; i++) {
        float const v = z[p->backward ? n - 1 - i : i];
        sum = accumulate(&p->a, sum, v, v);
    }
    if (p->reciprocal) {
        float const r = (float)(1 / sqrt((double)(sum * (1 / (float)n) + eps)));
        return nextafterf(nextafterf(r, HUGE_VALF), HUGE_VALF);
    }
    return 1 / sqrtf(add(&p->a, flush(&p->a, sum / (float)n), flush(&p->a, eps)));
}

static void norm_binary32(const norm_port *p, int n, double eps, bool has_residual, bool as_bf16)
{
    float z[WIDTH];
    for (int i = 0; i < n; i++) z[i] = z_of(p, i, has_residual, as_bf16);
    float const r = inverse_rms(p, z, n, (float)eps);
    for (int i = 0; i < n; i++) {
        float const first = multiply(&p->a, z[i], p->weight_first ? weight[i] : r);
        y[i] = multiply(&p->a, p->norm_bf16 ? bf16(first) : first, p->weight_first ? r : weight[i]);
    }
}

static void norm_binary64(int n, double eps, bool has_residual)
{
    double z[WIDTH], sum = 0;
    for (int i = 0; i < n; i++) {
        z[i] = (double)x[i] + (has_residual ? (double)residual[i] : 0);
        sum += z[i] * z[i];
    }
    double const r = 1 / sqrt(sum / n + eps);
    for (int i = 0; i < n; i++) y[i] = (float)(z[i] * r * (double)weight[i]);
}

static void norm_legal(const ref_numerics *declared, int n, double eps, bool has_residual, bool as_bf16)
{
    dsv3_dtype const d = as_bf16 ? DSV3_BF16 : DSV3_F32;
    dsv3_weight const item = {"weight", {as_bf16 ? (void *)weight16 : weight, d, 1, {n}, {1}}};
    dsv3_rmsnorm_prob const prob = {1, n, eps, has_residual};
    dsv3_rmsnorm_io const io = {.x = {as_bf16 ? (void *)x16 : x, d, 2, {1, n}, {n, 1}},
                                .residual = {as_bf16 ? (void *)residual16 : residual, d, 2, {1, n}, {n, 1}},
                                .weights = {1, &item},
                                .y = {NULL, d, 2, {1, n}, {n, 1}}};
    ref_reading const rd = {declared, quirks};
    cr_assert(ref_dd.rmsnorm(&rd, &prob, &io, (ref_value *const[]){legal, NULL}));
}

/* One row; returns how many elements were judged against something. */
static int try_norm(const norm_port *p, const ref_numerics *declared, data_kind kind, int n, double eps, int variant)
{
    bool const has_residual = variant & 1, as_bf16 = variant & 2;
    int judged = 0;
    if (p->only && (p->only == DSV3_BF16) != as_bf16) return 0;
    fill(kind, as_bf16);
    norm_legal(declared, n, eps, has_residual, as_bf16);
    if (p->binary64)
        norm_binary64(n, eps, has_residual);
    else
        norm_binary32(p, n, eps, has_residual, as_bf16);
    for (int i = 0; i < n; i++) {
        float const got = as_bf16 ? bf16(y[i]) : y[i];
        judged += !isinf(legal[i].radius);
        cr_assert(inside(&legal[i], got), "%s, %s, n %d, eps %g, residual %d, %s: %d is %a, not in [%a, %a]", p->name,
                  data_names[kind], n, eps, has_residual, as_bf16 ? "bf16" : "f32", i, (double)got, ref_lower(legal[i]),
                  ref_upper(legal[i]));
    }
    return judged;
}

Test(simulated, rmsnorm)
{
    static const int widths[] = {1, 3, 4, 37, WIDTH};
    static const double eps[] = {1e-6, 0, 1e-20, 1e-42};
    long judged = 0;
    srand48(12);
    for (size_t p = 0; p < sizeof norm_ports / sizeof *norm_ports; p++) {
        ref_numerics const declared = numerics("rmsnorm", norm_ports[p].declared);
        for (data_kind kind = 0; kind < DATA; kind++)
            for (int w = 0; w < 5; w++)
                for (int e = 0; e < 4; e++)
                    for (int variant = 0; variant < 4 * (widths[w] < 40 ? 12 : 1); variant++)
                        judged += try_norm(&norm_ports[p], &declared, kind, widths[w], eps[e], variant % 4);
    }
    printf("simulated rmsnorm: %ld elements judged\n", judged);
    cr_expect(judged > 100000);
}

/* ---- FP8 linear, one output ---- */

typedef struct {
    const char *name, *declared;
    arithmetic a;
    bool block_sums;  /* sums a block's codes, then scales the sum */
    bool weight_bf16; /* dequantises to BF16 */
    bool scaled_bf16; /* elementwise arithmetic is BF16 */
    bool fused_scale; /* one fma for scaling and adding */
    bool y_bf16;
} fp8_port;

static const fp8_port fp8_ports[] = {
    {.name = "dequantises, undeclared", .declared = ""},
    {.name = "dequantises", .declared = "acc 24 rn; flush none; weight f32 must"},
    {.name = "dequantises to BF16", .declared = "weight bf16 must", .weight_bf16 = true, .y_bf16 = true},
    {.name = "scales block sums", .declared = "acc 24 rn; flush none", .block_sums = true},
    {.name = "scales block sums, fused", .declared = "", .block_sums = true, .fused_scale = true, .y_bf16 = true},
    {.name = "scales block sums, flushing", .declared = "", .a = {true, true}, .block_sums = true},
    {.name = "scales block sums in BF16",
     .declared = "acc 24 rn; flush none; arith bf16",
     .block_sums = true,
     .scaled_bf16 = true},
};

static uint8_t codes[WIDTH];
static float scales[3];

static float block_sums(const fp8_port *p, int n)
{
    float total = 0;
    for (int from = 0; from < n; from += BLOCK) {
        float sum = 0;
        float const scale = flush(&p->a, scales[from / BLOCK]);
        for (int i = from; i < n && i < from + BLOCK; i++)
            sum = accumulate(&p->a, sum, x[i], (float)ref_decode(DSV3_F8_E4M3, codes, i));
        float const scaled = p->scaled_bf16 ? bf16(sum * scale) : multiply(&p->a, sum, scale);
        total = p->fused_scale ? fmaf(sum, scale, total) : rounded(&p->a, (double)total + (double)scaled);
    }
    return total;
}

static float dequantised(const fp8_port *p, int n)
{
    float total = 0;
    for (int i = 0; i < n; i++) {
        float const w = multiply(&p->a, (float)ref_decode(DSV3_F8_E4M3, codes, i), scales[i / BLOCK]);
        total = accumulate(&p->a, total, x[i], p->weight_bf16 ? bf16(w) : w);
    }
    return total;
}

static void fp8_legal(const ref_numerics *declared, int n, bool y_bf16)
{
    dsv3_weight const items[] = {{"weight", {codes, DSV3_F8_E4M3, 2, {1, n}, {n, 1}}},
                                 {"weight_scale_inv", {scales, DSV3_F32, 2, {1, (n + 127) / 128}, {3, 1}}}};
    dsv3_linear_prob const prob = {1, n, 1};
    dsv3_linear_io const io = {.x = {x, DSV3_F32, 2, {1, n}, {n, 1}},
                               .weights = {2, items},
                               .y = {NULL, y_bf16 ? DSV3_BF16 : DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {declared, ref_none()};
    cr_assert(ref_dd.linear(&rd, &prob, &io, (ref_value *const[]){legal}));
}

Test(simulated, fp8_linear)
{
    static const int widths[] = {1, 2, 5, 128, 129, WIDTH};
    long judged = 0;
    srand48(13);
    for (size_t p = 0; p < sizeof fp8_ports / sizeof *fp8_ports; p++) {
        const fp8_port *const port = &fp8_ports[p];
        ref_numerics const declared = numerics("linear", port->declared);
        for (data_kind kind = 0; kind < DATA; kind++)
            for (int round = 0; round < 600; round++) {
                int const n = widths[round % 6], scale_kind = round / 6 % 4;
                fill(kind, round % 2);
                for (int i = 0; i < n; i++)
                    ref_encode(DSV3_F8_E4M3, codes, i, kind == WHOLE ? rint(8 * uniform()) : 448 * pow(uniform(), 5));
                for (int b = 0; b < 3; b++)
                    scales[b] = (float)(scale_kind == 0   ? exp2(8 * uniform())
                                        : scale_kind == 1 ? ldexp(1, (int)(40 * uniform()))
                                        : scale_kind == 2 ? 0x1p-130 * drand48()
                                                          : 0x1p30 * drand48());
                fp8_legal(&declared, n, port->y_bf16);
                float const sum = port->block_sums ? block_sums(port, n) : dequantised(port, n);
                float const got = port->y_bf16 ? bf16(sum) : sum;
                judged += !isinf(legal[0].radius);
                cr_assert(inside(&legal[0], got), "%s, %s, n %d, scales %a: %a not in [%a, %a]", port->name,
                          data_names[kind], n, (double)scales[0], (double)got, ref_lower(legal[0]),
                          ref_upper(legal[0]));
            }
    }
    printf("simulated fp8 linear: %ld sums judged\n", judged);
    cr_expect(judged > 20000);
}

/* ---- corners ---- */

/* A mean below the smallest subnormal number is rounded up to it: 1 / sqrt(2^-149), not 1 / sqrt(2^-149 2 / 3). */
Test(simulated, a_mean_that_underflows)
{
    arithmetic const keeps = {false, false};
    static const char *const declared[] = {"acc 24 rn; flush none", "", "acc 24 rn; flush none; div ieee; rsqrt ieee"};
    x[0] = 0x1p-74f, x[1] = x[2] = 0, weight[0] = weight[1] = weight[2] = 1;
    for (int i = 0; i < 6; i++) {
        ref_numerics const d = numerics("rmsnorm", declared[i % 3]);
        quirks = ref_only(i < 3 ? -1 : QUIRK_A3_eps_missing); /* eps is 0: the same, without the sum */
        norm_legal(&d, 3, 0, false, false);
        norm_binary32(&(norm_port){.a = keeps}, 3, 0, false, false);
        cr_expect(y[0] == sqrtf(2) && inside(&legal[0], y[0]), "%s: %a not in [%a, %a]", declared[i % 3], (double)y[0],
                  ref_lower(legal[0]), ref_upper(legal[0]));
    }
}

/* y = sum x w, n terms, in binary32. */
static ref_value sum_legal(const char *declared, int n)
{
    ref_numerics const d = numerics("linear", declared);
    dsv3_weight const item = {"weight", {weight, DSV3_F32, 2, {1, n}, {n, 1}}};
    dsv3_linear_prob const prob = {1, n, 1};
    dsv3_linear_io const io = {
        .x = {x, DSV3_F32, 2, {1, n}, {n, 1}}, .weights = {1, &item}, .y = {NULL, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {&d, ref_none()};
    cr_assert(ref_dd.linear(&rd, &prob, &io, (ref_value *const[]){legal}));
    return legal[0];
}

/* Sums of two products a b + c d, and what a port with this arithmetic may say. */
Test(simulated, corners_of_sums)
{
    static const struct {
        const char *name, *declared;
        float x[2], w[2];
        double got;
        bool legal;
    } rows[] = {
        {"truncation loses a subnormal",
         "acc 24 rz guard=255; flush none",
         {0x1.ffp-75f, 0x1.ffp-75f},
         {0x1p-75f, 0x1p-75f},
         0,
         true},
        {"to nearest it does not", "acc 24 rn; flush none", {0x1.ffp-75f, 0x1.ffp-75f}, {0x1p-75f, 0x1p-75f}, 0, false},
        {"8 bits keep less near 0", "acc 8 rn; flush none", {0x1p-70f, 0}, {0x1p-70f, 0}, 0, true},
        {"24 bits keep it", "acc 24 rn; flush none", {0x1p-70f, 0}, {0x1p-70f, 0}, 0, false},
        {"flushed before it is rounded up", "acc 24 rn; flush ftz", {0x1.fffffep-64f, 0}, {0x1p-63f, 0}, 0, true},
        {"exact with 14 bits", "acc 14 rz block=32", {8191, 1}, {1, 1}, 8192, true},
        {"exact with 14 bits, one less", "acc 14 rz block=32", {8191, 1}, {1, 1}, 8191, false},
        {"unfused products of a block lose",
         "acc 14 rz fused block=32 promote=128 bits2=24",
         {16384, 3.5f},
         {1, 1},
         16384,
         true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        memcpy(x, rows[i].x, sizeof rows[i].x);
        memcpy(weight, rows[i].w, sizeof rows[i].w);
        ref_value const v = sum_legal(rows[i].declared, 2);
        cr_expect(inside(&v, (float)rows[i].got) == rows[i].legal, "%s: %a, [%a, %a]", rows[i].name, rows[i].got,
                  ref_lower(v), ref_upper(v));
    }
}

/* A product below 2^-126 that rounds up to it: 0 where flushing looks before rounding, 2^-126 where it looks after. */
Test(simulated, flushed_before_or_after_rounding)
{
    static const float rows[][2] = {{1, 7}, {7, 17}, {7, 23}, {1, 41}, {17, 31}, {23, 47}, {31, 49}, {7, 73}};
    ref_numerics const d = numerics("rmsnorm", "acc 24 rn; rsqrt ieee; div ieee; flush ftz; x_norm f32 must");
    int tried = 0;
    for (size_t i = 0; i < 2 * (sizeof rows / sizeof *rows); i++) {
        memcpy(x, rows[i / 2], sizeof *rows);
        weight[0] = weight[1] = 1;
        norm_binary32(&(norm_port){.declared = NULL}, 2, 0, false, false);
        float const x_norm = y[i % 2];
        weight[i % 2] = 0x1p-126f / x_norm;
        double const product = (double)x_norm * (double)weight[i % 2];
        if (!(product < 0x1p-126 && (double)(float)product == 0x1p-126)) continue;
        norm_legal(&d, 2, 0, false, false);
        cr_expect(inside(&legal[i % 2], 0) && inside(&legal[i % 2], 0x1p-126f), "%g, %g: [%a, %a]", (double)x[0],
                  (double)x[1], ref_lower(legal[i % 2]), ref_upper(legal[i % 2]));
        tried++;
    }
    cr_expect(tried > 0);
}

/* One FP8 weight and its scale. */
Test(simulated, corners_of_scales)
{
    static const struct {
        const char *name, *declared;
        double code;
        float x, scale;
        double got;
        bool legal;
    } rows[] = {
        {"a subnormal scale reads as 0", "", 448, 1, 0x1p-127f, 0, true},
        {"unless nothing is flushed", "flush none", 448, 1, 0x1p-127f, 0, false},
        {"a product flushed before the scale", "", 0x1p-9, 0x1p-126f, 0x1p20f, 0, true},
        {"the same when nothing is flushed", "flush none", 0x1p-9, 0x1p-126f, 0x1p20f, 0, false},
        {"exact", "", 3, 5, 0x1p-3f, 1.875, true},
        {"exact, one unit off", "", 3, 5, 0x1p-3f, 1.875 + 0x1p-23, false},
        {"a scale rounded to BF16 arithmetic", "arith bf16; flush none; acc 24 rn; weight f32 must", 1, 1, 1 + 0x1p-9f,
         1, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        x[0] = rows[i].x, scales[0] = rows[i].scale;
        ref_encode(DSV3_F8_E4M3, codes, 0, rows[i].code);
        ref_numerics const d = numerics("linear", rows[i].declared);
        fp8_legal(&d, 1, false);
        cr_expect(inside(&legal[0], (float)rows[i].got) == rows[i].legal, "%s: %a, [%a, %a]", rows[i].name, rows[i].got,
                  ref_lower(legal[0]), ref_upper(legal[0]));
    }
}

/* Scales are found by their stride: what lies between the rows of weight_scale_inv is no scale. */
Test(simulated, padded_scales)
{
    enum { ROWS = 129 };
    static uint8_t tall[ROWS];
    static float const padded[] = {1, 0x1p100f, 0x1p20f, 0x1p100f};
    ref_value v[ROWS];
    for (int i = 0; i < ROWS; i++) ref_encode(DSV3_F8_E4M3, tall, i, 0x1p-9);
    x[0] = 0x1p-126f;
    dsv3_weight const items[] = {{"weight", {tall, DSV3_F8_E4M3, 2, {ROWS, 1}, {1, 1}}},
                                 {"weight_scale_inv", {(void *)(uintptr_t)padded, DSV3_F32, 2, {2, 1}, {2, 1}}}};
    dsv3_linear_prob const prob = {1, 1, ROWS};
    dsv3_linear_io const io = {
        .x = {x, DSV3_F32, 2, {1, 1}, {1, 1}}, .weights = {2, items}, .y = {NULL, DSV3_F32, 2, {1, ROWS}, {ROWS, 1}}};
    ref_numerics const d = numerics("linear", "");
    ref_reading const rd = {&d, ref_none()};
    cr_assert(ref_dd.linear(&rd, &prob, &io, (ref_value *const[]){v}));
    cr_expect(ref_lower(v[ROWS - 1]) <= 0, "the last block's scale is 2^20: [%a, %a]", ref_lower(v[ROWS - 1]),
              ref_upper(v[ROWS - 1]));
    cr_expect(ref_upper(v[0]) < 0x1p-60, "the padding was taken for a scale: up to %a", ref_upper(v[0]));
}

/* Input that is no number makes any value legal, and nothing worse happens. */
Test(simulated, infinite_inputs)
{
    static const ref_table *const tiers[] = {&ref_dd, &ref_256};
    float const bad[] = {(float)INFINITY, (float)NAN};
    for (int i = 0; i < 4; i++) {
        float in[] = {1, bad[i / 2]}, gain[] = {1, 1};
        dsv3_weight const item = {"weight", {gain, DSV3_F32, 2, {1, 2}, {2, 1}}};
        dsv3_linear_prob const prob = {1, 2, 1};
        dsv3_linear_io const io = {
            .x = {in, DSV3_F32, 2, {1, 2}, {2, 1}}, .weights = {1, &item}, .y = {NULL, DSV3_F32, 2, {1, 1}, {1, 1}}};
        ref_numerics const d = numerics("linear", "");
        ref_reading const rd = {i % 2 ? &d : NULL, ref_none()};
        for (int t = 0; t < 2; t++) {
            cr_assert(tiers[t]->linear(&rd, &prob, &io, (ref_value *const[]){legal}));
            cr_expect(isinf(legal[0].radius), "tier %s, %g", tiers[t]->tier, (double)bad[i / 2]);
        }
    }
}
