/* Rotary embedding on the device: one block a token, which makes the table of its position and then turns all heads,
 * HEADS at a time. */
#include "rope.cuh"

namespace
{

enum { LANES = 32, HEADS = 8 };

/* Pointers to a launch's tensors. Strides in elements: of a token and of a head. */
template <typename T> struct vectors {
    const T *x;
    const int32_t *position;
    T *y;
    int64_t heads, x_token, x_head, y_token, y_head, position_stride;
};

template <typename T> __global__ void rope_kernel(vectors<T> v, const __grid_constant__ rope m)
{
    __shared__ float cosine[MOST_PAIRS], sine[MOST_PAIRS];
    int64_t const t = blockIdx.x;
    rope_table<LANES * HEADS>(m, (double)v.position[t * v.position_stride], cosine, sine);
    for (int64_t head = threadIdx.y; head < v.heads; head += HEADS) {
        const T *const x = v.x + t * v.x_token + head * v.x_head;
        T *const y = v.y + t * v.y_token + head * v.y_head;
        for (int64_t j = threadIdx.x; j < m.pairs; j += LANES) {
            float const x1 = load(x, place(m.in_layout, m.pairs, j, 0)),
                        x2 = load(x, place(m.in_layout, m.pairs, j, 1));
            store(y, place(m.out_layout, m.pairs, j, 0), x1 * cosine[j] - x2 * sine[j]);
            store(y, place(m.out_layout, m.pairs, j, 1), x2 * cosine[j] + x1 * sine[j]);
        }
    }
}

template <typename T> dsv3_status launch(dsv3_ctx *ctx, const dsv3_rope_prob *p, const dsv3_rope_io *io)
{
    vectors<T> const v = {(const T *)io->x.data,  (const int32_t *)io->positions.data,
                          (T *)io->y.data,        p->num_heads,
                          io->x.stride[0],        io->x.stride[1],
                          io->y.stride[0],        io->y.stride[1],
                          io->positions.stride[0]};
    rope_kernel<<<(unsigned)p->n_tokens, dim3(LANES, HEADS), 0, ctx->stream>>>(v, rope_of(p));
    return launched();
}

} // namespace

dsv3_status cuda_rope(dsv3_ctx *ctx, const dsv3_rope_prob *p, const dsv3_rope_io *io)
{
    if (io->y.dtype != io->x.dtype || p->qk_rope_head_dim > 2 * MOST_PAIRS) return DSV3_UNSUPPORTED;
    if (io->x.dtype == DSV3_BF16) return launch<__nv_bfloat16>(ctx, p, io);
    return io->x.dtype == DSV3_F32 ? launch<float>(ctx, p, io) : DSV3_UNSUPPORTED;
}

const char *cuda_rope_numerics(const void *, const void *)
{
    return "angle f64; sincos 1; flush none; cos_sin f32 must";
}
