/* Scores of the experts, the groups that are kept, the experts chosen and their weights. */
#include "plain.h"

int64_t largest(const float *v, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (v[i] > v[best]) best = i;
    return best;
}

/* The sum of the two largest values. */
static float top_two(const float *v, int64_t n)
{
    float first = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        float const lower = v[i] > first ? first : v[i];
        if (v[i] > first) first = v[i];
        if (lower > second) second = lower;
    }
    return n > 1 ? first + second : first;
}

/* All groups but the best get t = -infinity. */
static void mask_groups(const dsv3_gate_prob *p, float *t)
{
    if (p->topk_method == DSV3_GREEDY) return;
    int64_t const size = p->n_routed_experts / p->n_group;
    float score[MOST_GROUPS];
    int kept[MOST_GROUPS] = {0};
    for (int64_t g = 0; g < p->n_group; g++) {
        const float *const group = t + g * size;
        score[g] = p->topk_method == DSV3_NOAUX_TC ? top_two(group, size) : group[largest(group, size)];
    }
    for (int64_t m = 0; m < p->topk_group; m++) {
        int64_t const g = largest(score, p->n_group);
        kept[g] = 1;
        score[g] = -INFINITY;
    }
    for (int64_t e = 0; e < p->n_routed_experts; e++)
        if (!kept[e / size]) t[e] = -INFINITY;
}

static void gate_scores(const dsv3_gate_prob *p, const float *logits, float *s)
{
    float max = -INFINITY, sum = 0;
    for (int64_t e = 0; e < p->n_routed_experts; e++) max = fmaxf(max, logits[e]);
    for (int64_t e = 0; e < p->n_routed_experts; e++) {
        float const z = logits[e];
        s[e] = p->scoring_func == DSV3_SOFTMAX ? expf(z - max) : 1 / (1 + expf(-z));
        sum += s[e];
    }
    for (int64_t e = 0; e < p->n_routed_experts && p->scoring_func == DSV3_SOFTMAX; e++) s[e] /= sum;
}

int can_route(const dsv3_gate_prob *p)
{
    return p->n_routed_experts <= MOST_EXPERTS && p->n_group <= MOST_GROUPS;
}

void route(const dsv3_gate_prob *p, const dsv3_tensor *bias, const float *logits, int32_t *idx, float *weight)
{
    float s[MOST_EXPERTS], t[MOST_EXPERTS], sum = 0;
    gate_scores(p, logits, s);
    for (int64_t e = 0; e < p->n_routed_experts; e++) t[e] = bias ? s[e] + load_at(bias, e) : s[e];
    mask_groups(p, t);
    for (int64_t k = 0; k < p->num_experts_per_tok; k++) {
        idx[k] = (int32_t)largest(t, p->n_routed_experts);
        t[idx[k]] = -INFINITY;
        weight[k] = s[idx[k]];
        sum += weight[k];
    }
    for (int64_t k = 0; k < p->num_experts_per_tok; k++) {
        if (p->norm_topk_prob) weight[k] /= sum;
        weight[k] *= (float)p->routed_scaling_factor;
    }
}

dsv3_status plain_gate(dsv3_ctx *ctx, const dsv3_gate_prob *p, const dsv3_gate_io *io)
{
    (void)ctx;
    const dsv3_tensor *const bias = dsv3_find(&io->weights, "e_score_correction_bias");
    float logits[MOST_EXPERTS];
    if ((!bias && p->topk_method == DSV3_NOAUX_TC) || !is_float(&io->logits)) return DSV3_UNSUPPORTED;
    if (!can_route(p)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        for (int64_t e = 0; e < p->n_routed_experts; e++) logits[e] = load(&io->logits, t, e);
        route(p, bias, logits, (int32_t *)io->topk_idx.data + t * io->topk_idx.stride[0],
              (float *)io->topk_weight.data + t * io->topk_weight.stride[0]);
    }
    return DSV3_OK;
}

const char *plain_gate_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 24 rn; div ieee; sigmoid 6 2; exp 2 0; flush none; scores f32 must";
}
