/* The gradient of the table on the device: tokens are put in the order of their ids, those of one id in their own order; then a block
 * sums COLUMNS columns of a row. */
#include "warp.cuh"

namespace
{

enum { THREADS = 256, WARPS = THREADS / LANES, EACH = 4, COLUMNS = EACH * THREADS };

/* Of a row: its tokens are order[first] to order[last - 1]. */
struct range {
    int32_t first, last;
};

/* Strides in elements. */
template <typename G, typename W> struct gradient {
    const int32_t *id;
    const G *grad_y;
    W *grad_weight;
    range *of_row;  /* (vocab_size) */
    int32_t *order; /* (n_tokens) */
    int64_t width, id_stride, grad_stride, out_stride;
    int32_t n_tokens;
};

/* A warp a token: how many ids are lower, and how many tokens have the same. */
template <typename G, typename W> __global__ void order_kernel(gradient<G, W> d)
{
    int const lane = threadIdx.x % LANES, token = blockIdx.x * WARPS + threadIdx.x / LANES;
    if (token >= d.n_tokens) return;
    int32_t const id = d.id[token * d.id_stride];
    int lower = 0, same = 0, earlier = 0;
    for (int t = lane; t < d.n_tokens; t += LANES) {
        int32_t const other = d.id[t * d.id_stride];
        lower += other < id;
        same += other == id;
        earlier += other == id && t < token;
    }
    lower = warp_sum(lower), same = warp_sum(same), earlier = warp_sum(earlier);
    if (lane != 0) return;
    d.order[lower + earlier] = token;
    if (earlier == 0) d.of_row[id] = {lower, lower + same};
}

template <typename G, typename W> __global__ void sum_kernel(gradient<G, W> d)
{
    int64_t const row = blockIdx.x, at = (int64_t)blockIdx.y * COLUMNS + threadIdx.x;
    range const tokens = d.of_row[row];
    float sum[EACH] = {};
    for (int32_t k = tokens.first; k < tokens.last; k++) {
        const G *const grad = d.grad_y + d.order[k] * d.grad_stride;
        UNROLL
        for (int e = 0; e < EACH; e++)
            if (at + e * THREADS < d.width) sum[e] += load(grad, at + e * THREADS);
    }
    UNROLL
    for (int e = 0; e < EACH; e++)
        if (at + e * THREADS < d.width) store(d.grad_weight + row * d.out_stride, at + e * THREADS, sum[e]);
}

template <typename G, typename W>
dsv3_status launch(dsv3_ctx *ctx, const dsv3_embed_backward_prob *p, const dsv3_embed_backward_io *io)
{
    size_t const rows = (size_t)p->vocab_size * sizeof(range);
    range *const of_row = (range *)scratch(ctx, rows + (size_t)p->n_tokens * sizeof(int32_t));
    if (!of_row) return DSV3_NO_MEMORY;
    gradient<G, W> const d = {(const int32_t *)io->input_ids.data,
                              (const G *)io->grad_y.data,
                              (W *)io->grad_weight.data,
                              of_row,
                              (int32_t *)(of_row + p->vocab_size),
                              p->hidden_size,
                              io->input_ids.stride[0],
                              io->grad_y.stride[0],
                              io->grad_weight.stride[0],
                              (int32_t)p->n_tokens};
    dim3 const grid((unsigned)p->vocab_size, (unsigned)((p->hidden_size + COLUMNS - 1) / COLUMNS));
    cudaMemsetAsync(of_row, 0, rows, ctx->stream);
    order_kernel<<<(unsigned)((p->n_tokens + WARPS - 1) / WARPS), THREADS, 0, ctx->stream>>>(d);
    sum_kernel<<<grid, THREADS, 0, ctx->stream>>>(d);
    return launched();
}

template <typename G>
dsv3_status launch_for(dsv3_ctx *ctx, const dsv3_embed_backward_prob *p, const dsv3_embed_backward_io *io)
{
    if (io->grad_weight.dtype == DSV3_BF16) return launch<G, __nv_bfloat16>(ctx, p, io);
    return io->grad_weight.dtype == DSV3_F32 ? launch<G, float>(ctx, p, io) : DSV3_UNSUPPORTED;
}

} // namespace

dsv3_status cuda_embed_backward(dsv3_ctx *ctx, const dsv3_embed_backward_prob *p, const dsv3_embed_backward_io *io)
{
    if (io->grad_y.dtype == DSV3_BF16) return launch_for<__nv_bfloat16>(ctx, p, io);
    return io->grad_y.dtype == DSV3_F32 ? launch_for<float>(ctx, p, io) : DSV3_UNSUPPORTED;
}

const char *cuda_embed_backward_numerics(const void *, const void *)
{
    return "acc 24 rn splits=1; flush none; partial f32 must";
}
