/* swiglu, cross_entropy and quant as legal ports compute them, simulated operation by operation: no element may leave the
 * conforming ball. Then declarations that are false: some element does. */
#include "ref.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "declared.h"

TestSuite(elementwise, .timeout = 120);

static double normal(void)
{
    return sqrt(-2 * log(1 - drand48())) * cos(6.283185307179586 * drand48());
}

static float bf16(float v)
{
    return (float)ref_round(DSV3_BF16, (double)v);
}

static float flush(float v)
{
    return fabsf(v) < 0x1p-126f ? copysignf(0, v) : v;
}

/* ---- swiglu ---- */

static float as_product(float z)
{
    return z * (1 / (1 + expf(-z)));
}

static float as_quotient(float z)
{
    return z / (1 + expf(-z));
}

static float by_base_2(float z)
{
    return z / (1 + exp2f(-z * 1.44269504f));
}

static float in_binary64(float z)
{
    return (float)((double)z / (1 + exp(-(double)z)));
}

static float flushing(float z)
{
    z = flush(z);
    float const e = flush(expf(-z)), s = flush(1 / (1 + e));
    return flush(z * s);
}

/* A reciprocal that is 0 above 2^126, as fast divisions have it, and 2 units off. */
static float by_fast_reciprocal(float z)
{
    float const d = 1 + expf(-z);
    return d > 0x1p126f ? z * 0 : z * nextafterf(1 / d, HUGE_VALF);
}

static float silu_in_bf16(float z)
{
    return bf16(as_quotient(z));
}

static float rounded_sigmoid(float z)
{
    return z * bf16(1 / (1 + expf(-z)));
}

/* Sigmoids of operations whose results are BF16. */
static float composed_product(float z)
{
    return bf16(z * bf16(1 / bf16(1 + bf16(expf(-z)))));
}

static float composed_quotient(float z)
{
    return bf16(z / bf16(1 + bf16(expf(-z))));
}

static float composed_of_growing_power(float z)
{
    float const e = bf16(expf(z));
    return z > 80 ? z : bf16(z * bf16(e / bf16(1 + e)));
}

typedef struct {
    const char *name, *declared;
    float (*silu)(float);
    dsv3_dtype output;
} silu_port;

static const silu_port silu_ports[] = {
    {"product, undeclared", "", as_product, DSV3_F32},
    {"product", "sigmoid 3.1; flush none; silu f32 must", as_product, DSV3_F32},
    {"quotient, undeclared", "", as_quotient, DSV3_F32},
    {"quotient", "sigmoid 3.1; flush none; silu f32 must", as_quotient, DSV3_F32},
    {"base 2", "sigmoid 6 2; flush none; silu f32 must", by_base_2, DSV3_F32},
    {"binary64", "", in_binary64, DSV3_F32},
    {"binary64, declared", "sigmoid 0; flush none; silu f32 must", in_binary64, DSV3_F32},
    {"flushing, undeclared", "", flushing, DSV3_F32},
    {"flushing", "sigmoid 4; silu f32 must", flushing, DSV3_F32},
    {"fast reciprocal", "sigmoid 6; flush ftz; silu f32 must", by_fast_reciprocal, DSV3_F32},
    {"product, bf16", "", as_product, DSV3_BF16},
    {"sigmoid in bf16, undeclared", "", rounded_sigmoid, DSV3_BF16},
    {"sigmoid in bf16", "sigmoid 4; flush none; gate_sigmoid bf16 must; silu f32 must", rounded_sigmoid, DSV3_BF16},
    {"sigmoid by arith", "sigmoid 4; flush none; arith bf16; gate_sigmoid f32 may", rounded_sigmoid, DSV3_BF16},
    {"composed in bf16", "sigmoid 4; flush none; arith bf16", composed_product, DSV3_BF16},
    {"composed in bf16, binary32 inputs", "sigmoid 4; flush none; arith bf16", composed_product, DSV3_F32},
    {"composed in bf16, sigmoid in bf16", "sigmoid 4; flush none; arith bf16; gate_sigmoid bf16 must", composed_product,
     DSV3_BF16},
    {"composed in bf16, a quotient", "sigmoid 4; flush none; arith bf16; silu bf16 must", composed_quotient, DSV3_BF16},
    {"composed in bf16, of e^z", "sigmoid 4; flush none; arith bf16", composed_of_growing_power, DSV3_BF16},
    {"silu in bf16", "sigmoid 4; flush none; silu bf16 must", silu_in_bf16, DSV3_BF16},
};

static double swiglu_input(int kind)
{
    double const g = normal();
    switch (kind) {
    case 0: return 3 * g;
    case 1: return 60 * g;
    case 2: return -88 + g / 2;
    case 3: return -100 + 6 * g;
    case 4: return -ldexp(fabs(g), 7 + (int)(110 * drand48()));
    case 5: return ldexp(g, -120 - (int)(29 * drand48()));
    case 6: return 17 + g;
    default: return 0;
    }
}

/* Elements outside. */
static long run_swiglu(const silu_port *p, int rounds)
{
    ref_numerics const n = numerics("swiglu", p->declared);
    ref_reading const rd = {&n, ref_none(), false};
    dsv3_swiglu_prob const prob = {1, 1};
    long outside = 0;
    bool const flushes = n.flush != REF_FLUSH_NONE;
    for (int i = 0; i < rounds; i++) {
        float gate = (float)swiglu_input(i % 8), up = (float)ldexp(normal(), i % 7 ? 0 : (int)(60 * normal()));
        uint16_t gate16, up16;
        ref_value y;
        bool const narrow = p->output == DSV3_BF16;
        if (narrow) gate = bf16(gate), up = bf16(up);
        ref_encode(DSV3_BF16, &gate16, 0, (double)gate);
        ref_encode(DSV3_BF16, &up16, 0, (double)up);
        dsv3_swiglu_io const io = {
            .gate = {narrow ? (void *)&gate16 : &gate, p->output, 2, {1, 1}, {1, 1}},
            .up = {narrow ? (void *)&up16 : &up, p->output, 2, {1, 1}, {1, 1}},
            .y = {NULL, p->output, 2, {1, 1}, {1, 1}},
        };
        cr_assert(ref_dd.swiglu(&rd, &prob, &io, (ref_value *const[]){&y}));
        float got = p->silu(gate) * up;
        if (p->silu == flushing && flushes) got = flush(p->silu(gate) * flush(up));
        if (narrow) got = bf16(got);
        bool const good = inside(&y, (double)got);
        outside += !good;
        if (!good && outside == 1)
            printf("elementwise %s: gate %a up %a: %a not in [%a, %a]\n", p->name, (double)gate, (double)up,
                   (double)got, ref_lower(y), ref_upper(y));
    }
    return outside;
}

Test(elementwise, swiglu)
{
    srand48(21);
    for (size_t i = 0; i < sizeof silu_ports / sizeof *silu_ports; i++)
        cr_expect(run_swiglu(&silu_ports[i], 40000) == 0, "%s", silu_ports[i].name);
}

Test(elementwise, false_swiglu)
{
    static const silu_port rows[] = {
        {"base 2 without its slope", "sigmoid 4; flush none; silu f32 must", by_base_2, DSV3_F32},
        {"fast reciprocal as exact", "sigmoid 2; flush none; silu f32 must", by_fast_reciprocal, DSV3_F32},
        {"composed in bf16", "sigmoid 4; flush none; arith bf16 sigmoid=f32", composed_product, DSV3_BF16},
        {"silu kept in binary32", "sigmoid 4; flush none; silu bf16 must", as_quotient, DSV3_BF16},
        {"sigmoid in bf16", "sigmoid 4; flush none; gate_sigmoid f32 may; silu f32 must", rounded_sigmoid, DSV3_BF16},
        {"sigmoid in binary32", "sigmoid 4; flush none; gate_sigmoid bf16 must", as_product, DSV3_BF16},
        {"flushing, undeclared", "sigmoid 4; flush none; silu f32 must", flushing, DSV3_F32},
    };
    srand48(22);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect(run_swiglu(&rows[i], 40000) > 20, "%s is not found out", rows[i].name);
}

/* ---- cross_entropy ---- */

enum { MOST = 300 };

static float logits[MOST];

typedef struct {
    const char *name, *declared;
    bool online, base_2, truncates, log_softmax, binary64, weights_bf16, coarse; /* coarse: every result is BF16 */
} loss_port;

static const loss_port loss_ports[] = {
    {"undeclared", ""},
    {"maximum first", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none"},
    {"log-softmax", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none", .log_softmax = true},
    {"online", "acc 24 rn; div ieee; exp 2; log 2; flush none", .online = true},
    {"online, base 2 folded", "", .online = true, .base_2 = true},
    {"base 2 folded", "acc 24 rn; exp 2 2; rescales 0", .base_2 = true},
    {"truncating sums", "acc 24 rz; exp 2; rescales 0", .truncates = true},
    {"all in BF16", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; arith bf16", .coarse = true},
    {"log-softmax in BF16", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; arith bf16", .coarse = true,
     .log_softmax = true},
    {"binary64", "acc 53 rn; div ieee; exp 1e-4; log 1e-4; rescales 0; flush none", .binary64 = true},
};

static float kept(const loss_port *p, float v)
{
    return p->coarse ? bf16(v) : v;
}

static float power(const loss_port *p, float z, float m)
{
    float const c = 1.44269504f, weight = p->base_2 ? exp2f(fmaf(z, c, -(m * c))) : expf(kept(p, z - m));
    return p->weights_bf16 || p->coarse ? bf16(weight) : weight;
}

static float plus(const loss_port *p, float a, float b)
{
    return p->truncates ? (float)ref_truncate(DSV3_F32, (double)a + (double)b) : a + b;
}

static double loss_in_binary64(int n, int label)
{
    double sum = 0, m = -HUGE_VAL;
    for (int j = 0; j < n; j++) m = fmax(m, (double)logits[j]);
    for (int j = 0; j < n; j++) sum += exp((double)logits[j] - m);
    return log(sum) + (m - (double)logits[label]);
}

static double port_loss(const loss_port *p, int n, int label)
{
    float m = -INFINITY, l = 0;
    if (p->binary64) return loss_in_binary64(n, label);
    for (int j = 0; j < n && !p->online; j++) m = fmaxf(m, logits[j]);
    for (int j = 0; j < n; j++) {
        if (p->online && logits[j] > m) {
            l *= isinf(m) ? 0 : power(p, m, logits[j]);
            m = logits[j];
        }
        l = plus(p, l, power(p, logits[j], m));
    }
    float const ln = kept(p, logf(kept(p, l))), direct = kept(p, m + ln) - logits[label];
    float const shifted = -(kept(p, logits[label] - m) - ln);
    return (double)(p->log_softmax ? shifted : direct);
}

static void fill_logits(int kind, int n)
{
    double const base = 100 * normal();
    for (int j = 0; j < n; j++) {
        double const g = normal(),
                     v[] = {g, base, j == n / 3 ? 24 : g, 2500 * g, base + g, ldexp(g, -135), j ? -2000 : 0};
        logits[j] = (float)v[kind];
    }
}

/* Two tokens, the second ignored or with equal logits: losses, and the mean by both divisors. Elements outside. */
static long run_loss(const loss_port *p, int rounds)
{
    ref_numerics const numeric = numerics("cross_entropy", p->declared);
    ref_reading const rd = {&numeric, ref_none(), true};
    long outside = 0;
    for (int i = 0; i < rounds; i++) {
        int const n = 1 + (int)(drand48() * (MOST / 2 - 1)), label = i % 3 ? (int)(drand48() * n) : n / 3;
        bool const ignored = i % 5 < 2;
        int32_t labels[] = {label, ignored ? DSV3_IGNORED : 0};
        fill_logits(i % 7, n);
        for (int j = 0; j < n; j++) logits[n + j] = 0;
        double const kept = port_loss(p, n, label), second = ignored ? 0 : log((double)n);
        float stored[] = {(float)kept, (float)second}, mean;
        ref_value loss[2], legal_mean;
        dsv3_cross_entropy_prob const prob = {2, n, i % 2};
        dsv3_cross_entropy_io const io = {.logits = {logits, DSV3_F32, 2, {2, n}, {n, 1}},
                                          .labels = {labels, DSV3_I32, 1, {2}, {1}},
                                          .loss = {stored, DSV3_F32, 1, {2}, {1}},
                                          .mean = {&mean, DSV3_F32, 1, {1}, {1}}};
        double const sum = p->binary64 ? kept + second : (double)plus(p, stored[0], stored[1]);
        mean = (float)(sum / (i % 2 && ignored ? 1 : 2));
        cr_assert(ref_dd.cross_entropy(&rd, &prob, &io, (ref_value *const[]){loss, &legal_mean}));
        bool const good = inside(&loss[0], (double)stored[0]) && inside(&legal_mean, (double)mean);
        outside += !good || !inside(&loss[1], (double)stored[1]);
        if (!good && outside == 1)
            printf("elementwise %s, logits %d, n %d: %a not in [%a, %a], or the mean\n", p->name, i % 7, n,
                   (double)stored[0], ref_lower(loss[0]), ref_upper(loss[0]));
    }
    return outside;
}

Test(elementwise, cross_entropy)
{
    srand48(23);
    for (size_t i = 0; i < sizeof loss_ports / sizeof *loss_ports; i++)
        cr_expect(run_loss(&loss_ports[i], 3000) == 0, "%s", loss_ports[i].name);
}

Test(elementwise, false_cross_entropy)
{
    static const loss_port rows[] = {
        {"weights in BF16", "acc 24 rn; exp 2; log 2; rescales 0; flush none", .weights_bf16 = true},
        {"base 2, some bits short", "acc 24 rn; exp 2; log 2; rescales 0; flush none", .weights_bf16 = true,
         .base_2 = true},
    };
    srand48(24);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect(run_loss(&rows[i], 3000) > 20, "%s is not found out", rows[i].name);
}

/* The mean of 7 losses that are given, each divided before the sum or after it. */
Test(elementwise, means_of_ports)
{
    enum { N = 7 };
    ref_numerics const declared =
        numerics("cross_entropy", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; terms f32 must");
    ref_reading const rd = {&declared, ref_none(), true};
    float z[N * 2] = {0}, stored[N], mean;
    int32_t const labels[N] = {0};
    srand48(31);
    for (int round = 0; round < 2000; round++) {
        ref_value loss[N], legal;
        float after = 0, before = 0;
        for (int t = 0; t < N; t++) {
            stored[t] = round % 2 ? (float)drand48() : (float)rint(8 * drand48());
            after += stored[t];
            before += stored[t] / N;
        }
        dsv3_cross_entropy_prob const prob = {N, 2, 0};
        dsv3_cross_entropy_io const io = {.logits = {z, DSV3_F32, 2, {N, 2}, {2, 1}},
                                          .labels = {(void *)(uintptr_t)labels, DSV3_I32, 1, {N}, {1}},
                                          .loss = {stored, DSV3_F32, 1, {N}, {1}},
                                          .mean = {&mean, DSV3_F32, 1, {1}, {1}}};
        cr_assert(ref_dd.cross_entropy(&rd, &prob, &io, (ref_value *const[]){loss, &legal}));
        cr_assert(inside(&legal, (double)(after / N)) && inside(&legal, (double)before), "%a or %a not in [%a, %a]",
                  (double)(after / N), (double)before, ref_lower(legal), ref_upper(legal));
        cr_assert(legal.radius <= 0x1p-19 * legal.hi + 0x1p-140, "%g of %g", legal.radius, legal.hi);
    }
}

/* The exact fill: one logit 0, the rest vanish: one legal loss. */
Test(elementwise, selected_token)
{
    ref_numerics const declared = numerics("cross_entropy", "acc 24 rn; div ieee; exp 2; log 2; flush none");
    ref_reading const rd = {&declared, ref_none(), false};
    float z[] = {-1024, 0, -2048};
    for (int label = 0; label < 3; label++) {
        int32_t labels[] = {label};
        ref_value loss, mean;
        dsv3_cross_entropy_prob const prob = {1, 3, 0};
        dsv3_cross_entropy_io const io = {.logits = {z, DSV3_F32, 2, {1, 3}, {3, 1}},
                                          .labels = {labels, DSV3_I32, 1, {1}, {1}}};
        cr_assert(ref_dd.cross_entropy(&rd, &prob, &io, (ref_value *const[]){&loss, &mean}));
        cr_expect(loss.hi == -(double)z[label] && loss.radius == 0, "label %d: %g, radius %g", label, loss.hi,
                  loss.radius);
        cr_expect(mean.hi == loss.hi && mean.radius == 0);
    }
}

/* ---- quant ---- */

enum { TILE = 128 };

static float x[TILE], scale;
static uint8_t q[TILE];

typedef struct {
    const char *name, *declared;
    float (*make_scale)(float amax); /* amax > 0 */
    double (*ratio)(float v, float amax);
} quant_port;

static float divided(float amax)
{
    return amax / 448;
}

static float multiplied(float amax)
{
    return amax * (1 / 448.0f);
}

static float twice_inverted(float amax)
{
    return 1 / (448 / amax);
}

static float nudged(float amax)
{
    return nextafterf(nextafterf(amax / 448, HUGE_VALF), HUGE_VALF);
}

static double by_div(float v, float amax)
{
    (void)amax;
    return (double)(v / scale);
}

static double by_recip(float v, float amax)
{
    (void)amax;
    return (double)(v * (1 / scale));
}

static double by_first_inverse(float v, float amax)
{
    return (double)(v * (448 / amax));
}

static double exactly(float v, float amax)
{
    (void)amax;
    return (double)v / (double)scale;
}

static double by_fast_div(float v, float amax)
{
    (void)amax;
    return (double)nextafterf(nextafterf(v / scale, HUGE_VALF), HUGE_VALF);
}

static const quant_port quant_ports[] = {
    {"division, undeclared", "", divided, by_div},
    {"division", "div ieee; quotient div; flush none", divided, by_div},
    {"reciprocal, undeclared", "", multiplied, by_recip},
    {"reciprocal", "div ieee; quotient recip; flush none", divided, by_recip},
    {"reciprocal, one way or another", "div ieee; quotient any; flush none", divided, by_recip},
    {"inverse of the inverse", "div 2; quotient recip; flush none", twice_inverted, by_recip},
    {"first inverse", "", twice_inverted, by_first_inverse},
    {"first inverse, declared", "div 2; quotient any; flush none", twice_inverted, by_first_inverse},
    {"first inverse beside a quotient", "", divided, by_first_inverse},
    {"first inverse beside a quotient, declared", "div ieee; quotient recip; flush none", divided, by_first_inverse},
    {"first inverse beside a quotient, any", "div ieee; quotient any; flush none", divided, by_first_inverse},
    {"exact", "div ieee; quotient exact; flush none", divided, exactly},
    {"exact, undeclared", "", divided, exactly},
    {"fast division", "", nudged, by_fast_div},
    {"fast division, declared", "div 4; quotient div", nudged, by_fast_div},
};

static float raised_to_power(float s)
{
    int e;
    return frexpf(s, &e) == 0.5f ? s : ldexpf(1, e);
}

static void fill_tile(int kind)
{
    double const r = 1 + drand48();
    int const k = (int)(60 * drand48()) - 30;
    for (int i = 0; i < TILE; i++) {
        uint8_t const code = (uint8_t)(126 * drand48()), next = code + 1;
        double const middle = (ref_decode(DSV3_F8_E4M3, &code, 0) + ref_decode(DSV3_F8_E4M3, &next, 0)) / 2;
        double const beside = middle * (1 + (floor(3 * drand48()) - 1) * 0x1p-23);
        double const v[] = {normal(),
                            i ? middle : 448,
                            i ? beside : 448,
                            i ? normal() : 448 * (1 + 0x1p-23),
                            i ? beside : 3 * drand48() * 448,
                            (i ? beside : 448) * r};
        x[i] = (float)ldexp(v[kind], k) * (drand48() < 0.5 ? -1 : 1);
    }
}

static long run_quant(const quant_port *p, int rounds)
{
    ref_numerics const n = numerics("quant", p->declared);
    ref_reading const rd = {&n, ref_none(), true};
    long outside = 0;
    for (int i = 0; i < rounds; i++) {
        ref_value legal_scale, legal[TILE];
        dsv3_quant_prob const prob = {1, TILE, 0, i / 6 % 2 && p->ratio != by_first_inverse};
        dsv3_quant_io const io = {.x = {x, DSV3_F32, 2, {1, TILE}, {TILE, 1}},
                                  .scale = {&scale, DSV3_F32, 2, {1, 1}, {1, 1}},
                                  .q = {q, DSV3_F8_E4M3, 2, {1, TILE}, {TILE, 1}}};
        float amax = 0;
        fill_tile(i % 6);
        for (int k = 0; k < TILE; k++) amax = fmaxf(amax, fabsf(x[k]));
        scale = prob.scale_fmt ? raised_to_power(p->make_scale(amax)) : p->make_scale(amax);
        for (int k = 0; k < TILE; k++) ref_encode(DSV3_F8_E4M3, q, k, fmin(fmax(p->ratio(x[k], amax), -448), 448));
        cr_assert(ref_dd.quant(&rd, &prob, &io, (ref_value *const[]){&legal_scale, legal}));
        long const before = outside;
        outside += !inside(&legal_scale, (double)scale);
        for (int k = 0; k < TILE; k++) outside += !inside(&legal[k], ref_decode(DSV3_F8_E4M3, q, k));
        if (!before && outside)
            printf("elementwise %s, tile %d: scale %a, legal [%a, %a], or a code\n", p->name, i % 6, (double)scale,
                   ref_lower(legal_scale), ref_upper(legal_scale));
    }
    return outside;
}

Test(elementwise, quant)
{
    srand48(25);
    for (size_t i = 0; i < sizeof quant_ports / sizeof *quant_ports; i++)
        cr_expect(run_quant(&quant_ports[i], 1000) == 0, "%s", quant_ports[i].name);
}

Test(elementwise, false_quant)
{
    static const quant_port rows[] = {
        {"reciprocal said to be a division", "div ieee; quotient div; flush none", divided, by_recip},
        {"division said to be exact", "div ieee; quotient exact; flush none", divided, by_fast_div},
        {"scale by a reciprocal", "div ieee; quotient div; flush none", multiplied, by_div},
        {"fast division said to be right", "div ieee; quotient any; flush none", nudged, by_div},
    };
    srand48(26);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect(run_quant(&rows[i], 1000) > 5, "%s is not found out", rows[i].name);
}

/* What the grammar refuses. */
Test(elementwise, declarations)
{
    static const struct {
        const char *op, *text, *says;
    } rows[] = {
        {"quant", "quotient often", "quotient is any, exact, div or recip"},
        {"quant", "quotient", "quotient is any, exact, div or recip"},
        {"linear", "quotient div", "'quotient' is unknown to linear"},
        {"swiglu", "rescales 0", "'rescales' is unknown to swiglu"},
        {"cross_entropy", "sigmoid 4", "'sigmoid' is unknown to cross_entropy"},
        {"quant", "scale f32 may", "scale is an output"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ref_numerics n;
        char why[400] = "";
        cr_expect(!ref_numerics_parse(rows[i].op, rows[i].text, &n, why, sizeof why), "%s", rows[i].text);
        cr_expect(strstr(why, rows[i].says) != NULL, "'%s' of %s: %s", rows[i].text, rows[i].op, why);
    }
    char text[400];
    ref_numerics const n = numerics("quant", "quotient recip");
    ref_numerics_print("quant", &n, false, text, sizeof text);
    cr_expect(!strcmp(text, "div 4; quotient recip; flush daz; arith f32"), "%s", text);
}
