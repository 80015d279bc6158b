/* Gradients of RMSNorm on the device: a block a row for grad_x; then a block COLUMNS columns of grad_weight, whose tokens are shared
 * by PARTS warps. */
#include "reduce.cuh"
#include "warp.cuh"

namespace
{

enum { THREADS = 256, COLUMNS = LANES, PARTS = 16 };

/* Pointers to a launch's tensors; residual NULL without one. Strides in elements. */
template <typename T, typename W> struct gradients {
    const T *x, *grad_y, *residual;
    const W *weight;
    T *grad_x;
    W *grad_weight;
    float *inverse; /* (n_tokens): 1 / root */
    int64_t n_tokens, width, x_stride, y_stride, residual_stride, out_stride;
    float eps;
};

__device__ float total(float v)
{
    return block_join<THREADS>(v, 0.0f, [](float a, float b) { return a + b; });
}

template <typename T, typename W> __global__ void row_kernel(gradients<T, W> d)
{
    int64_t const t = blockIdx.x;
    const T *const x = d.x + t * d.x_stride, *const grad_y = d.grad_y + t * d.y_stride;
    float squares = 0, along = 0;
    for (int64_t i = threadIdx.x; i < d.width; i += THREADS) squares = fmaf(load(x, i), load(x, i), squares);
    float const r = 1.0f / sqrtf(total(squares) / (float)d.width + d.eps);
    for (int64_t i = threadIdx.x; i < d.width; i += THREADS)
        along = fmaf(load(d.weight, i) * load(grad_y, i), load(x, i) * r, along);
    float const mean = total(along) / (float)d.width;
    for (int64_t i = threadIdx.x; i < d.width; i += THREADS) {
        float const grad = r * (load(d.weight, i) * load(grad_y, i) - load(x, i) * r * mean);
        store(d.grad_x + t * d.out_stride, i, d.residual ? grad + load(d.residual + t * d.residual_stride, i) : grad);
    }
    if (threadIdx.x == 0) d.inverse[t] = r;
}

template <typename T, typename W> __global__ void column_kernel(gradients<T, W> d)
{
    __shared__ float part[PARTS][COLUMNS];
    int64_t const i = (int64_t)blockIdx.x * COLUMNS + threadIdx.x;
    float sum = 0;
    for (int64_t t = threadIdx.y; t < d.n_tokens && i < d.width; t += PARTS)
        sum = fmaf(load(d.grad_y, t * d.y_stride + i), load(d.x, t * d.x_stride + i) * d.inverse[t], sum);
    part[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || i >= d.width) return;
    for (int k = 1; k < PARTS; k++) sum += part[k][threadIdx.x];
    store(d.grad_weight, i, sum);
}

template <typename T, typename W>
dsv3_status launch(dsv3_ctx *ctx, const dsv3_rmsnorm_backward_prob *p, const dsv3_rmsnorm_backward_io *io)
{
    float *const inverse = (float *)scratch(ctx, (size_t)p->n_tokens * sizeof(float));
    if (!inverse) return DSV3_NO_MEMORY;
    gradients<T, W> const d = {(const T *)io->x.data,
                               (const T *)io->grad_y.data,
                               p->residual ? (const T *)io->grad_residual_out.data : nullptr,
                               (const W *)dsv3_find(&io->weights, "weight")->data,
                               (T *)io->grad_x.data,
                               (W *)io->grad_weight.data,
                               inverse,
                               p->n_tokens,
                               p->hidden_size,
                               io->x.stride[0],
                               io->grad_y.stride[0],
                               io->grad_residual_out.stride[0],
                               io->grad_x.stride[0],
                               (float)p->rms_norm_eps};
    unsigned const blocks = (unsigned)((p->hidden_size + COLUMNS - 1) / COLUMNS);
    row_kernel<<<(unsigned)p->n_tokens, THREADS, 0, ctx->stream>>>(d);
    column_kernel<<<blocks, dim3(COLUMNS, PARTS), 0, ctx->stream>>>(d);
    return launched();
}

template <typename T>
dsv3_status launch_for(dsv3_ctx *ctx, const dsv3_rmsnorm_backward_prob *p, const dsv3_rmsnorm_backward_io *io)
{
    if (io->grad_weight.dtype == DSV3_BF16) return launch<T, __nv_bfloat16>(ctx, p, io);
    return io->grad_weight.dtype == DSV3_F32 ? launch<T, float>(ctx, p, io) : DSV3_UNSUPPORTED;
}

} // namespace

dsv3_status cuda_rmsnorm_backward(dsv3_ctx *ctx, const dsv3_rmsnorm_backward_prob *p,
                                  const dsv3_rmsnorm_backward_io *io)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    if (!weight || weight->dtype != io->grad_weight.dtype) return DSV3_UNSUPPORTED;
    if (io->x.dtype == DSV3_BF16) return launch_for<__nv_bfloat16>(ctx, p, io);
    return io->x.dtype == DSV3_F32 ? launch_for<float>(ctx, p, io) : DSV3_UNSUPPORTED;
}

const char *cuda_rmsnorm_backward_numerics(const void *, const void *)
{
    return "acc 24 rn fused splits=16; rsqrt recip; div ieee; flush none; g f32 must; x_hat f32 must; x_norm f32 must; "
           "terms f32 may; grad_norm f32 must";
}
