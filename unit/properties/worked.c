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
            rotate(t, &v3_rope, ref_none(), rows[i].position, rows[i].j, 1, 0, y);
            check(&y[2 * rows[i].j], rows[i].cosine, "cos", t);
            check(&y[2 * rows[i].j + 1], rows[i].sine, "sin", t);
            cr_expect(y[2 * rows[i].j].radius <= 0x1p-95, "radius %g", y[2 * rows[i].j].radius);
        }
        rotate(t, &v3_rope, ref_none(), 3, 16, 2, 1, y);
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
    for (int t = 1; t < TIERS; t++) {
        ref_turns all[32];
        tiers[t]->rope_turns(&v3_rope, ref_none(), all);
        for (int j = 0; j < 32; j++) {
            ref_turns const turns = all[j];
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
    }
    mpfr_clears(value, piece, (mpfr_ptr)0);
}

/* g(40, 1) = 1.368..., as amplitude when it is taken for the ratio; the scale of V3 that the preset of mla_decode holds. */
Test(worked, mscale)
{
    ref_value y[64];
    for (int t = 0; t < TIERS; t++) {
        rotate(t, &v3_rope, ref_only(QUIRK_R7_mscale_on_cos), 0, 5, 1, 0, y);
        check(&y[10], "1.36888794541139363028524556976007173437521018", "g(40, 1)", t);
    }
    ref_value const g = {y[10].hi, y[10].lo, 0};
    double const scale =
        g.hi * g.hi / sqrt((double)(dsv3_config_v3.qk_nope_head_dim + dsv3_config_v3.qk_rope_head_dim));
    cr_expect(fabs(scale / 0.1352337788608801 - 1) < 1e-14, "%.17g", scale);
}

/* ---- gate ---- */

/* Group scores 8 + e^-64 + 8 + e^-64 and 8 + e^-36 + 8 + e^-36, which are one number in binary64: the second group wins. */
Test(worked, groups_apart_by_less_than_binary64)
{
    float z[] = {-64, -64, -36, -36}, bias[] = {8, 8, 8, 8};
    dsv3_weight const item = {"e_score_correction_bias", {bias, DSV3_F32, 1, {4}, {1}}};
    dsv3_gate_prob const prob = {1, 4, 2, 1, 1, 1, 1};
    dsv3_gate_io const io = {.logits = {z, DSV3_F32, 2, {1, 4}, {4, 1}},
                             .weights = {1, &item},
                             .topk_idx = {NULL, DSV3_I32, 2, {1, 1}, {1, 1}},
                             .topk_weight = {NULL, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_reading const rd = {NULL, ref_none(), false};
    for (int t = 0; t < TIERS; t++) {
        ref_value idx[1], weight[1];
        cr_assert(tiers[t]->gate(&rd, &prob, &io, (ref_value *const[]){idx, weight}));
        cr_expect(idx->hi == 2, "tier %s chooses %g", tiers[t]->tier, idx->hi);
    }
}

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
            ref_reading const rd = {NULL, ref_only(g->quirk), false};
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
        ref_reading const rd = {&n, ref_none(), true};
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
    ref_reading const rd = {NULL, ref_none(), false};
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

/* The same model with keys and values of each head: one query after two cached keys. */
Test(worked, prefill_of_two_heads)
{
    static const char *const o[] = {
        "2.33048191154964377905803656034949080986554", "0.399426368939214846947897135197033796530669",
        "0.451862761877606043814185154403101112772676", "1.17779414281640906572127773160465166915901"};
    static const char *const lse[] = {"3.407605964444380304482919904545070451472947108306194074728514",
                                      "1.29437676941764318048711915049940505520982995"};
    float q[] = {1, 2, 1, -1, 0, -1, 2, 0};
    float k[] = {3, 0, 1, 0, 2, 2, 1, 0, -1, 2, 0, 1, 0, 0, 0, 1, 2, 2, 1, 1, 4, 1, 1, 1};
    float v[] = {1, 2, -2, 1, 1, -1, 2, 0, 3, 0, 1, 2};
    int32_t queries[] = {0, 1}, keys[] = {0, 3};
    ref_value got[4], got_lse[2];
    dsv3_mla_prefill_prob const p = {1, 1, 3, 2, 2, 2, 2, 0.5};
    dsv3_mla_prefill_io const io = {.q = {q, DSV3_F32, 3, {1, 2, 4}, {8, 4, 1}},
                                    .k = {k, DSV3_F32, 3, {3, 2, 4}, {8, 4, 1}},
                                    .v = {v, DSV3_F32, 3, {3, 2, 2}, {4, 2, 1}},
                                    .cu_seqlens_q = {queries, DSV3_I32, 1, {2}, {1}},
                                    .cu_seqlens_k = {keys, DSV3_I32, 1, {2}, {1}}};
    ref_reading const rd = {0};
    for (int t = 0; t < TIERS; t++) {
        cr_assert(tiers[t]->mla_prefill(&rd, &p, &io, (ref_value *const[]){got, got_lse}));
        for (int i = 0; i < 4; i++) check(&got[i], o[i], "o", t);
        for (int h = 0; h < 2; h++) check(&got_lse[h], lse[h], "lse", t);
    }
}

/* The keys of the worked example with scale 1/4 in E4M3, and as rows of bytes: codes, scale, rotary part in BF16. */
Test(worked, attention_over_fp8_caches)
{
    enum { RANK = 3, WIDTH = 5, BYTES = RANK + 4 + 4 };
    static const float keys[3][WIDTH] = {{1, 0, 2, 1, 0}, {0, 1, -1, 0, 1}, {2, 1, 0, 1, 1}};
    float q[] = {1, 4, 1, 1, -1}, scale = 0.25f;
    uint8_t codes[8 * WIDTH] = {0}, rows[8 * BYTES];
    int32_t block = 0, length = 3;
    memset(rows, 0x7f, sizeof rows);
    for (int j = 0; j < 3; j++) {
        for (int c = 0; c < WIDTH; c++) ref_encode(DSV3_F8_E4M3, codes, j * WIDTH + c, (double)(keys[j][c] * 4));
        for (int c = 0; c < RANK; c++) rows[j * BYTES + c] = codes[j * WIDTH + c];
        memcpy(rows + j * BYTES + RANK, &scale, 4);
        for (int c = 0; c < 2; c++) ref_encode(DSV3_BF16, rows + j * BYTES + RANK + 4, c, (double)keys[j][RANK + c]);
    }
    dsv3_weight const one = {"kv_scale", {&scale, DSV3_F32, 1, {1}, {1}}};
    dsv3_mla_decode_prob const p = {1, 1, 1, RANK, 2, 2, 8, 3, 0.5};
    dsv3_tensor const caches[] = {{codes, DSV3_F8_E4M3, 3, {1, 8, WIDTH}, {8 * WIDTH, WIDTH, 1}},
                                  {rows, DSV3_U8, 3, {1, 8, BYTES}, {8 * BYTES, BYTES, 1}}};
    for (int t = 0; t < 2 * TIERS; t++) {
        dsv3_mla_decode_io const io = {.q = {q, DSV3_F32, 4, {1, 1, 1, WIDTH}, {WIDTH, WIDTH, WIDTH, 1}},
                                       .kv_cache = caches[t % 2],
                                       .block_table = {&block, DSV3_I32, 2, {1, 1}, {1, 1}},
                                       .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
                                       .weights = {1, &one}};
        ref_value o[RANK], lse;
        ref_reading const rd = {0};
        cr_assert(tiers[t / 2]->mla_decode(&rd, &p, &io, (ref_value *const[]){o, &lse}));
        check(&o[0], "1.57521038260444143153099617869025360706484", "o", t / 2);
        check(&o[2], "0.399426368939214846947897135197033796530669", "o", t / 2);
        check(&lse, "3.407605964444380304482919904545070451472947108306194074728514", "lse", t / 2);
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

Test(worked, rope_backward)
{
    static const struct {
        int quirk; /* -1: none */
        const char *x1, *x2;
    } rows[] = {
        {-1, "2.01622700749930726450642782594187413679214843", "0.966865375442925025925251000688498207263700216"},
        {QUIRK_D2_not_inverted, "1.98322850485392437944405749611592304788624923",
         "1.03286238073369079604999166034040038507549861"},
        {QUIRK_D2_heads_not_summed, "1.03286238073369079604999166034040038507549861",
         "1.98322850485392437944405749611592304788624923"}};
    static float grad_y[2 * 64];
    static ref_value x[64];
    int32_t position = 3;
    grad_y[16] = 1, grad_y[48] = 2, grad_y[64 + 16] = 1, grad_y[64 + 48] = -1;
    dsv3_rope_backward_prob const prob = {1, 2, 1, 64, 10000, 40, 4096, 32, 1, 1, 1, DSV3_HALF, DSV3_HALF};
    dsv3_rope_backward_io const io = {.grad_y = {grad_y, DSV3_F32, 3, {1, 2, 64}, {128, 64, 1}},
                                      .positions = {&position, DSV3_I32, 1, {1}, {1}},
                                      .grad_x = {NULL, DSV3_F32, 3, {1, 1, 64}, {64, 64, 1}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->rope_backward(&rd, &prob, &io, (ref_value *const[]){x}));
            check(&x[16], rows[i].x1, "grad_x1", t);
            check(&x[48], rows[i].x2, "grad_x2", t);
        }
}

Test(worked, cross_entropy_backward)
{
    static const char *const P[] = {"0.0900305731703804579980221014844917978679308649",
                                    "0.244728471054797652472959618340762797199300075",
                                    "0.66524095577482188952901828017474540493276906"},
                             *const label_2 = "-0.33475904422517811047098171982525459506723094";
    static const struct {
        int quirk; /* -1: none */
        bool second_row;
        double share;
    } rows[] = {{-1, false, 1}, {QUIRK_D3_other_divisor, false, 2}, {-1, true, 1}, {QUIRK_D3_ignored_counted, true, 1}};
    float logits[] = {1, 2, 3, 1, 2, 3}, grad_mean = 2;
    int32_t labels[] = {2, DSV3_IGNORED};
    dsv3_cross_entropy_backward_prob const prob = {2, 3, 0};
    dsv3_cross_entropy_backward_io const io = {.logits = {logits, DSV3_F32, 2, {2, 3}, {3, 1}},
                                               .labels = {labels, DSV3_I32, 1, {2}, {1}},
                                               .grad_mean = {&grad_mean, DSV3_F32, 1, {1}, {1}},
                                               .grad_logits = {NULL, DSV3_F32, 2, {2, 3}, {3, 1}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            ref_value grad[6];
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->cross_entropy_backward(&rd, &prob, &io, (ref_value *const[]){grad}));
            for (int j = 0; j < 3; j++) {
                const ref_value *const g = &grad[j + 3 * rows[i].second_row];
                ref_value const share = {g->hi / rows[i].share, g->lo / rows[i].share, g->radius / rows[i].share};
                bool const zero = rows[i].second_row && rows[i].quirk < 0;
                check(&share, zero ? "0" : j == 2 && !rows[i].second_row ? label_2 : P[j], "gradient", t);
            }
        }
}

Test(worked, rmsnorm_backward)
{
    static const struct {
        int quirk; /* -1: none */
        const char *grad_x[2];
    } rows[] = {
        {-1, {"-0.090509667991878083123308078349420677028459", "0.06788225099390856234248105876206550777134425"}},
        {QUIRK_D4_mean_missing,
         {"0.282842712474619009760337744841939615713934375", "0.56568542494923801952067548968387923142786875"}},
        {QUIRK_D4_gain_missing,
         {"0.0452548339959390415616540391747103385142295", "-0.033941125496954281171240529381032753885672125"}}};
    static const char *const x_norm[] = {"0.848528137423857029281013234525818847141803125",
                                         "1.1313708498984760390413509793677584628557375"};
    float x[] = {3, 4}, weight[] = {1, 2}, grad_y[] = {1, 1};
    dsv3_weight const item = {"weight", {weight, DSV3_F32, 1, {2}, {1}}};
    dsv3_rmsnorm_backward_prob const prob = {1, 2, 0, 0};
    dsv3_rmsnorm_backward_io const io = {.x = {x, DSV3_F32, 2, {1, 2}, {2, 1}},
                                         .grad_y = {grad_y, DSV3_F32, 2, {1, 2}, {2, 1}},
                                         .weights = {1, &item},
                                         .grad_x = {NULL, DSV3_F32, 2, {1, 2}, {2, 1}},
                                         .grad_weight = {NULL, DSV3_F32, 1, {2}, {1}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            ref_value grad_x[2], grad_weight[2];
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->rmsnorm_backward(&rd, &prob, &io, (ref_value *const[]){grad_x, grad_weight}));
            for (int j = 0; j < 2; j++) check(&grad_x[j], rows[i].grad_x[j], "grad_x", t);
            for (int j = 0; j < 2; j++) check(&grad_weight[j], x_norm[j], "grad_weight", t);
        }
}

/* The values of n elements. */
static void check_all(const ref_value *v, const double *right, int n, const char *what)
{
    for (int i = 0; i < n; i++)
        cr_expect(v[i].hi == right[i] && v[i].lo == 0 && v[i].radius == 0, "%s[%d]: %g, not %g", what, i, v[i].hi,
                  right[i]);
}

Test(worked, linear_backward)
{
    static const struct {
        int quirk; /* -1: none */
        double grad_weight[2];
    } rows[] = {{-1, {31, 46}}, {QUIRK_D5_last_token, {24, 32}}, {QUIRK_D5_mean_of_tokens, {15.5, 23}}};
    static const double right_x[] = {35, 42, 40, 48};
    float x[] = {1, 2, 3, 4}, weight[] = {5, 6}, grad_y[] = {7, 8};
    dsv3_weight const item = {"weight", {weight, DSV3_F32, 2, {1, 2}, {2, 1}}};
    dsv3_linear_backward_prob const prob = {2, 2, 1};
    dsv3_linear_backward_io const io = {.x = {x, DSV3_F32, 2, {2, 2}, {2, 1}},
                                        .grad_y = {grad_y, DSV3_F32, 2, {2, 1}, {1, 1}},
                                        .weights = {1, &item},
                                        .grad_x = {NULL, DSV3_F32, 2, {2, 2}, {2, 1}},
                                        .grad_weight = {NULL, DSV3_F32, 2, {1, 2}, {2, 1}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            ref_value grad_x[4], grad_weight[2];
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->linear_backward(&rd, &prob, &io, (ref_value *const[]){grad_x, grad_weight}));
            check_all(grad_x, right_x, 4, "grad_x");
            check_all(grad_weight, rows[i].grad_weight, 2, "grad_weight");
        }
}

Test(worked, embed_backward)
{
    static const struct {
        int quirk; /* -1: none */
        double grad_weight[6];
    } rows[] = {{-1, {3, 4, 6, 8, 0, 0}}, {QUIRK_D6_overwritten, {3, 4, 5, 6, 0, 0}}};
    float grad_y[] = {1, 2, 3, 4, 5, 6};
    int32_t ids[] = {1, 0, 1};
    dsv3_embed_backward_prob const prob = {3, 3, 2};
    dsv3_embed_backward_io const io = {.input_ids = {ids, DSV3_I32, 1, {3}, {1}},
                                       .grad_y = {grad_y, DSV3_F32, 2, {3, 2}, {2, 1}},
                                       .grad_weight = {NULL, DSV3_F32, 2, {3, 2}, {2, 1}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            ref_value grad_weight[6];
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->embed_backward(&rd, &prob, &io, (ref_value *const[]){grad_weight}));
            check_all(grad_weight, rows[i].grad_weight, 6, "grad_weight");
        }
}

Test(worked, gate_backward)
{
    static const struct {
        int quirk; /* -1: none */
        int32_t norm_topk_prob, scoring_func;
        const char *grad[3];
    } rows[] = {
        {-1,
         1,
         0,
         {"-0.228994192391901797547187758519364622932037465", "0", "0.0723015534885436510868936620184561680290924178"}},
        {-1, 0, 0, {"0", "0", "0.262483963508766293371560461901063403073241705"}},
        {-1,
         0,
         1,
         {"-0.344269030643010331307281246608482172000572609", "-0.0768168039415195914316149895868917893162647041",
          "0.421085834584529922738896236195373961316837313"}},
        {QUIRK_D7_sum_constant, 1, 0, {"0", "0", "0.174610240745284839169347172536525787550311355"}},
        {QUIRK_D7_scale_missing,
         1,
         0,
         {"-0.091597676956760719018875103407745849172814986", "0", "0.0289206213954174604347574648073824672116369671"}},
        {QUIRK_D7_bias_in_scores,
         1,
         0,
         {"-0.165548910549220804866983374588521345649099716", "0", "0.0570656653730062737238088334053427888718947569"}},
    };
    float logits[] = {0.5f, -1, 2}, g[] = {1, 0}, bias[] = {0.25f, 0.25f, 0.25f};
    int32_t idx[] = {2, 0};
    dsv3_weight const item = {"e_score_correction_bias", {bias, DSV3_F32, 1, {3}, {1}}};
    dsv3_gate_backward_io const io = {.logits = {logits, DSV3_F32, 2, {1, 3}, {3, 1}},
                                      .topk_idx = {idx, DSV3_I32, 2, {1, 2}, {2, 1}},
                                      .grad_topk_weight = {g, DSV3_F32, 2, {1, 2}, {2, 1}},
                                      .weights = {1, &item},
                                      .grad_logits = {NULL, DSV3_F32, 2, {1, 3}, {3, 1}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            ref_value grad[3];
            dsv3_gate_backward_prob const prob = {1, 3, 2, 2.5, rows[i].norm_topk_prob, rows[i].scoring_func, 0};
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->gate_backward(&rd, &prob, &io, (ref_value *const[]){grad}));
            for (int e = 0; e < 3; e++) check(&grad[e], rows[i].grad[e], "grad_logits", t);
        }
}

Test(worked, balance_loss_backward)
{
    static const struct {
        int quirk, seq_aux; /* quirk -1: none */
        const char *grad[2];
    } rows[] = {
        {-1, 1, {"2.66666666666666666666666666666666666666666667", "-5.33333333333333333333333333333333333333333333"}},
        {-1, 0, {"6", "0"}},
        {QUIRK_D8_sum_constant, 1, {"8", "0"}},
        {QUIRK_D8_chosen_only, 1, {"2.66666666666666666666666666666666666666666667", "0"}}};
    float scores[] = {0.5f, 0.25f}, grad_loss = 3;
    int32_t idx = 0, begin[] = {0, 1};
    dsv3_balance_loss_backward_io const io = {.scores = {scores, DSV3_F32, 2, {1, 2}, {2, 1}},
                                              .topk_idx = {&idx, DSV3_I32, 2, {1, 1}, {1, 1}},
                                              .cu_seqlens = {begin, DSV3_I32, 1, {2}, {1}},
                                              .grad_loss = {&grad_loss, DSV3_F32, 1, {1}, {1}},
                                              .grad_scores = {NULL, DSV3_F32, 2, {1, 2}, {2, 1}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            ref_value grad[2];
            dsv3_balance_loss_backward_prob const prob = {1, 1, 2, 1, 1, rows[i].seq_aux};
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->balance_loss_backward(&rd, &prob, &io, (ref_value *const[]){grad}));
            for (int e = 0; e < 2; e++) check(&grad[e], rows[i].grad[e], "grad_scores", t);
        }
}

/* ---- swiglu, embed, cross_entropy, quant ---- */

Test(worked, swiglu)
{
    static const struct {
        float gate, up;
        int quirk; /* -1: none */
        const char *y;
    } rows[] = {
        {1, 3, -1, "2.19317573589001463775347772546550882309543392"},
        {-2, 3, -1, "-0.715217532132705335641625152185619228761694208"},
        {20, 3, -1, "59.9999998763307829085877851141482722315244386"},
        {-100, 3, -1, "-1.11602279280625078888790874115893550120766765e-41"},
        {0x1p-10f, 3, -1, "0.00146555900568046127406020232441538227298292865"},
        {3, 1, QUIRK_E8_gate_up_exchanged, "2.19317573589001463775347772546550882309543392"},
        {1, 3, QUIRK_S1_glu, "2.19317573589001463775347772546550882309543392"},
        {1, 3, QUIRK_S2_gelu, "2.52357597182483011434598733113555158247728441"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            float gate = rows[i].gate, up = rows[i].up;
            ref_value y;
            dsv3_swiglu_prob const prob = {1, 1};
            dsv3_swiglu_io const io = {.gate = {&gate, DSV3_F32, 2, {1, 1}, {1, 1}},
                                       .up = {&up, DSV3_F32, 2, {1, 1}, {1, 1}},
                                       .y = {NULL, DSV3_F32, 2, {1, 1}, {1, 1}}};
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->swiglu(&rd, &prob, &io, (ref_value *const[]){&y}));
            check(&y, rows[i].y, "silu(gate) up", t);
        }
}

Test(worked, swiglu_backward)
{
    static const struct {
        float gate, up, grad_y;
        int quirk; /* -1: none */
        const char *grad_gate, *grad_up;
    } rows[] = {
        {1, 3, 0.5f, -1, "1.39150576780723009768287596311161794998111789",
         "0.36552928931500243962557962091091813718257232"},
        {-2, 5, 4, -1, "-1.81568497569790957513955021646495035329955325",
         "-0.953623376176940447522166869580825638348925611"},
        {20, 3, 1, -1, "3.00000011748575598194034987484508993514764783",
         "19.9999999587769276361959283713827574105081462"},
        {-100, 3, 1, -1, "-1.10486256487818828099902965374734614619559093e-41",
         "-3.72007597602083596295969580386311833735889215e-42"},
        {1, 3, 0.5f, QUIRK_D1_slope_of_sigmoid, "0.294917899862222778806137100378863538433400928",
         "0.36552928931500243962557962091091813718257232"},
        {1, 3, 0.5f, QUIRK_D1_grads_exchanged, "0.36552928931500243962557962091091813718257232",
         "1.39150576780723009768287596311161794998111789"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            float gate = rows[i].gate, up = rows[i].up, grad_y = rows[i].grad_y;
            ref_value by_gate, by_up;
            dsv3_swiglu_backward_prob const prob = {1, 1};
            dsv3_tensor const one = {NULL, DSV3_F32, 2, {1, 1}, {1, 1}};
            dsv3_swiglu_backward_io io = {.gate = one, .up = one, .grad_y = one, .grad_gate = one, .grad_up = one};
            io.gate.data = &gate, io.up.data = &up, io.grad_y.data = &grad_y;
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->swiglu_backward(&rd, &prob, &io, (ref_value *const[]){&by_gate, &by_up}));
            check(&by_gate, rows[i].grad_gate, "grad_y up silu'(gate)", t);
            check(&by_up, rows[i].grad_up, "grad_y silu(gate)", t);
        }
}

Test(worked, embed)
{
    static const struct {
        int quirk;
        double y[4]; /* of the ids 2 and 1 */
    } rows[] = {{-1, {-3, 0x1p-140, 0, 7}}, {QUIRK_W1_next_row, {-3, 0x1p-140, -3, 0x1p-140}}};
    float table[] = {1, 2, 0, 7, -3, 0x1p-140f};
    int32_t ids[] = {2, 1};
    dsv3_weight const item = {"weight", {table, DSV3_F32, 2, {3, 2}, {2, 1}}};
    dsv3_embed_prob const prob = {2, 3, 2};
    dsv3_embed_io const io = {
        .input_ids = {ids, DSV3_I32, 1, {2}, {1}}, .weights = {1, &item}, .y = {NULL, DSV3_F32, 2, {2, 2}, {2, 1}}};
    ref_numerics flushing;
    char why[200];
    cr_assert(ref_numerics_parse("embed", "flush daz", &flushing, why, sizeof why), "%s", why);
    for (int i = 0; i < 2 * 2; i++)
        for (int t = 0; t < TIERS; t++) {
            ref_value y[4];
            ref_reading const rd = {i % 2 ? &flushing : NULL, ref_only(rows[i / 2].quirk), false};
            cr_assert(tiers[t]->embed(&rd, &prob, &io, (ref_value *const[]){y}));
            for (int k = 0; k < 4; k++)
                cr_expect(y[k].hi == rows[i / 2].y[k] && y[k].lo == 0 && y[k].radius == 0, "row %d, %d: %g", i, k,
                          y[k].hi);
        }
    ref_value y;
    ref_reading const rd = {NULL, ref_only(QUIRK_W2_scaled), false};
    dsv3_embed_prob const one = {1, 3, 2};
    ref_value two[2];
    cr_assert(ref_dd.embed(&rd, &one, &io, (ref_value *const[]){two}));
    y = two[0];
    cr_expect(agrees(&y, "-4.24264068711928514640506617262909423571"), "%.17g", y.hi);
}

/* Logits 1, 2, 3 and label 2, then a row whose label is ignored. */
Test(worked, cross_entropy)
{
    static const struct {
        int divisor, quirk;
        const char *loss, *mean;
    } rows[] = {
        {0, -1, "0.407605964444380304482919904545070451472947108", "0.203802982222190152241459952272535225736473554"},
        {1, -1, "0.407605964444380304482919904545070451472947108", "0.407605964444380304482919904545070451472947108"},
        {1, QUIRK_M11_other_divisor, "0.407605964444380304482919904545070451472947108",
         "0.203802982222190152241459952272535225736473554"},
    };
    float logits[] = {1, 2, 3, 5, 5, 5};
    int32_t labels[] = {2, DSV3_IGNORED};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            ref_value loss[2], mean;
            dsv3_cross_entropy_prob const prob = {2, 3, rows[i].divisor};
            dsv3_cross_entropy_io const io = {.logits = {logits, DSV3_F32, 2, {2, 3}, {3, 1}},
                                              .labels = {labels, DSV3_I32, 1, {2}, {1}}};
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->cross_entropy(&rd, &prob, &io, (ref_value *const[]){loss, &mean}));
            check(&loss[0], rows[i].loss, "loss", t);
            cr_expect(loss[1].hi == 0 && loss[1].radius == 0, "ignored: %g", loss[1].hi);
            check(&mean, rows[i].mean, "mean", t);
        }
}

/* One tile, read exactly and as a port with IEEE division computes it. */
static void quantise(int tier, const dsv3_quant_prob *p, const char *declared, float *x, ref_value *scale, ref_value *q)
{
    int64_t const n = p->in_features;
    ref_numerics numerics;
    char why[200];
    dsv3_quant_io const io = {.x = {x, DSV3_F32, 2, {1, n}, {n, 1}}};
    cr_assert(ref_numerics_parse("quant", declared, &numerics, why, sizeof why), "%s", why);
    ref_reading const rd = {declared ? &numerics : NULL, ref_none(), false};
    cr_assert(tiers[tier]->quant(&rd, p, &io, (ref_value *const[]){scale, q}));
}

static const char ieee[] = "div ieee; quotient div; flush none";

Test(worked, quant_tile)
{
    static const double plain[] = {448, 144, 288, 44, -1.5, 0.15625}, raised[] = {384, 128, 256, 40, -1.25};
    float x[] = {3, 1, 2, 0.3f, -0.01f, 0.001f}, zeros[6] = {0}, tiny[6] = {1e-6f, -1e-6f};
    dsv3_quant_prob const p = {1, 6, 1e-4, 0}, ue8m0 = {1, 6, 1e-4, 1}, no_floor = {1, 6, 0, 0};
    ref_value s, q[6];
    for (int t = 0; t < TIERS; t++) {
        quantise(t, &p, NULL, x, &s, q);
        check(&s, "0.00669642857142857142857142857142857142857142857", "scale", t);
        check(&q[2], "298.66666666666666666666666666666666666666666667", "2 / scale", t);
        quantise(t, &p, ieee, x, &s, q);
        cr_expect(s.hi == 0x1.b6db6ep-8 && s.radius == 0, "tier %s: scale %a", tiers[t]->tier, s.hi);
        for (int i = 0; i < 6; i++)
            cr_expect(q[i].hi == plain[i] && q[i].radius == 0, "tier %s: code %d: %g", tiers[t]->tier, i, q[i].hi);
        quantise(t, &ue8m0, ieee, x, &s, q);
        cr_expect(s.hi == 0x1p-7 && s.radius == 0, "tier %s: raised scale %a", tiers[t]->tier, s.hi);
        for (int i = 0; i < 5; i++)
            cr_expect(q[i].hi == raised[i] && q[i].radius == 0, "tier %s: code %d: %g", tiers[t]->tier, i, q[i].hi);
        quantise(t, &p, NULL, zeros, &s, q);
        check(&s, "0.000000223214285714285714285714285714285714285714286", "scale of zeros", t);
        cr_expect(q[0].hi == 0 && q[0].radius <= 0x1p-900, "0 / scale: %g", q[0].hi);
        quantise(t, &no_floor, ieee, zeros, &s, q);
        cr_expect(s.hi == 1 && s.radius == 0 && q[0].hi == 0 && q[0].radius == 0, "no floor: scale %g", s.hi);
        quantise(t, &p, ieee, tiny, &s, q);
        cr_expect(q[0].hi == 4.5 && q[1].hi == -4.5, "below the floor: %g, %g", q[0].hi, q[1].hi);
    }
}

/* E4M3 with a scale of 1: ties go to even, subnormals are multiples of 2^-9. */
Test(worked, e4m3_rounding)
{
    static const double rows[][2] = {
        {448, 448},          {0x1p-10, 0},        {0x3p-10, 0x1p-8},       {0xfp-10, 0x1p-6}, {17 / 16., 1},
        {19 / 16., 1.25},    {21 / 16., 1.25},    {0.1f, 0.1015625},       {248, 256},        {432, 448},
        {-1 / 3., -0.34375}, {0x7p-9, 0x7p-9},    {0x1.00002p-10, 0x1p-9}, {240, 240},        {-447, -448},
        {-424, -416},        {0x1.8p-10, 0x1p-9}, {-0x1.fp-11, 0},
    };
    enum { N = sizeof rows / sizeof *rows };
    float x[N];
    ref_value s, q[N];
    dsv3_quant_prob const p = {1, N, 1e-4, 0};
    for (int i = 0; i < N; i++) x[i] = (float)rows[i][0];
    for (int t = 0; t < TIERS; t++) {
        quantise(t, &p, ieee, x, &s, q);
        cr_expect(s.hi == 1 && s.radius == 0, "scale %g", s.hi);
        for (int i = 0; i < N; i++)
            cr_expect(q[i].hi == rows[i][1] && q[i].radius == 0, "tier %s: E4M3(%a) is %g, not %g", tiers[t]->tier,
                      rows[i][0], q[i].hi, rows[i][1]);
        quantise(t, &p, "div ieee; quotient recip", x, &s, q);
        cr_expect(q[1].hi == 0 && q[1].radius == 0, "1 / 1 is exact");
        quantise(t, &p, "", x, &s, q);
        double const low = ref_lower(q[4]), high = ref_upper(q[4]);
        cr_expect(low <= 1 && low > 0.99 && high >= 1.125 && high < 1.13, "undeclared, a tie has two codes: %g, %g",
                  low, high);
    }
}

/* ue8m0: 448 2^k gives 2^k, one unit more the next power; an approximate division may give either. */
Test(worked, raised_scales)
{
    dsv3_quant_prob const p = {1, 1, 0, 1};
    ref_value s, q;
    for (int t = 0; t < TIERS; t++)
        for (int k = -100; k <= 100; k += 25) {
            float at = ldexpf(448, k), above = nextafterf(at, HUGE_VALF), below = nextafterf(at, 0);
            quantise(t, &p, ieee, &at, &s, &q);
            cr_expect(s.hi == ldexp(1, k) && s.radius == 0 && q.hi == 448, "448 2^%d: scale %a", k, s.hi);
            quantise(t, &p, ieee, &above, &s, &q);
            cr_expect(s.hi == ldexp(1, k + 1) && s.radius == 0 && q.hi == 224, "above 448 2^%d: scale %a", k, s.hi);
            quantise(t, &p, ieee, &below, &s, &q);
            cr_expect(s.hi == ldexp(1, k) && s.radius == 0, "below 448 2^%d: scale %a", k, s.hi);
            quantise(t, &p, "flush none", &at, &s, &q);
            cr_expect(ref_lower(s) <= ldexp(1, k) && ref_upper(s) >= ldexp(1, k + 1), "both powers are legal");
        }
}

/* Of two legal powers the port's own is judged; what lies between them is no legal scale. */
Test(worked, the_ports_own_power)
{
    static const struct {
        float own;
        bool legal;
    } rows[] = {{1, true}, {2, true}, {1.5f, false}, {4, false}, {0.5f, false}, {0, false}, {NAN, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float x = 448, own = rows[i].own;
        ref_value s, q;
        ref_numerics n;
        char why[200];
        dsv3_quant_prob const p = {1, 1, 0, 1};
        dsv3_quant_io const io = {.x = {&x, DSV3_F32, 2, {1, 1}, {1, 1}}, .scale = {&own, DSV3_F32, 2, {1, 1}, {1, 1}}};
        cr_assert(ref_numerics_parse("quant", "", &n, why, sizeof why));
        ref_reading const rd = {&n, ref_none(), true};
        cr_assert(ref_dd.quant(&rd, &p, &io, (ref_value *const[]){&s, &q}));
        cr_expect((ref_lower(s) <= (double)own && (double)own <= ref_upper(s)) == rows[i].legal, "%g: [%g, %g]",
                  (double)own, ref_lower(s), ref_upper(s));
    }
}

/* ---- blocks ---- */

#define MATRIX(name, data, rows, columns)                                                                              \
    {                                                                                                                  \
        name,                                                                                                          \
        {                                                                                                              \
            data, DSV3_F32, 2, {rows, columns},                                                                        \
            {                                                                                                          \
                columns, 1                                                                                             \
            }                                                                                                          \
        }                                                                                                              \
    }

static dsv3_tensor table(void *data, dsv3_dtype dtype, int64_t rows, int64_t columns)
{
    return (dsv3_tensor){data, dtype, 2, {rows, columns}, {columns, 1}};
}

/* Two heads, three keys, one query, scale (2 + 2)^-1/2. Queries and the new key are given as the stages of a port, two keys are
 * in the cache: what is worked out is from there on. W_o is the identity. */
static void attend_block(int tier, bool naive, ref_value *o, ref_value *y)
{
    static float x[4], q_proj[8 * 4], kv_a[5 * 4], ones[3] = {1, 1, 1};
    static float kv_b[8 * 3] = {1, 0, 1, 0, 2, 0, 1, 1, 0, 0, 0, 1, 2, 0, 0, 0, 1, 1, 0, 1, -1, 1, 0, 0};
    static float identity[4 * 4] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    static float cache[4 * 5] = {1, 0, 2, 1, 0, 0, 1, -1, 0, 1}, q[8] = {1, 2, 1, -1, 0, -1, 2, 0},
                           kv[5] = {2, 1, 0, 1, 1};
    int32_t block = 0, length = 3, cu[2] = {0, 1};
    dsv3_weight const weights[] = {MATRIX("q_proj.weight", q_proj, 8, 4),
                                   MATRIX("kv_a_proj_with_mqa.weight", kv_a, 5, 4),
                                   MATRIX("kv_b_proj.weight", kv_b, 8, 3),
                                   MATRIX("o_proj.weight", identity, 4, 4),
                                   {"kv_a_layernorm.weight", {ones, DSV3_F32, 1, {3}, {1}}}};
    dsv3_mla_prob const p = {1, 1, 3, 4, 4, 2, 0, 3, 2, 2, 2, 1e-6, 10000, 1, 1, 32, 1, 1, 1, DSV3_INTERLEAVED, 1};
    dsv3_mla_io const io = {.hidden_states = table(x, DSV3_F32, 1, 4),
                            .cu_seqlens = {cu, DSV3_I32, 1, {2}, {1}},
                            .kv_cache = {cache, DSV3_F32, 3, {1, 4, 5}, {20, 5, 1}},
                            .block_table = table(&block, DSV3_I32, 1, 1),
                            .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
                            .weights = {5, weights},
                            .q = table(q, DSV3_F32, 1, 8),
                            .kv = table(kv, DSV3_F32, 1, 5),
                            .attn_output = table(NULL, DSV3_F32, 1, 4),
                            .y = table(NULL, DSV3_F32, 1, 4)};
    ref_reading const rd = {.teacher_forced = true, .naive = naive};
    cr_assert(tiers[tier]->mla(&rd, &p, &io, (ref_value *const[]){NULL, NULL, NULL, o, y}));
}

Test(worked, attention_block)
{
    static const char *const o[] = {
        "2.33048191154964377905803656034949080986554", "0.399426368939214846947897135197033796530669",
        "0.451862761877606043814185154403101112772676", "1.17779414281640906572127773160465166915901"};
    ref_value got[4], y[4];
    for (int t = 0; t < TIERS; t++)
        for (int naive = 0; naive < 2; naive++) {
            attend_block(t, naive, got, y);
            for (int i = 0; i < 4; i++) check(&got[i], o[i], naive ? "o, naive" : "o, absorbed", t);
            for (int i = 0; i < 4; i++) check(&y[i], o[i], "y", t);
        }
}

/* Expert 0: gate_proj picks x_0, up_proj x_1, down_proj gives (a, -a). Expert 1: x_1, x_0 + x_1, (0, 2a). Expert 2 is all zeros. The shared
 * one: x_0, x_0, (4a, 0). The gate's logits for x = (1, 2) are 0, 0, 2. */
static float picks_0[] = {1, 0}, picks_1[] = {0, 1}, adds[] = {1, 1}, opposite[] = {1, -1}, twice_1[] = {0, 2},
             four_0[] = {4, 0}, nothing[2], gate_rows[] = {2, -1, -2, 1, 0, 1}, biases[] = {1, 1, 0};
static dsv3_weight const toy[] = {MATRIX("experts.0.gate_proj.weight", picks_0, 1, 2),
                                  MATRIX("experts.0.up_proj.weight", picks_1, 1, 2),
                                  MATRIX("experts.0.down_proj.weight", opposite, 2, 1),
                                  MATRIX("experts.1.gate_proj.weight", picks_1, 1, 2),
                                  MATRIX("experts.1.up_proj.weight", adds, 1, 2),
                                  MATRIX("experts.1.down_proj.weight", twice_1, 2, 1),
                                  MATRIX("experts.2.gate_proj.weight", nothing, 1, 2),
                                  MATRIX("experts.2.up_proj.weight", nothing, 1, 2),
                                  MATRIX("experts.2.down_proj.weight", nothing, 2, 1),
                                  MATRIX("shared_experts.gate_proj.weight", picks_0, 1, 2),
                                  MATRIX("shared_experts.up_proj.weight", picks_0, 1, 2),
                                  MATRIX("shared_experts.down_proj.weight", four_0, 2, 1),
                                  MATRIX("gate.weight", gate_rows, 3, 2),
                                  {"gate.e_score_correction_bias", {biases, DSV3_F32, 1, {3}, {1}}}};
static const char act_0[] = "1.4621171572600097585023184836436725487303",
                  act_1[] = "5.2847824678672946643583748478143807712383",
                  act_shared[] = "0.7310585786300048792511592418218362743651";

Test(worked, experts)
{
    float x[] = {1, 2}, weight[] = {0.25, 0.5};
    int32_t idx[] = {1, 0};
    dsv3_experts_prob const p = {1, 2, 1, 3, 2, 1};
    dsv3_experts_io const io = {.hidden_states = table(x, DSV3_F32, 1, 2),
                                .topk_idx = table(idx, DSV3_I32, 1, 2),
                                .topk_weight = table(weight, DSV3_F32, 1, 2),
                                .weights = {9, toy},
                                .act = table(NULL, DSV3_F32, 2, 1),
                                .y = table(NULL, DSV3_F32, 1, 2)};
    ref_reading const rd = {NULL};
    ref_value act[2], y[2];
    for (int t = 0; t < TIERS; t++) {
        cr_assert(tiers[t]->experts(&rd, &p, &io, (ref_value *const[]){act, y}));
        check(&act[0], act_1, "act of the first choice", t);
        check(&act[1], act_0, "act of the second", t);
        check(&y[0], "0.7310585786300048792511592418218362743651", "y", t);
        check(&y[1], "1.9113326553036424529280281820853541112540", "y", t);
    }
}

/* Of each output: its elements. Expert 2, which nothing chose, has gradients of 0. */
typedef struct {
    int quirk; /* -1: none */
    const char *grad_x[2], *grad_w[2];
} experts_gradient;

Test(worked, experts_backward)
{
    static const experts_gradient rows[] = {
        {-1,
         {"0.833923644084278156330874307197048290425357", "4.66841761299544888476481119416361800622513"},
         {"21.1391298714691786574334993912575230849532", "-1.46211715726000975850231848364367254873029"}},
        {QUIRK_D9_weight_twice,
         {"0.833923644084278156330874307197048290425357", "4.66841761299544888476481119416361800622513"},
         {"5.2847824678672946643583748478143807712383", "-0.731058578630004879251159241821836274365145"}},
        {QUIRK_D9_overwritten,
         {"1.76159415595576488811945828260479359041277", "5.0339469023104513243903908150745361434077"},
         {"21.1391298714691786574334993912575230849532", "-1.46211715726000975850231848364367254873029"}},
    };
    static const char *const grad_gate[] = {
        "-0.927670511871486731788583975407745299987412", "-1.85534102374297346357716795081549059997482",
        "3.27235274635468643627093253246974255299493", "6.54470549270937287254186506493948510598987"};
    static const char *const grad_up[] = {
        "-0.365529289315002439625579620910918137182572", "-0.731058578630004879251159241821836274365145",
        "1.76159415595576488811945828260479359041277", "3.52318831191152977623891656520958718082554"};
    static const char *const grad_down[] = {
        "0.731058578630004879251159241821836274365145", "1.46211715726000975850231848364367254873029",
        "1.32119561696682366608959371195359519280958", "2.64239123393364733217918742390719038561915"};
    float x[] = {1, 2}, weight[] = {0.25, 0.5};
    int32_t idx[] = {1, 0};
    dsv3_experts_backward_prob const p = {1, 2, 1, 3, 2};
    dsv3_experts_backward_io const io = {.hidden_states = table(x, DSV3_F32, 1, 2),
                                         .topk_idx = table(idx, DSV3_I32, 1, 2),
                                         .topk_weight = table(weight, DSV3_F32, 1, 2),
                                         .grad_y = table(x, DSV3_F32, 1, 2),
                                         .weights = {9, toy},
                                         .grad_hidden_states = table(NULL, DSV3_F32, 1, 2),
                                         .grad_gate_proj = table(NULL, DSV3_F32, 1, 2)};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            ref_value by_x[2], by_w[2], gate[6], up[6], down[6];
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->experts_backward(&rd, &p, &io, (ref_value *const[]){by_x, by_w, gate, up, down}));
            for (int k = 0; k < 2; k++) check(&by_x[k], rows[i].grad_x[k], "grad_hidden_states", t);
            for (int k = 0; k < 2; k++) check(&by_w[k], rows[i].grad_w[k], "grad_topk_weight", t);
            for (int k = 0; k < 4; k++) check(&gate[k], grad_gate[k], "grad_gate_proj", t);
            for (int k = 0; k < 4; k++) check(&up[k], grad_up[k], "grad_up_proj", t);
            for (int k = 0; k < 4; k++) check(&down[k], grad_down[k], "grad_down_proj", t);
            check_all(gate + 4, (double const[2]){0}, 2, "grad_gate_proj of expert 2");
            check_all(down + 4, (double const[2]){0}, 2, "grad_down_proj of expert 2");
        }
}

Test(worked, moe)
{
    static const double logits[] = {0, 0, 2};
    float x[] = {1, 2};
    dsv3_moe_prob const p = {1, 2, 1, 3, 1, 1, 1, 2, 2.5, 1, DSV3_SIGMOID, DSV3_NOAUX_TC, 1};
    dsv3_moe_io const io = {.hidden_states = table(x, DSV3_F32, 1, 2),
                            .weights = {sizeof toy / sizeof *toy, toy},
                            .router_logits = table(NULL, DSV3_F32, 1, 3),
                            .topk_idx = table(NULL, DSV3_I32, 1, 2),
                            .topk_weight = table(NULL, DSV3_F32, 1, 2),
                            .act = table(NULL, DSV3_F32, 2, 1),
                            .shared_act = table(NULL, DSV3_F32, 1, 1),
                            .y = table(NULL, DSV3_F32, 1, 2)};
    ref_reading const rd = {NULL};
    ref_value z[3], idx[2], weight[2], act[2], shared, y[2];
    for (int t = 0; t < TIERS; t++) {
        cr_assert(tiers[t]->moe(&rd, &p, &io, (ref_value *const[]){z, idx, weight, act, &shared, y}));
        for (int e = 0; e < 3; e++) cr_expect(z[e].hi == logits[e] && z[e].radius == 0, "logit %d: %g", e, z[e].hi);
        for (int k = 0; k < 2; k++) {
            cr_expect(idx[k].hi == k, "choice %d: %g", k, idx[k].hi);
            check(&weight[k], "1.2500000000000000000000000000000000000000", "weight", t);
            check(&act[k], k ? act_1 : act_0, "act", t);
        }
        check(&shared, act_shared, "act of the shared expert", t);
        check(&y[0], "4.7518807610950317151325350718419357833734", "y", t);
        check(&y[1], "11.3843097230932244627680390149813612421829", "y", t);
    }
}

Test(worked, mla_prefill_backward)
{
    static const struct {
        int quirk; /* -1: none */
        const char *q11, *k01, *k23, *v20, *v01;
    } rows[] = {
        {-1, "-0.694320623718981358518696443740950320482758", "-0.557286314188382869472242732341725598675927",
         "0.210126002328892190212894510471250438434548", "-0.274068619061196978092907422798449443613662",
         "1.18481377419811113964203212775767540246433"},
        {QUIRK_D10_scale_missing_k, "-0.694320623718981358518696443740950320482758",
         "-1.11457262837676573894448546468345119735185", "0.420252004657784380425789020942500876869096",
         "-0.274068619061196978092907422798449443613662", "1.18481377419811113964203212775767540246433"},
        {QUIRK_D10_no_D, "-0.362965690469401510953546288600775278193169",
         "-0.225931380938803021907092577201550556386338", "0.411102928591795467139361134197674165420493",
         "-0.274068619061196978092907422798449443613662", "1.18481377419811113964203212775767540246433"},
        {QUIRK_D10_not_masked, "-0.694320623718981358518696443740950320482758",
         "-0.557286314188382869472242732341725598675927", "0.751512689180349725247467208090868016808289",
         "0.44778029674074640195318950736104066088466", "1.18481377419811113964203212775767540246433"},
        {QUIRK_D10_square_mask, "-0.904446626047873548731590954212200758917306",
         "-0.557286314188382869472242732341725598675927", "0", "0", "1.18481377419811113964203212775767540246433"},
        {QUIRK_D10_lse_base_2, "-0.391474222671304684917658144726955157647515",
         "-0.314211070792782366021872017670764294629161", "0.118473959457130023563042945307286715805404",
         "-0.154526303757044637791572254112381726036708", "0.684116814529036722904655021535716054962121"},
    };
    float q[] = {1, 0, 0.5f, -1, 0, 1, 0, 1}, k[] = {1, 1, 0, 0, 0.5f, -1, 2, 1, 0, 1, 1, -1};
    float v[] = {1, 0, 0, 2, -1, 1}, grad_o[] = {1, 0.5f, -1, 2};
    int32_t of_q[] = {0, 2}, of_k[] = {0, 3};
    dsv3_mla_prefill_backward_prob const p = {1, 2, 3, 1, 2, 2, 2, 0.5};
    dsv3_mla_prefill_backward_io const io = {.q = {q, DSV3_F32, 3, {2, 1, 4}, {4, 4, 1}},
                                             .k = {k, DSV3_F32, 3, {3, 1, 4}, {4, 4, 1}},
                                             .v = {v, DSV3_F32, 3, {3, 1, 2}, {2, 2, 1}},
                                             .cu_seqlens_q = {of_q, DSV3_I32, 1, {2}, {1}},
                                             .cu_seqlens_k = {of_k, DSV3_I32, 1, {2}, {1}},
                                             .grad_o = {grad_o, DSV3_F32, 3, {2, 1, 2}, {2, 2, 1}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            ref_value grad_q[8], grad_k[12], grad_v[6];
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->mla_prefill_backward(&rd, &p, &io, (ref_value *const[]){grad_q, grad_k, grad_v}));
            check(&grad_q[5], rows[i].q11, "grad_q", t);
            check(&grad_k[1], rows[i].k01, "grad_k", t);
            check(&grad_k[11], rows[i].k23, "grad_k", t);
            check(&grad_v[4], rows[i].v20, "grad_v", t);
            check(&grad_v[1], rows[i].v01, "grad_v", t);
        }
}

Test(worked, merge_state)
{
    static const struct {
        int quirk, base; /* quirk -1: none */
        const char *o, *lse;
    } rows[] = {
        {-1, 0, "0.0757656854799804829953630327126549025394214", "2.31326168751822283404899549496785564191528"},
        {-1, 1, "0.333333333333333333333333333333333333333333", "2.58496250072115618145373894394781650875981"},
        {QUIRK_A12_merge_other_base, 0, "0.333333333333333333333333333333333333333333",
         "2.58496250072115618145373894394781650875981"},
        {QUIRK_A12_merge_exchanged, 0, "1.92423431452001951700463696728734509746058",
         "2.31326168751822283404899549496785564191528"},
        {QUIRK_A12_merge_not_divided, 0, "0.103638323514326964786571310484382602337433",
         "2.31326168751822283404899549496785564191528"},
        {QUIRK_A12_merge_lse_is_maximum, 0, "0.0757656854799804829953630327126549025394214", "2"},
        {QUIRK_A12_merge_lse_of_a, 0, "0.0757656854799804829953630327126549025394214", "1"},
    };
    float o_a[] = {3}, o_b[] = {-1}, lse_a[] = {1}, lse_b[] = {2}, none[] = {-INFINITY};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            dsv3_merge_state_prob const p = {1, 1, 1, rows[i].base, 0};
            dsv3_merge_state_io io = {.o_a = {o_a, DSV3_F32, 3, {1, 1, 1}, {1, 1, 1}},
                                      .lse_a = {lse_a, DSV3_F32, 2, {1, 1}, {1, 1}},
                                      .o_b = {o_b, DSV3_F32, 3, {1, 1, 1}, {1, 1, 1}},
                                      .lse_b = {lse_b, DSV3_F32, 2, {1, 1}, {1, 1}},
                                      .o = {NULL, DSV3_F32, 3, {1, 1, 1}, {1, 1, 1}}};
            ref_value o, lse;
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->merge_state(&rd, &p, &io, (ref_value *const[]){&o, &lse}));
            check(&o, rows[i].o, "o", t);
            check(&lse, rows[i].lse, "lse", t);
            io.lse_a.data = none; /* part b alone */
            cr_assert(tiers[t]->merge_state(&rd, &p, &io, (ref_value *const[]){&o, &lse}));
            check(&o, "-1", "o of b alone", t);
            check(&lse, "2", "lse of b alone", t);
        }
}

/* Two queries as in prefill_of_two_heads, of which the first would not see the last key. */
Test(worked, prefill_without_a_mask)
{
    static const struct {
        int quirk, full;
        const char *o[2], *lse; /* of head 1 of the first query */
    } rows[] = {
        {-1,
         1,
         {"0.451862761877606043814185154403101112772676", "1.17779414281640906572127773160465166915901"},
         "1.29437676941764318048711915049940505520982995"},
        {-1, 0, {"0.0", "0.5"}, "0.6931471805599453094172321214581765680755"},
        {QUIRK_A9_full_is_causal, 1, {"0.0", "0.5"}, "0.6931471805599453094172321214581765680755"},
    };
    float q[] = {1, 2, 1, -1, 0, -1, 2, 0, 1, 2, 1, -1, 0, -1, 2, 0};
    float k[] = {3, 0, 1, 0, 2, 2, 1, 0, -1, 2, 0, 1, 0, 0, 0, 1, 2, 2, 1, 1, 4, 1, 1, 1};
    float v[] = {1, 2, -2, 1, 1, -1, 2, 0, 3, 0, 1, 2};
    int32_t queries[] = {0, 2}, keys[] = {0, 3};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            dsv3_mla_prefill_prob const p = {1, 2, 3, 2, 2, 2, 2, 0.5, rows[i].full};
            dsv3_mla_prefill_io const io = {.q = {q, DSV3_F32, 3, {2, 2, 4}, {8, 4, 1}},
                                            .k = {k, DSV3_F32, 3, {3, 2, 4}, {8, 4, 1}},
                                            .v = {v, DSV3_F32, 3, {3, 2, 2}, {4, 2, 1}},
                                            .cu_seqlens_q = {queries, DSV3_I32, 1, {2}, {1}},
                                            .cu_seqlens_k = {keys, DSV3_I32, 1, {2}, {1}}};
            ref_value o[8], lse[4];
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->mla_prefill(&rd, &p, &io, (ref_value *const[]){o, lse}));
            for (int c = 0; c < 2; c++) check(&o[2 + c], rows[i].o[c], "o", t);
            check(&lse[1], rows[i].lse, "lse", t);
            check(&o[4], "2.33048191154964377905803656034949080986554", "o of the last query", t);
        }
}

/* The key 3, -1 | 2, 0.5 in slot 2, and a token that isn't stored. Codes and scales are bytes of torch 2.8. */
Test(worked, cache_store)
{
    enum { ROW = 10, ROWS = 4 };
    static const struct {
        int quirk;
        dsv3_dtype pool;
        int width, fmt;
        double floor;
        uint8_t row[ROW];
    } rows[] = {
        {-1, DSV3_F8_E4M3, 4, 0, 0, {0x54, 0xc8, 0x50, 0x40}},
        {-1, DSV3_U8, ROW, 0, 0, {0x7e, 0xf1, 0xb7, 0x6d, 0xdb, 0x3b, 0x00, 0x40, 0x00, 0x3f}},
        {-1, DSV3_U8, ROW, 1, 0, {0x7c, 0xf0, 0x00, 0x00, 0x00, 0x3c, 0x00, 0x40, 0x00, 0x3f}},
        {-1, DSV3_U8, ROW, 0, 0.25, {0x54, 0xc8, 0x00, 0x00, 0x80, 0x3e, 0x00, 0x40, 0x00, 0x3f}},
        {QUIRK_F15_scales_behind, DSV3_U8, ROW, 0, 0, {0x7e, 0xf1, 0x00, 0x40, 0x00, 0x3f, 0xb7, 0x6d, 0xdb, 0x3b}},
        {QUIRK_F15_scale_multiplied, DSV3_F8_E4M3, 4, 0, 0, {0x34, 0xa8, 0x30, 0x20}},
    };
    float kv[] = {3, -1, 2, 0.5f, 7, 7, 7, 7}, unit = 0.25f;
    int64_t slots[] = {2, -1};
    const dsv3_weight scale = {"kv_scale", {&unit, DSV3_F32, 1, {1}, {1}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            uint8_t pool[ROWS * ROW];
            int64_t const w = rows[i].width;
            memset(pool, 0x4d, sizeof pool);
            dsv3_cache_store_prob const p = {2, 2, 2, 2, 0, rows[i].floor, rows[i].fmt};
            dsv3_tensor const cache = {pool, rows[i].pool, 3, {2, 2, w}, {2 * w, w, 1}};
            dsv3_cache_store_io const io = {.kv = {kv, DSV3_F32, 2, {2, 4}, {4, 1}},
                                            .slot_mapping = {slots, DSV3_I64, 1, {2}, {1}},
                                            .kv_cache = cache,
                                            .weights = {1, &scale},
                                            .kv_cache_out = cache};
            ref_value got[ROWS * ROW], *const out[] = {got};
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->cache_store(&rd, &p, &io, out));
            for (int64_t k = 0; k < ROWS * w; k++) {
                bool const named = k / w == 2;
                double const right = ref_decode(rows[i].pool, named ? rows[i].row : pool, named ? k % w : k);
                cr_expect_eq(got[k].hi, right, "row %zu, element %lld: %g, not %g", i, (long long)k, got[k].hi, right);
            }
        }
}

/* torchtitan's example of two documents. */
Test(worked, mtp_inputs)
{
    enum { ROWS = 8, FIRST = 3 };
    static const struct {
        int quirk, depth, tail, given;
        int32_t ids[ROWS], labels[ROWS], valid[ROWS];
        float mask[ROWS];
    } rows[] = {
        {-1,
         1,
         0,
         1,
         {11, 12, 0, 21, 22, 23, 24, 0},
         {12, 13, 0, 22, 23, 24, 25, 0},
         {1, 1, 0, 1, 1, 1, 1, 0},
         {2, 3, 0, 5, 6, 7, 8, 0}},
        {-1,
         2,
         1,
         1,
         {12, 0, 0, 22, 23, 24, 0, 0},
         {13, -100, -100, 23, 24, 25, -100, -100},
         {1, 0, 0, 1, 1, 1, 0, 0},
         {3, 0, 0, 6, 7, 8, 0, 0}},
        {-1,
         1,
         1,
         0,
         {11, 12, 0, 21, 22, 23, 24, 0},
         {12, -100, -100, 22, 23, 24, -100, -100},
         {1, 1, 0, 1, 1, 1, 1, 0},
         {3, 0, 0, 6, 7, 8, 0, 0}},
        {-1,
         4,
         0,
         1,
         {0, 0, 0, 24, 0, 0, 0, 0},
         {0, 0, 0, 25, 0, 0, 0, 0},
         {0, 0, 0, 1, 0, 0, 0, 0},
         {0, 0, 0, 8, 0, 0, 0, 0}},
        {QUIRK_M11_over_boundary,
         1,
         0,
         1,
         {11, 12, 20, 21, 22, 23, 24, 0},
         {12, 13, 21, 22, 23, 24, 25, 0},
         {1, 1, 1, 1, 1, 1, 1, 0},
         {2, 3, 4, 5, 6, 7, 8, 0}},
        {QUIRK_M11_wrapped,
         1,
         0,
         1,
         {11, 12, 10, 21, 22, 23, 24, 20},
         {12, 13, 11, 22, 23, 24, 25, 21},
         {1, 1, 1, 1, 1, 1, 1, 1},
         {2, 3, 1, 5, 6, 7, 8, 4}},
        {QUIRK_M11_mask_not_rolled,
         1,
         0,
         1,
         {11, 12, 0, 21, 22, 23, 24, 0},
         {12, 13, 0, 22, 23, 24, 25, 0},
         {1, 1, 0, 1, 1, 1, 1, 0},
         {1, 2, 3, 4, 5, 6, 7, 8}},
        {QUIRK_M11_labels_twice,
         1,
         0,
         1,
         {11, 12, 0, 21, 22, 23, 24, 0},
         {13, 0, 0, 23, 24, 25, 0, 0},
         {1, 1, 0, 1, 1, 1, 1, 0},
         {2, 3, 0, 5, 6, 7, 8, 0}},
        {QUIRK_M11_next_depth,
         1,
         0,
         1,
         {12, 0, 0, 22, 23, 24, 0, 0},
         {13, 0, 0, 23, 24, 25, 0, 0},
         {1, 0, 0, 1, 1, 1, 0, 0},
         {3, 0, 0, 6, 7, 8, 0, 0}},
    };
    int32_t ids[] = {10, 11, 12, 20, 21, 22, 23, 24}, labels[] = {11, 12, 13, 21, 22, 23, 24, 25};
    int32_t starts[] = {0, FIRST, ROWS};
    float mask[] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            dsv3_mtp_inputs_prob const p = {2, ROWS, rows[i].depth, rows[i].tail, rows[i].given};
            dsv3_mtp_inputs_io const io = {.input_ids = {ids, DSV3_I32, 1, {ROWS}, {1}},
                                           .cu_seqlens = {starts, DSV3_I32, 1, {3}, {1}},
                                           .labels = {labels, rows[i].given ? DSV3_I32 : DSV3_NONE, 1, {ROWS}, {1}},
                                           .loss_mask = {mask, DSV3_F32, 1, {ROWS}, {1}}};
            ref_value got[4][ROWS];
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            cr_assert(tiers[t]->mtp_inputs(&rd, &p, &io, (ref_value *const[]){got[0], got[1], got[2], got[3]}));
            for (int r = 0; r < ROWS; r++) {
                cr_expect_eq(got[0][r].hi, rows[i].ids[r], "row %d of %zu: id %g", r, i, got[0][r].hi);
                cr_expect_eq(got[1][r].hi, rows[i].labels[r], "row %d of %zu: label %g", r, i, got[1][r].hi);
                cr_expect_eq(got[2][r].hi, (double)rows[i].mask[r], "row %d of %zu: mask %g", r, i, got[2][r].hi);
                cr_expect_eq(got[3][r].hi, rows[i].valid[r], "row %d of %zu: valid %g", r, i, got[3][r].hi);
                for (int k = 0; k < 4; k++) cr_expect_eq(got[k][r].radius, 0);
            }
        }
}
