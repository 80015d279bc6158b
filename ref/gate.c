/*
 * The gate:  s = 1 / (1 + e^-z),  t = s + b;  groups by the sum of their two largest t, experts by t;  w = gamma s / sum s.
 * V2's:  s = softmax(z),  t = s;  no groups (greedy), or groups by their largest t (group_limited_greedy).
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eqs. 12-16; DeepSeek-V2 report (arXiv 2405.04434) 2.2; Hugging Face
 * transformers, models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3TopkRouter, and models/deepseek_v2/
 * modeling_deepseek_v2.py, DeepseekV2TopkRouter; deepseek-ai/DeepSeek-V3, inference/model.py, Gate.
 *
 * Decisions are balls too. A port's choice is legal if there are values within the balls of t under which the rule makes it:
 * legal_choice looks for them where they are most favourable (Lemma Choice), once for each set of groups.
 */
#include "gate.h"

#include "scratch.h"

#include <stdlib.h>

enum { MOST_GROUPS = 16 };

static bool invalid(const gate *g)
{
    for (int64_t e = 0; e < g->prob->n_routed_experts; e++)
        if (ball_is_any(g->t[e])) return true;
    return false;
}

/* Logits become scores. One that is no number makes its own sigmoid unknown, and every softmax. */
static void sigmoid_scores(const gate *g, ball *s)
{
    for (int64_t e = 0; e < g->prob->n_routed_experts; e++) s[e] = ball_is_any(s[e]) ? s[e] : sigmoid_of(g->rd, s[e]);
}

static void softmax_scores(const gate *g, ball *s)
{
    int64_t const experts = g->prob->n_routed_experts;
    double largest = -INFINITY;
    sum_record sum = empty_sum();
    for (int64_t e = 0; e < experts; e++)
        if (!ball_is_any(s[e])) largest = fmax(largest, ball_upper((ball){s[e].c, 0}));
    for (int64_t e = 0; e < experts; e++) {
        s[e] = exp_of(g->rd, s[e], largest);
        add_term(&sum, s[e]);
    }
    ball const total = round_op(g->rd, sum_of(g->rd, &sum));
    for (int64_t e = 0; e < experts; e++) s[e] = quotient_of(g->rd, s[e], total);
}

static void score_token(const gate *g, const ball *logits)
{
    bool const softmax = (g->prob->scoring_func == DSV3_SOFTMAX) != quirk(g->rd, QUIRK_G6_other_scoring);
    memcpy(g->s, logits, (size_t)g->prob->n_routed_experts * sizeof *logits);
    (softmax ? softmax_scores : sigmoid_scores)(g, g->s);
    for (int64_t e = 0; e < g->prob->n_routed_experts; e++) {
        g->s[e] = round_at(g->rd, g->point_scores, g->format, g->s[e]);
        g->t[e] = g->s[e];
        if (g->bias)
            g->t[e] = round_op(g->rd, ball_add(g->s[e], element(g->rd, ref_decode(g->bias->dtype, g->bias->data, e))));
        g->low[e] = ball_lower(g->t[e]);
        g->high[e] = ball_upper(g->t[e]);
    }
}

/* How many of a group's largest t make its score. */
static int64_t counted(const gate *g)
{
    const dsv3_gate_prob *const p = g->prob;
    int64_t const size = p->n_routed_experts / g->groups;
    int64_t n = p->topk_method == DSV3_GROUP_LIMITED_GREEDY ? 1 : 2;
    if (quirk(g->rd, QUIRK_G2_group_max)) n = 1;
    if (quirk(g->rd, QUIRK_G2_group_sum_of_two)) n = 2;
    if (quirk(g->rd, QUIRK_G2_group_top_k_over_m)) n = p->num_experts_per_tok / p->topk_group;
    if (n < 1) n = 1;
    return n < size ? n : size;
}

/* The sum of the `counted` largest of t in a group. */
static double group_score(const gate *g, const double *t, int64_t group)
{
    int64_t const size = g->prob->n_routed_experts / g->groups, n = counted(g);
    double sum = 0, below = INFINITY;
    int64_t taken = 0;
    while (taken < n) {
        double next = -INFINITY;
        int64_t copies = 0;
        for (int64_t e = group * size; e < (group + 1) * size; e++) {
            if (t[e] >= below) continue;
            if (t[e] > next) next = t[e], copies = 0;
            copies += t[e] == next;
        }
        if (copies == 0) break; /* -infinity, or nothing is left */
        for (; copies > 0 && taken < n; copies--, taken++) sum += next;
        below = next;
    }
    return sum;
}

/* ---- the reference's own choice: by the centres, the lower index first ---- */

/* The index of the largest value not taken; the lower one of equals. */
static int64_t next_largest(const double *v, const double *rest, const bool *taken, int64_t n)
{
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++) {
        if (taken[i]) continue;
        if (best < 0 || v[i] > v[best] || (v[i] == v[best] && rest && rest[i] > rest[best])) best = i;
    }
    return best;
}

static void own_choice(const gate *g)
{
    const dsv3_gate_prob *const p = g->prob;
    int64_t const experts = p->n_routed_experts, size = experts / g->groups;
    double score[MOST_GROUPS], *const value = g->favoured, *const rest = g->low;
    bool kept[MOST_GROUPS] = {false};
    for (int64_t e = 0; e < experts; e++) {
        double ignored;
        centre_split(g->t[e].c, &value[e], &rest[e], &ignored);
        g->chosen[e] = false;
    }
    for (int64_t i = 0; i < g->groups; i++) score[i] = group_score(g, value, i);
    for (int64_t m = 0; m < g->groups_kept; m++) kept[next_largest(score, NULL, kept, g->groups)] = true;
    for (int64_t e = 0; e < experts; e++)
        if (!kept[e / size]) {
            value[e] = quirk(g->rd, QUIRK_G3_masked_to_zero) ? 0 : -INFINITY;
            rest[e] = 0;
        }
    for (int64_t k = 0; k < p->num_experts_per_tok; k++) {
        int64_t const e = next_largest(value, rest, g->chosen, experts);
        g->chosen[e] = true;
        g->order[k] = e;
    }
}

/* ---- is the port's choice legal? ---- */

/* Reads the port's choice. False: a number out of range, or one twice. */
static bool read_choice(const gate *g, int64_t token)
{
    const dsv3_tensor *const idx = g->topk_idx;
    for (int64_t e = 0; e < g->prob->n_routed_experts; e++) g->chosen[e] = false;
    for (int64_t k = 0; k < g->prob->num_experts_per_tok; k++) {
        double const e = ref_decode(idx->dtype, idx->data, token * idx->stride[0] + k);
        bool const good = e >= 0 && e < (double)g->prob->n_routed_experts && !g->chosen[(int64_t)e];
        g->order[k] = good ? (int64_t)e : -1;
        if (!good) return false;
        g->chosen[(int64_t)e] = true;
    }
    return true;
}

/* Lemma Choice: with the groups of `kept`, are there values of t in the balls that select exactly the chosen experts and
 * these groups? The best are: the upper end for the chosen; for others of these groups as much as the least chosen allows;
 * the lower end elsewhere. */
static bool legal_with(const gate *g, uint32_t kept)
{
    int64_t const experts = g->prob->n_routed_experts, size = experts / g->groups;
    bool const zero = quirk(g->rd, QUIRK_G3_masked_to_zero);
    double least = INFINITY;
    for (int64_t e = 0; e < experts; e++) {
        bool const inside = kept >> (e / size) & 1;
        if (!g->chosen[e]) continue;
        if (!inside && !zero) return false;
        least = fmin(least, inside ? g->high[e] : 0);
    }
    for (int64_t e = 0; e < experts; e++) {
        bool const inside = kept >> (e / size) & 1;
        g->favoured[e] = !inside ? g->low[e] : g->chosen[e] ? g->high[e] : fmin(g->high[e], least);
        if (!g->chosen[e] && inside && !(g->low[e] <= least)) return false;
        if (!g->chosen[e] && !inside && zero && !(0 <= least)) return false;
    }
    double const slack = g->rd->declared ? 4 * ref_half_ulp(g->rd->declared->arith, 1) : 0x1p-50;
    double worst_kept = INFINITY, best_left = -INFINITY;
    for (int64_t i = 0; i < g->groups; i++) {
        double const score = group_score(g, g->favoured, i);
        if (kept >> i & 1)
            worst_kept = fmin(worst_kept, score + slack * fabs(score));
        else
            best_left = fmax(best_left, score - slack * fabs(score));
    }
    return worst_kept >= best_left;
}

static bool legal_choice(const gate *g)
{
    for (uint32_t kept = 0; kept < 1u << g->groups; kept++)
        if (__builtin_popcount(kept) == (int)g->groups_kept && legal_with(g, kept)) return true;
    return false;
}

/* ---- weights ---- */

static ball score_in_weights(const gate *g, int64_t e)
{
    return quirk(g->rd, QUIRK_G1_bias_in_weights) ? g->t[e] : g->s[e];
}

static ball sum_of_chosen(const gate *g)
{
    sum_record sum = empty_sum();
    for (int64_t k = 0; k < g->prob->num_experts_per_tok; k++) add_term(&sum, score_in_weights(g, g->order[k]));
    return guarded(g->rd, round_op(g->rd, sum_of(g->rd, &sum)));
}

static ball weight_of(const gate *g, int64_t e, ball sum)
{
    ball const s = score_in_weights(g, e), gamma = constant(g->rd, g->prob->routed_scaling_factor);
    bool const divided = g->prob->norm_topk_prob && !quirk(g->rd, QUIRK_G5_not_normalised);
    ball w = divided ? round_op(g->rd, quotient_of(g->rd, s, sum)) : s;
    w = ball_mul(w, gamma);
    if (quirk(g->rd, QUIRK_G7_scaled_twice)) w = ball_mul(round_op(g->rd, w), gamma);
    return round_at(g->rd, g->point_weight, g->format, w);
}

bool gate_route(const gate *g, int64_t token, const ball *logits, ball *weight)
{
    bool legal = true, readable = true;
    score_token(g, logits);
    if (g->rd->teacher_forced) {
        readable = read_choice(g, token);
        legal = readable && (!g->rd->declared || invalid(g) || legal_choice(g));
    } else {
        own_choice(g);
    }
    ball const sum = readable ? sum_of_chosen(g) : ball_any();
    for (int64_t k = 0; k < g->prob->num_experts_per_tok; k++)
        weight[k] = readable ? weight_of(g, g->order[k], sum) : ball_any();
    return legal;
}

bool gate_open(gate *g)
{
    bool const grouped = g->prob->topk_method != DSV3_GREEDY && !quirk(g->rd, QUIRK_G4_ungrouped);
    size_t const experts = (size_t)g->prob->n_routed_experts;
    g->groups = grouped ? g->prob->n_group : 1;
    g->groups_kept = grouped ? g->prob->topk_group : 1;
    g->s = calloc(2 * experts, sizeof *g->s);
    g->low = calloc(3 * experts, sizeof *g->low);
    g->chosen = calloc(experts, sizeof *g->chosen);
    g->order = calloc(experts, sizeof *g->order);
    if (!g->s || !g->low || !g->chosen || !g->order) return false;
    g->t = g->s + experts;
    g->high = g->low + experts;
    g->favoured = g->high + experts;
    return true;
}

void gate_close(gate *g)
{
    free(g->s);
    free(g->low);
    free(g->chosen);
    free(g->order);
}

/* ---- the op ---- */

static void gate_token(const gate *g, const dsv3_tensor *z, int64_t token, ball *logits, ref_value *idx,
                       ref_value *weight)
{
    int64_t const k_most = g->prob->num_experts_per_tok;
    ball *const w = logits + g->prob->n_routed_experts;
    for (int64_t e = 0; e < g->prob->n_routed_experts; e++)
        logits[e] = element(g->rd, ref_decode(z->dtype, z->data, token * z->stride[0] + e));
    bool const legal = gate_route(g, token, logits, w);
    for (int64_t k = 0; k < k_most; k++) {
        if (idx) idx[token * k_most + k] = (ref_value){legal ? (double)g->order[k] : (double)NAN, 0, 0};
        if (weight) weight[token * k_most + k] = value_of(w[k]);
    }
}

void ref_gate(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_gate_prob *const p = prob;
    const dsv3_gate_io *const io = io_;
    gate g = {.rd = rd, .prob = p, .topk_idx = &io->topk_idx, .format = io->topk_weight.dtype};
    g.bias = dsv3_find(&io->weights, "e_score_correction_bias");
    g.point_scores = POINT_gate_scores;
    g.point_weight = POINT_gate_topk_weight;
    ball *const logits = malloc((size_t)(p->n_routed_experts + p->num_experts_per_tok) * sizeof *logits);
    bool const good = gate_open(&g) && logits;
    for (int64_t token = 0; good && token < p->n_tokens; token++)
        gate_token(&g, &io->logits, token, logits, out[0], out[1]);
    gate_close(&g);
    free(logits);
    scratch_need(rd->scratch, good);
}
