/* The gradient of rotary embedding on the device: one block a token, which makes the table of its position; a vector's heads are
 * summed by PARTS warps, then turned back by the first of them. */
#include "rope.cuh"

namespace
{

enum { LANES = 32, WARPS = 8 };

/* Pointers to a launch's tensors. Strides in elements: of a token and of a head. */
template <typename T> struct gradient {
    const T *grad_y;
    const int32_t *position;
    T *grad_x;
    int64_t vectors, sharing, y_token, y_head, x_token, x_head, position_stride;
};

/* Of pair j, over every PARTS-th of a vector's heads, from this warp's first one on. */
template <int PARTS, typename T>
__device__ float2 sum_heads(const gradient<T> &d, const rope &m, const T *vector, int64_t j)
{
    float2 sum = {0, 0};
    __builtin_assume(d.sharing >= PARTS);
    for (int64_t head = threadIdx.y % PARTS; head < d.sharing; head += PARTS) {
        const T *const y = vector + head * d.y_head;
        sum.x += load(y, place(m.out_layout, m.pairs, j, 0));
        sum.y += load(y, place(m.out_layout, m.pairs, j, 1));
    }
    return sum;
}

/* Of pair j, over the parts from this warp's on. */
template <int PARTS> __device__ float2 sum_parts(const float2 (*part)[MOST_PAIRS], int64_t j)
{
    float2 sum = part[0][j];
    for (int k = 1; k < PARTS; k++) sum.x += part[k][j].x, sum.y += part[k][j].y;
    return sum;
}

template <int PARTS, typename T> __global__ void rope_backward_kernel(gradient<T> d, const __grid_constant__ rope m)
{
    __shared__ float cosine[MOST_PAIRS], sine[MOST_PAIRS];
    __shared__ float2 part[WARPS][MOST_PAIRS];
    int64_t const t = blockIdx.x, warp = threadIdx.y;
    rope_table<LANES * WARPS>(m, (double)d.position[t * d.position_stride], cosine, sine);
    for (int64_t first = 0; first < d.vectors; first += WARPS / PARTS) {
        int64_t const v = first + warp / PARTS;
        const T *const y = d.grad_y + t * d.y_token + v * d.sharing * d.y_head;
        T *const x = d.grad_x + t * d.x_token + v * d.x_head;
        for (int64_t j = threadIdx.x; j < m.pairs && v < d.vectors; j += LANES)
            part[warp][j] = sum_heads<PARTS>(d, m, y, j);
        if (PARTS > 1) __syncthreads();
        for (int64_t j = threadIdx.x; j < m.pairs && v < d.vectors && warp % PARTS == 0; j += LANES) {
            float2 const g = sum_parts<PARTS>(part + warp, j);
            store(x, place(m.in_layout, m.pairs, j, 0), g.x * cosine[j] + g.y * sine[j]);
            store(x, place(m.in_layout, m.pairs, j, 1), g.y * cosine[j] - g.x * sine[j]);
        }
        if (PARTS > 1) __syncthreads(); /* part may be written again */
    }
}

/* How many heads share a vector. */
int64_t sharing_of(const dsv3_rope_backward_prob *p)
{
    return p->num_heads / p->num_key_value_heads;
}

template <typename T>
dsv3_status launch(dsv3_ctx *ctx, const dsv3_rope_backward_prob *p, const dsv3_rope_backward_io *io)
{
    gradient<T> const d = {(const T *)io->grad_y.data,
                           (const int32_t *)io->positions.data,
                           (T *)io->grad_x.data,
                           p->num_key_value_heads,
                           sharing_of(p),
                           io->grad_y.stride[0],
                           io->grad_y.stride[1],
                           io->grad_x.stride[0],
                           io->grad_x.stride[1],
                           io->positions.stride[0]};
    dim3 const block(LANES, WARPS);
    if (d.sharing < WARPS)
        rope_backward_kernel<1><<<(unsigned)p->n_tokens, block, 0, ctx->stream>>>(d, rope_of(p));
    else
        rope_backward_kernel<WARPS><<<(unsigned)p->n_tokens, block, 0, ctx->stream>>>(d, rope_of(p));
    return launched();
}

} // namespace

dsv3_status cuda_rope_backward(dsv3_ctx *ctx, const dsv3_rope_backward_prob *p, const dsv3_rope_backward_io *io)
{
    if (p->qk_rope_head_dim > 2 * MOST_PAIRS) return DSV3_UNSUPPORTED;
    if (io->grad_y.dtype == DSV3_BF16) return launch<__nv_bfloat16>(ctx, p, io);
    return io->grad_y.dtype == DSV3_F32 ? launch<float>(ctx, p, io) : DSV3_UNSUPPORTED;
}

const char *cuda_rope_backward_numerics(const void *prob, const void *)
{
    return sharing_of((const dsv3_rope_backward_prob *)prob) < WARPS
               ? "acc 24 rn splits=1; angle f64; sincos 1; flush none; cos_sin f32 must; grad_sum f32 must"
               : "acc 24 rn splits=8; angle f64; sincos 1; flush none; cos_sin f32 must; grad_sum f32 must";
}
