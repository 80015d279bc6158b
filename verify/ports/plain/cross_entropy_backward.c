/* The gradient of the mean loss by the logits; the softmax is made in binary64. */
#include "plain.h"

static int32_t label_of(const dsv3_cross_entropy_backward_io *io, int64_t t)
{
    return int_at(&io->labels, t * io->labels.stride[0]);
}

static double divisor_of(const dsv3_cross_entropy_backward_prob *p, const dsv3_cross_entropy_backward_io *io)
{
    int64_t counted = 0;
    for (int64_t t = 0; t < p->n_tokens; t++) counted += label_of(io, t) != DSV3_IGNORED;
    return (double)(p->divisor ? counted : p->n_tokens);
}

static double weight_of(const dsv3_cross_entropy_backward_io *io, int64_t t, int64_t j, float max)
{
    float const below = load(&io->logits, t, j) - max;
    return (double)expf(below);
}

/* share: grad_mean / divisor */
static void gradient_of_row(const dsv3_cross_entropy_backward_prob *p, const dsv3_cross_entropy_backward_io *io,
                            int64_t t, double share)
{
    float max = -INFINITY;
    double sum = 0;
    int32_t const label = label_of(io, t);
    for (int64_t j = 0; j < p->vocab_size; j++) max = fmaxf(max, load(&io->logits, t, j));
    for (int64_t j = 0; j < p->vocab_size; j++) sum += weight_of(io, t, j, max);
    for (int64_t j = 0; j < p->vocab_size; j++) {
        double const P = weight_of(io, t, j, max) / sum;
        store(&io->grad_logits, t, j, (float)((P - (j == label)) * share));
    }
}

dsv3_status plain_cross_entropy_backward(dsv3_ctx *ctx, const dsv3_cross_entropy_backward_prob *p,
                                         const dsv3_cross_entropy_backward_io *io)
{
    (void)ctx;
    if (!is_float(&io->logits) || !is_float(&io->grad_logits)) return DSV3_UNSUPPORTED;
    double const share = (double)load_at(&io->grad_mean, 0) / divisor_of(p, io);
    for (int64_t t = 0; t < p->n_tokens; t++) {
        if (label_of(io, t) != DSV3_IGNORED)
            gradient_of_row(p, io, t, share);
        else
            for (int64_t j = 0; j < p->vocab_size; j++) store(&io->grad_logits, t, j, 0);
    }
    return DSV3_OK;
}

const char *plain_cross_entropy_backward_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 53 rn; div ieee; exp 2; rescales 0; flush none; arith f64; P f64 must";
}
