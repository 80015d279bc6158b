/* RMSNorm on the device: one block a row; fused squares in THREADS partial sums, then a tree. */
#include "device.cuh"

namespace
{

enum { THREADS = 256 };

/* Pointers to a launch's tensors; residual and residual_out NULL without a residual. Strides in elements. */
template <typename T, typename W> struct norm {
    const T *x, *residual;
    const W *weight;
    T *y, *residual_out;
    int64_t width, x_stride, residual_stride, y_stride, out_stride;
    float eps;
};

template <typename T, typename W> __global__ void norm_kernel(norm<T, W> n)
{
    int64_t const t = blockIdx.x;
    const T *const x = n.x + t * n.x_stride;
    const T *const residual = n.residual ? n.residual + t * n.residual_stride : nullptr;
    T *const y = n.y + t * n.y_stride;
    T *const out = n.residual_out ? n.residual_out + t * n.out_stride : nullptr;
    float sum = 0;
    for (int64_t i = threadIdx.x; i < n.width; i += THREADS) {
        if (residual) store(out, i, load(x, i) + load(residual, i));
        float const z = residual ? load(out, i) : load(x, i);
        sum = __fmaf_rn(z, z, sum);
    }
    float const ms = __fdiv_rn(block_sum<THREADS>(sum), (float)n.width);
    float const r = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(ms, n.eps)));
    for (int64_t i = threadIdx.x; i < n.width; i += THREADS) {
        float const z = residual ? load(out, i) : load(x, i);
        store(y, i, __fmul_rn(load(n.weight, i), __fmul_rn(z, r)));
    }
}

template <typename T, typename W>
dsv3_status launch(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io, const dsv3_tensor *weight)
{
    norm<T, W> const n = {(const T *)io->x.data,
                          p->residual ? (const T *)io->residual.data : nullptr,
                          (const W *)weight->data,
                          (T *)io->y.data,
                          p->residual ? (T *)io->residual_out.data : nullptr,
                          p->hidden_size,
                          io->x.stride[0],
                          io->residual.stride[0],
                          io->y.stride[0],
                          io->residual_out.stride[0],
                          (float)p->rms_norm_eps};
    norm_kernel<T, W><<<(unsigned)p->n_tokens, THREADS, 0, ctx->stream>>>(n);
    return launched();
}

} // namespace

dsv3_status cuda_rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    bool const bf16 = io->x.dtype == DSV3_BF16, weight_bf16 = weight && weight->dtype == DSV3_BF16;
    if (!weight || (!bf16 && io->x.dtype != DSV3_F32) || (!weight_bf16 && weight->dtype != DSV3_F32))
        return DSV3_UNSUPPORTED;
    if (io->y.dtype != io->x.dtype) return DSV3_UNSUPPORTED;
    if (bf16 && weight_bf16) return launch<__nv_bfloat16, __nv_bfloat16>(ctx, p, io, weight);
    if (bf16) return launch<__nv_bfloat16, float>(ctx, p, io, weight);
    if (weight_bf16) return launch<float, __nv_bfloat16>(ctx, p, io, weight);
    return launch<float, float>(ctx, p, io, weight);
}

const char *cuda_rmsnorm_numerics(const void *, const void *io)
{
    return ((const dsv3_rmsnorm_io *)io)->y.dtype == DSV3_BF16
               ? "acc 24 rn fused; rsqrt ieee; div ieee; flush none; z bf16 must; x_norm f32 must"
               : "acc 24 rn fused; rsqrt ieee; div ieee; flush none; z f32 must; x_norm f32 must";
}
