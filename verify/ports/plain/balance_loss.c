/* alpha sum f P, by sequence or over the batch. */
#include "plain.h"

/* alpha sum f P: assignments of first <= token < last, scores of from <= token < to. */
static float balance(const dsv3_balance_loss_prob *p, const dsv3_balance_loss_io *io, int64_t first, int64_t last,
                     int64_t from, int64_t to)
{
    float count[MOST_EXPERTS] = {0}, share[MOST_EXPERTS] = {0}, loss = 0;
    float const experts = (float)p->n_routed_experts, assigned = (float)(p->num_experts_per_tok * (last - first));
    for (int64_t t = first; t < last; t++)
        for (int64_t k = 0; k < p->num_experts_per_tok; k++)
            count[int_at(&io->topk_idx, t * io->topk_idx.stride[0] + k)]++;
    for (int64_t t = from; t < to; t++) {
        float sum = 0;
        for (int64_t e = 0; e < p->n_routed_experts; e++) sum += load(&io->scores, t, e);
        for (int64_t e = 0; e < p->n_routed_experts; e++) share[e] += load(&io->scores, t, e) / (p->seq_aux ? sum : 1);
    }
    for (int64_t e = 0; e < p->n_routed_experts; e++)
        loss += count[e] * experts / assigned * (share[e] / (float)(to - from));
    return (float)p->aux_loss_alpha * loss;
}

dsv3_status plain_balance_loss(dsv3_ctx *ctx, const dsv3_balance_loss_prob *p, const dsv3_balance_loss_io *io)
{
    (void)ctx;
    const int32_t *const start = (const int32_t *)io->cu_seqlens.data;
    if (p->n_routed_experts > MOST_EXPERTS) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t const from = p->seq_aux ? start[b] : 0, to = p->seq_aux ? start[b + 1] : p->n_tokens;
        store_at(&io->loss, b, from == to ? 0 : balance(p, io, from, to, from, to));
    }
    return DSV3_OK;
}

const char *plain_balance_loss_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 24 rn splits=1; div ieee; flush none";
}
