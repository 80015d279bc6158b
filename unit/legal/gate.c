/* gate: docs/components/gate.md. */
#include "legal.h"

#include <math.h>
#include <string.h>

void legal_gate_config(legal *c, dsv3_gate_prob const *p, dsv3_gate_io const *io)
{
    legal_start(c, "gate", p->n_tokens, p->n_routed_experts, p->scoring_func, (int)io->logits.dtype);
    legal_sums(c, false);
    legal_arithmetic(c, io->logits.dtype == DSV3_BF16);
    legal_division(c);
    legal_functions(c, p->scoring_func == DSV3_SIGMOID ? "sigmoid" : "exp");
    c->point[0] = legal_round_at(c, "scores", DSV3_F32);
    legal_output(c, "topk_weight", DSV3_F32);
}

static void put(dsv3_tensor const *t, int64_t at, int32_t x)
{
    memcpy((char *)t->data + 4 * at, &x, 4);
}

static void score(legal const *c, dsv3_gate_prob const *p, int64_t n, double const *z, double *s)
{
    double largest = z[0];
    for (int64_t e = 0; e < n; e++) largest = fmax(largest, z[e]);
    if (p->scoring_func == DSV3_SIGMOID) {
        for (int64_t e = 0; e < n; e++) s[e] = legal_at(c, c->point[0], legal_sigmoid(c, z[e]));
        return;
    }
    for (int64_t e = 0; e < n; e++) s[e] = legal_exp(c, legal_op(c, z[e] - largest));
    double const sum = legal_cast(c, legal_dot(c, n, s, NULL));
    for (int64_t e = 0; e < n; e++) s[e] = legal_at(c, c->point[0], legal_div(c, s[e], sum));
}

/* The largest two of a group, added; the largest one for group_limited_greedy. */
static double group_score(legal const *c, int64_t n, double const *t, bool two)
{
    double first = -INFINITY, second = -INFINITY;
    for (int64_t e = 0; e < n; e++) {
        if (t[e] > first)
            second = first, first = t[e];
        else if (t[e] > second)
            second = t[e];
    }
    return two && n > 1 ? legal_op(c, first + second) : first;
}

static int64_t take(int64_t n, double *x)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* The choice of one token and its weights: z and bias of n experts. */
void legal_route(legal const *c, dsv3_gate_prob const *p, double const *z, dsv3_tensor const *bias, double *work,
                 int32_t *chosen, double *w)
{
    int64_t const n = p->n_routed_experts, k = p->num_experts_per_tok;
    bool const grouped = p->topk_method != DSV3_GREEDY;
    bool const scale_first = legal_habit(c, "scale_first", 2);
    bool const by_factor = scale_first && p->norm_topk_prob && legal_habit(c, "by_factor", 2);
    int64_t const groups = grouped ? p->n_group : 1, each = n / groups, kept = grouped ? p->topk_group : 1;
    double *s = work, *t = work + n, *u = work + 2 * n;
    double const scale = legal_constant(c, p->routed_scaling_factor);
    score(c, p, n, z, s);
    for (int64_t e = 0; e < n; e++)
        t[e] = p->topk_method == DSV3_NOAUX_TC ? legal_op(c, s[e] + legal_load(c, bias, e)) : s[e];
    for (int64_t g = 0; g < groups; g++) u[g] = group_score(c, each, t + g * each, p->topk_method == DSV3_NOAUX_TC);
    for (int64_t g = 0; g < kept; g++) u[take(groups, u)] = -INFINITY;
    for (int64_t e = 0; e < n; e++)
        if (u[e / each] != -INFINITY) t[e] = -INFINITY;
    for (int64_t i = 0; i < k; i++) {
        int64_t const e = take(n, t);
        t[e] = -INFINITY, w[i] = s[e], chosen[i] = (int32_t)e;
    }
    double const sum = p->norm_topk_prob ? legal_cast(c, legal_dot(c, k, w, NULL)) : 1;
    for (int64_t i = 0; by_factor && i < k; i++) w[i] = legal_op(c, w[i] * legal_div(c, scale, sum));
    for (int64_t i = 0; !by_factor && i < k; i++) {
        double x = scale_first ? legal_op(c, w[i] * scale) : w[i];
        if (p->norm_topk_prob) x = legal_div(c, x, sum);
        w[i] = scale_first ? x : legal_op(c, x * scale);
    }
}

dsv3_status legal_gate(dsv3_ctx *ctx, dsv3_gate_prob const *p, dsv3_gate_io const *io)
{
    (void)ctx;
    legal c;
    legal_gate_config(&c, p, io);
    dsv3_tensor const *bias = dsv3_find(&io->weights, "e_score_correction_bias");
    int64_t const n = p->n_routed_experts, k = p->num_experts_per_tok;
    double *z = legal_room(n), *work = legal_room(3 * n), *w = legal_room(k);
    int32_t chosen[LEGAL_CHOSEN];
    if (!z || !work || !w || k > LEGAL_CHOSEN) return DSV3_UNSUPPORTED;
    for (int64_t row = 0; row < p->n_tokens; row++) {
        for (int64_t e = 0; e < n; e++) z[e] = legal_load(&c, &io->logits, legal_row(&io->logits, row) + e);
        legal_route(&c, p, z, bias, work, chosen, w);
        for (int64_t i = 0; i < k; i++) {
            put(&io->topk_idx, legal_row(&io->topk_idx, row) + i, chosen[i]);
            legal_store(&c, &io->topk_weight, legal_row(&io->topk_weight, row) + i, w[i]);
        }
    }
    return DSV3_OK;
}
