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

#include "index.h"
#include "vectors.h"

enum { MOST_GROUPS = 16 };

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

static bool by_softmax(const gate *g)
{
    return (g->prob->scoring_func == DSV3_SOFTMAX) != quirk(g->rd, QUIRK_G6_other_scoring);
}

static bool by_groups(const ref_reading *rd, const dsv3_gate_prob *p)
{
    return p->topk_method != DSV3_GREEDY && !(p->topk_group < p->n_group && quirk(rd, QUIRK_G4_ungrouped));
}

/* How many of a group's largest t make its score. */
static int64_t counted(const gate *g)
{
    const dsv3_gate_prob *const p = g->prob;
    int64_t const size = p->n_routed_experts / g->groups;
    int64_t n = p->topk_method == DSV3_GROUP_LIMITED_GREEDY ? 1 : 2;
    int64_t const share = p->num_experts_per_tok / p->topk_group;
    if (n != 1 && quirk(g->rd, QUIRK_G2_group_max)) n = 1;
    if (n != 2 && quirk(g->rd, QUIRK_G2_group_sum_of_two)) n = 2;
    if (n != share && quirk(g->rd, QUIRK_G2_group_top_k_over_m)) n = share;
    if (n < 1) n = 1;
    return n < size ? n : size;
}

/* The t of an expert outside the best groups is -infinity; the mistake: 0. */
static bool masks_to_zero(const gate *g)
{
    return g->groups_kept < g->groups && quirk(g->rd, QUIRK_G3_masked_to_zero);
}

static bool adds_bias(const gate *g)
{
    return g->bias && !quirk(g->rd, QUIRK_G15_bias_missing);
}

static ball score_in_weight(const gate *g, int64_t e)
{
    return g->bias && quirk(g->rd, QUIRK_G1_bias_in_weights) ? g->t[e] : g->s[e];
}

static bool divides(const gate *g)
{
    return g->prob->norm_topk_prob && !quirk(g->rd, QUIRK_G5_not_normalised);
}

static ball times_gamma(const gate *g, ball w)
{
    ball const gamma = constant(g->rd, g->prob->routed_scaling_factor);
    w = ball_mul(w, gamma);
    return quirk(g->rd, QUIRK_G7_scaled_twice) ? ball_mul(round_op(g->rd, w), gamma) : w;
}

/* ---- scores ---- */

void score_by_sigmoid(const ref_reading *rd, ball *s, int64_t n)
{
    for (int64_t e = 0; e < n; e++) s[e] = ball_is_any(s[e]) ? s[e] : sigmoid_of(rd, s[e]);
}

void score_by_softmax(const ref_reading *rd, ball *s, int64_t n)
{
    double largest = -INFINITY;
    sum_record sum = empty_sum();
    for (int64_t e = 0; e < n; e++)
        if (!ball_is_any(s[e])) largest = fmax(largest, ball_upper((ball){s[e].c, 0}));
    for (int64_t e = 0; e < n; e++) {
        s[e] = exp_of(rd, s[e], largest);
        add_term(&sum, s[e]);
    }
    ball const total = round_op(rd, sum_of(rd, &sum));
    for (int64_t e = 0; e < n; e++) s[e] = share_of(rd, s[e], total);
}

/* t = s + b, and its ends. */
static void add_bias(const gate *g)
{
    for (int64_t e = 0; e < g->prob->n_routed_experts; e++) {
        g->t[e] = g->s[e];
        if (adds_bias(g))
            g->t[e] = round_op(g->rd, ball_add(g->s[e], element(g->rd, ref_decode(g->bias->dtype, g->bias->data, e))));
        g->low[e] = ball_lower(g->t[e]);
        g->high[e] = ball_upper(g->t[e]);
    }
}

/* Can t of some expert have any value? Then every choice is legal. */
static bool unbounded(const gate *g)
{
    for (int64_t e = 0; e < g->prob->n_routed_experts; e++)
        if (ball_is_any(g->t[e])) return true;
    return false;
}

/* The largest t below `below` in the groups Q, and how many experts have it; 0: none. */
static double next_below(const gate *g, const double *t, uint32_t Q, double below, int64_t *copies)
{
    int64_t const size = g->prob->n_routed_experts / g->groups;
    double next = -INFINITY;
    *copies = 0;
    for (int64_t i = 0; i < g->groups; i++)
        for (int64_t e = i * size; Q >> i & 1 && e < (i + 1) * size; e++) {
            if (t[e] >= below) continue;
            if (t[e] > next) next = t[e], *copies = 0;
            *copies += t[e] == next;
        }
    return next;
}

/* The sum of the `counted` largest of t in a group. */
static double group_score(const gate *g, const double *t, int64_t group)
{
    int64_t const n = counted(g);
    double sum = 0, below = INFINITY;
    int64_t taken = 0;
    while (taken < n) {
        int64_t copies;
        double const next = next_below(g, t, 1u << group, below, &copies);
        if (copies == 0) break; /* -infinity, or nothing is left */
        for (; copies > 0 && taken < n; copies--, taken++) sum += next;
        below = next;
    }
    return sum;
}

/* ---- the reference's own choice: by the centres, the lower index first ---- */

static ball centre_alone(ball b)
{
    return (ball){b.c, 0};
}

/* Is the centre of a larger than that of b? The sign of a difference is right in every tier. */
static bool larger(ball a, ball b)
{
    double hi, lo, rest;
    centre_split(ball_sub(centre_alone(a), centre_alone(b)).c, &hi, &lo, &rest);
    return hi > 0;
}

/* Of v[from] to v[to - 1] the index of the largest that isn't taken; the lower one of equals; -1: all are. */
static int64_t next_largest(const ball *v, const bool *taken, int64_t from, int64_t to)
{
    int64_t best = -1;
    for (int64_t i = from; i < to; i++)
        if (!taken[i] && (best < 0 || larger(v[i], v[best]))) best = i;
    return best;
}

/* The sum of the `counted` largest t of a group, in the tier's own arithmetic. Takes them. */
static ball own_group_score(const gate *g, int64_t group)
{
    int64_t const size = g->prob->n_routed_experts / g->groups, first = group * size;
    ball sum = ball_of(0);
    for (int64_t i = 0; i < counted(g); i++) {
        int64_t const e = next_largest(g->t, g->chosen, first, first + size);
        g->chosen[e] = true;
        sum = ball_add(sum, centre_alone(g->t[e]));
    }
    return sum;
}

/* Takes the experts that can't be chosen: those outside the best groups. */
static void exclude_groups(const gate *g)
{
    int64_t const experts = g->prob->n_routed_experts, size = experts / g->groups;
    ball score[MOST_GROUPS];
    bool kept[MOST_GROUPS] = {false};
    for (int64_t e = 0; e < experts; e++) g->chosen[e] = false;
    for (int64_t i = 0; i < g->groups; i++) score[i] = own_group_score(g, i);
    for (int64_t m = 0; m < g->groups_kept; m++) kept[next_largest(score, kept, 0, g->groups)] = true;
    for (int64_t e = 0; e < experts; e++) {
        g->chosen[e] = !kept[e / size] && !masks_to_zero(g);
        g->ranked[e] = kept[e / size] ? g->t[e] : ball_of(0);
    }
}

static void own_choice(const gate *g)
{
    int64_t const experts = g->prob->n_routed_experts;
    exclude_groups(g);
    for (int64_t k = 0; k < g->prob->num_experts_per_tok; k++) {
        g->choice[k] = next_largest(g->ranked, g->chosen, 0, experts);
        g->chosen[g->choice[k]] = true;
    }
}

/* ---- is the port's choice legal? ---- */

/* Takes the port's choice. False: it is none; every expert of the token is -1 then. */
static bool take_choice(const gate *g, int64_t token)
{
    int64_t const k_most = g->prob->num_experts_per_tok, experts = g->prob->n_routed_experts;
    bool const valid = read_choice(g->topk_idx, token * g->topk_idx->stride[0], k_most, experts, g->choice);
    for (int64_t e = 0; e < experts; e++) g->chosen[e] = false;
    for (int64_t k = 0; valid && k < k_most; k++) g->chosen[g->choice[k]] = true;
    return valid;
}

/* Lemma Choice: is the choice S legal with the groups Q? t is where that is most likely: at its upper end on S; on the rest of Q
 * at the smaller of its upper end and the least upper end of S; at its lower end elsewhere. */
static bool legal_with(const gate *g, uint32_t Q)
{
    int64_t const experts = g->prob->n_routed_experts, size = experts / g->groups;
    bool const zero = masks_to_zero(g);
    double least = INFINITY;
    for (int64_t e = 0; e < experts; e++) {
        bool const inside = Q >> (e / size) & 1;
        if (!g->chosen[e]) continue;
        if (!inside && !zero) return false;
        least = fmin(least, inside ? g->high[e] : 0);
    }
    for (int64_t e = 0; e < experts; e++) {
        bool const inside = Q >> (e / size) & 1;
        g->favoured[e] = !inside ? g->low[e] : g->chosen[e] ? g->high[e] : fmin(g->high[e], least);
        if (!g->chosen[e] && inside && !(g->low[e] <= least)) return false;
        if (!g->chosen[e] && !inside && zero && !(0 <= least)) return false;
    }
    double const units = g->rd->declared ? 4 * ref_half_ulp(g->rd->declared->arith, 1) : 0x1p-50;
    double worst_of_Q = INFINITY, best_of_others = -INFINITY;
    for (int64_t i = 0; i < g->groups; i++) {
        double const score = group_score(g, g->favoured, i);
        if (Q >> i & 1)
            worst_of_Q = fmin(worst_of_Q, score + units * fabs(score));
        else
            best_of_others = fmax(best_of_others, score - units * fabs(score));
    }
    return worst_of_Q >= best_of_others;
}

static bool legal_choice(const gate *g)
{
    for (uint32_t Q = 0; Q < 1u << g->groups; Q++)
        if (__builtin_popcount(Q) == (int)g->groups_kept && legal_with(g, Q)) return true;
    return false;
}

/* ---- the token ---- */

/* The port's choice in a teacher-forced reading, else the reference's own. False: the port's indices are invalid. */
static bool choose(const gate *g, int64_t token, bool *legal)
{
    *legal = true;
    if (!g->rd->teacher_forced) {
        own_choice(g);
        return true;
    }
    bool const valid = take_choice(g, token);
    *legal = valid && (!g->rd->declared || g->rd->sample || unbounded(g) || legal_choice(g));
    return valid;
}

/* gamma s / total before it is rounded for the last time: divided first; scaled first; or s times gamma / total. (Lemma Weight) */
static ball divided_weight(const gate *g, ball s, ball total)
{
    ball const divided = times_gamma(g, round_op(g->rd, share_of(g->rd, s, total)));
    if (!g->rd->declared || ball_is_any(divided)) return divided;
    ball const scaled = unrounded_share(g->rd, round_op(g->rd, times_gamma(g, s)), total);
    ball const by_factor = ball_mul(s, share_of(g->rd, times_gamma(g, ball_of(1)), total));
    if (ball_is_any(scaled) || ball_is_any(by_factor)) return ball_any();
    return either(g->rd, 1, divided, either(g->rd, 2, scaled, by_factor));
}

static ball weight_of(const gate *g, int64_t e, ball total)
{
    ball const s = score_in_weight(g, e), w = divides(g) ? divided_weight(g, s, total) : times_gamma(g, s);
    return round_at(g->rd, g->point.weight, g->format, w);
}

/* The numbers of equations are those of the V3 report. */
bool gate_route(const gate *g, int64_t token, const ball *logits, ball *weight)
{
    const ref_reading *const rd = g->rd;
    int64_t const experts = g->prob->n_routed_experts, k_most = g->prob->num_experts_per_tok;
    memcpy(g->s, logits, (size_t)experts * sizeof *logits);
    reading_room room;
    const ref_reading *const inner = reading_of(rd, by_softmax(g) ? REF_SOFTMAX : REF_SIGMOID, &room);
    (by_softmax(g) ? score_by_softmax : score_by_sigmoid)(inner, g->s, experts); /* (15)  s = sigmoid(z) */
    for (int64_t e = 0; e < experts; e++) g->s[e] = round_at(inner, g->point.scores, g->format, g->s[e]);
    add_bias(g); /* (16)  t = s + b */
    bool legal;
    bool const valid = choose(g, token, &legal); /* (16)  the largest t of the best groups */

    sum_record sum = empty_sum();
    for (int64_t k = 0; valid && k < k_most; k++) add_term(&sum, score_in_weight(g, g->choice[k]));
    ball const total = valid ? guarded(rd, round_op(rd, sum_of(rd, &sum))) : ball_any();
    for (int64_t k = 0; k < k_most; k++) /* (13)  w = gamma s / sum s */
        weight[k] = valid ? weight_of(g, g->choice[k], total) : ball_any();
    return legal;
}

gate gate_take(const ref_reading *rd, const dsv3_gate_prob *prob, const dsv3_tensor *bias, const dsv3_tensor *topk_idx,
               gate_points point, dsv3_dtype format)
{
    int64_t const experts = prob->n_routed_experts;
    gate g = {.rd = rd, .prob = prob, .bias = bias, .topk_idx = topk_idx, .point = point, .format = format};
    g.groups = by_groups(rd, prob) ? prob->n_group : 1;
    g.groups_kept = by_groups(rd, prob) ? prob->topk_group : 1;
    g.s = scratch_take(rd->scratch, 3 * experts, sizeof *g.s);
    g.t = g.s + experts, g.ranked = g.t + experts;
    g.low = scratch_take(rd->scratch, 3 * experts, sizeof *g.low);
    g.high = g.low + experts, g.favoured = g.high + experts;
    g.chosen = scratch_take(rd->scratch, experts, sizeof *g.chosen);
    g.choice = scratch_zeros(rd->scratch, prob->num_experts_per_tok, sizeof *g.choice);
    return g;
}

/* ---- how many other experts may be chosen ---- */

/* Can the groups Q be the best? */
static bool may_be_best(const double *low, const double *high, int64_t groups, uint32_t Q)
{
    double worst_of_Q = INFINITY, best_of_others = -INFINITY;
    for (int64_t i = 0; i < groups; i++)
        if (Q >> i & 1)
            worst_of_Q = fmin(worst_of_Q, high[i]);
        else
            best_of_others = fmax(best_of_others, low[i]);
    return worst_of_Q >= best_of_others;
}

/* The k-th largest lower end in Q; -infinity: Q has fewer. */
static double kth_lower_end(const gate *g, uint32_t Q)
{
    double below = INFINITY;
    int64_t copies = 1;
    for (int64_t taken = 0; copies > 0 && taken < g->prob->num_experts_per_tok; taken += copies)
        below = next_below(g, g->low, Q, below, &copies);
    return below;
}

/* Marks the experts of Q whose upper end reaches the k-th largest lower end in Q. */
static void mark_candidates(const gate *g, uint32_t Q, bool *marked)
{
    int64_t const size = g->prob->n_routed_experts / g->groups;
    double const kth = kth_lower_end(g, Q);
    for (int64_t i = 0; i < g->groups; i++)
        for (int64_t e = i * size; Q >> i & 1 && e < (i + 1) * size; e++) marked[e] |= g->high[e] >= kth;
}

/* How many experts beside the chosen ones may be chosen: 0 if one set is legal. Each ball is taken by itself, so that some may
 * count that can't be chosen; none is missed. Widens g->low and g->high by what counts as a tie. */
static double rivals(const gate *g)
{
    int64_t const experts = g->prob->n_routed_experts;
    double const units = g->rd->declared ? 4 * ref_half_ulp(g->rd->declared->arith, 1) : 0x1p-50;
    double low[MOST_GROUPS], high[MOST_GROUPS];
    if (unbounded(g)) return (double)(experts - g->prob->num_experts_per_tok);
    for (int64_t e = 0; e < experts; e++) {
        double const slack = tie(g->rd, ball_sup(g->s[e]) + ball_sup(g->t[e]));
        g->low[e] -= slack, g->high[e] += slack;
    }
    for (int64_t i = 0; i < g->groups; i++) {
        low[i] = group_score(g, g->low, i), high[i] = group_score(g, g->high, i);
        low[i] -= units * fabs(low[i]), high[i] += units * fabs(high[i]);
    }
    for (int64_t e = 0; e < experts; e++) g->chosen[e] = false;
    for (uint32_t Q = 0; Q < 1u << g->groups; Q++)
        if (__builtin_popcount(Q) == (int)g->groups_kept && may_be_best(low, high, g->groups, Q))
            mark_candidates(g, Q, g->chosen);
    int64_t marked = 0;
    for (int64_t e = 0; e < experts; e++) marked += g->chosen[e];
    return (double)(marked - g->prob->num_experts_per_tok);
}

void choice_values(const gate *g, bool legal, ref_value *idx)
{
    double const others = g->rd->teacher_forced && !g->rd->sample && ref_is_empty(g->rd->quirks) ? rivals(g) : 0;
    for (int64_t k = 0; k < g->prob->num_experts_per_tok; k++)
        idx[k] = (ref_value){legal ? (double)g->choice[k] : (double)NAN, 0, others};
}

/* ---- the op ---- */

void ref_gate(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_gate_prob *const p = prob;
    const dsv3_gate_io *const io = io_;
    const dsv3_tensor *const z = &io->logits;
    int64_t const k_most = p->num_experts_per_tok;
    gate const g = gate_take(rd, p, dsv3_find(&io->weights, "e_score_correction_bias"), &io->topk_idx,
                             (gate_points){POINT_gate_scores, POINT_gate_topk_weight}, io->topk_weight.dtype);
    vectors const logits = vectors_take(rd->scratch, 1, p->n_routed_experts), w = vectors_take(rd->scratch, 1, k_most);
    for (int64_t t = 0; t < p->n_tokens; t++) {
        for (int64_t e = 0; e < p->n_routed_experts; e++)
            logits.ball[e] = element(rd, ref_decode(z->dtype, z->data, t * z->stride[0] + e));
        bool const legal = gate_route(&g, t, logits.ball, w.ball);
        if (out[0]) choice_values(&g, legal, out[0] + t * k_most);
        for (int64_t k = 0; out[1] && k < k_most; k++) out[1][t * k_most + k] = value_of(w.ball[k]);
    }
}
