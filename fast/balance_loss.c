/* alpha sum f P, by sequence or over the batch; sums of shares in binary32, in the order of the tokens. */
#include "ctx.h"
#include "fast.h"
#include "gate.h"
#include "matrix.h"
#include "vec.h"

typedef struct {
    const dsv3_balance_loss_prob *p;
    const dsv3_balance_loss_io *io;
} balance;

/* Shares of the experts in one token: its scores, divided by their sum if that is asked for. */
static void add_shares(const balance *m, int64_t t, float *share)
{
    int64_t const experts = m->p->n_routed_experts;
    const float *const s = (const float *)m->io->scores.data + t * m->io->scores.stride[0];
    float sum = 0;
    for (int64_t e = 0; e < experts; e++) sum += s[e];
    vec const divisor = vec_of(m->p->seq_aux ? sum : 1);
    for (int64_t e = 0; e < experts; e += WIDTH) {
        lanes const of = first_lanes(experts - e);
        vec const more = vec_div(load_lanes(s, DSV3_F32, e, of), divisor);
        store_lanes(share, DSV3_F32, e, of, vec_add(load_lanes(share, DSV3_F32, e, of), more));
    }
}

static void find_loss(const void *job, int64_t b, int worker)
{
    (void)worker;
    const balance *const m = job;
    const int32_t *const begin = m->io->cu_seqlens.data;
    int64_t const from = m->p->seq_aux ? begin[b] : 0, to = m->p->seq_aux ? begin[b + 1] : m->p->n_tokens;
    int64_t const experts = m->p->n_routed_experts, k = m->p->num_experts_per_tok;
    float count[MOST_EXPERTS] = {0}, share[MOST_EXPERTS] = {0}, loss = 0;
    for (int64_t t = from; t < to; t++) {
        const int32_t *const idx = (const int32_t *)m->io->topk_idx.data + t * m->io->topk_idx.stride[0];
        for (int64_t i = 0; i < k; i++) count[idx[i]]++;
        add_shares(m, t, share);
    }
    for (int64_t e = 0; e < experts && from < to; e++)
        loss += count[e] * (float)experts / (float)(k * (to - from)) * (share[e] / (float)(to - from));
    ((float *)m->io->loss.data)[b] = (float)m->p->aux_loss_alpha * loss;
}

dsv3_status fast_balance_loss(dsv3_ctx *ctx, const dsv3_balance_loss_prob *p, const dsv3_balance_loss_io *io)
{
    balance const m = {p, io};
    if (p->n_routed_experts > MOST_EXPERTS) return DSV3_UNSUPPORTED;
    ctx_run(ctx, find_loss, &m, p->batch);
    return DSV3_OK;
}

const char *fast_balance_loss_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn splits=1; div ieee; flush none";
}
