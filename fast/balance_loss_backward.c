/* The gradient of the balance loss by the scores: counts and scale of each sequence, then its tokens. */
#include "ctx.h"
#include "fast.h"
#include "matrix.h"
#include "vec.h"

typedef struct {
    const dsv3_balance_loss_backward_prob *p;
    const dsv3_balance_loss_backward_io *io;
    const float *count; /* (n_routed_experts) */
    float scale;        /* grad_loss aux_loss_alpha E / (K T^2) */
    int64_t first;
} gradients;

/* Of what a sum of scores or of counts times scores is made: count NULL is 1. */
static float sum_of(const float *s, const float *count, int64_t n)
{
    vec sum = vec_of(0);
    for (int64_t e = 0; e < n; e += WIDTH) {
        lanes const of = first_lanes(n - e);
        vec const score = load_lanes(s, DSV3_F32, e, of);
        sum = vec_fma(score, count ? load_lanes(count, DSV3_F32, e, of) : vec_of(1), sum);
    }
    return vec_sum(sum);
}

static void gradient_of_token(const void *job, int64_t part, int worker)
{
    (void)worker;
    const gradients *const d = job;
    const dsv3_tensor *const scores = &d->io->scores, *const to = &d->io->grad_scores;
    int64_t const t = d->first + part, n = d->p->n_routed_experts;
    const float *const s = (const float *)scores->data + t * scores->stride[0];
    float const sum = d->p->seq_aux ? sum_of(s, NULL, n) : 1;
    vec const mean = vec_of(d->p->seq_aux ? sum_of(s, d->count, n) / sum : 0), scale = vec_of(d->scale);
    for (int64_t e = 0; e < n; e += WIDTH) {
        lanes const of = first_lanes(n - e);
        vec const less = vec_sub(load_lanes(d->count, DSV3_F32, e, of), mean);
        store_lanes(to->data, DSV3_F32, t * to->stride[0] + e, of, vec_div(vec_mul(scale, less), vec_of(sum)));
    }
}

static void gradient_of(dsv3_ctx *ctx, gradients d, float *count, int64_t last, float grad_loss)
{
    const dsv3_tensor *const idx = &d.io->topk_idx;
    double const T = (double)(last - d.first),
                 f = (double)d.p->n_routed_experts / ((double)d.p->num_experts_per_tok * T);
    memset(count, 0, (size_t)d.p->n_routed_experts * sizeof *count);
    for (int64_t t = d.first; t < last; t++)
        for (int64_t k = 0; k < d.p->num_experts_per_tok; k++)
            count[((const int32_t *)idx->data)[t * idx->stride[0] + k]]++;
    d.count = count;
    d.scale = grad_loss * (float)(d.p->aux_loss_alpha * f / T);
    ctx_run(ctx, gradient_of_token, &d, last - d.first);
}

dsv3_status fast_balance_loss_backward(dsv3_ctx *ctx, const dsv3_balance_loss_backward_prob *p,
                                       const dsv3_balance_loss_backward_io *io)
{
    const int32_t *const begin = io->cu_seqlens.data;
    const float *const grad_loss = io->grad_loss.data;
    float all = 0;
    size_t const mark = ctx_mark(ctx);
    float *const count = ctx_take(ctx, p->n_routed_experts, sizeof *count);
    for (int64_t b = 0; count && b < p->batch; b++) {
        all += grad_loss[b];
        if (p->seq_aux) gradient_of(ctx, (gradients){p, io, NULL, 0, begin[b]}, count, begin[b + 1], grad_loss[b]);
    }
    if (count && !p->seq_aux) gradient_of(ctx, (gradients){p, io, NULL, 0, 0}, count, p->n_tokens, all);
    ctx_back(ctx, mark);
    return count ? DSV3_OK : DSV3_NO_MEMORY;
}

const char *fast_balance_loss_backward_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn fused splits=16; div ieee; flush none";
}
