/* An honest port of balance_loss_backward whose sums are cut: two sums of a token, which the formula divides, do not err alike.
 * Four numbers at a time are cut to the last place of the largest and added. Products: each four in a lane of its own, and lanes
 * likewise; scores: one after another. */
#include "dsv3.h"

#include <math.h>
#include <stddef.h>

enum { FOUR = 4, MOST = 16 };

static float at(const dsv3_tensor *t, int64_t row, int64_t i)
{
    return ((const float *)t->data)[row * t->stride[0] + i];
}

static int32_t int_at(const dsv3_tensor *t, int64_t i)
{
    return ((const int32_t *)t->data)[i];
}

/* Four numbers, toward zero: in units of the last of 24 places of the largest. */
static double sum_of_four(const double *term)
{
    double most = 0, sum = 0;
    for (int i = 0; i < FOUR; i++) most = fmax(most, fabs(term[i]));
    if (most == 0) return 0;
    double const unit = ldexp(1, ilogb(most) - 23);
    for (int i = 0; i < FOUR; i++) sum += trunc(term[i] / unit);
    double const place = ldexp(1, ilogb(fmax(fabs(sum), 1)) - 23);
    return trunc(sum / place) * place * unit;
}

/* Sixteen at most, which are spoilt. */
static float sum_of(double *term)
{
    for (int n = MOST; n > 1; n /= FOUR)
        for (int i = 0; i < n / FOUR; i++) term[i] = sum_of_four(term + i * FOUR);
    return (float)term[0];
}

static float chain_of(const double *term)
{
    double sum = 0;
    for (int i = 0; i < MOST; i++) sum = sum_of_four((const double[FOUR]){sum, term[i]});
    return (float)sum;
}

static void of_token(const dsv3_balance_loss_backward_io *io, int64_t t, int64_t n, const float *count, float scale)
{
    double score[MOST] = {0}, product[MOST] = {0};
    for (int64_t e = 0; e < n; e++) {
        score[e] = (double)at(&io->scores, t, e);
        product[e] = (double)count[e] * score[e];
    }
    float const sum = chain_of(score), mean = sum_of(product) / sum;
    for (int64_t e = 0; e < n; e++)
        ((float *)io->grad_scores.data)[t * io->grad_scores.stride[0] + e] = scale * (count[e] - mean) / sum;
}

static dsv3_status gradient(dsv3_ctx *ctx, const dsv3_balance_loss_backward_prob *p,
                            const dsv3_balance_loss_backward_io *io)
{
    (void)ctx;
    if (!p->seq_aux || p->n_routed_experts > MOST) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t const first = int_at(&io->cu_seqlens, b), last = int_at(&io->cu_seqlens, b + 1);
        double const T = (double)(last - first), f = (double)p->n_routed_experts / ((double)p->num_experts_per_tok * T);
        float const scale = at(&io->grad_loss, b, 0) * (float)(p->aux_loss_alpha * f / T);
        float count[MOST] = {0};
        for (int64_t t = first; t < last; t++)
            for (int64_t k = 0; k < p->num_experts_per_tok; k++)
                count[int_at(&io->topk_idx, t * io->topk_idx.stride[0] + k)]++;
        for (int64_t t = first; t < last; t++) of_token(io, t, p->n_routed_experts, count, scale);
    }
    return DSV3_OK;
}

static const char *numerics(const char *op, const void *prob, const void *io)
{
    (void)op, (void)prob, (void)io;
    return "acc 24 rz fused block=4 guard=0 splits=16; div ieee; flush none";
}

const dsv3_backend *dsv3_backend_get(uint32_t abi);
const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    static const dsv3_backend table = {DSV3_ABI, sizeof table, "cut", .numerics = numerics,
                                       .balance_loss_backward = gradient};
    return abi == DSV3_ABI ? &table : NULL;
}
