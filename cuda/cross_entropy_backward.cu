/* The gradient of the mean loss by the logits on the device: one block finds the share of a token, then a block a row makes its softmax
 * in binary64. */
#include "logits.cuh"

namespace
{

enum { FEW = 32, MANY = 512, SMALL = 1024 }; /* FEW threads for rows of SMALL at most */

/* Pointers to a launch's tensors. Strides in elements. */
template <typename T> struct gradient {
    const T *logits;
    const int32_t *label;
    const float *grad_mean;
    T *grad_logits;
    double *share; /* grad_mean / divisor */
    int64_t tokens, vocab, logits_stride, label_stride, out_stride;
    bool counted; /* the divisor is the number of labels that aren't ignored */
};

template <int THREADS, typename T> __global__ void share_kernel(gradient<T> d)
{
    double counted = 0;
    for (int64_t t = threadIdx.x; t < d.tokens; t += THREADS) counted += d.label[t * d.label_stride] != DSV3_IGNORED;
    counted = block_total<THREADS>(counted);
    if (threadIdx.x == 0) *d.share = (double)*d.grad_mean / (d.counted ? counted : (double)d.tokens);
}

template <int THREADS, typename T> __global__ void gradient_kernel(gradient<T> d)
{
    int64_t const t = blockIdx.x;
    const T *const logits = d.logits + t * d.logits_stride;
    T *const grad = d.grad_logits + t * d.out_stride;
    int32_t const label = d.label[t * d.label_stride];
    if (label == DSV3_IGNORED) {
        for (int64_t i = threadIdx.x; i < d.vocab; i += THREADS) store(grad, i, 0);
        return;
    }
    logit_sum const row = sum_logits<THREADS>(logits, d.vocab);
    double const inverse = 1 / row.sum, share = *d.share;
    for (int64_t i = threadIdx.x; i < d.vocab; i += THREADS) {
        double const P = (double)exponential(load(logits, i) - row.most) * inverse;
        store(grad, i, (float)((P - (i == label)) * share));
    }
}

template <typename T>
dsv3_status launch(dsv3_ctx *ctx, const dsv3_cross_entropy_backward_prob *p, const dsv3_cross_entropy_backward_io *io)
{
    double *const share = (double *)scratch(ctx, sizeof(double));
    if (!share) return DSV3_NO_MEMORY;
    gradient<T> const d = {(const T *)io->logits.data,
                           (const int32_t *)io->labels.data,
                           (const float *)io->grad_mean.data,
                           (T *)io->grad_logits.data,
                           share,
                           p->n_tokens,
                           p->vocab_size,
                           io->logits.stride[0],
                           io->labels.stride[0],
                           io->grad_logits.stride[0],
                           p->divisor != 0};
    share_kernel<MANY><<<1, MANY, 0, ctx->stream>>>(d);
    if (d.vocab > SMALL)
        gradient_kernel<MANY><<<(unsigned)p->n_tokens, MANY, 0, ctx->stream>>>(d);
    else
        gradient_kernel<FEW><<<(unsigned)p->n_tokens, FEW, 0, ctx->stream>>>(d);
    return launched();
}

} // namespace

dsv3_status cuda_cross_entropy_backward(dsv3_ctx *ctx, const dsv3_cross_entropy_backward_prob *p,
                                        const dsv3_cross_entropy_backward_io *io)
{
    if (io->logits.dtype == DSV3_BF16) return launch<__nv_bfloat16>(ctx, p, io);
    return io->logits.dtype == DSV3_F32 ? launch<float>(ctx, p, io) : DSV3_UNSUPPORTED;
}

const char *cuda_cross_entropy_backward_numerics(const void *, const void *)
{
    return "acc 53 rn; div ieee; exp 2; rescales 0; flush none; arith f64; P f64 must";
}
