/* Loss of each token and their mean; sums in binary64. */
#include "plain.h"

static int32_t label_of(const dsv3_cross_entropy_io *io, int64_t t)
{
    return int_at(&io->labels, t * io->labels.stride[0]);
}

/* ln of the sum of e^logits, less the label's; the maximum is found first, the sum is made in binary64. */
static float token_loss(const dsv3_cross_entropy_prob *p, const dsv3_cross_entropy_io *io, int64_t t, int32_t label)
{
    float max = -INFINITY;
    double sum = 0;
    for (int64_t j = 0; j < p->vocab_size; j++) max = fmaxf(max, load(&io->logits, t, j));
    for (int64_t j = 0; j < p->vocab_size; j++) sum += (double)expf(load(&io->logits, t, j) - max);
    return (float)(log(sum) + (double)max - (double)load(&io->logits, t, label));
}

dsv3_status plain_cross_entropy(dsv3_ctx *ctx, const dsv3_cross_entropy_prob *p, const dsv3_cross_entropy_io *io)
{
    (void)ctx;
    if (!is_float(&io->logits)) return DSV3_UNSUPPORTED;
    double sum = 0;
    int64_t counted = 0;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        int32_t const label = label_of(io, t);
        float const loss = label == DSV3_IGNORED ? 0 : token_loss(p, io, t, label);
        ((float *)io->loss.data)[t * io->loss.stride[0]] = loss;
        sum += (double)loss;
        counted += label != DSV3_IGNORED;
    }
    *(float *)io->mean.data = (float)(sum / (double)(p->divisor ? counted : p->n_tokens));
    return DSV3_OK;
}

const char *plain_cross_entropy_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 53 rn; div 1; exp 2; log 2; rescales 0; flush none; arith f64; terms f32 must";
}
