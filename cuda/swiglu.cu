/* y = silu(gate) up on the device: a thread an element. */
#include "device.cuh"
#include "functions.cuh"

namespace
{

enum { THREADS = 256 };

/* Pointers to a launch's tensors. Strides in elements. */
template <typename T> struct rows {
    const T *gate, *up;
    T *y;
    int64_t width, gate_stride, up_stride, y_stride;
};

template <typename T> __global__ void swiglu_kernel(rows<T> r)
{
    int64_t const t = blockIdx.x, i = (int64_t)blockIdx.y * THREADS + threadIdx.x;
    if (i >= r.width) return;
    float const gate = load(r.gate, t * r.gate_stride + i), up = load(r.up, t * r.up_stride + i);
    store(r.y, t * r.y_stride + i, silu(gate) * up);
}

template <typename T> dsv3_status launch(dsv3_ctx *ctx, const dsv3_swiglu_prob *p, const dsv3_swiglu_io *io)
{
    rows<T> const r = {(const T *)io->gate.data, (const T *)io->up.data, (T *)io->y.data, p->intermediate_size,
                       io->gate.stride[0],       io->up.stride[0],       io->y.stride[0]};
    dim3 const grid((unsigned)p->n_tokens, (unsigned)((r.width + THREADS - 1) / THREADS));
    swiglu_kernel<<<grid, THREADS, 0, ctx->stream>>>(r);
    return launched();
}

} // namespace

dsv3_status cuda_swiglu(dsv3_ctx *ctx, const dsv3_swiglu_prob *p, const dsv3_swiglu_io *io)
{
    dsv3_dtype const type = io->gate.dtype;
    if (io->up.dtype != type || io->y.dtype != type) return DSV3_UNSUPPORTED;
    if (type == DSV3_BF16) return launch<__nv_bfloat16>(ctx, p, io);
    return type == DSV3_F32 ? launch<float>(ctx, p, io) : DSV3_UNSUPPORTED;
}

const char *cuda_swiglu_numerics(const void *, const void *)
{
    return "sigmoid 4; flush none; gate_sigmoid f32 may; silu f32 must";
}
