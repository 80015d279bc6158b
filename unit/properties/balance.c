/* Gates with softmax scores, the balancing ops and acceptance of drafts: worked numbers in every tier, ports simulated operation by
 * operation, and the proof that what is emitted has the target's distribution. */
#include "ref.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "decimal.h"
#include "declared.h"

TestSuite(balance, .timeout = 120);

static const ref_table *const tiers[] = {&ref_dd, &ref_256, &ref_512, &ref_1024};
enum { TIERS = 4 };

static const ref_reading exactly;

static void check(const ref_value *v, const char *decimal, const char *what, int tier)
{
    cr_expect(agrees(v, decimal), "%s, tier %s: %.17g, not %s", what, tiers[tier]->tier, v->hi, decimal);
    cr_expect(v->radius <= 0x1p-60, "%s, tier %s: radius %g", what, tiers[tier]->tier, v->radius);
}

static double uniform(void)
{
    return 2 * drand48() - 1;
}

/* ---- gates with softmax scores ---- */

enum { EXPERTS = 8, CHOSEN = 2 };

/* The gate on one token of 8 experts, 2 chosen; idx is read where the reading is teacher-forced. */
static void route(const ref_table *tier, const ref_reading *rd, const dsv3_gate_prob *prob, const float *z,
                  int32_t *idx, ref_value *legal_idx, ref_value *legal_weight)
{
    dsv3_gate_io const io = {.logits = {(void *)(uintptr_t)z, DSV3_F32, 2, {1, EXPERTS}, {EXPERTS, 1}},
                             .topk_idx = {idx, DSV3_I32, 2, {1, CHOSEN}, {CHOSEN, 1}},
                             .topk_weight = {NULL, DSV3_F32, 2, {1, CHOSEN}, {CHOSEN, 1}}};
    cr_assert(tier->gate(rd, prob, &io, (ref_value *const[]){legal_idx, legal_weight}));
}

Test(balance, softmax_gates)
{
    static const float z[EXPERTS] = {0, 1, 2, -1, 3, -2, 0, 0};
    static const struct {
        const char *name;
        int method, norm, quirk; /* -1: none */
        int idx[CHOSEN];
        const char *weight[CHOSEN];
    } rows[] = {
        {"greedy",
         DSV3_GREEDY,
         0,
         -1,
         {4, 2},
         {"0.596079164571616605395135317335947588026443", "0.219285269956546517087958197612372143619233"}},
        {"greedy, divided",
         DSV3_GREEDY,
         1,
         -1,
         {4, 2},
         {"0.731058578630004879251159241821836274365145", "0.268941421369995120748840758178163725634855"}},
        {"group_limited_greedy",
         DSV3_GROUP_LIMITED_GREEDY,
         0,
         -1,
         {4, 6},
         {"0.596079164571616605395135317335947588026443", "0.0296770341191862986098840036369570743844693"}},
        {"groups by two",
         DSV3_GROUP_LIMITED_GREEDY,
         0,
         QUIRK_G2_group_sum_of_two,
         {4, 6},
         {"0.596079164571616605395135317335947588026443", "0.0296770341191862986098840036369570743844693"}},
        {"no groups",
         DSV3_GROUP_LIMITED_GREEDY,
         0,
         QUIRK_G4_ungrouped,
         {4, 2},
         {"0.596079164571616605395135317335947588026443", "0.219285269956546517087958197612372143619233"}},
        {"sigmoid",
         DSV3_GREEDY,
         0,
         QUIRK_G6_other_scoring,
         {4, 2},
         {"0.952574126822433219121151848228247798613821", "0.880797077977882444059729141302396795206384"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < TIERS; t++) {
            dsv3_gate_prob const prob = {1, EXPERTS, 2, 1, CHOSEN, 1, rows[i].norm, DSV3_SOFTMAX, rows[i].method};
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            ref_value idx[CHOSEN], weight[CHOSEN];
            route(tiers[t], &rd, &prob, z, NULL, idx, weight);
            for (int k = 0; k < CHOSEN; k++) {
                cr_expect(idx[k].hi == rows[i].idx[k], "%s, tier %s: expert %g", rows[i].name, tiers[t]->tier,
                          idx[k].hi);
                check(&weight[k], rows[i].weight[k], rows[i].name, t);
            }
        }
}

/* How a port adds up: in binary32, or in binary64 with one rounding at the end. */
static double add(bool wide, double sum, double term)
{
    return wide ? sum + term : (double)(float)(sum + term);
}

/* Softmax in binary32: the maximum subtracted, base 2 with a folded constant, nothing subtracted; sums from either end. */
static void softmax_of_port(int way, bool wide, const float *z, float *s)
{
    float max = -INFINITY;
    double sum = 0;
    for (int e = 0; e < EXPERTS; e++) max = fmaxf(max, z[e]);
    for (int e = 0; e < EXPERTS; e++) {
        float const folded = exp2f(fmaf(z[e], 1.44269504f, -(max * 1.44269504f)));
        s[e] = way % 3 == 0 ? expf(z[e] - max) : way % 3 == 1 ? folded : expf(z[e]);
    }
    for (int e = 0; e < EXPERTS; e++) sum = add(wide, sum, (double)s[way < 3 ? e : EXPERTS - 1 - e]);
    float const total = (float)sum, reciprocal = 1 / total;
    for (int e = 0; e < EXPERTS; e++) s[e] = way < 3 ? s[e] / total : s[e] * reciprocal;
}

static void largest_two(const float *s, int32_t idx[CHOSEN])
{
    idx[0] = 0;
    for (int e = 1; e < EXPERTS; e++)
        if (s[e] > s[idx[0]]) idx[0] = e;
    idx[1] = idx[0] == 0;
    for (int e = 0; e < EXPERTS; e++)
        if (e != idx[0] && s[e] > s[idx[1]]) idx[1] = e;
}

Test(balance, softmax_gates_of_ports)
{
    ref_numerics const narrow = numerics("gate", "acc 24 rn; div 2; exp 2 0; flush none; scores f32 may");
    ref_numerics const divides = numerics("gate", "acc 53 rn; div ieee; exp 2 0; flush none; scores f32 must");
    double worst = 0;
    long ties = 0;
    srand48(3);
    for (int round = 0; round < 6000; round++) {
        float z[EXPERTS], s[EXPERTS];
        int32_t idx[CHOSEN];
        ref_value legal_idx[CHOSEN], legal[CHOSEN];
        bool const wide = round % 6 < 3 && round % 7 < 5;
        ref_reading const rd = {wide ? &divides : &narrow, ref_none(), true};
        double const size = round % 7 == 0 ? 0.01 : round % 2 ? 3 : 40;
        for (int e = 0; e < EXPERTS; e++)
            z[e] = round % 5 ? (float)(size * uniform()) : (float)size + (float)(lrand48() % 9) * 0x1p-21f;
        dsv3_gate_prob const prob = {1, EXPERTS, 2, 1, CHOSEN, 16, round / 6 % 2, DSV3_SOFTMAX, DSV3_GREEDY};
        softmax_of_port(round % 6, wide, z, s);
        largest_two(s, idx);
        ties += round % 5 == 0;
        route(&ref_dd, &rd, &prob, z, idx, legal_idx, legal);
        cr_expect(!isnan(legal_idx[0].hi), "round %d: no legal choice", round);
        for (int k = 0; k < CHOSEN; k++) {
            float const total = s[idx[0]] + s[idx[1]], w = (prob.norm_topk_prob ? s[idx[k]] / total : s[idx[k]]) * 16;
            cr_expect(inside(&legal[k], w), "round %d: %.9g is outside [%.9g, %.9g]", round, (double)w,
                      ref_lower(legal[k]), ref_upper(legal[k]));
            if (legal[k].radius > 0) worst = fmax(worst, fabs((double)w - legal[k].hi) / legal[k].radius);
        }
    }
    printf("balance: %ld rows of near ties; the worst weight uses %.2f of its radius\n", ties, worst);
    cr_expect(worst > 0.02 && worst <= 1);
}

/* ---- bias_update ---- */

static void update(int tier, const ref_reading *rd, const int32_t *load, const float *bias, int n, double speed,
                   ref_value *out)
{
    dsv3_bias_update_prob const prob = {n, speed};
    dsv3_bias_update_io const io = {.load = {(void *)(uintptr_t)load, DSV3_I32, 1, {n}, {1}},
                                    .bias = {(void *)(uintptr_t)bias, DSV3_F32, 1, {n}, {1}},
                                    .bias_out = {NULL, DSV3_F32, 1, {n}, {1}}};
    cr_assert(tiers[tier]->bias_update(rd, &prob, &io, (ref_value *const[]){out}));
}

Test(balance, bias_update)
{
    static const int32_t load[] = {3, 1, 2, 2};
    static const float bias[] = {0, 0.5f, 0.25f, -1};
    static const struct {
        int quirk; /* -1: none */
        const char *out[4];
    } rows[] = {
        {-1, {"-0.001", "0.501", "0.250", "-1.000"}},
        {QUIRK_T1_sign_flipped, {"0.001", "0.499", "0.250", "-1.000"}},
        {QUIRK_T1_zero_counts_up, {"-0.001", "0.501", "0.251", "-0.999"}},
        {QUIRK_T1_proportional, {"-0.001", "0.501", "0.250", "-1.000"}},
        {QUIRK_T1_centred, {"-0.001", "0.501", "0.250", "-1.000"}},
    };
    for (int t = 0; t < TIERS; t++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            ref_value out[4];
            update(t, &rd, load, bias, 4, 0.001, out);
            for (int e = 0; e < 4; e++) {
                cr_expect(agrees(&out[e], rows[i].out[e]), "row %zu, expert %d: %.17g", i, e, out[e].hi);
                cr_expect(fabs(out[e].hi - strtod(rows[i].out[e], NULL)) < 1e-15, "row %zu, expert %d", i, e);
            }
        }
}

/* Loads that binary32 cannot tell apart. */
Test(balance, bias_update_counts_in_whole_numbers)
{
    static const int32_t load[] = {2147483647, 2147483645, 2147483646, 2147483646};
    static const float bias[] = {1, 1, 1, 1};
    static const double direction[] = {-1, 1, 0, 0};
    ref_numerics const n = numerics("bias_update", "");
    for (int conforming = 0; conforming < 2; conforming++) {
        ref_reading const rd = {conforming ? &n : NULL, ref_none(), false};
        ref_value out[4];
        update(0, &rd, load, bias, 4, 0.5, out);
        for (int e = 0; e < 4; e++)
            cr_expect(out[e].hi == 1 + direction[e] / 2 && out[e].radius == 0, "expert %d: %g", e, out[e].hi);
    }
}

/* ---- balance_loss ---- */

static void balance_loss(int tier, const ref_reading *rd, const dsv3_balance_loss_prob *p, const float *scores,
                         const int32_t *idx, const int32_t *start, ref_value *out)
{
    int64_t const n = p->n_tokens, experts = p->n_routed_experts, k = p->num_experts_per_tok;
    dsv3_balance_loss_io const io = {.scores = {(void *)(uintptr_t)scores, DSV3_F32, 2, {n, experts}, {experts, 1}},
                                     .topk_idx = {(void *)(uintptr_t)idx, DSV3_I32, 2, {n, k}, {k, 1}},
                                     .cu_seqlens = {(void *)(uintptr_t)start, DSV3_I32, 1, {p->batch + 1}, {1}},
                                     .loss = {NULL, DSV3_F32, 1, {p->batch}, {1}}};
    cr_assert(tiers[tier]->balance_loss(rd, p, &io, (ref_value *const[]){out}));
}

/* Three sequences of 2, 0 and 1 tokens; everything is a fraction that can be checked by hand. */
Test(balance, losses)
{
    static const float scores[] = {0.125f, 0.25f, 0.5f, 0.125f, 0.375f, 0.375f, 0.125f, 0.125f, 0.5f, 0.5f, 0.5f, 0.5f};
    static const int32_t idx[] = {2, 1, 0, 1, 3, 0}, start[] = {0, 2, 2, 3};
    static const struct {
        int seq_aux, quirk; /* -1: none */
        const char *loss[3];
    } rows[] = {
        {1, -1, {"1.1875000000000000000000000", "0", "1.0000000000000000000000000"}},
        {0, -1, {"1.3611111111111111111111111", "1.3611111111111111111111111", "1.3611111111111111111111111"}},
        {1, QUIRK_T6_not_normalised, {"1.1875000000000000000000000", "0", "2.0000000000000000000000000"}},
        {1, QUIRK_T6_counts_raw, {"1.1875000000000000000000000", "0", "0.5000000000000000000000000"}},
        {1, QUIRK_T6_batch_counts, {"1.0416666666666666666666667", "0", "1.0000000000000000000000000"}},
    };
    for (int t = 0; t < TIERS; t++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            dsv3_balance_loss_prob const p = {3, 3, 4, 2, 1, rows[i].seq_aux};
            ref_reading const rd = {NULL, ref_only(rows[i].quirk), false};
            ref_value loss[3];
            balance_loss(t, &rd, &p, scores, idx, start, loss);
            for (int b = 0; b < 3; b++) check(&loss[b], rows[i].loss[b], "loss", t);
        }
}

static double sigmoid(double z)
{
    return 1 / (1 + exp(-z));
}

/* Sigmoids of whole logits: 1.14883320859409..., and 2.65251569624895... of scores that aren't divided. */
Test(balance, loss_of_sigmoids)
{
    static const double z[] = {0, 1, 2, -1, 1, 1, -1, 0};
    static const int32_t idx[] = {2, 1, 0, 1}, start[] = {0, 2};
    float scores[8];
    for (int i = 0; i < 8; i++) scores[i] = (float)sigmoid(z[i]);
    for (int t = 0; t < TIERS; t++) {
        dsv3_balance_loss_prob const p = {1, 2, 4, 2, 0.0001, 1};
        ref_reading const wrong = {NULL, ref_only(QUIRK_T6_not_normalised), false};
        ref_value loss;
        balance_loss(t, &exactly, &p, scores, idx, start, &loss);
        cr_expect(fabs(loss.hi / 0.0001 - 1.14883320859409010442) < 1e-7, "%.17g", loss.hi);
        balance_loss(t, &wrong, &p, scores, idx, start, &loss);
        cr_expect(fabs(loss.hi / 0.0001 - 2.65251569624895098053) < 1e-7, "%.17g", loss.hi);
    }
}

enum { TOKENS = 24, TOP = 3 };

/* Every expert chosen equally often: the loss is aux_loss_alpha whatever the scores. */
Test(balance, uniform_routing_gives_alpha)
{
    float scores[TOKENS * EXPERTS];
    int32_t idx[TOKENS * TOP], start[] = {0, TOKENS};
    srand48(9);
    for (int i = 0; i < TOKENS * EXPERTS; i++) scores[i] = (float)drand48();
    for (int i = 0; i < TOKENS * TOP; i++) idx[i] = i % EXPERTS;
    for (int t = 0; t < TIERS; t++) {
        dsv3_balance_loss_prob const p = {1, TOKENS, EXPERTS, TOP, 0.0001, 1};
        ref_value loss;
        balance_loss(t, &exactly, &p, scores, idx, start, &loss);
        check(&loss, "0.000100000000000000000000000000", "loss", t);
        cr_expect(loss.radius <= 0x1p-90);
    }
}

/* Binary32 in several orders: f P term by term, one constant at the end, alpha first, 1/T as a factor, sums from the end. */
static float loss_of_port(int way, bool wide, const dsv3_balance_loss_prob *p, const float *scores, const int32_t *idx)
{
    float const E = EXPERTS, K = TOP, T = TOKENS, alpha = (float)p->aux_loss_alpha;
    float count[EXPERTS] = {0};
    double gathered[EXPERTS] = {0}, loss = 0;
    for (int i = 0; i < TOKENS * TOP; i++) count[idx[i]]++;
    for (int i = 0; i < TOKENS; i++) {
        const float *const s = scores + (way % 2 ? i : TOKENS - 1 - i) * EXPERTS;
        double sum = way == 3 ? 1e-20 : 0;
        for (int e = 0; e < EXPERTS; e++) sum = add(wide, sum, (double)s[way % 3 ? e : EXPERTS - 1 - e]);
        float const total = (float)sum, reciprocal = 1 / total;
        for (int e = 0; e < EXPERTS; e++)
            gathered[e] = add(wide, gathered[e], (double)(way == 4 ? s[e] * reciprocal : s[e] / total));
    }
    for (int e = 0; e < EXPERTS; e++) {
        float const share = (float)gathered[e];
        float const term[] = {count[e] * E / (K * T) * (share / T), count[e] * share,
                              alpha * (count[e] * (E / (K * T))) * (share * (1 / T)),
                              E / K * (count[e] / T) * (share / T), count[e] / (K * T / E) * (share / T)};
        loss = add(wide, loss, (double)term[way]);
    }
    float const sum = (float)loss;
    if (way == 1) return sum * (float)(p->aux_loss_alpha * (double)E / ((double)K * TOKENS * TOKENS));
    return way == 2 ? sum : alpha * sum;
}

/* One token and no division by its sum: sum c g is a point, and so is K T^2 = 2; but f P with 7 experts rounds. */
Test(balance, a_constant_that_rounds_in_every_term)
{
    enum { E = 7, K = 2 };
    static const int32_t start[] = {0, 1}, idx[] = {1, 4};
    ref_numerics const n = numerics("balance_loss", "acc 24 rn splits=1; div ieee; flush none");
    ref_reading const rd = {&n, ref_none(), false};
    dsv3_balance_loss_prob const p = {1, 1, E, K, 1, 0};
    srand48(23);
    for (int round = 0; round < 1000; round++) {
        float scores[E], loss = 0;
        ref_value legal;
        for (int e = 0; e < E; e++) scores[e] = (float)drand48();
        if (round % 2) scores[4] = 0; /* a sum of one term */
        for (int e = 0; e < E; e++) loss += (e == 1 || e == 4 ? 1.0f : 0) * E / K * scores[e];
        balance_loss(0, &rd, &p, scores, idx, start, &legal);
        cr_assert(inside(&legal, (double)loss), "%a not in [%a, %a]", (double)loss, ref_lower(legal), ref_upper(legal));
    }
}

Test(balance, losses_of_ports)
{
    ref_numerics const n[] = {numerics("balance_loss", "acc 24 rn; div 2; flush none"),
                              numerics("balance_loss", "acc 53 rn; div 2; flush none"),
                              numerics("balance_loss", "acc 53 rn; div ieee; flush none")};
    double worst[2] = {0};
    srand48(4);
    for (int round = 0; round < 4000; round++) {
        float scores[TOKENS * EXPERTS];
        int32_t idx[TOKENS * TOP], start[] = {0, TOKENS};
        bool const wide = round & 1;
        double const least = round % 3 ? 0 : 0.99;
        bool const alike = round % 7 < 3; /* then only constants round */
        ref_reading const rd = {&n[wide + (wide && alike)], ref_none(), false};
        for (int i = 0; i < TOKENS * EXPERTS; i++) scores[i] = alike ? 0.5f : (float)(least + (1 - least) * drand48());
        for (int i = 0; i < TOKENS * TOP; i++) idx[i] = (int32_t)(lrand48() % (1 + round % EXPERTS));
        dsv3_balance_loss_prob const p = {1, TOKENS, EXPERTS, TOP, 0.0001, 1};
        ref_value loss;
        float const got = loss_of_port(round / 2 % 5, wide, &p, scores, idx);
        balance_loss(0, &rd, &p, scores, idx, start, &loss);
        cr_expect(inside(&loss, got), "round %d: %.9g, not in [%.9g, %.9g]", round, (double)got, ref_lower(loss),
                  ref_upper(loss));
        worst[wide] = fmax(worst[wide], fabs((double)got - loss.hi) / loss.radius);
    }
    printf("balance: the worst loss uses %.2f of its radius, %.2f with wide sums\n", worst[0], worst[1]);
    cr_expect(worst[1] > 0.1 && worst[1] <= 1);
}

/* ---- acceptance of drafts ---- */

enum { MOST_DRAFTS = 2, MOST_TOKENS = 4 };

/* One sequence: distributions as whole weights, drafts, uniforms, and a port's answer. */
typedef struct {
    int drafts, tokens, greedy;
    const int *q[MOST_DRAFTS], *p[MOST_DRAFTS + 1];
    int32_t draft[MOST_DRAFTS];
    float uniform[MOST_DRAFTS + 1];
    int32_t accepted, next;
} episode;

/* The reference's decisions; of a teacher-forced reading whether the port's are legal: hi is NaN where not. */
static void accept(int tier, const ref_reading *rd, const episode *e, ref_value *accepted, ref_value *next)
{
    float q[MOST_DRAFTS * MOST_TOKENS], p[(MOST_DRAFTS + 1) * MOST_TOKENS];
    int64_t const n = e->drafts, v = e->tokens;
    for (int64_t i = 0; i < n * v; i++) q[i] = (float)e->q[i / v][i % v];
    for (int64_t i = 0; i < (n + 1) * v; i++) p[i] = (float)e->p[i / v][i % v];
    dsv3_mtp_accept_prob const prob = {1, n, v, e->greedy};
    dsv3_mtp_accept_io const io = {.draft_tokens = {(void *)(uintptr_t)e->draft, DSV3_I32, 2, {1, n}, {n, 1}},
                                   .draft_probs = {q, DSV3_F32, 3, {1, n, v}, {n * v, v, 1}},
                                   .target_probs = {p, DSV3_F32, 3, {1, n + 1, v}, {(n + 1) * v, v, 1}},
                                   .uniforms = {(void *)(uintptr_t)e->uniform, DSV3_F32, 2, {1, n + 1}, {n + 1, 1}},
                                   .accepted = {(void *)(uintptr_t)&e->accepted, DSV3_I32, 1, {1}, {1}},
                                   .next_token = {(void *)(uintptr_t)&e->next, DSV3_I32, 1, {1}, {1}}};
    cr_assert(tiers[tier]->mtp_accept(rd, &prob, &io, (ref_value *const[]){accepted, next}));
}

/* p = (0.5, 0.3, 0.2), q = (0.2, 0.5, 0.3): drafts are accepted with 1, 3/5 and 2/3, and what is left is token 0. */
Test(balance, acceptance)
{
    static const int p[] = {5, 3, 2}, q[] = {2, 5, 3}, sure[] = {0, 10, 0};
    static const struct {
        const int *q;
        int greedy, draft;
        float u, last;
        int accepted, next;
    } rows[] = {
        {q, 0, 0, 0.999f, 0.499f, 1, 0},    {q, 0, 0, 0.999f, 0.501f, 1, 1},    {q, 0, 1, 0.599f, 0.799f, 1, 1},
        {q, 0, 1, 0.599f, 0.801f, 1, 2},    {q, 0, 1, 0.601f, 0, 0, 0},         {q, 0, 1, 0.601f, 0.999f, 0, 0},
        {q, 0, 2, 0.666f, 0.1f, 1, 0},      {q, 0, 2, 0.667f, 0.9f, 0, 0},      {sure, 0, 1, 0.299f, 0.4f, 1, 0},
        {sure, 0, 1, 0.301f, 0.714f, 0, 0}, {sure, 0, 1, 0.301f, 0.715f, 0, 2}, {q, 1, 0, 0.9f, 0.9f, 1, 0},
        {q, 1, 1, 0, 0.9f, 0, 0},           {q, 1, 2, 0, 0.9f, 0, 0},
    };
    for (int t = 0; t < TIERS; t++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            episode const e = {1, 3, rows[i].greedy, {rows[i].q}, {p, p}, {rows[i].draft}, {rows[i].u, rows[i].last},
                               0, 0};
            ref_value accepted, next;
            accept(t, &exactly, &e, &accepted, &next);
            cr_expect(accepted.hi == rows[i].accepted, "row %zu: %g accepted", i, accepted.hi);
            cr_expect(next.hi == rows[i].next, "row %zu: then %g", i, next.hi);
        }
}

/* Which answers are legal: ties either way, and nothing that has no probability. */
Test(balance, legal_answers)
{
    static const int p[] = {4, 2, 2, 0}, q[] = {2, 4, 1, 1}, even[] = {2, 2, 2, 2};
    static const struct {
        const int *p;
        int greedy, draft;
        float u, last;
        int accepted, next;
        bool legal_count, legal_next;
    } rows[] = {
        {p, 0, 0, 0.9f, 0.3f, 1, 0, true, true},
        {p, 0, 0, 0.9f, 0.3f, 0, 0, false, true},
        {p, 0, 0, 0.9f, 0.3f, 2, 0, false, true},
        {p, 0, 0, 0.9f, 0.3f, -1, 0, false, true},
        {p, 0, 0, 0.9f, 0.3f, 1, 4, true, false},
        {p, 0, 0, 0.9f, 0.3f, 1, -1, true, false},
        {p, 0, 0, 0.9f, 0.3f, 1, 1, true, false},
        {p, 0, 1, 0.5f, 0.3f, 1, 0, true, true},
        {p, 0, 1, 0.5f, 0.3f, 0, 0, true, true},
        {p, 0, 1, 0.4999f, 0.3f, 0, 0, false, true},
        {p, 0, 1, 0.5001f, 0.3f, 1, 0, false, true},
        {p, 0, 3, 0, 0.3f, 1, 0, false, true},
        {p, 0, 3, 0, 0.3f, 0, 0, true, true},
        {p, 0, 0, 0.9f, 0.5f, 1, 0, true, true},
        {p, 0, 0, 0.9f, 0.5f, 1, 1, true, true},
        {p, 0, 0, 0.9f, 0.5f, 1, 2, true, false},
        {p, 0, 0, 0.9f, 0.99999994f, 1, 2, true, true},
        {p, 0, 0, 0.9f, 0.99999994f, 1, 3, true, false},
        {p, 0, 1, 0.9f, 0, 0, 1, true, false},
        {p, 0, 1, 0.9f, 0.7f, 0, 2, true, true},
        {even, 1, 0, 0.9f, 0, 1, 0, true, true},
        {even, 1, 0, 0.9f, 0, 1, 1, true, true},
        {even, 1, 1, 0, 0, 1, 3, true, true},
        {even, 1, 1, 0, 0, 0, 0, true, true},
        {even, 1, 1, 0, 0, 0, 1, true, false},
        {even, 1, 0, 0, 0, 0, 0, true, false},
        {p, 1, 1, 0, 0, 1, 0, false, true},
        {p, 1, 0, 0, 0, 0, 0, false, false},
        {p, 1, 0, 0, 0, 1, 1, true, false},
    };
    ref_numerics const n = numerics("mtp_accept", "acc 24 rn; div ieee; flush none");
    ref_reading const rd = {&n, ref_none(), true};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        episode const e = {1,
                           4,
                           rows[i].greedy,
                           {q},
                           {rows[i].p, rows[i].p},
                           {rows[i].draft},
                           {rows[i].u, rows[i].last},
                           rows[i].accepted,
                           rows[i].next};
        ref_value accepted, next;
        accept(0, &rd, &e, &accepted, &next);
        cr_expect(isnan(accepted.hi) != rows[i].legal_count, "row %zu: accepted %d", i, rows[i].accepted);
        cr_expect(isnan(next.hi) != rows[i].legal_next, "row %zu: next token %d", i, rows[i].next);
    }
}

/* ---- what is emitted has the distribution p: exactly, by the reference's own decisions ---- */

enum { CELLS = 840 }; /* every fraction with a denominator of at most 8 is a multiple of 1/840 */

/* Intervals of a uniform between breakpoints, in cells. */
typedef struct {
    bool cut[CELLS + 1];
    int intervals, from[CELLS], length[CELLS];
} partition;

static void cut(partition *u, int numerator, int denominator)
{
    cr_assert(CELLS * numerator % denominator == 0);
    if (numerator < denominator) u->cut[CELLS * numerator / denominator] = true;
}

/* Where the prefix sums of weights lie. */
static void cut_at_sums(partition *u, const int *weight, int tokens)
{
    int total = 0, sum = 0;
    for (int v = 0; v < tokens; v++) total += weight[v];
    for (int v = 0; v < tokens && total; v++) cut(u, sum += weight[v], total);
}

static void cut_at_rest(partition *u, const int *p, const int *q, int tokens)
{
    int rest[MOST_TOKENS];
    for (int v = 0; v < tokens; v++) rest[v] = p[v] > q[v] ? p[v] - q[v] : 0;
    cut_at_sums(u, rest, tokens);
}

static void make_intervals(partition *u)
{
    u->cut[0] = true;
    for (int k = 0; k < CELLS; k++) {
        if (u->cut[k]) u->from[u->intervals] = k, u->length[u->intervals++] = 0;
        u->length[u->intervals - 1]++;
    }
}

static float middle(const partition *u, int k)
{
    return (float)((2 * u->from[k] + u->length[k]) / (2.0 * CELLS));
}

/* What comes out, in units of (sum of q)^drafts CELLS^(drafts + 1): the first token, the first two, and all three. */
typedef struct {
    int64_t first[MOST_TOKENS], second[MOST_TOKENS][MOST_TOKENS], third[MOST_TOKENS][MOST_TOKENS][MOST_TOKENS];
} emitted;

static void emit(const episode *e, int tier, ref_set quirks, int64_t weight, emitted *out)
{
    ref_reading const rd = {NULL, quirks, false};
    ref_value accepted, next;
    accept(tier, &rd, e, &accepted, &next);
    int const n = (int)accepted.hi, token = (int)next.hi;
    const int32_t *const x = e->draft;
    out->first[n ? x[0] : token] += weight;
    if (n >= 1) out->second[x[0]][n >= 2 ? x[1] : token] += weight;
    if (n >= 2) out->third[x[0]][x[1]][token] += weight;
}

/* The uniforms over every interval, for drafts that are drawn already. */
static void over_uniforms(episode *e, int tier, ref_set quirks, int64_t weight, emitted *out)
{
    static partition u[MOST_DRAFTS + 1];
    memset(u, 0, sizeof u);
    for (int i = 0; i < e->drafts; i++) {
        int const x = e->draft[i];
        cut(&u[i], e->p[i][x], e->q[i][x]);
        cut_at_rest(&u[e->drafts], e->p[i], e->q[i], e->tokens);
    }
    for (int i = 0; i <= e->drafts; i++) cut_at_sums(&u[e->drafts], e->p[i], e->tokens);
    for (int i = 0; i <= e->drafts; i++) make_intervals(&u[i]);
    int const last = e->drafts, seconds = last == 2 ? u[1].intervals : 1;
    for (int i = 0; i < u[0].intervals; i++)
        for (int j = 0; j < seconds; j++)
            for (int k = 0; k < u[last].intervals; k++) {
                e->uniform[0] = middle(&u[0], i);
                if (last == 2) e->uniform[1] = middle(&u[1], j);
                e->uniform[last] = middle(&u[last], k);
                int64_t const length = (int64_t)u[0].length[i] * (last == 2 ? u[1].length[j] : 1) * u[last].length[k];
                emit(e, tier, quirks, weight * length, out);
            }
}

/* Distributions of four tokens as eighths and fifths; those that follow a token are chosen by it. */
static const int eighths[][MOST_TOKENS] = {{4, 2, 1, 1}, {1, 1, 2, 4}, {2, 2, 2, 2},
                                           {0, 8, 0, 0}, {3, 0, 5, 0}, {1, 6, 0, 1}};
static const int fifths[][MOST_TOKENS] = {{1, 4, 0, 0}, {2, 3, 0, 0}, {3, 2, 0, 0},
                                          {1, 2, 2, 0}, {2, 1, 2, 0}, {5, 0, 0, 0}};
enum { DISTRIBUTIONS = 6 };

/* The distributions of an episode: the second ones depend on the first draft, the third on both. */
static void set_rows(episode *e, const int (*d)[MOST_TOKENS], int p, int q)
{
    int const a = e->draft[0], b = e->draft[1];
    e->p[0] = d[p], e->q[0] = d[q];
    if (e->drafts == 1) {
        e->p[1] = d[(p + a + 1) % DISTRIBUTIONS];
        return;
    }
    e->p[1] = d[(p + a + 1) % DISTRIBUTIONS];
    e->q[1] = d[(q + a + 2) % DISTRIBUTIONS];
    e->p[2] = d[(p + a + b + 3) % DISTRIBUTIONS];
}

static emitted all_that_is_emitted(const int (*d)[MOST_TOKENS], int p, int q, int drafts, int tier, ref_set quirks)
{
    static emitted out;
    memset(&out, 0, sizeof out);
    episode e = {.drafts = drafts, .tokens = MOST_TOKENS};
    for (e.draft[0] = 0; e.draft[0] < MOST_TOKENS; e.draft[0]++)
        for (e.draft[1] = 0; e.draft[1] < (drafts == 2 ? MOST_TOKENS : 1); e.draft[1]++) {
            set_rows(&e, d, p, q);
            int64_t const weight = e.q[0][e.draft[0]] * (drafts == 2 ? e.q[1][e.draft[1]] : 1);
            if (weight) over_uniforms(&e, tier, quirks, weight, &out);
        }
    return out;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Is it the target's distribution, token by token? `sum` is what weights add up to. */
static bool is_target(const emitted *out, const int (*d)[MOST_TOKENS], int p, int q, int drafts, int sum)
{
    int64_t const unit = drafts == 2 ? (int64_t)sum * CELLS * CELLS * CELLS : (int64_t)CELLS * CELLS;
    bool good = true;
    for (int a = 0; a < MOST_TOKENS; a++) {
        const int *const p1 = d[(p + a + 1) % DISTRIBUTIONS], *const q1 = d[(q + a + 2) % DISTRIBUTIONS];
        int64_t const first = least(d[p][a], d[q][a]);
        good &= out->first[a] == d[p][a] * unit;
        for (int b = 0; b < MOST_TOKENS; b++) {
            const int *const p2 = d[(p + a + b + 3) % DISTRIBUTIONS];
            good &= out->second[a][b] * sum == first * p1[b] * unit;
            for (int c = 0; c < MOST_TOKENS && drafts == 2; c++)
                good &= out->third[a][b][c] * sum * sum == first * least(p1[b], q1[b]) * p2[c] * unit;
        }
    }
    return good;
}

Test(balance, emitted_tokens_have_the_target_distribution)
{
    for (int drafts = 1; drafts <= 2; drafts++)
        for (int t = 0; t < (drafts == 1 ? TIERS : 1); t++)
            for (int i = 0; i < 2 * DISTRIBUTIONS * DISTRIBUTIONS; i++) {
                const int(*const d)[MOST_TOKENS] = i % 2 ? eighths : fifths;
                int const p = i / 2 % DISTRIBUTIONS, q = i / 2 / DISTRIBUTIONS, sum = i % 2 ? 8 : 5;
                emitted const out = all_that_is_emitted(d, p, q, drafts, t, ref_none());
                cr_expect(is_target(&out, d, p, q, drafts, sum), "%d drafts, tier %s, p %d and q %d of %d", drafts,
                          tiers[t]->tier, p, q, sum);
            }
}

/* The same test sees each mistake. */
Test(balance, mistakes_change_the_distribution)
{
    static const int mistakes[] = {QUIRK_M9_first_unchecked, QUIRK_M9_argmax_in_sampling, QUIRK_M9_residual_is_p,
                                   QUIRK_M9_bonus_position};
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        emitted const out = all_that_is_emitted(eighths, 0, 1, 1, 0, ref_only(mistakes[i]));
        cr_expect(!is_target(&out, eighths, 0, 1, 1, 8), "%s", ref_quirk(mistakes[i])->name);
    }
}

/* ---- ports that accept ---- */

enum { VOCABULARY = 50 };

/* Binary32 in several ways: divided by the sums or not, p / q or u q, weights divided first or u multiplied, < or <=. */
typedef struct {
    bool divided, quotient, equal, scaled, wide;
} way;

static float sum_of(const way *w, const float *v)
{
    double sum = 0;
    for (int i = 0; i < VOCABULARY; i++) sum = add(w->wide, sum, (double)v[i]);
    return (float)sum;
}

static bool port_accepts(const way *w, float p, float q, float u)
{
    float const left = w->quotient ? u : u * q, right = w->quotient ? p / q : p;
    return w->equal ? left <= right && p > 0 : left < right;
}

static int port_draws(const way *w, const float *m, float u)
{
    float const total = sum_of(w, m);
    double prefix = 0;
    int last = 0;
    for (int v = 0; v < VOCABULARY; v++) {
        prefix = add(w->wide, prefix, (double)(w->scaled ? m[v] / total : m[v]));
        if (w->scaled ? (double)u < prefix : (double)(u * total) < prefix) return v;
        if (m[v] > 0) last = v;
    }
    return last;
}

/* A distribution in binary32: e^(s g), divided by its sum. */
static void draw_distribution(float *v)
{
    double sum = 0, e[VOCABULARY];
    for (int i = 0; i < VOCABULARY; i++) sum += e[i] = exp(4 * uniform());
    for (int i = 0; i < VOCABULARY; i++) v[i] = (float)(e[i] / sum);
}

static void run_port(const way *w, const float *p, const float *q, int32_t x, const float *u, int32_t *accepted,
                     int32_t *next)
{
    float const P = w->divided ? sum_of(w, p) : 1, Q = w->divided ? sum_of(w, q) : 1;
    float left[VOCABULARY];
    *accepted = port_accepts(w, p[x] / P, q[x] / Q, u[0]);
    for (int v = 0; v < VOCABULARY; v++) left[v] = *accepted ? p[VOCABULARY + v] : fmaxf(p[v] / P - q[v] / Q, 0);
    *next = port_draws(w, left, u[1]);
}

/* A uniform a few last bits from where two tokens of p meet. */
static float near_boundary(const float *p)
{
    double sum = 0, prefix = 0;
    int const last = (int)(lrand48() % VOCABULARY);
    for (int v = 0; v < VOCABULARY; v++) sum += (double)p[v], prefix += v <= last ? (double)p[v] : 0;
    return (float)fmin(prefix / sum * (1 + (double)(lrand48() % 9 - 4) * 0x1p-24), 1 - 0x1p-24);
}

Test(balance, acceptance_of_ports)
{
    ref_numerics const n[] = {numerics("mtp_accept", "acc 24 rn; div ieee; flush none"),
                              numerics("mtp_accept", "acc 53 rn; div ieee; flush none")};
    long near = 0, otherwise = 0, drawn_otherwise = 0;
    srand48(8);
    for (int round = 0; round < 20000; round++) {
        way const w = {round & 1, round >> 1 & 1, round >> 2 & 1, round >> 3 & 1, round >> 4 & 1};
        ref_reading const rd = {&n[w.wide], ref_none(), true};
        float p[2 * VOCABULARY], q[VOCABULARY], u[2] = {(float)drand48() * 0.999f, (float)drand48() * 0.999f};
        int32_t x = (int32_t)(lrand48() % VOCABULARY), accepted, next;
        draw_distribution(p), draw_distribution(p + VOCABULARY), draw_distribution(q);
        for (int v = 0; v < VOCABULARY && round % 3 == 0; v++) p[v] *= 1.0001f; /* its sum is not 1 */
        float const ratio = p[x] / q[x];
        bool const tie = lrand48() % 2 && ratio < 0.999f;
        if (tie) u[0] = ratio * (1 + (float)(lrand48() % 9 - 4) * 0x1p-24f), near++;
        if (lrand48() % 2) u[1] = near_boundary(p + VOCABULARY);
        run_port(&w, p, q, x, u, &accepted, &next);
        dsv3_mtp_accept_prob const prob = {1, 1, VOCABULARY, 0};
        dsv3_mtp_accept_io const io = {
            .draft_tokens = {&x, DSV3_I32, 2, {1, 1}, {1, 1}},
            .draft_probs = {q, DSV3_F32, 3, {1, 1, VOCABULARY}, {VOCABULARY, VOCABULARY, 1}},
            .target_probs = {p, DSV3_F32, 3, {1, 2, VOCABULARY}, {2 * VOCABULARY, VOCABULARY, 1}},
            .uniforms = {u, DSV3_F32, 2, {1, 2}, {2, 1}},
            .accepted = {&accepted, DSV3_I32, 1, {1}, {1}},
            .next_token = {&next, DSV3_I32, 1, {1}, {1}}};
        ref_value count, token, own_count, own_token;
        cr_assert(ref_dd.mtp_accept(&rd, &prob, &io, (ref_value *const[]){&count, &token}));
        cr_assert(ref_dd.mtp_accept(&exactly, &prob, &io, (ref_value *const[]){&own_count, &own_token}));
        cr_expect(!isnan(count.hi), "round %d: accepted %d is not legal", round, accepted);
        cr_expect(!isnan(token.hi), "round %d: next token %d is not legal", round, next);
        cr_expect(tie || round % 3 == 0 || own_count.hi == accepted, "round %d: accepted %d", round, accepted);
        otherwise += own_count.hi != accepted;
        drawn_otherwise += own_count.hi == accepted && own_token.hi != next;
    }
    printf("balance: of %ld near ties %ld decided otherwise than by the reference, and %ld tokens drawn otherwise\n",
           near, otherwise, drawn_otherwise);
    cr_expect(otherwise > near / 100 && drawn_otherwise > 50);
}
