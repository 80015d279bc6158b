/* Loss of each token and their mean on the device: one block a row, which finds its maximum and then sums in binary64; one block for
 * the mean. */
#include "logits.cuh"

namespace
{

enum { FEW = 32, MANY = 512, SMALL = 1024 }; /* FEW threads for rows of SMALL at most */

/* Pointers to a launch's tensors. Strides in elements. */
template <typename T> struct losses {
    const T *logits;
    const int32_t *label;
    float *loss, *mean;
    int64_t tokens, vocab, logits_stride, label_stride, loss_stride;
    bool counted; /* the mean is over tokens that aren't ignored */
};

template <int THREADS, typename T> __global__ void loss_kernel(losses<T> l)
{
    int64_t const t = blockIdx.x;
    const T *const logits = l.logits + t * l.logits_stride;
    int32_t const label = l.label[t * l.label_stride];
    if (label == DSV3_IGNORED) {
        if (threadIdx.x == 0) l.loss[t * l.loss_stride] = 0;
        return;
    }
    logit_sum const row = sum_logits<THREADS>(logits, l.vocab);
    if (threadIdx.x == 0)
        l.loss[t * l.loss_stride] = (float)(logarithm(row.sum) + ((double)row.most - (double)load(logits, label)));
}

template <int THREADS, typename T> __global__ void mean_kernel(losses<T> l)
{
    double sum = 0, counted = 0;
    for (int64_t t = threadIdx.x; t < l.tokens; t += THREADS) {
        sum += (double)l.loss[t * l.loss_stride];
        counted += l.label[t * l.label_stride] != DSV3_IGNORED;
    }
    sum = block_total<THREADS>(sum), counted = block_total<THREADS>(counted);
    if (threadIdx.x == 0) *l.mean = (float)(sum / (l.counted ? counted : (double)l.tokens));
}

template <typename T>
dsv3_status launch(dsv3_ctx *ctx, const dsv3_cross_entropy_prob *p, const dsv3_cross_entropy_io *io)
{
    losses<T> const l = {(const T *)io->logits.data,
                         (const int32_t *)io->labels.data,
                         (float *)io->loss.data,
                         (float *)io->mean.data,
                         p->n_tokens,
                         p->vocab_size,
                         io->logits.stride[0],
                         io->labels.stride[0],
                         io->loss.stride[0],
                         p->divisor != 0};
    if (l.vocab > SMALL)
        loss_kernel<MANY><<<(unsigned)p->n_tokens, MANY, 0, ctx->stream>>>(l);
    else
        loss_kernel<FEW><<<(unsigned)p->n_tokens, FEW, 0, ctx->stream>>>(l);
    mean_kernel<MANY><<<1, MANY, 0, ctx->stream>>>(l);
    return launched();
}

} // namespace

dsv3_status cuda_cross_entropy(dsv3_ctx *ctx, const dsv3_cross_entropy_prob *p, const dsv3_cross_entropy_io *io)
{
    if (io->logits.dtype == DSV3_BF16) return launch<__nv_bfloat16>(ctx, p, io);
    return io->logits.dtype == DSV3_F32 ? launch<float>(ctx, p, io) : DSV3_UNSUPPORTED;
}

const char *cuda_cross_entropy_numerics(const void *, const void *)
{
    return "acc 53 rn; div ieee; exp 2; log 1; rescales 0; flush none; arith f64; terms f32 must";
}
