/* Row input_ids[t] of the table on the device, copied bit for bit: a thread an element. */
#include "device.cuh"

namespace
{

enum { THREADS = 256 };

/* Pointers to a launch's tensors; T as wide as an element. Strides in elements. */
template <typename T> struct rows {
    const int32_t *id;
    const T *weight;
    T *y;
    int64_t width, id_stride, weight_stride, y_stride;
};

template <typename T> __global__ void embed_kernel(rows<T> r)
{
    int64_t const t = blockIdx.x, i = (int64_t)blockIdx.y * THREADS + threadIdx.x;
    if (i < r.width) r.y[t * r.y_stride + i] = r.weight[r.id[t * r.id_stride] * r.weight_stride + i];
}

template <typename T>
dsv3_status launch(dsv3_ctx *ctx, const dsv3_embed_prob *p, const dsv3_embed_io *io, const dsv3_tensor *weight)
{
    rows<T> const r = {(const int32_t *)io->input_ids.data,
                       (const T *)weight->data,
                       (T *)io->y.data,
                       p->hidden_size,
                       io->input_ids.stride[0],
                       weight->stride[0],
                       io->y.stride[0]};
    dim3 const grid((unsigned)p->n_tokens, (unsigned)((r.width + THREADS - 1) / THREADS));
    embed_kernel<<<grid, THREADS, 0, ctx->stream>>>(r);
    return launched();
}

} // namespace

dsv3_status cuda_embed(dsv3_ctx *ctx, const dsv3_embed_prob *p, const dsv3_embed_io *io)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    if (!weight || io->y.dtype != weight->dtype) return DSV3_UNSUPPORTED;
    if (weight->dtype == DSV3_BF16) return launch<uint16_t>(ctx, p, io, weight);
    return weight->dtype == DSV3_F32 ? launch<uint32_t>(ctx, p, io, weight) : DSV3_UNSUPPORTED;
}

const char *cuda_embed_numerics(const void *, const void *)
{
    return nullptr; /* a copy rounds nothing */
}
