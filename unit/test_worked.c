/* Worked numbers of rope, gate and mla_decode, computed elsewhere with 60 digits and more, in every tier. */
#include "ref.h"

#include "dsv3_config.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "decimal.h"

TestSuite(worked, .timeout = 120);

static const ref_table *const tiers[] = {&ref_dd, &ref_256, &ref_512, &ref_1024};
enum { TIERS = 4 };

static void check(const ref_value *v, const char *decimal, const char *what, int tier)
{
    cr_expect(agrees(v, decimal), "%s, tier %s: %.17g, not %s", what, tiers[tier]->tier, v->hi, decimal);
    cr_expect(v->radius <= 0x1p-60, "%s, tier %s: radius %g", what, tiers[tier]->tier, v->radius);
}

/* ---- rope: DeepSeek-V3's YaRN ---- */

static const dsv3_rope_prob v3_rope = {1, 1, 64, 10000, 40, 4096, 32, 1, 1, 1, DSV3_INTERLEAVED, DSV3_INTERLEAVED};

/* One vector that is 0 but for pair j, at one position. */
static void rotate(int tier, const dsv3_rope_prob *p, ref_set quirks, int32_t position, int j, float x1, float x2,
                   ref_value y[64])
{
    float x[64] = {0};
    x[2 * j] = x1, x[2 * j + 1] = x2;
    dsv3_rope_io const io = {.x = {x, DSV3_F32, 3, {1, 1, 64}, {64, 64, 1}},
                             .positions = {&position, DSV3_I32, 1, {1}, {1}},
                             .y = {NULL, DSV3_F32, 3, {1, 1, 64}, {64, 64, 1}}};
    ref_reading const rd = {NULL, quirks, false};
    cr_assert(tiers[tier]->rope(&rd, p, &io, (ref_value *const[]){y}));
}

Test(worked, yarn_angles)
{
    static const struct {
        int position, j;
        const char *cosine, *sine;
    } rows[] = {
        {4095, 16, "-0.8621230924986939249174669238349186503488", "-0.5066988981441428383643360055522635434905"},
        {4095, 0, "-0.06597599655806489628937360600096581390049634884846",
         "-0.9978212103769744024662482448487415783554"},
        {100000, 11, "0.3943654937147165301177009719524711140101", "-0.9189536753107568245387219839552263125763"},
        {163839, 31, "0.8545009141248134150305037127769878293297", "0.5194498895561132464012386647259821481386"},
    };
    ref_value y[64];
    for (int t = 0; t < TIERS; t++) {
        for (int i = 0; i < 4; i++) {
            rotate(t, &v3_rope, 0, rows[i].position, rows[i].j, 1, 0, y);
            check(&y[2 * rows[i].j], rows[i].cosine, "cos", t);
            check(&y[2 * rows[i].j + 1], rows[i].sine, "sin", t);
            cr_expect(y[2 * rows[i].j].radius <= 0x1p-95, "radius %g", y[2 * rows[i].j].radius);
        }
        rotate(t, &v3_rope, 0, 3, 16, 2, 1, y);
        check(&y[32], "1.983228504853924379444057496115923047886", "pair (2, 1), first", t);
        check(&y[33], "1.032862380733690796049991660340400385075", "pair (2, 1), second", t);
    }
}

Test(worked, yarn_frequencies)
{
    static const char *const f[32] = {
        "1.00000000000000000000000",       "0.749894209332455827302184",
        "0.562341325190349080394951",      "0.421696503428582248569013",
        "0.316227766016837933199889",      "0.237137370566165526165175",
        "0.177827941003892280122542",      "0.133352143216332402567593",
        "0.100000000000000000000000",      "0.0749894209332455827302184",
        "0.0562341325190349080394951",     "0.0390069265671438579926337",
        "0.0268793601114312243219906",     "0.0183781462188778282778011",
        "0.0124479558702724596085779",     "0.00833450895102077516047457",
        "0.00550000000000000000000000",    "0.00356199749432916517968538",
        "0.00224936530076139632157980",    "0.00137051363614289230784929",
        "0.000790569415042094832999723",   "0.000414990398490789670789057",
        "0.000177827941003892280122542",   "0.0000333380358040831006418983",
        "0.0000250000000000000000000000",  "0.0000187473552333113956825546",
        "0.0000140585331297587270098738",  "0.0000105424125857145562142253",
        "0.00000790569415042094832999723", "0.0000059284342641541381541293818936972246",
        "0.00000444569852509730700306355", "0.00000333380358040831006418983",
    };
    mpfr_t value, piece;
    mpfr_inits2(400, value, piece, (mpfr_ptr)0);
    for (int t = 1; t < TIERS; t++)
        for (int j = 0; j < 32; j++) {
            ref_turns const turns = tiers[t]->rope_turns(&v3_rope, 0, j);
            mpfr_set_zero(value, 1);
            for (int k = 0; k < turns.parts; k++) {
                mpfr_set_d(piece, turns.part[k], MPFR_RNDN);
                mpfr_mul_2si(piece, piece, -20 * (k + 1), MPFR_RNDN);
                mpfr_add(value, value, piece, MPFR_RNDN);
            }
            mpfr_const_pi(piece, MPFR_RNDN);
            mpfr_mul(value, value, piece, MPFR_RNDN);
            mpfr_mul_ui(value, value, 2, MPFR_RNDN);
            ref_value v = {.hi = mpfr_get_d(value, MPFR_RNDN)};
            mpfr_sub_d(value, value, v.hi, MPFR_RNDN);
            v.lo = mpfr_get_d(value, MPFR_RNDN);
            v.radius = 0x1p-100;
            cr_expect(agrees(&v, f[j]), "f_%d, tier %s: %.17g", j, tiers[t]->tier, v.hi);
            cr_expect(turns.rest <= 0x1p-240, "f_%d, tier %s: rest %g", j, tiers[t]->tier, turns.rest);
        }
    mpfr_clears(value, piece, (mpfr_ptr)0);
}

/* g(40, 1) = 1.368..., as amplitude when it is taken for the ratio; the scale of V3 that the preset of mla_decode holds. */
Test(worked, mscale)
{
    ref_value y[64];
    for (int t = 0; t < TIERS; t++) {
        rotate(t, &v3_rope, (ref_set)1 << QUIRK_R7_mscale_on_cos, 0, 5, 1, 0, y);
        check(&y[10], "1.36888794541139363028524556976007173437521018", "g(40, 1)", t);
    }
    ref_value const g = {y[10].hi, y[10].lo, 0};
    double const scale =
        g.hi * g.hi / sqrt((double)(dsv3_config_v3.qk_nope_head_dim + dsv3_config_v3.qk_rope_head_dim));
    cr_expect(fabs(scale / 0.1352337788608801 - 1) < 1e-14, "%.17g", scale);
}

/* ---- gate ---- */

typedef struct {
    const char *name;
    int group, groups_kept, chosen;
    float z[8], bias;
    int quirk; /* -1: none */
    int idx[4];
    const char *weight[4];
} gate_row;

static const gate_row gates[] = {
    {"A",
     2,
     1,
     2,
     {0, 1, 2, -1, 3, -2, 0, 0},
     0,
     -1,
     {2, 1},
     {"1.36612275790175184491478939965771709845386", "1.13387724209824815508521060034228290154614"}},
    {"A by the largest of a group",
     2,
     1,
     2,
     {0, 1, 2, -1, 3, -2, 0, 0},
     0,
     QUIRK_G2_group_max,
     {4, 6},
     {"1.63945871889207651768969314729834606189238", "0.860541281107923482310306852701653938107617"}},
    {"A with the bias in the weights",
     2,
     1,
     2,
     {0, 1, 2, -1, 3, -2, 0, 0},
     4,
     QUIRK_G1_bias_in_weights,
     {2, 1},
     {"1.26947315179001575654671411155", "1.23052684820998424345328588845"}},
    {"B: ties", 2, 1, 2, {0}, 0, -1, {0, 1}, {"1.25", "1.25"}},
    {"C: below 0",
     2,
     1,
     2,
     {0, 1, 2, -1, 3, -2, 0, 0},
     -2,
     -1,
     {2, 1},
     {"1.36612275790175184491478939965771709845386", "1.13387724209824815508521060034228290154614"}},
    {"C, masked by 0",
     2,
     1,
     2,
     {0, 1, 2, -1, 3, -2, 0, 0},
     -2,
     QUIRK_G3_masked_to_zero,
     {4, 5},
     {"2.22195028305880759456011050440861798270935", "0.278049716941192405439889495591382017290647"}},
    {"D: ties of groups",
     4,
     2,
     4,
     {1, 0, 1, 0, 1, 0, 0, 1},
     0,
     -1,
     {0, 2, 1, 3},
     {"0.742306856189136726654776894367314271710094", "0.742306856189136726654776894367314271710094",
      "0.507693143810863273345223105632685728289906", "0.507693143810863273345223105632685728289906"}},
};

Test(worked, gate)
{
    for (size_t i = 0; i < sizeof gates / sizeof *gates; i++)
        for (int t = 0; t < TIERS; t++) {
            const gate_row *const g = &gates[i];
            float bias[8];
            ref_value idx[4], weight[4];
            for (int e = 0; e < 8; e++) bias[e] = g->bias;
            dsv3_weight const item = {"e_score_correction_bias", {bias, DSV3_F32, 1, {8}, {1}}};
            dsv3_gate_prob const prob = {1, 8, g->group, g->groups_kept, g->chosen, 2.5, 1};
            dsv3_gate_io const io = {.logits = {(void *)(uintptr_t)g->z, DSV3_F32, 2, {1, 8}, {8, 1}},
                                     .weights = {1, &item},
                                     .topk_idx = {NULL, DSV3_I32, 2, {1, g->chosen}, {g->chosen, 1}},
                                     .topk_weight = {NULL, DSV3_F32, 2, {1, g->chosen}, {g->chosen, 1}}};
            ref_reading const rd = {NULL, g->quirk < 0 ? 0 : 1ull << g->quirk, false};
            cr_assert(tiers[t]->gate(&rd, &prob, &io, (ref_value *const[]){idx, weight}));
            for (int k = 0; k < g->chosen; k++) {
                cr_expect(idx[k].hi == g->idx[k], "%s, tier %s: expert %g, not %d", g->name, tiers[t]->tier, idx[k].hi,
                          g->idx[k]);
                check(&weight[k], g->weight[k], g->name, t);
            }
        }
}

/* Which choices are legal, the logits being exact: ties in every order, and nothing else. */
Test(worked, legal_choices)
{
    static const struct {
        float z[8], bias;
        int groups, kept, chosen, idx[4];
        bool legal;
    } rows[] = {
        {{0, 1, 2, -1, 3, -2, 0, 0}, 0, 2, 1, 2, {2, 1}, true},
        {{0, 1, 2, -1, 3, -2, 0, 0}, 0, 2, 1, 2, {1, 2}, true},
        {{0, 1, 2, -1, 3, -2, 0, 0}, 0, 2, 1, 2, {2, 0}, false},
        {{0, 1, 2, -1, 3, -2, 0, 0}, 0, 2, 1, 2, {4, 6}, false},
        {{0, 1, 2, -1, 3, -2, 0, 0}, 0, 2, 1, 2, {2, 2}, false},
        {{0, 1, 2, -1, 3, -2, 0, 0}, 0, 2, 1, 2, {2, 8}, false},
        {{0, 1, 2, -1, 3, -2, 0, 0}, 0, 2, 1, 2, {2, -1}, false},
        {{0}, 0, 2, 1, 2, {6, 5}, true},
        {{0}, 0, 2, 1, 2, {0, 5}, false},
        {{1, 0, 1, 0, 1, 0, 0, 1}, 0, 4, 2, 4, {7, 6, 0, 1}, true},
        {{1, 0, 1, 0, 1, 0, 0, 1}, 0, 4, 2, 4, {7, 4, 0, 1}, false},
        {{0, 1, 2, -1, 3, -2, 0, 0}, -2, 2, 1, 2, {4, 5}, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float bias[8];
        int32_t port[4];
        ref_value idx[4], weight[4];
        ref_numerics n;
        char why[200];
        int const chosen = rows[i].chosen;
        for (int e = 0; e < 8; e++) bias[e] = rows[i].bias;
        for (int k = 0; k < chosen; k++) port[k] = rows[i].idx[k];
        dsv3_weight const item = {"e_score_correction_bias", {bias, DSV3_F32, 1, {8}, {1}}};
        dsv3_gate_prob const prob = {1, 8, rows[i].groups, rows[i].kept, chosen, 2.5, 1};
        dsv3_gate_io const io = {.logits = {(void *)(uintptr_t)rows[i].z, DSV3_F32, 2, {1, 8}, {8, 1}},
                                 .weights = {1, &item},
                                 .topk_idx = {port, DSV3_I32, 2, {1, chosen}, {chosen, 1}},
                                 .topk_weight = {NULL, DSV3_F32, 2, {1, chosen}, {chosen, 1}}};
        cr_assert(ref_numerics_parse("gate", "", &n, why, sizeof why));
        ref_reading const rd = {&n, 0, true};
        cr_assert(ref_dd.gate(&rd, &prob, &io, (ref_value *const[]){idx, weight}));
        cr_expect(isnan(idx[0].hi) == !rows[i].legal, "row %zu", i);
    }
}

/* ---- mla_decode ---- */

/* One sequence whose keys lie in one page. */
static void attend(int tier, int heads, int rank, int keys, double scale, float *q, float *k, ref_value *o,
                   ref_value *lse)
{
    int const width = rank + 2;
    int32_t block = 0, length = keys;
    dsv3_mla_decode_prob const p = {1, 1, heads, rank, 2, 2, 8, keys, scale};
    dsv3_mla_decode_io const io = {
        .q = {q, DSV3_F32, 4, {1, 1, heads, width}, {heads * width, heads * width, width, 1}},
        .kv_cache = {k, DSV3_F32, 3, {1, 8, width}, {8 * width, width, 1}},
        .block_table = {&block, DSV3_I32, 2, {1, 1}, {1, 1}},
        .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
        .o = {NULL, DSV3_F32, 4, {1, 1, heads, rank}, {heads * rank, heads * rank, rank, 1}},
        .lse = {NULL, DSV3_F32, 3, {1, 1, heads}, {heads, heads, 1}}};
    ref_reading const rd = {NULL, 0, false};
    cr_assert(tiers[tier]->mla_decode(&rd, &p, &io, (ref_value *const[]){o, lse}));
}

/* Two heads, three keys, the absorbed queries of the worked example, softmax_scale 1/2. */
Test(worked, attention_of_two_heads)
{
    static const char *const o[] = {
        "1.57521038260444143153099617869025360706484",  "0.755271528945202347527040381659237202800700",
        "0.399426368939214846947897135197033796530669", "1.17779414281640906572127773160465166915901",
        "0.725931380938803021907092577201550556386338", "0.274068619061196978092907422798449443613662"};
    static const char *const lse[] = {"3.407605964444380304482919904545070451472947108306194074728514",
                                      "1.29437676941764318048711915049940505520982995"};
    float q[] = {1, 4, 1, 1, -1, 0, -1, -1, 2, 0};
    float k[8 * 5] = {1, 0, 2, 1, 0, 0, 1, -1, 0, 1, 2, 1, 0, 1, 1};
    ref_value got[6], got_lse[2];
    for (int t = 0; t < TIERS; t++) {
        attend(t, 2, 3, 3, 0.5, q, k, got, got_lse);
        for (int i = 0; i < 6; i++) check(&got[i], o[i], "o", t);
        for (int h = 0; h < 2; h++) check(&got_lse[h], lse[h], "lse", t);
    }
}

/* Scores 1, 2, 3 and values 1, 10, 100; one key; none. */
Test(worked, softmax_of_three)
{
    float q[] = {0, 1, 0}, k[8 * 3] = {1, 1, 0, 10, 2, 0, 100, 3, 0};
    ref_value o, lse;
    for (int t = 0; t < TIERS; t++) {
        attend(t, 1, 1, 3, 1, q, k, &o, &lse);
        check(&o, "69.0614108612005459356294463023666602631378376", "o of three", t);
        check(&lse, "3.407605964444380304482919904545070451472947108306194074728514", "lse of three", t);
        attend(t, 1, 1, 1, 1, q, k, &o, &lse);
        cr_expect(o.hi == 1 && lse.hi == 1, "one key: %g, %g", o.hi, lse.hi);
        attend(t, 1, 1, 0, 1, q, k, &o, &lse);
        cr_expect(o.hi == 0 && o.radius == 0 && lse.hi == -HUGE_VAL, "no key: %g, %g", o.hi, lse.hi);
    }
}

/* The tiers overlap on a ragged case, and higher ones are tighter. */
Test(worked, attention_in_every_tier)
{
    enum { HEADS = 2, RANK = 4, KEYS = 7, WIDTH = RANK + 2 };
    float q[HEADS * WIDTH], k[8 * WIDTH];
    ref_value o[TIERS][HEADS * RANK], lse[TIERS][HEADS];
    srand48(5);
    for (int i = 0; i < HEADS * WIDTH; i++) q[i] = (float)(drand48() - 0.5);
    for (int i = 0; i < 8 * WIDTH; i++) k[i] = (float)(drand48() - 0.5);
    for (int t = 0; t < TIERS; t++) {
        attend(t, HEADS, RANK, KEYS, 0.3, q, k, o[t], lse[t]);
        for (int i = 0; i < HEADS * RANK && t; i++) {
            double const apart = fabs(o[t][i].hi - o[0][i].hi + (o[t][i].lo - o[0][i].lo));
            cr_expect(apart <= o[0][i].radius + o[t][i].radius + 0x1p-104, "tier %s: %g apart", tiers[t]->tier, apart);
            cr_expect(o[t][i].radius <= 0x1p-100, "tier %s: radius %g", tiers[t]->tier, o[t][i].radius);
        }
    }
    printf("worked: o in tier dd within 2^%.1f\n", log2(o[0][0].radius));
    cr_expect(o[0][0].radius <= 0x1p-85);
}
