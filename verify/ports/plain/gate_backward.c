/* The gradient of the chosen experts' weights by the logits. */
#include "plain.h"

/* The scores of one token. */
static void scores_of(const dsv3_gate_backward_prob *p, const dsv3_tensor *logits, int64_t t, float *s)
{
    float max = -INFINITY, sum = 0;
    for (int64_t e = 0; e < p->n_routed_experts; e++) max = fmaxf(max, load(logits, t, e));
    for (int64_t e = 0; e < p->n_routed_experts; e++) {
        float const logit = load(logits, t, e);
        s[e] = p->scoring_func == DSV3_SOFTMAX ? expf(logit - max) : 1 / (1 + expf(-logit));
        sum += s[e];
    }
    for (int64_t e = 0; e < p->n_routed_experts && p->scoring_func == DSV3_SOFTMAX; e++) s[e] /= sum;
}

/* The gradient by each score: 0 where the expert isn't chosen. */
static void by_scores(const dsv3_gate_backward_prob *p, const dsv3_gate_backward_io *io, int64_t t, const float *s,
                      float *by)
{
    float sum = 0, along = 0;
    float const scale = (float)p->routed_scaling_factor;
    const dsv3_tensor *const idx = &io->topk_idx, *const g = &io->grad_topk_weight;
    for (int64_t e = 0; e < p->n_routed_experts; e++) by[e] = 0;
    for (int64_t k = 0; k < p->num_experts_per_tok; k++) {
        float const score = s[int_at(idx, t * idx->stride[0] + k)];
        sum += score;
        along += load(g, t, k) * score;
    }
    float const mean = along / sum;
    for (int64_t k = 0; k < p->num_experts_per_tok; k++) {
        float const grad = load(g, t, k);
        by[int_at(idx, t * idx->stride[0] + k)] = p->norm_topk_prob ? scale * (grad - mean) / sum : scale * grad;
    }
}

dsv3_status plain_gate_backward(dsv3_ctx *ctx, const dsv3_gate_backward_prob *p, const dsv3_gate_backward_io *io)
{
    int64_t const experts = p->n_routed_experts;
    float *const s = scratch(ctx, 2 * experts), *const by = s + experts;
    if (!is_float(&io->logits) || !is_float(&io->grad_logits)) return DSV3_UNSUPPORTED;
    if (!s) return DSV3_NO_MEMORY;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        float along = 0;
        scores_of(p, &io->logits, t, s);
        by_scores(p, io, t, s, by);
        for (int64_t e = 0; e < experts; e++) along += by[e] * s[e];
        for (int64_t e = 0; e < experts; e++)
            store(&io->grad_logits, t, e,
                  s[e] * (p->scoring_func == DSV3_SOFTMAX ? by[e] - along : by[e] * (1 - s[e])));
    }
    return DSV3_OK;
}

const char *plain_gate_backward_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 24 rn; div ieee; exp 2; sigmoid 4; flush none; scores f32 must; grad_scores f32 must";
}
