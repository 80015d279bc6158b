/*
 * The conforming reading against ports that are simulated: legal accumulators of every kind never leave the ball,
 * exact fills are hit bit for bit, and accumulators that do less than declared are found out.
 */
#include "ref.h"

#include <criterion/criterion.h>
#include <math.h>
#include <mpfr.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(reading, .timeout = 120);

enum { MOST = 7168 };

/* ---- simulated accumulators ---- */

static float *x, *w;

static double truncate_to(double v, int bits)
{
    int e;
    if (v == 0) return 0;
    double const m = frexp(v, &e);
    return ldexp(trunc(ldexp(m, bits)), e - bits);
}

static float flush(float v)
{
    return fabsf(v) < 0x1p-126f ? 0 : v;
}

static double sequential(int64_t n)
{
    float s = 0;
    for (int64_t i = 0; i < n; i++) s += x[i] * w[i];
    return s;
}

static double backward(int64_t n)
{
    float s = 0;
    for (int64_t i = n; i-- > 0;) s += x[i] * w[i];
    return s;
}

static float tree(int64_t from, int64_t to)
{
    return to - from == 1 ? x[from] * w[from] : tree(from, (from + to) / 2) + tree((from + to) / 2, to);
}

static double pairwise(int64_t n)
{
    return tree(0, n);
}

static double fused_lanes(int64_t n)
{
    float lane[16] = {0}, s = 0;
    for (int64_t i = 0; i < n; i++) lane[i % 16] = fmaf(x[i], w[i], lane[i % 16]);
    for (int l = 0; l < 16; l++) s += lane[l];
    return s;
}

static double truncating(int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s = truncate_to(s + truncate_to((double)x[i] * (double)w[i], 24), 24);
    return s;
}

static double flushing(int64_t n)
{
    float s = 0;
    for (int64_t i = 0; i < n; i++) s = flush(s + flush(flush(x[i]) * flush(w[i])));
    return s;
}

/* A tensor core: blocks of B products and the running sum, aligned to the largest and cut to t + e bits, added exactly,
 * cut to t bits. */
static double tensor_core(int64_t from, int64_t to, int t, int block, int guard)
{
    double c = 0;
    for (int64_t i = from; i < to; i += block) {
        int64_t const end = i + block < to ? i + block : to;
        double largest = fabs(c), sum = 0;
        for (int64_t k = i; k < end; k++) largest = fmax(largest, fabs((double)x[k] * (double)w[k]));
        if (largest == 0) continue;
        double const unit = ldexp(1, ilogb(largest) - (t - 1) - guard);
        for (int64_t k = i; k < end; k++) sum += trunc((double)x[k] * (double)w[k] / unit) * unit;
        c = truncate_to(sum + trunc(c / unit) * unit, t);
    }
    return c;
}

static double core_24_16_1(int64_t n)
{
    return tensor_core(0, n, 24, 16, 1);
}

static double core_24_4_0(int64_t n)
{
    return tensor_core(0, n, 24, 4, 0);
}

static double core_14_promoted(int64_t n)
{
    float s = 0;
    for (int64_t i = 0; i < n; i += 128) s += (float)tensor_core(i, i + 128 < n ? i + 128 : n, 14, 32, 0);
    return s;
}

/* As many chains, each promoted after every 4 products, merged in order in binary32. */
static double chains_promoted(int64_t n, int64_t chains)
{
    int64_t const length = (n + chains - 1) / chains;
    float sum = 0;
    for (int64_t from = 0; from < n; from += length) {
        int64_t const to = from + length < n ? from + length : n;
        float chain = 0;
        for (int64_t i = from; i < to; i += 4) chain += (float)tensor_core(i, i + 4 < to ? i + 4 : to, 24, 4, 255);
        sum += chain;
    }
    return (double)sum;
}

static double four_chains_promoted(int64_t n)
{
    return chains_promoted(n, 4);
}

static double core_14(int64_t n)
{
    return tensor_core(0, n, 14, 32, 0);
}

typedef struct {
    const char *name;
    double (*run)(int64_t n);
    const char *declared;
} accumulator;

static const accumulator legal[] = {
    {"sequential", sequential, "acc 24 rn; flush none"},
    {"sequential, undeclared", sequential, ""},
    {"backward", backward, "acc 24 rn; flush none"},
    {"pairwise", pairwise, "acc 24 rn; flush none"},
    {"16 fused lanes", fused_lanes, "acc 24 rn fused splits=16; flush none"},
    {"16 fused lanes, undeclared", fused_lanes, ""},
    {"truncating", truncating, "acc 24 rz; flush none"},
    {"truncating, undeclared", truncating, ""},
    {"flushing", flushing, "acc 24 rn; flush daz"},
    {"flushing, undeclared", flushing, ""},
    {"tensor core 24/16/1", core_24_16_1, "acc 24 rz block=16 guard=1"},
    {"tensor core 24/4/0", core_24_4_0, "acc 24 rz block=4"},
    {"tensor core 14/32/0 promoted", core_14_promoted, "acc 14 rz block=32 promote=128 bits2=24"},
    {"the same, products exact", core_14_promoted, "acc 14 rz fused block=32 promote=128 bits2=24"},
    {"4 chains, promoted", four_chains_promoted, "acc 24 rz fused block=4 guard=255 promote=4 bits2=24 splits=4"},
    {"tensor core 24/16/1, one chain", core_24_16_1, "acc 24 rz fused block=16 guard=1 splits=1"},
    {"tensor core 24/16/1, undeclared", core_24_16_1, ""},
    {"tensor core 24/4/0, undeclared", core_24_4_0, ""},
    {"truncating, no alignment", truncating, "acc 24 rz guard=255 splits=1; flush none"},
};

/* ---- data ---- */

typedef enum { RANDOM, POSITIVE, EQUAL, CANCELLING, TINY, WHOLE, DATA } data_kind;

static const char *const data_names[] = {"random", "positive", "equal", "cancelling", "tiny", "whole"};

static void fill(data_kind kind, int64_t n, bool bf16)
{
    double const constant = 0.5 + drand48();
    for (int64_t i = 0; i < n; i++) {
        double a = drand48() - 0.5, b = drand48() - 0.5;
        if (kind == POSITIVE) a = fabs(a), b = fabs(b);
        if (kind == EQUAL) a = constant, b = 1.1;
        if (kind == CANCELLING && i % 2) a = -(double)x[i - 1] * (1 + 0x1p-7), b = w[i - 1];
        if (kind == TINY) a *= 0x1p-70, b *= 0x1p-72;
        if (kind == WHOLE) a = rint(4 * a), b = rint(4 * b);
        x[i] = (float)(bf16 ? ref_round(DSV3_BF16, a) : a);
        w[i] = (float)(bf16 ? ref_round(DSV3_BF16, b) : b);
    }
}

/* What a port may produce for sum x w, in f32. */
static ref_value legal_sum(int64_t n, const char *declared)
{
    char why[300];
    ref_numerics numerics;
    cr_assert(ref_numerics_parse("linear", declared, &numerics, why, sizeof why), "%s: %s", declared, why);
    ref_reading const rd = {&numerics, ref_none()};
    dsv3_weight const item = {"weight", {w, DSV3_F32, 2, {1, n}, {n, 1}}};
    dsv3_linear_prob const prob = {1, n, 1};
    dsv3_linear_io io = {
        .x = {x, DSV3_F32, 2, {1, n}, {n, 1}}, .weights = {1, &item}, .y = {NULL, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_value v;
    cr_assert(ref_dd.linear(&rd, &prob, &io, (ref_value *const[]){&v}));
    return v;
}

static void allocate(void)
{
    x = calloc(MOST, sizeof *x);
    w = calloc(MOST, sizeof *w);
    cr_assert(x && w);
}

Test(reading, legal_accumulators_stay_inside)
{
    static const int64_t sizes[] = {2, 3, 4, 5, 16, 17, 33, 64, 128, 500, 1000, 7168};
    allocate();
    srand48(2);
    long judged = 0;
    for (size_t a = 0; a < sizeof legal / sizeof *legal; a++) {
        double worst = 0;
        for (data_kind kind = 0; kind < DATA; kind++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                for (int round = 0; round < (sizes[s] < 200 ? 60 : 4); round++) {
                    fill(kind, sizes[s], round % 2);
                    double const got = (double)(float)legal[a].run(sizes[s]);
                    ref_value const v = legal_sum(sizes[s], legal[a].declared);
                    cr_assert(ref_lower(v) <= got && got <= ref_upper(v), "%s, %s, n = %lld: %a not in [%a, %a]",
                              legal[a].name, data_names[kind], (long long)sizes[s], got, ref_lower(v), ref_upper(v));
                    if (v.radius > 0) worst = fmax(worst, fabs(got - v.hi) / v.radius);
                    cr_assert(kind != WHOLE || v.radius == 0, "%s, whole numbers, n = %lld: radius %g", legal[a].name,
                              (long long)sizes[s], v.radius);
                    judged++;
                }
        printf("reading %-30s worst err/radius %.3f\n", legal[a].name, worst);
    }
    printf("reading %ld sums judged\n", judged);
    free(x), free(w);
}

/* A 14-bit accumulator that declares 24 bits is found out. */
Test(reading, false_declarations_are_found_out)
{
    int caught = 0;
    allocate();
    srand48(3);
    for (int round = 0; round < 50; round++) {
        fill(POSITIVE, 1000, true);
        ref_value const v = legal_sum(1000, "acc 24 rz block=32");
        double const got = (double)(float)core_14(1000);
        caught += got < ref_lower(v) || got > ref_upper(v);
    }
    cr_expect(caught == 50, "%d of 50", caught);
    free(x), free(w);
}

/* ---- rmsnorm ---- */

static void norm(const ref_table *tier, const ref_numerics *n, dsv3_dtype d, int64_t width, const float *in,
                 const float *gain, double eps, ref_value *y)
{
    ref_reading const rd = {n, ref_none()};
    uint16_t xb[8], gb[8];
    for (int64_t i = 0; d == DSV3_BF16 && i < width; i++) {
        ref_encode(d, xb, i, (double)in[i]);
        ref_encode(d, gb, i, (double)gain[i]);
    }
    void *const xs = d == DSV3_BF16 ? (void *)xb : (void *)(uintptr_t)in, *const gs = d == DSV3_BF16
                                                                                          ? (void *)gb
                                                                                          : (void *)(uintptr_t)gain;
    dsv3_weight const item = {"weight", {gs, d, 1, {width}, {1}}};
    dsv3_rmsnorm_prob const prob = {1, width, eps, 0};
    dsv3_rmsnorm_io const io = {
        .x = {xs, d, 2, {1, width}, {width, 1}}, .weights = {1, &item}, .y = {NULL, d, 2, {1, width}, {width, 1}}};
    cr_assert(tier->rmsnorm(&rd, &prob, &io, (ref_value *const[]){y, NULL}));
}

/* Is what the decimal says, to its last digit, within the radius? */
static bool agrees(const ref_value *v, const char *decimal)
{
    mpfr_t m, unit;
    mpfr_inits2(400, m, unit, (mpfr_ptr)0);
    mpfr_set_str(m, decimal, 10, MPFR_RNDN);
    mpfr_sub_d(m, m, v->hi, MPFR_RNDN);
    mpfr_sub_d(m, m, v->lo, MPFR_RNDN);
    mpfr_set_str(unit, "1e-29", 10, MPFR_RNDU); /* the decimals are cut after 30 digits and more */
    mpfr_add_d(unit, unit, v->radius, MPFR_RNDU);
    bool const close = mpfr_cmpabs(m, unit) <= 0;
    mpfr_clears(m, unit, (mpfr_ptr)0);
    return close;
}

/* Worked numbers with 30 digits: x = (1, 2, 3, 4), weight = (1, 1/2, 2, -1), eps = 10^-6. */
Test(reading, rmsnorm_worked_example)
{
    static const float in[] = {1, 2, 3, 4}, gain[] = {1, 0.5f, 2, -1};
    static const char *const y[] = {
        "0.365148347326888398619471022051960164322348658", "0.365148347326888398619471022051960164322348658",
        "2.19089008396133039171682613231176098593409195", "-1.46059338930755359447788408820784065728939463"};
    static const ref_table *const tiers[] = {&ref_dd, &ref_256, &ref_512, &ref_1024};
    ref_value v[4], tiny[4];
    for (size_t t = 0; t < 4; t++) {
        norm(tiers[t], NULL, DSV3_F32, 4, in, gain, 1e-6, v);
        for (int i = 0; i < 4; i++) {
            cr_expect(agrees(&v[i], y[i]), "tier %s: %.17g", tiers[t]->tier, v[i].hi);
            cr_expect(v[i].radius < 0x1p-95, "tier %s: radius %g", tiers[t]->tier, v[i].radius);
        }
        static const double eps[] = {1e-6, 1e-5, 0};
        static const char *const first[] = {"0.626399215996425621272004928450", "0.288846567765291179603667452094",
                                            "0.816496580927726032732428024902"};
        static const float small[] = {0x1p-10f, -0x1p-9f, 0, 0x1p-10f}, ones[] = {1, 1, 1, 1};
        for (int e = 0; e < 3; e++) {
            norm(tiers[t], NULL, DSV3_F32, 4, small, ones, eps[e], tiny);
            cr_expect(agrees(&tiny[0], first[e]), "tier %s, eps %g: %.17g", tiers[t]->tier, eps[e], tiny[0].hi);
        }
    }
}

/* Two orders of rounding in BF16 differ in one element; the declaration tells them apart, without one both pass. */
Test(reading, rounding_order_is_seen)
{
    static const float in[] = {1, 2, 3, 4}, gain[] = {1.0234375f, 1.0234375f, 1.0234375f, 1.0234375f};
    static const struct {
        const char *declared;
        double y2;
        bool single;
    } rows[] = {{"acc 24 rn; rsqrt ieee; div ieee; x_norm bf16 must", 1.1171875, true},
                {"acc 24 rn; rsqrt ieee; div ieee; x_norm f32 must", 1.125, true},
                {"", 0, false}};
    ref_value v[4];
    ref_numerics n;
    char why[300];
    for (int i = 0; i < 3; i++) {
        cr_assert(ref_numerics_parse("rmsnorm", rows[i].declared, &n, why, sizeof why), "%s", why);
        norm(&ref_dd, &n, DSV3_BF16, 4, in, gain, 1e-6, v);
        if (rows[i].single)
            cr_expect(v[2].hi == rows[i].y2 && v[2].radius == 0, "'%s': %.9g +- %g", rows[i].declared, v[2].hi,
                      v[2].radius);
        else
            cr_expect(ref_lower(v[2]) <= 1.1171875 && ref_upper(v[2]) >= 1.125);
    }
}

/* A result that is subnormal may be flushed, unless the port declares that it flushes nothing. */
Test(reading, flushed_results_are_legal)
{
    static const float in[] = {1, 2, 3, 4}, gain[] = {0x1p-126f, 0x1p-126f, 0x1p-126f, 0x1p-126f};
    static const char *const declared[] = {"flush daz", "flush ftz", "flush none"};
    ref_value v[4];
    ref_numerics n;
    char why[300];
    for (int i = 0; i < 3; i++) {
        cr_assert(ref_numerics_parse("rmsnorm", declared[i], &n, why, sizeof why), "%s", why);
        norm(&ref_dd, &n, DSV3_F32, 4, in, gain, 1e-6, v);
        cr_expect((ref_lower(v[0]) <= 0) == (i < 2), "%s: from %g", declared[i], ref_lower(v[0]));
        cr_expect(ref_upper(v[0]) >= 0x1p-128, "%s: to %g", declared[i], ref_upper(v[0]));
    }
}

/* A product is rounded to f32 before it is rounded to BF16: next to a tie both roundings are legal, one or two. */
Test(reading, rounding_twice_is_legal)
{
    uint8_t const code = 0x39; /* 1.125 */
    float const tie = 1 + 0x1p-8f, one = 1;
    float scale = tie / 1.125f;
    while (1.125 * (double)scale <= (double)tie) scale = nextafterf(scale, 2);
    while (1.125 * (double)nextafterf(scale, 0) > (double)tie) scale = nextafterf(scale, 0);
    cr_assert(1.125f * scale == tie && 1.125 * (double)scale > (double)tie, "no such scale: %a", (double)scale);
    dsv3_weight const items[] = {{"weight", {(void *)(uintptr_t)&code, DSV3_F8_E4M3, 2, {1, 1}, {1, 1}}},
                                 {"weight_scale_inv", {&scale, DSV3_F32, 2, {1, 1}, {1, 1}}}};
    dsv3_tensor const one_by_one = {(void *)(uintptr_t)&one, DSV3_F32, 2, {1, 1}, {1, 1}};
    dsv3_linear_prob const prob = {1, 1, 1};
    dsv3_linear_io const io = {.x = one_by_one, .weights = {2, items}, .y = one_by_one};
    ref_numerics n;
    char why[300];
    ref_value v;
    cr_assert(ref_numerics_parse("linear", "acc 24 rn; flush none; weight bf16 must", &n, why, sizeof why), "%s", why);
    ref_reading const rd = {&n, ref_none()};
    cr_assert(ref_dd.linear(&rd, &prob, &io, (ref_value *const[]){&v}));
    cr_expect(ref_lower(v) <= 1 && ref_upper(v) >= 1.0078125, "[%.9g, %.9g]", ref_lower(v), ref_upper(v));
}

/* ---- declarations ---- */

Test(reading, declarations_round_trip_and_refusals_say_why)
{
    static const struct {
        const char *op, *text, *says; /* says: part of the refusal; NULL: accepted */
    } rows[] = {
        {"linear", "", NULL},
        {"linear", "acc 24 rn fused splits=16; flush none", NULL},
        {"linear", " acc 14 rz block=32 promote=128 bits2=24 ;; weight bf16 must", NULL},
        {"rmsnorm", "rsqrt ieee; div 2.5; x_norm bf16 must; y bf16 must rz; arith bf16", NULL},
        {"linear", "acc hopper.f8 promote=128 bits2=24", NULL},
        {"linear", "acc cdna3.bf16 splits=4; flush none", NULL},
        {"linear", "acc amx.bf16; flush ftz", NULL},
        {"linear", "acc 14 rd guard=3", NULL},
        {"linear", "acc hopper.f9", "or a unit, as in 'acc hopper.f8'"},
        {"linear", "acc hopper.f8 rz", "'rz' may not follow hopper.f8, which is 'acc 14 rz fused block=32'"},
        {"linear", "acc hopper.f8 guard=9", "'guard=9' may not follow"},
        {"linear", "acc amx.bf16 promote=64", "'promote=64' may not follow"},
        {"linear", "flush none; acc avx512.bf16", "avx512.bf16 takes subnormal numbers for 0"},
        {"linear", "acc avx512.bf16; flush none", "avx512.bf16 takes subnormal numbers for 0"},
        {"linear", "acc avx512.bf16; acc 24 rn; flush none", NULL},
        {"linear", "acc", "acc needs BITS"},
        {"linear", "acc 24", "acc needs BITS"},
        {"linear", "acc 24 up", "acc needs BITS"},
        {"linear", "acc 99 rn", "acc needs BITS"},
        {"linear", "acc 24 rn block=0", "block=0 of acc is a whole number from 1"},
        {"linear", "acc 24 rn blocks=4", "'blocks=4' is no part of acc"},
        {"linear", "acc 24 rn fast", "'fast' is no part of acc"},
        {"linear", "x_norm bf16 must", "'x_norm' is unknown to linear"},
        {"rmsnorm", "x_norm bf17 must", "a rounding point needs FORMAT"},
        {"rmsnorm", "x_norm bf16", "a rounding point needs FORMAT"},
        {"rmsnorm", "x_norm bf16 perhaps", "a rounding point needs FORMAT"},
        {"rmsnorm", "y bf16 may", "outputs are always must"},
        {"rmsnorm", "rsqrt -1", "rsqrt needs 'ieee'"},
        {"rmsnorm", "rsqrt nan", "rsqrt needs 'ieee'"},
        {"rmsnorm", "flush maybe", "flush is none, ftz or daz"},
        {"rmsnorm", "arith f64", NULL},
        {"rmsnorm", "arith f16", "arith is f32, bf16 or f64"},
        {"rmsnorm", "arith bf16 norm=f32", NULL},
        {"rmsnorm", "arith bf16 norm=f16", "norm of arith is f32, bf16 or f64"},
        {"rmsnorm", "arith bf16 softmax=f32",
         "'softmax=f32' is no part of arith; it takes f32, bf16 or f64, then norm="},
        {"linear", "arith bf16 norm=f32", "then nothing"},
        {"mtp", "arith bf16 sigmoid=f32 norm=f32 softmax=f64", NULL},
        {"rmsnorm", "rsqrt recip; arith bf16", NULL},
        {"rmsnorm", "rsqrt root", NULL},
        {"rmsnorm", "div root", "div needs 'ieee'"},
        {"swiglu", "gate_sigmoid bf16 must", NULL},
        {"linear", "x bf16 must", NULL},
        {"rmsnorm", "exp 4", "'exp' is unknown to rmsnorm"},
        {"mla_decode", "exp 2 0; log 2; rescales 0; scores bf16 must; P bf16 must; o bf16 must rz", NULL},
        {"mla_decode", "exp ieee", "exp needs its relative error"},
        {"mla_decode", "exp 4 -2", "exp needs its relative error"},
        {"mla_decode", "rescales -1", "rescales needs one number"},
        {"mla_decode", "sincos 1", "known: acc flush arith rescales scaled parts div exp log kv scale scores P o lse"},
        {"rope", "sincos 2; angle f64; cos_sin f32 must", NULL},
        {"rope", "angle bf16", "angle is f32 or f64"},
        {"rope", "angle f32 28.5", NULL},
        {"rope", "angle f64 0", NULL},
        {"rope", "angle f32 -1", "angle is f32 or f64"},
        {"rope", "angle f32 20000", "at most 16384"},
        {"rope", "angle f32 28 1", "angle is f32 or f64"},
        {"rope", "sincos", "sincos needs one number"},
        {"gate", "sigmoid 2 1; div ieee; scores bf16 must", NULL},
        {"gate", "sigmoid 2 1 1", "sigmoid needs its relative error"},
        {"gate", "topk_weight f32 may", "outputs are always must"},
        {"gate", "scores output must; sigmoid 2.000000001 1e-7", NULL},
        {"mtp", "self_attn.q f32 must; mlp.act bf16 may rz; self_attn.y output may; h1 f32 must; form naive", NULL},
        {"mtp", "mlp.y bf16 may; self_attn.kv f32 must; sincos 2; exp 2 1; sigmoid 3; rescales 0", NULL},
        {"mtp", "q f32 must", "self_attn.POINT mlp.POINT"},
        {"mtp", "self_attn.act f32 must", "unknown to mtp"},
        {"mtp", "y f32 may", "outputs are always must"},
        {"mla", "self_attn.q f32 must", "unknown to mla"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char why[400] = "", text[REF_NUMERICS_CAP], again[REF_NUMERICS_CAP];
        ref_numerics n, m;
        bool const good = ref_numerics_parse(rows[i].op, rows[i].text, &n, why, sizeof why);
        cr_expect(good == !rows[i].says, "'%s': %s", rows[i].text, why);
        if (rows[i].says) cr_expect(strstr(why, rows[i].says) != NULL, "'%s': %s", rows[i].text, why);
        if (!good) continue;
        ref_numerics_print(rows[i].op, &n, false, text, sizeof text);
        cr_assert(ref_numerics_parse(rows[i].op, text, &m, why, sizeof why), "'%s': %s", text, why);
        ref_numerics_print(rows[i].op, &m, false, again, sizeof again);
        cr_expect(!memcmp(&n.acc, &m.acc, sizeof n.acc) && n.flush == m.flush && n.arith == m.arith, "'%s' became '%s'",
                  text, again);
        cr_expect(!strcmp(text, again), "'%s' became '%s'", text, again);
    }
}

/* A point of a part is the part's own, and its outputs may be intermediates. */
Test(reading, points_of_parts)
{
    char why[400];
    ref_numerics n;
    cr_assert(ref_numerics_parse("mtp", "self_attn.kv bf16 may; mlp.y f32 must", &n, why, sizeof why), "%s", why);
    cr_expect(n.point[POINT_mla_kv].format == DSV3_BF16 && !n.point[POINT_mla_kv].must);
    cr_expect(n.point[POINT_moe_y].format == DSV3_F32 && n.point[POINT_moe_y].must);
}

/* A long word of a port's must not lead out of the sentence. */
Test(reading, an_unknown_word_is_cut)
{
    char text[1000], why[64];
    ref_numerics n;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    static const char *const names[] = {"rope", "gate", "mla_decode"};
    for (int i = 0; i < 3; i++) {
        memset(why, 1, sizeof why);
        cr_expect(!ref_numerics_parse(names[i], text, &n, why, 32) && strlen(why) == 31 && why[32] == 1);
    }
}
