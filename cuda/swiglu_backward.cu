/* grad_gate = grad_y up silu'(gate) and grad_up = grad_y silu(gate) on the device: a thread an element. */
#include "device.cuh"
#include "functions.cuh"

namespace
{

enum { THREADS = 256 };

/* Pointers to a launch's tensors. Strides in elements. */
template <typename T> struct rows {
    const T *gate, *up, *grad_y;
    T *grad_gate, *grad_up;
    int64_t width, gate_stride, up_stride, grad_y_stride, grad_gate_stride, grad_up_stride;
};

template <typename T> __global__ void swiglu_backward_kernel(rows<T> r)
{
    int64_t const t = blockIdx.x, i = (int64_t)blockIdx.y * THREADS + threadIdx.x;
    if (i >= r.width) return;
    float const gate = load(r.gate, t * r.gate_stride + i), up = load(r.up, t * r.up_stride + i);
    float const grad_y = load(r.grad_y, t * r.grad_y_stride + i), s = sigmoid(gate);
    float const slope = s * fmaf(gate, 1 - s, 1.0f); /* silu'(gate) */
    store(r.grad_gate, t * r.grad_gate_stride + i, grad_y * up * slope);
    store(r.grad_up, t * r.grad_up_stride + i, grad_y * (gate * s));
}

template <typename T>
dsv3_status launch(dsv3_ctx *ctx, const dsv3_swiglu_backward_prob *p, const dsv3_swiglu_backward_io *io)
{
    rows<T> const r = {(const T *)io->gate.data, (const T *)io->up.data, (const T *)io->grad_y.data,
                       (T *)io->grad_gate.data,  (T *)io->grad_up.data,  p->intermediate_size,
                       io->gate.stride[0],       io->up.stride[0],       io->grad_y.stride[0],
                       io->grad_gate.stride[0],  io->grad_up.stride[0]};
    dim3 const grid((unsigned)p->n_tokens, (unsigned)((r.width + THREADS - 1) / THREADS));
    swiglu_backward_kernel<<<grid, THREADS, 0, ctx->stream>>>(r);
    return launched();
}

} // namespace

dsv3_status cuda_swiglu_backward(dsv3_ctx *ctx, const dsv3_swiglu_backward_prob *p, const dsv3_swiglu_backward_io *io)
{
    if (io->gate.dtype == DSV3_BF16) return launch<__nv_bfloat16>(ctx, p, io);
    return io->gate.dtype == DSV3_F32 ? launch<float>(ctx, p, io) : DSV3_UNSUPPORTED;
}

const char *cuda_swiglu_backward_numerics(const void *, const void *)
{
    return "sigmoid 4; flush none; gate_sigmoid f32 must; silu f32 must; grad_silu f32 must";
}
