/* Softmax and gate weights as legal ports compute them, simulated operation by operation: no element may leave the conforming
 * ball, on the data that break looser rules (one key above equal ones, periodic scores, uniform ones, values near 1). */
#include "ref.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(softmax, .timeout = 120);

enum { MOST = 1024, RANK = 4, WIDTH = RANK + 2 };

static float key[MOST * WIDTH], scores[MOST], o[RANK], lse;
static ref_value legal_o[RANK], legal_lse[1];

static float bf16(float v)
{
    return (float)ref_round(DSV3_BF16, (double)v);
}

static float e4m3(float v)
{
    return (float)ref_round(DSV3_F8_E4M3, (double)v);
}

static float exact(float v)
{
    return v;
}

/* A port: how it stores weights, whether it divides them first, how often it moves to another maximum, how it adds. */
typedef struct {
    const char *name, *declared;
    float (*store)(float);
    bool normalised, sums_stored, online, base_2, truncates;
    int tile;                /* keys that share a maximum; online only */
    int parts;               /* in which the keys are taken; 0: one */
    bool converted, divided; /* lse of a part brought to base e; the merged sum divided at last */
    bool scores_only;        /* scores are BF16 */
    bool coarse;             /* so is every operation's result result, but for the sums inside an accumulator */
} port;

static const port ports[] = {
    {"undeclared", "", exact},
    {"maximum first", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; scores f32 must; P f32 must", exact},
    {"normalised", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; scores f32 must; P f32 must", exact,
     .normalised = true},
    {"P in BF16", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; P bf16 must", bf16},
    {"P in BF16, normalised", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; P bf16 must", bf16,
     .normalised = true},
    {"P in E4M3", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; P f8_e4m3 must", e4m3},
    {"P in E4M3, normalised", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; P f8_e4m3 must", e4m3,
     .normalised = true},
    {"P in E4M3, its own sum", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; P f8_e4m3 must", e4m3,
     .sums_stored = true},
    {"P in BF16, its own sum", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; P bf16 must", bf16, .sums_stored = true},
    {"online", "acc 24 rn; div ieee; exp 2; log 2; flush none", exact, .online = true, .tile = 1},
    {"online, tiles of 16, BF16", "acc 24 rn; div ieee; exp 2; log 2; rescales 63; P bf16 must", bf16, .online = true,
     .tile = 16},
    {"online, base 2 folded", "P bf16 may", bf16, .online = true, .base_2 = true, .tile = 16},
    {"base 2 folded", "acc 24 rn; exp 2 2; rescales 0", exact, .base_2 = true},
    {"2 parts", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; parts 2; flush none; P f32 must", exact, .parts = 2},
    {"3 parts, divided at last", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; parts 3; flush none; P f32 must",
     exact, .parts = 3, .divided = true},
    {"7 parts, base 2, converted", "acc 24 rn; div ieee; exp 2 2; log 2; rescales 0; parts 7; P f32 must", exact,
     .parts = 7, .base_2 = true, .converted = true},
    {"64 parts", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; parts 64; flush none; P f32 must", exact, .parts = 64},
    {"64 parts, undeclared", "", bf16, .parts = 64},
    {"all in BF16", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; parts 1; flush none; arith bf16; P bf16 must", bf16,
     .coarse = true},
    {"all in BF16, normalised",
     "acc 24 rn; div ieee; exp 2; log 2; rescales 0; parts 1; flush none; arith bf16; scores bf16 must; P bf16 must",
     bf16, .coarse = true, .normalised = true},
    {"all in BF16, tiles of 256", "acc 24 rn; div ieee; exp 2; log 2; rescales 3; parts 1; flush none; arith bf16",
     bf16, .coarse = true, .online = true, .tile = 256},
    {"all in BF16, 3 parts", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; parts 3; flush none; arith bf16", bf16,
     .coarse = true, .parts = 3},
    {"softmax in binary32 of BF16 scores",
     "acc 24 rn; div ieee; exp 2; log 2; rescales 0; parts 1; flush none; arith bf16 softmax=f32; P bf16 must", bf16,
     .scores_only = true},
    {"truncating sums", "acc 24 rz; div ieee; exp 2; rescales 0; P bf16 must", bf16, .truncates = true},
};

static float plus(const port *p, float a, float b)
{
    return p->truncates ? (float)ref_truncate(DSV3_F32, (double)a + (double)b) : a + b;
}

/* An operation's result. */
static float kept(const port *p, float v)
{
    return p->coarse ? bf16(v) : v;
}

/* e^(s - m), in one of two ways. */
static float power(const port *p, float s, float m)
{
    float const c = 1.44269504f;
    return p->base_2 ? exp2f(fmaf(s, c, -(m * c))) : kept(p, expf(kept(p, s - m)));
}

static float largest(int from, int to)
{
    float m = -INFINITY;
    for (int j = from; j < to; j++) m = fmaxf(m, scores[j]);
    return m;
}

/* Keys [from, to): their mean, and lse. */
static float attend_part(const port *p, int from, int to, float *mean)
{
    float m = p->online ? -INFINITY : largest(from, to), l = 0, total = 1, acc[RANK] = {0};
    for (int j = from; p->normalised && j < to; j++) l = plus(p, l, power(p, scores[j], m));
    if (p->normalised) total = kept(p, l), l = 0;
    for (int j = from; j < to; j++) {
        if (p->online && j % p->tile == 0) {
            float const next = fmaxf(m, largest(j, j + p->tile < to ? j + p->tile : to));
            float const factor = isinf(m) ? 0 : power(p, m, next);
            l = kept(p, kept(p, l) * factor);
            for (int c = 0; c < RANK; c++) acc[c] = kept(p, kept(p, acc[c]) * factor);
            m = next;
        }
        float const weight = power(p, scores[j], m), stored = p->store(kept(p, weight / total));
        l = plus(p, l, p->sums_stored ? stored : weight);
        for (int c = 0; c < RANK; c++) acc[c] = plus(p, acc[c], stored * key[j * WIDTH + c]);
    }
    l = kept(p, l);
    for (int c = 0; c < RANK; c++) mean[c] = p->normalised ? acc[c] : kept(p, kept(p, acc[c]) / l);
    return p->converted ? (m * 1.44269504f + log2f(l)) * 0.693147181f : kept(p, m + kept(p, logf(l)));
}

/* o and lse of parts of almost equal length, merged. */
static void attend(const port *p, int n)
{
    enum { PARTS = 64 };
    float mean[PARTS][RANK], of_part[PARTS], greatest = -INFINITY, sum = 0;
    int const parts = p->parts < 1 ? 1 : p->parts < n ? p->parts : n;
    for (int j = 0; (p->coarse || p->scores_only) && j < n; j++) scores[j] = bf16(scores[j]);
    for (int i = 0; i < parts; i++) {
        of_part[i] = attend_part(p, i * n / parts, (i + 1) * n / parts, mean[i]);
        greatest = fmaxf(greatest, of_part[i]);
    }
    for (int i = 0; i < parts; i++) sum += power(p, of_part[i], greatest);
    lse = parts == 1 ? of_part[0] : kept(p, greatest + kept(p, logf(kept(p, sum))));
    for (int c = 0; c < RANK; c++) {
        float total = 0;
        for (int i = 0; i < parts; i++)
            total = kept(p, total + kept(p, power(p, of_part[i], p->divided ? greatest : lse) * mean[i][c]));
        o[c] = p->divided ? total / sum : total;
    }
}

/* Scores come from the last entry of the key alone. */
static void find_legal_in(const port *p, int n, bool exact_reading)
{
    float q[WIDTH] = {0};
    int32_t block = 0, length = n;
    ref_numerics numerics;
    char why[300];
    cr_assert(ref_numerics_parse("mla_decode", p->declared, &numerics, why, sizeof why), "%s", why);
    q[WIDTH - 1] = 1;
    for (int j = 0; j < n; j++) key[j * WIDTH + WIDTH - 1] = scores[j], key[j * WIDTH + WIDTH - 2] = 0;
    dsv3_mla_decode_prob const prob = {1, 1, 1, RANK, 2, 2, MOST, n, 1};
    dsv3_mla_decode_io const io = {.q = {q, DSV3_F32, 4, {1, 1, 1, WIDTH}, {WIDTH, WIDTH, WIDTH, 1}},
                                   .kv_cache = {key, DSV3_F32, 3, {1, MOST, WIDTH}, {MOST * WIDTH, WIDTH, 1}},
                                   .block_table = {&block, DSV3_I32, 2, {1, 1}, {1, 1}},
                                   .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
                                   .o = {NULL, DSV3_F32, 4, {1, 1, 1, RANK}, {RANK, RANK, RANK, 1}},
                                   .lse = {NULL, DSV3_F32, 3, {1, 1, 1}, {1, 1, 1}}};
    ref_reading const rd = {exact_reading ? NULL : &numerics, ref_none(), false};
    cr_assert(ref_dd.mla_decode(&rd, &prob, &io, (ref_value *const[]){legal_o, legal_lse}));
}

static void find_legal(const port *p, int n)
{
    find_legal_in(p, n, false);
}

static double normal(void)
{
    return sqrt(-2 * log(1 - drand48())) * cos(6.283185307179586 * drand48());
}

/* The data of the experiments: scores of seven kinds, values of four. */
static void fill(int score_kind, int value_kind, int n)
{
    double const step = 0.3 + 1.7 * drand48();
    double period[16];
    for (int i = 0; i < 16; i++) period[i] = normal();
    for (int j = 0; j < n; j++) {
        double const s[] = {normal(),       4 * normal(),          0, j == n / 3 ? step : 0, j == n / 3 ? 30 : 0,
                            period[j % 16], j == n / 3 ? 0 : -6.94}; /* below half of the least E4M3 number */
        scores[j] = (float)s[score_kind] + (score_kind == 1 ? 100.0f : 0);
        for (int c = 0; c < RANK; c++)
            key[j * WIDTH + c] = value_kind == 3 ? (float)(rint(3 * fabs(normal())) * 0x1p-149)
                                                 : bf16((float)(value_kind == 0   ? normal()
                                                                : value_kind == 1 ? 1 + 0.1 * normal()
                                                                                  : 1));
    }
}

static double share(const ref_value *v, float got)
{
    if (isinf(v->radius)) return 0;
    return ref_lower(*v) <= (double)got && (double)got <= ref_upper(*v)
               ? fabs((double)got - v->hi) / fmax(ref_upper(*v) - v->hi, 1e-300)
               : (double)INFINITY;
}

Test(softmax, legal_ports_stay_inside)
{
    static const int lengths[] = {1, 3, 64, 100, 333, 1000, 1024};
    long judged = 0;
    srand48(17);
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        double worst = 0, worst_lse = 0;
        for (int round = 0; round < 28 * 7 * 2; round++) {
            int const n = lengths[round / 28 % 7];
            fill(round % 7, round / 7 % 4, n);
            find_legal(&ports[i], n);
            attend(&ports[i], n);
            for (int c = 0; c < RANK; c++, judged++) {
                worst = fmax(worst, share(&legal_o[c], o[c]));
                cr_assert(worst <= 1.000001, "%s, scores %d, values %d, n %d: %a not in [%a, %a]", ports[i].name,
                          round % 7, round / 7 % 4, n, (double)o[c], ref_lower(legal_o[c]), ref_upper(legal_o[c]));
            }
            worst_lse = fmax(worst_lse, share(legal_lse, lse));
            cr_assert(worst_lse <= 1.000001, "%s, scores %d, n %d: lse %a not in [%a, %a]", ports[i].name, round % 7, n,
                      (double)lse, ref_lower(*legal_lse), ref_upper(*legal_lse));
        }
        printf("softmax %-28s worst err/radius %.3f, lse %.3f\n", ports[i].name, worst, worst_lse);
    }
    printf("softmax %ld elements judged\n", judged);
}

/* A port that stores weights in BF16 and declares f32 is found out. */
Test(softmax, false_declarations_are_found_out)
{
    port p = ports[3];
    int caught = 0;
    p.declared = ports[1].declared;
    srand48(18);
    for (int round = 0; round < 50; round++) {
        fill(0, 0, 100);
        find_legal(&p, 100);
        attend(&p, 100);
        caught += isinf(share(&legal_o[0], o[0]));
    }
    cr_expect(caught >= 45, "%d of 50", caught);
}

/* Gate weights in BF16: scores, sum, quotient and product each rounded; and in binary32. */
Test(softmax, gate_weights)
{
    static const char *const declared[] = {"acc 24 rn; div ieee; scores bf16 must; arith bf16", "",
                                           "acc 24 rn; div ieee; sigmoid 6 2; flush none; scores f32 must"};
    long judged = 0;
    srand48(19);
    for (int round = 0; round < 3000; round++) {
        float z[8], bias[8] = {0}, s[8], sum = 0;
        int32_t idx[8];
        ref_value legal_idx[8], legal[8];
        ref_numerics n;
        char why[200];
        float (*const store)(float) = round % 3 ? exact : bf16;
        for (int e = 0; e < 8; e++) {
            z[e] = (float)(normal() * (round % 2 ? 1 : 6)), idx[e] = e;
            s[e] = store(1 / (1 + expf(-z[e])));
            sum += s[e];
        }
        sum = store(sum);
        dsv3_weight const item = {"e_score_correction_bias", {bias, DSV3_F32, 1, {8}, {1}}};
        dsv3_gate_prob const prob = {1, 8, 2, 2, 8, 2.5, 1};
        dsv3_gate_io const io = {.logits = {z, DSV3_F32, 2, {1, 8}, {8, 1}},
                                 .weights = {1, &item},
                                 .topk_idx = {idx, DSV3_I32, 2, {1, 8}, {8, 1}},
                                 .topk_weight = {NULL, DSV3_F32, 2, {1, 8}, {8, 1}}};
        cr_assert(ref_numerics_parse("gate", declared[round % 3], &n, why, sizeof why), "%s", why);
        ref_reading const rd = {&n, ref_none(), true};
        cr_assert(ref_dd.gate(&rd, &prob, &io, (ref_value *const[]){legal_idx, legal}));
        for (int k = 0; k < 8; k++, judged++) {
            float const w = store(store(s[k] / sum) * 2.5f);
            cr_assert(ref_lower(legal[k]) <= (double)w && (double)w <= ref_upper(legal[k]), "'%s': %a not in [%a, %a]",
                      declared[round % 3], (double)w, ref_lower(legal[k]), ref_upper(legal[k]));
            cr_assert(legal_idx[k].hi == k);
        }
    }
    printf("softmax %ld gate weights judged\n", judged);
}

/* Scores so large that the exact reading can't tell their differences: a radius is never negative or NaN. */
Test(softmax, no_radius_is_negative)
{
    port const p = ports[0];
    srand48(20);
    for (int round = 0; round < 400; round++) {
        int const n = 2 + round % 7;
        float const size = (float)ldexp(1, 88 + round / 20); /* 2^88 to 2^107 */
        for (int j = 0; j < n; j++) {
            scores[j] = size * (float)(1 + 0x1p-20 * floor(4 * drand48()));
            for (int c = 0; c < RANK; c++) key[j * WIDTH + c] = bf16((float)normal());
        }
        for (int exact_reading = 0; exact_reading < 2; exact_reading++) {
            find_legal_in(&p, n, exact_reading);
            for (int c = 0; c < RANK; c++)
                cr_assert(legal_o[c].radius >= 0, "scores of %g: radius %g", (double)size, legal_o[c].radius);
            cr_assert(legal_lse->radius >= 0, "scores of %g: radius %g", (double)size, legal_lse->radius);
        }
    }
}

/* Selected values of 2^-149 and more: a port that divides the weights first has 2^-6 v, which is 0. */
Test(softmax, divided_weights_underflow)
{
    enum { N = 64 };
    float q[4] = {0}, k[N * 4] = {0}, v[N], mean = 0;
    int32_t const queries[] = {0, 1}, keys[] = {0, N};
    for (int j = 0; j < N; j++) v[j] = (float)(1 + j % 3) * 0x1p-149f, mean += v[j] * (1.0f / N);
    ref_numerics n;
    char why[300];
    cr_assert(ref_numerics_parse(
        "mla_prefill",
        "acc 24 rn; div ieee; rescales 0; scaled scores; parts 1; flush none; scores f32 must; P f32 must", &n, why,
        sizeof why));
    dsv3_mla_prefill_prob const p = {1, 1, N, 1, 2, 2, 1, 0.5};
    dsv3_mla_prefill_io const io = {.q = {q, DSV3_F32, 3, {1, 1, 4}, {4, 4, 1}},
                                    .k = {k, DSV3_F32, 3, {N, 1, 4}, {4, 4, 1}},
                                    .v = {v, DSV3_F32, 3, {N, 1, 1}, {1, 1, 1}},
                                    .cu_seqlens_q = {(void *)(uintptr_t)queries, DSV3_I32, 1, {2}, {1}},
                                    .cu_seqlens_k = {(void *)(uintptr_t)keys, DSV3_I32, 1, {2}, {1}},
                                    .o = {NULL, DSV3_F32, 3, {1, 1, 1}, {1, 1, 1}},
                                    .lse = {NULL, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {&n, ref_none(), false};
    cr_assert(ref_dd.mla_prefill(&rd, &p, &io, (ref_value *const[]){legal_o, legal_lse}));
    cr_expect(mean == 0 && ref_lower(*legal_o) <= 0 && 0x1p-148 <= ref_upper(*legal_o), "[%a, %a]", ref_lower(*legal_o),
              ref_upper(*legal_o));
    cr_expect(ref_upper(*legal_o) <= 0x1p-142, "%a", ref_upper(*legal_o));
}

/* ---- split keys ---- */

/* 64 keys of score 0 in three parts of 21 and 22: no sum of a part is a power of two. */
Test(softmax, parts_of_selected_keys)
{
    port p = {"selected", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; parts 3; flush none; P f32 must", exact,
              .parts = 3};
    int caught = 0;
    srand48(21);
    for (int round = 0; round < 40; round++) {
        for (int j = 0; j < 80; j++) {
            scores[j] = j < 64 ? 0 : -1000;
            for (int c = 0; c < RANK; c++) key[j * WIDTH + c] = (float)floor(17 * drand48() - 8);
        }
        attend(&p, 64 + round % 17);
        p.declared = "acc 24 rn; div ieee; exp 2; log 2; rescales 0; parts 3; flush none; P f32 must";
        find_legal(&p, 64 + round % 17);
        for (int c = 0; c < RANK; c++) cr_assert(share(&legal_o[c], o[c]) <= 1, "round %d: %a", round, (double)o[c]);
        cr_assert(share(legal_lse, lse) <= 1);
        p.declared = "acc 24 rn; div ieee; exp 2; log 2; rescales 0; scaled scores; parts 1; flush none; P f32 must";
        find_legal(&p, 64 + round % 17);
        for (int c = 0; c < RANK; c++) caught += isinf(share(&legal_o[c], o[c]));
    }
    cr_expect(caught >= 20, "declared as one part, %d means are found out", caught);
}

/* How far the functions of a port are off, in units: in the weights of the first part, and where it is merged, one way, of the
 * second the other way. */
typedef struct {
    double log_rel, log_abs, exp_rel, exp_slope, div;
    double sum;       /* of the parts */
    double arguments; /* of what Lemmas Softmax and Parts grant them */
} habits;

static const double unit = 0x1p-24;

static double off_log(const habits *h, double x, int sign)
{
    return log(x) * (1 + sign * h->log_rel * unit) + sign * h->log_abs * unit;
}

static double off_exp(const habits *h, double x, int sign)
{
    return exp(x) * (1 + sign * (h->exp_rel + h->exp_slope * fabs(x)) * unit);
}

/* Two halves of the keys; everything else is in binary64. common: all is off the same way, but for the merged sum. */
static void attend_halves(const habits *h, int n, bool common)
{
    double mean[2], of_part[2], sum = 0;
    for (int i = 0; i < 2; i++) {
        int const sign = i && !common ? -1 : 1;
        double const m = (double)largest(i * n / 2, (i + 1) * n / 2);
        double l = 0, total = 0;
        for (int j = i * n / 2; j < (i + 1) * n / 2; j++) {
            double const formed = h->arguments * sign * 5 * (fabs((double)scores[j]) + fabs(m)) * unit;
            double const weight = off_exp(h, (double)scores[j] - m + formed, common ? 0 : sign);
            l += weight;
            total += weight * (double)key[j * WIDTH];
        }
        mean[i] = total / l * (1 + h->div * unit);
        of_part[i] = m + off_log(h, l, common ? 0 : sign);
        of_part[i] += h->arguments * sign * (3 * fabs(of_part[i]) + fabs(m)) * unit;
    }
    double const greatest = fmax(of_part[0], of_part[1]);
    for (int i = 0; i < 2; i++) sum += off_exp(h, of_part[i] - greatest, common ? -1 : 0);
    double const merged = greatest + off_log(h, sum * (1 - h->sum * unit), common ? -1 : 0);
    double total = 0;
    for (int i = 0; i < 2; i++) {
        int const sign = i && !common ? -1 : 1;
        double const formed = h->arguments * sign * 3 * (fabs(of_part[i]) + fabs(merged)) * unit;
        total += off_exp(h, of_part[i] - merged + formed, sign) * mean[i];
    }
    o[0] = (float)(total * (1 + (h->div + h->sum) * unit));
    lse = (float)merged;
}

Test(softmax, merging_uses_its_terms)
{
#define HALVES "acc 53 rn; div ieee; rescales 0; scaled scores; parts 2; flush none; scores f32 must; P f32 must; "
    static const double at = 2000; /* where the scores are that ask for it */
    static const struct {
        const char *declared;
        habits habits;
        bool common, high;
        double spread, least; /* of the scores; of the radius that is used */
    } rows[] = {
        {HALVES "exp 0 0; log 9000 0", {.log_rel = 9000}, false, false, 0, 0.6},
        {HALVES "exp 0 0; log 0 9000", {.log_abs = 9000}, false, false, 0, 0.9},
        {HALVES "exp 9000 0; log 0 0", {.exp_rel = 9000}, false, false, 0, 0.9},
        {HALVES "exp 0 900; log 0 0", {.exp_slope = 900}, false, false, 20, 0.1},
        {HALVES "exp 0 0; log 9000 0", {.log_rel = 9000}, true, false, 0, 0.06},
        {HALVES "exp 0 0; log 0 9000", {.log_abs = 9000}, true, false, 0, 0.9},
        {HALVES "exp 9000 0; log 0 0", {.exp_rel = 9000}, true, false, 0, 0.9},
        {HALVES "exp 0 0; log 0 0; div 9000", {.div = 9000}, true, false, 0, 0.9},
        {HALVES "exp 0 0; log 0 0; parts 512", {.sum = 1024}, true, false, 0, 0.6},
        {HALVES "exp 0 0; log 0 0", {.arguments = 1}, false, true, 0, 0.97},
    };
    srand48(22);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        port const p = {"halves", rows[i].declared, exact, .parts = 2};
        double worst = 0;
        for (int round = 0; round < 200; round++) {
            enum { N = 512 };
            for (int j = 0; j < N; j++) {
                scores[j] = (float)((rows[i].high ? at : 0) + rows[i].spread * (j % (N / 2) ? 0 : drand48()));
                for (int c = 0; c < RANK; c++) key[j * WIDTH + c] = rows[i].common || j < N / 2 ? 1 : -1;
            }
            find_legal(&p, N);
            attend_halves(&rows[i].habits, N, rows[i].common);
            worst = fmax(worst, share(&legal_o[0], o[0]));
        }
        printf("softmax merging, row %zu: worst err/radius %.3f\n", i, worst);
        cr_expect(worst <= 1 && worst >= rows[i].least, "row %zu", i);
    }
}

/* ---- scaled queries ---- */

static dsv3_dtype query_format;

/* A query of WIDTH entries against keys of as many, by a port that multiplies q by the scale first. */
static void attend_scaled(const float *q, double scale, bool base_2, int n)
{
    float const factor = (float)(base_2 ? scale * 1.4426950408889634 : scale);
    float m = -INFINITY, l = 0, acc[RANK] = {0};
    for (int j = 0; j < n; j++) {
        scores[j] = 0;
        for (int c = 0; c < WIDTH; c++)
            scores[j] += (float)ref_round(query_format, (double)(q[c] * factor)) * key[j * WIDTH + c];
        m = fmaxf(m, scores[j]);
    }
    for (int j = 0; j < n; j++) {
        float const weight = base_2 ? exp2f(scores[j] - m) : expf(scores[j] - m);
        l += weight;
        for (int c = 0; c < RANK; c++) acc[c] += weight * key[j * WIDTH + c];
    }
    for (int c = 0; c < RANK; c++) o[c] = acc[c] / l;
    lse = base_2 ? (m + log2f(l)) * 0.693147181f : m + logf(l);
}

static void legal_scaled(const char *declared, const float *q, double scale, int n)
{
    int32_t block = 0, length = n;
    ref_numerics numerics;
    char why[300];
    cr_assert(ref_numerics_parse("mla_decode", declared, &numerics, why, sizeof why), "%s", why);
    dsv3_mla_decode_prob const prob = {1, 1, 1, RANK, 2, 2, MOST, n, scale};
    dsv3_mla_decode_io const io = {.q = {(void *)(uintptr_t)q, DSV3_F32, 4, {1, 1, 1, WIDTH}, {WIDTH, WIDTH, WIDTH, 1}},
                                   .kv_cache = {key, DSV3_F32, 3, {1, MOST, WIDTH}, {MOST * WIDTH, WIDTH, 1}},
                                   .block_table = {&block, DSV3_I32, 2, {1, 1}, {1, 1}},
                                   .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
                                   .o = {NULL, DSV3_F32, 4, {1, 1, 1, RANK}, {RANK, RANK, RANK, 1}},
                                   .lse = {NULL, DSV3_F32, 3, {1, 1, 1}, {1, 1, 1}}};
    ref_reading const rd = {&numerics, ref_none(), false};
    cr_assert(ref_dd.mla_decode(&rd, &prob, &io, (ref_value *const[]){legal_o, legal_lse}));
}

/* Sums that cancel: exact while q isn't scaled. Every other query is made of powers of two. */
static void fill_cancelling(float *q, int n, bool powers)
{
    for (int c = 0; c < WIDTH; c++)
        q[c] = (float)(powers ? ldexp(drand48() < 0.5 ? 1 : -1, 10 + c % 3) : floor(8192 * drand48() - 4096));
    for (int i = 0; i < n * WIDTH; i++) key[i] = (float)floor(9 * drand48() - 4);
    for (int j = 0; j < n; j++) key[j * WIDTH + 1] = (float)floor((8 * drand48()) - 4);
    for (int j = 0; powers && j < n; j++) {
        float dot = 0;
        for (int c = 1; c < WIDTH; c++) dot += q[c] * key[j * WIDTH + c];
        key[j * WIDTH] = -dot / q[0];
    }
}

#define PORT "acc 24 rn; div ieee; exp 2 2; log 2 2; rescales 0; parts 1; flush none; P f32 must; "

Test(softmax, queries_scaled_first)
{
    static const struct {
        const char *declared;
        dsv3_dtype format;
        bool base_2, legal;
        double least; /* of the radius of lse that is used */
    } rows[] = {
        {PORT, DSV3_F32, false, true, 0.02},
        {PORT, DSV3_F32, true, true, 0.02},
        {PORT "scale bf16 may", DSV3_BF16, false, true, 0.3},
        {PORT "scale bf16 may", DSV3_BF16, true, true, 0.3},
        {PORT "scaled q; scale bf16 may", DSV3_F32, false, true, 0},
        {PORT "scaled q; scale bf16 must", DSV3_BF16, false, true, 0.02},
        {PORT "scaled q; scale f32 must", DSV3_F32, false, true, 0.02},
        {PORT "scaled scores; scores f32 must", DSV3_F32, false, false, 0},
        {PORT "scaled q; scale bf16 must", DSV3_F32, false, false, 0},
        {PORT, DSV3_BF16, false, false, 0},
    };
    srand48(23);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double worst = 0, worst_lse = 0;
        int caught = 0;
        query_format = rows[i].format;
        for (int round = 0; round < 400; round++) {
            float q[WIDTH];
            int const n = 1 + round % 16;
            double const scale = (0.5 + drand48()) * (round % 2 ? 0x1p-3 : 0x1p-14);
            fill_cancelling(q, n, round % 2);
            legal_scaled(rows[i].declared, q, scale, n);
            attend_scaled(q, scale, rows[i].base_2, n);
            for (int c = 0; c < RANK; c++) worst = fmax(worst, share(&legal_o[c], o[c]));
            worst_lse = fmax(worst_lse, share(legal_lse, lse));
            caught += isinf(worst) || isinf(worst_lse);
            if (!rows[i].legal) worst = worst_lse = 0;
        }
        printf("softmax scaled q, row %zu: worst err/radius %.3f, lse %.3f, %d found out\n", i, worst, worst_lse,
               caught);
        if (rows[i].legal)
            cr_expect(worst <= 1 && worst_lse <= 1 && worst_lse >= rows[i].least, "row %zu", i);
        else
            cr_expect(caught > 50, "row %zu: %d found out", i, caught);
    }
}

/* Scores that BF16 moves apart: no weight is known, yet o lies between the values, and reaches them. */
Test(softmax, means_stay_between_the_values)
{
    port const p = {"hull", "acc 24 rn; div ieee; exp 2; log 2; rescales 0; parts 1; scores bf16 may; P f32 must",
                    exact};
    for (int end = -1; end <= 1; end += 2) {
        for (int j = 0; j < 2; j++) {
            scores[j] = 4112 + (float)((j ? 1 : -1) * end) / 256; /* half way between two numbers of BF16 */
            for (int c = 0; c < RANK; c++) key[j * WIDTH + c] = j ? 1 : -1;
        }
        find_legal(&p, 2);
        cr_expect(isfinite(legal_o[0].radius) && ref_upper(legal_o[0]) < 1.02 && ref_lower(legal_o[0]) > -1.02);
        for (int j = 0; j < 2; j++) scores[j] = bf16(scores[j]);
        attend(&p, 2);
        cr_expect(fabsf(o[0]) > 0.9999f && share(&legal_o[0], o[0]) <= 1, "%a", (double)o[0]);
    }
}
