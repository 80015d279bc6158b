/* Loss of each token and their mean: exponentials in sixteen lanes, sums in binary64. */
#include "ctx.h"
#include "fast.h"
#include "logits.h"
#include "matrix.h"

typedef struct {
    const dsv3_cross_entropy_prob *p;
    const dsv3_cross_entropy_io *io;
} losses;

static void find_loss(const void *job, int64_t t, int worker)
{
    (void)worker;
    const losses *const l = job;
    const dsv3_tensor *const x = &l->io->logits;
    int64_t const from = t * x->stride[0], n = l->p->vocab_size;
    int32_t const label = ((const int32_t *)l->io->labels.data)[t * l->io->labels.stride[0]];
    float *const loss = (float *)l->io->loss.data + t * l->io->loss.stride[0], of_label;
    *loss = 0;
    if (label == DSV3_IGNORED) return;
    stored_row const row = row_of(x, from + label);
    load_row(&row, 1, &of_label);
    float const most = largest_logit(x, from, n);
    *loss = (float)log(sum_of_exponentials(x, from, n, most)) + (most - of_label);
}

dsv3_status fast_cross_entropy(dsv3_ctx *ctx, const dsv3_cross_entropy_prob *p, const dsv3_cross_entropy_io *io)
{
    losses const l = {p, io};
    double sum = 0;
    int64_t counted = 0;
    if (!is_float(&io->logits)) return DSV3_UNSUPPORTED;
    ctx_run(ctx, find_loss, &l, p->n_tokens);
    for (int64_t t = 0; t < p->n_tokens; t++) {
        sum += (double)((const float *)io->loss.data)[t * io->loss.stride[0]];
        counted += ((const int32_t *)io->labels.data)[t * io->labels.stride[0]] != DSV3_IGNORED;
    }
    *(float *)io->mean.data = (float)(sum / (double)(p->divisor ? counted : p->n_tokens));
    return DSV3_OK;
}

const char *fast_cross_entropy_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 53 rn; div 1; exp 2; log 2; rescales 0; flush none; terms f32 must";
}
