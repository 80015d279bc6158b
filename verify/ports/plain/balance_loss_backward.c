/* The gradient of the balance loss by the scores, by sequence or over the batch. */
#include "plain.h"

/* alpha E / (K T^2) times the gradient of tokens [first, last) */
static float scale_of(const dsv3_balance_loss_backward_prob *p, int64_t first, int64_t last, float grad_loss)
{
    double const T = (double)(last - first), f = (double)p->n_routed_experts / ((double)p->num_experts_per_tok * T);
    return grad_loss * (float)(p->aux_loss_alpha * f / T);
}

static void gradient_of_token(const dsv3_balance_loss_backward_prob *p, const dsv3_balance_loss_backward_io *io,
                              int64_t t, const float *count, float scale)
{
    float sum = 0, along = 0;
    for (int64_t e = 0; e < p->n_routed_experts; e++) {
        sum += load(&io->scores, t, e);
        along += count[e] * load(&io->scores, t, e);
    }
    float const mean = along / sum;
    for (int64_t e = 0; e < p->n_routed_experts; e++)
        store(&io->grad_scores, t, e, p->seq_aux ? scale * (count[e] - mean) / sum : scale * count[e]);
}

static void gradient_of(const dsv3_balance_loss_backward_prob *p, const dsv3_balance_loss_backward_io *io,
                        int64_t first, int64_t last, float grad_loss)
{
    float count[MOST_EXPERTS] = {0};
    const dsv3_tensor *const idx = &io->topk_idx;
    float const scale = scale_of(p, first, last, grad_loss);
    for (int64_t t = first; t < last; t++)
        for (int64_t k = 0; k < p->num_experts_per_tok; k++) count[int_at(idx, t * idx->stride[0] + k)]++;
    for (int64_t t = first; t < last; t++) gradient_of_token(p, io, t, count, scale);
}

dsv3_status plain_balance_loss_backward(dsv3_ctx *ctx, const dsv3_balance_loss_backward_prob *p,
                                        const dsv3_balance_loss_backward_io *io)
{
    (void)ctx;
    float all = 0;
    if (p->n_routed_experts > MOST_EXPERTS) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++) {
        float const grad_loss = load(&io->grad_loss, 0, b);
        all += grad_loss;
        if (p->seq_aux) gradient_of(p, io, int_at(&io->cu_seqlens, b), int_at(&io->cu_seqlens, b + 1), grad_loss);
    }
    if (!p->seq_aux) gradient_of(p, io, 0, p->n_tokens, all);
    return DSV3_OK;
}

const char *plain_balance_loss_backward_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 24 rn; div ieee; flush none";
}
