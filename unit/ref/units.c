/*
 * Matrix units bit by bit, from the facts of arXiv 2511.10909 and of Intel's manual: sums of many kinds of data never leave
 * the ball of `acc UNIT`, and the worst found uses a fair share of it. The document lists the units as they are.
 */
#include "declared.h"

#include <stdio.h>
#include <stdlib.h>

TestSuite(units, .timeout = 300);

enum { MOST = 512, LEAST = -126 };

static float x[MOST], w[MOST];

/* ---- arithmetic ---- */

/* The exponent that hardware sees: that of the format's subnormals at least, of binary32 and BF16 -126; a zero's too. */
static int exponent(double v, int least)
{
    return v == 0 || ilogb(v) < least ? least : ilogb(v);
}

typedef struct {
    const char *name;
    int least;    /* exponent of the inputs' subnormals */
    int fraction; /* F: bits kept below the largest exponent */
    int products; /* of a step */
    int digits;   /* of the result, cut toward zero */
} nvidia;

static double cut(double v, int digits)
{
    if (v == 0) return 0;
    double const unit = ldexp(1, exponent(v, LEAST) - (digits - 1));
    return trunc(v / unit) * unit;
}

/* One instruction's step: c and the products from `from` on, cut toward zero at F bits, added exactly, cut. */
static double nvidia_step(const nvidia *u, double c, int from, int to)
{
    int largest = exponent(c, LEAST);
    for (int i = from; i < to; i++) {
        bool const zero = x[i] == 0 || w[i] == 0;
        int const e = zero ? LEAST : exponent((double)x[i], u->least) + exponent((double)w[i], u->least);
        if (e > largest) largest = e;
    }
    double const unit = ldexp(1, largest - u->fraction);
    double sum = trunc(c / unit);
    for (int i = from; i < to; i++) sum += trunc((double)x[i] * (double)w[i] / unit);
    return cut(sum * unit, u->digits);
}

static double run_nvidia(const nvidia *u, int n)
{
    double c = 0;
    for (int i = 0; i < n; i += u->products) c = nvidia_step(u, c, i, i + u->products < n ? i + u->products : n);
    return c;
}

static const nvidia gpus[] = {
    {"volta.f16", -14, 23, 4, 24},     {"turing.f16", -14, 24, 8, 24},     {"ampere.f16", -14, 24, 8, 24},
    {"ampere.bf16", LEAST, 24, 8, 24}, {"ada.f16", -14, 24, 8, 24},        {"ada.bf16", LEAST, 24, 8, 24},
    {"ada.f8", -6, 13, 16, 14},        {"hopper.f16", -14, 25, 16, 24},    {"hopper.bf16", LEAST, 25, 16, 24},
    {"hopper.f8", -6, 13, 32, 14},     {"blackwell.f16", -14, 25, 16, 24}, {"blackwell.bf16", LEAST, 25, 16, 24},
    {"blackwell.f8", -6, 25, 32, 24},
};

/* A tree of `size` products, each node one fused operation or one addition, then added to c. */
static float tree(int from, int size, int n)
{
    if (from >= n) return 0;
    if (size == 2) return fmaf(x[from], w[from], from + 1 < n ? x[from + 1] * w[from + 1] : 0);
    return tree(from, size / 2, n) + tree(from + size / 2, size / 2, n);
}

static double run_trees(int size, int n)
{
    float c = 0;
    for (int i = 0; i < n; i += size) c += tree(i, size, n);
    return (double)c;
}

/* Products of every `stride`-th k, cut toward zero at 24 bits below the largest. */
static double cdna3_sum(int from, int to, int stride, int least)
{
    int largest = LEAST;
    for (int i = from; i < to; i += stride) {
        if (x[i] == 0 || w[i] == 0) continue;
        int const e = exponent((double)x[i], least) + exponent((double)w[i], least);
        if (e > largest) largest = e;
    }
    double const unit = ldexp(1, largest - 24);
    double sum = 0;
    for (int i = from; i < to; i += stride) sum += trunc((double)x[i] * (double)w[i] / unit);
    return sum * unit;
}

static double down(double v, int exponent_of, int bits)
{
    double const unit = ldexp(1, exponent_of - bits);
    return floor(v / unit) * unit;
}

/* c and a sum meet: the sum keeps 31 bits and c 24 below the larger exponent, both rounded down; the result to nearest. */
static float cdna3_join(float c, double sum)
{
    int const e = exponent((double)c, LEAST) > exponent(sum, LEAST) ? exponent((double)c, LEAST) : exponent(sum, LEAST);
    return (float)(down(sum, e, 31) + down((double)c, e, 24));
}

static double run_cdna3(int n)
{
    float c = 0;
    for (int i = 0; i < n; i += 8) c = cdna3_join(c, cdna3_sum(i, i + 8 < n ? i + 8 : n, 1, LEAST));
    return (double)c;
}

static double run_cdna3_f8(int n)
{
    float c = 0;
    for (int i = 0; i < n; i += 16) {
        int const to = i + 16 < n ? i + 16 : n;
        double const even = cdna3_sum(i, to, 2, -6), odd = cdna3_sum(i + 1, to, 2, -6);
        int const e = exponent(even, LEAST) > exponent(odd, LEAST) ? exponent(even, LEAST) : exponent(odd, LEAST);
        double const both = down(even, e, 31) + down(odd, e, 31);
        bool const dropped = exponent((double)c, LEAST) + 25 < exponent(both, LEAST);
        c = cdna3_join(dropped ? 0 : c, both);
    }
    return (double)c;
}

/* Subnormal inputs count as 0, subnormal results become 0. */
static float flushing_fma(float a, float b, float c)
{
    float const p = fabsf(a) < 0x1p-126f ? 0 : a, q = fabsf(b) < 0x1p-126f ? 0 : b;
    float const r = fmaf(p, q, fabsf(c) < 0x1p-126f ? 0 : c);
    return fabsf(r) < 0x1p-126f ? 0 : r;
}

static double run_dpbf16(int n)
{
    float c = 0;
    for (int i = 0; i < n; i += 2) {
        float const odd = i + 1 < n ? flushing_fma(x[i + 1], w[i + 1], c) : c;
        c = flushing_fma(x[i], w[i], odd);
    }
    return (double)c;
}

static double run_amx(int n)
{
    float c = 0;
    for (int i = 0; i < n; i += 32) {
        float chain[2] = {0, 0};
        for (int k = i; k < i + 32 && k < n; k++) chain[k % 2] = flushing_fma(x[k], w[k], chain[k % 2]);
        c = flushing_fma(1, flushing_fma(1, chain[0], chain[1]), c);
    }
    return (double)c;
}

/* Of each four products the first two go first. */
static double run_hopper_mma(int n)
{
    static const nvidia f16 = {"", -14, 25, 32, 24};
    static float from[2][MOST];
    float c = 0;
    memcpy(from[0], x, sizeof x), memcpy(from[1], w, sizeof w);
    for (int i = 0; i < n; i += 32) {
        int const of_step = n - i < 32 ? n - i : 32;
        double sum = 0;
        for (int half = 0; half < 2; half++) {
            int k = 0;
            for (int j = 0; j < of_step; j++)
                if (j / 2 % 2 == half) x[k] = from[0][i + j], w[k++] = from[1][i + j];
            sum = nvidia_step(&f16, sum, 0, k);
        }
        c += (float)sum;
    }
    memcpy(x, from[0], sizeof x), memcpy(w, from[1], sizeof w);
    return (double)c;
}

static double run_fma(int n)
{
    float c = 0;
    for (int i = 0; i < n; i++) c = fmaf(x[i], w[i], c);
    return (double)c;
}

static double run(const char *unit, int n)
{
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++)
        if (!strcmp(gpus[i].name, unit)) return run_nvidia(&gpus[i], n);
    if (!strncmp(unit, "cdna3.f8", 8)) return run_cdna3_f8(n);
    if (!strncmp(unit, "cdna3.", 6)) return run_cdna3(n);
    if (!strcmp(unit, "cdna1.bf16")) return run_trees(2, n);
    if (!strcmp(unit, "cdna.f32")) return run_fma(n);
    if (!strncmp(unit, "cdna", 4)) return run_trees(4, n);
    if (!strcmp(unit, "avx512.bf16")) return run_dpbf16(n);
    if (!strcmp(unit, "amx.bf16")) return run_amx(n);
    if (!strcmp(unit, "hopper_mma.f8")) return run_hopper_mma(n);
    cr_assert_fail("no model of %s", unit);
    return 0;
}

/* ---- data ---- */

typedef enum { RANDOM, POSITIVE, CANCELLING, DECADES, SUBNORMAL, WHOLE, BELOW, CUT, DATA } data_kind;

static const char *const data_names[] = {"random",    "positive", "cancelling",        "decades",
                                         "subnormal", "whole",    "below a subnormal", "cut"};

static double uniform(void)
{
    return 2 * drand48() - 1;
}

static double draw(data_kind kind, int i)
{
    switch (kind) {
    case POSITIVE: return 1 + drand48();
    case DECADES:
        return uniform() * exp2(6 * uniform());
        return i == 0 ? 1 : 1.99 * exp2(-(double)(lrand48() % 16)); /* one large, small ones that are cut */
    case SUBNORMAL: return i % 3 ? uniform() * 0x1p-128 : uniform();
    case WHOLE: return rint(4 * uniform());
    default: return uniform();
    }
}

/* A value of the unit's format: E4M3 normal codes, binary16 as 11 bits, BF16, or binary32. */
static float value_for(const char *unit, double v)
{
    const char *const format = strchr(unit, '.') + 1;
    if (!strcmp(format, "f32")) return (float)v;
    if (!strcmp(format, "bf16")) return (float)ref_round(DSV3_BF16, v);
    if (!strcmp(format, "f8")) return fabs(v) < 0x1p-6 ? 0 : (float)ref_round(DSV3_F8_E4M3, v);
    return fabs(v) < 0x1p-14 ? 0 : (float)ldexp(rint(ldexp(v, 10 - ilogb(v))), ilogb(v) - 10);
}

/* A large product, or two where even and odd ones are apart; all others just below what is cut `lost` bits below it. */
static void fill_cut(const char *unit, int lost, int n)
{
    float const largest = value_for(unit, 0x1p7), widest = strstr(unit, ".f8") ? 1.875f : 1.9921875f;
    int const q = (14 - lost - 1) / 2, p = 14 - lost - 1 - q, large = strcmp(unit, "cdna3.f8") ? 1 : 2;
    float const sign = drand48() < 0.5 ? -1 : 1;
    for (int i = 0; i < n; i++) {
        x[i] = i < large ? largest : sign * ldexpf(widest, p);
        w[i] = i < large ? largest : ldexpf(1, q);
    }
}

/* BF16: a subnormal factor, whose product counts as if the factor were 2^-126; all others just below what that cuts. */
static void fill_below_subnormal(int lost, int n)
{
    for (int i = 0; i < n; i++) x[i] = 1.9921875f, w[i] = ldexpf(1, -126 + 100 - lost - 1);
    x[0] = 0x1p-133f, w[0] = 0x1p100f;
}

/* Bits that a unit of this declaration keeps below the largest addend. */
static int kept(const ref_numerics *n)
{
    return n->acc.rounding == REF_RN ? n->acc.bits : n->acc.bits - 1 + n->acc.guard;
}

static void fill(const char *unit, data_kind kind, int n)
{
    for (int i = 0; i < n; i++) {
        x[i] = value_for(unit, draw(kind, i));
        w[i] = value_for(unit, kind == SUBNORMAL ? uniform() : draw(kind, i));
        if (kind == CANCELLING && i % 2) x[i] = -x[i - 1], w[i] = value_for(unit, (double)w[i - 1] * (1 + 0x1p-3));
    }
}

/* ---- tests ---- */

static ref_value legal_sum(int n, const ref_numerics *declared)
{
    ref_reading const rd = {declared, ref_none()};
    dsv3_weight const item = {"weight", {w, DSV3_F32, 2, {1, n}, {n, 1}}};
    dsv3_linear_prob const prob = {1, n, 1};
    dsv3_linear_io const io = {
        .x = {x, DSV3_F32, 2, {1, n}, {n, 1}}, .weights = {1, &item}, .y = {NULL, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_value v;
    cr_assert(ref_dd.linear(&rd, &prob, &io, (ref_value *const[]){&v}));
    return v;
}

/* Many sums of a unit; returns the largest share of a radius. */
static double try_unit(const ref_unit_row *unit, const ref_numerics *declared)
{
    static const int sizes[] = {2, 3, 5, 8, 16, 33, 64, 129, 512};
    double worst = 0;
    for (int round = 0; round < 10000; round++) {
        data_kind const kind = (data_kind)(round % DATA);
        int const n = sizes[round / DATA % 9];
        if (kind == CUT)
            fill_cut(unit->name, kept(declared), n);
        else if (kind == BELOW && strstr(unit->name, ".bf16"))
            fill_below_subnormal(kept(declared), n);
        else
            fill(unit->name, kind, n);
        double const got = run(unit->name, n);
        ref_value const v = legal_sum(n, declared);
        cr_assert(ref_lower(v) <= got && got <= ref_upper(v), "%s, %s, n = %d: %a not in [%a, %a]", unit->name,
                  data_names[kind], n, got, ref_lower(v), ref_upper(v));
        if (v.radius > 0 && kind != SUBNORMAL && kind != BELOW) worst = fmax(worst, fabs(got - v.hi) / v.radius);
    }
    return worst;
}

Test(units, sums_stay_inside)
{
    srand48(11);
    for (int i = 0; ref_unit(i); i++) {
        const ref_unit_row *const unit = ref_unit(i);
        bool const promotes = strstr(unit->acc, "promote") != NULL;
        char text[64];
        snprintf(text, sizeof text, "acc %s%s; flush %s", unit->name, promotes ? "" : " splits=1",
                 unit->flushes ? "daz" : "none");
        ref_numerics const declared = numerics("linear", text);
        double const used = try_unit(unit, &declared);
        printf("units %-15s uses %.2f of the radius\n", unit->name, used);
        cr_expect(used > 0.25, "%s: the worst of 10000 sums uses %.3f of the radius", unit->name, used);
    }
}

/* A unit that keeps fewer bits, or starts more steps, than the one that is named. */
Test(units, another_unit_is_found_out)
{
    static const struct {
        const char *declared, *ran;
    } rows[] = {{"blackwell.f8", "hopper.f8"},
                {"hopper_mma.f8", "hopper.f8"},
                {"hopper.f16", "volta.f16"},
                {"hopper.f16", "turing.f16"}};
    srand48(12);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[64];
        bool const promotes = !strcmp(rows[i].declared, "hopper_mma.f8");
        snprintf(text, sizeof text, "acc %s%s; flush none", rows[i].declared, promotes ? "" : " splits=1");
        ref_numerics const declared = numerics("linear", text);
        snprintf(text, sizeof text, "acc %s", rows[i].ran);
        ref_numerics const ran = numerics("linear", text);
        fill_cut(rows[i].ran, kept(&ran), 64);
        ref_value const v = legal_sum(64, &declared);
        cr_expect(!inside(&v, run(rows[i].ran, 64)), "%s passes for %s", rows[i].ran, rows[i].declared);
    }
}

Test(units, the_document_lists_them)
{
    static char text[1 << 18];
    FILE *const f = fopen("docs/numerics.md", "r");
    cr_assert(f && fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    for (int i = 0; ref_unit(i); i++) {
        const ref_unit_row *const unit = ref_unit(i);
        char row[200];
        snprintf(row, sizeof row, "| %s | `acc %s`%s |\n", unit->name, unit->acc,
                 unit->flushes ? "; subnormal numbers count as 0" : "");
        cr_expect(strstr(text, row) != NULL, "docs/numerics.md: no row %s", row);
    }
}
