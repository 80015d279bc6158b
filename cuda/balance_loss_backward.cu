/* The gradient of the balance loss by the scores, on the device: a block counts a sequence's assignments, warps take its tokens. */
#include "balance.cuh"

namespace
{

enum { WARPS = 8, THREADS = WARPS * LANES, MOST_EXPERTS = 1024, MOST_BLOCKS = 64 };

struct gradient {
    const float *scores, *grad_loss;
    const int32_t *topk_idx, *cu_seqlens; /* cu_seqlens: NULL if all tokens count as one sequence */
    float *grad_scores, *count, *scale;   /* of a sequence: (expert); grad_loss aux_loss_alpha E / (K T^2) */
    int64_t n_tokens, batch, scores_stride, idx_stride, out_stride;
    int experts, chosen;
    float alpha;
};

__global__ void count_kernel(gradient d)
{
    __shared__ int32_t count[MOST_EXPERTS];
    range const all = tokens_of(d.cu_seqlens, d.n_tokens, blockIdx.x);
    float const T = (float)(all.last - all.first), K_T = (float)(d.chosen * (all.last - all.first));
    float grad = 0;
    for (int e = threadIdx.x; e < d.experts; e += THREADS) count[e] = 0;
    __syncthreads();
    for (int64_t t = all.first + threadIdx.x / LANES; t < all.last; t += WARPS)
        for (int k = threadIdx.x % LANES; k < d.chosen; k += LANES)
            atomicAdd(&count[d.topk_idx[t * d.idx_stride + k]], 1);
    __syncthreads();
    for (int e = threadIdx.x; e < d.experts; e += THREADS) d.count[blockIdx.x * d.experts + e] = (float)count[e];
    for (int64_t b = threadIdx.x; b < d.batch && !d.cu_seqlens; b += THREADS) grad += d.grad_loss[b];
    grad = d.cu_seqlens ? d.grad_loss[blockIdx.x] : block_sum<THREADS>(grad);
    if (threadIdx.x == 0) d.scale[blockIdx.x] = grad * d.alpha * ((float)d.experts / K_T / T);
}

__global__ void gradient_kernel(gradient d)
{
    int const lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    range const all = tokens_of(d.cu_seqlens, d.n_tokens, blockIdx.y);
    const float *const count = d.count + blockIdx.y * d.experts;
    float const scale = d.scale[blockIdx.y];
    for (int64_t t = all.first + blockIdx.x * WARPS + warp; t < all.last; t += (int64_t)gridDim.x * WARPS) {
        const float *const s = d.scores + t * d.scores_stride;
        float *const grad = d.grad_scores + t * d.out_stride;
        if (!d.cu_seqlens) {
            for (int e = lane; e < d.experts; e += LANES) grad[e] = scale * count[e];
            continue;
        }
        float sum = 0, along = 0;
        for (int e = lane; e < d.experts; e += LANES) {
            sum += s[e];
            along += count[e] * s[e];
        }
        sum = warp_sum(sum);
        float const mean = warp_sum(along) / sum;
        for (int e = lane; e < d.experts; e += LANES) grad[e] = scale * (count[e] - mean) / sum;
    }
}

} // namespace

dsv3_status cuda_balance_loss_backward(dsv3_ctx *ctx, const dsv3_balance_loss_backward_prob *p,
                                       const dsv3_balance_loss_backward_io *io)
{
    int64_t const sequences = p->seq_aux ? p->batch : 1, blocks = p->n_tokens / sequences / WARPS + 1;
    if (p->n_routed_experts > MOST_EXPERTS || p->batch > 65535) return DSV3_UNSUPPORTED;
    float *const count = (float *)scratch(ctx, (size_t)(sequences * (p->n_routed_experts + 1)) * sizeof(float));
    if (!count) return DSV3_NO_MEMORY;
    gradient const d = {(const float *)io->scores.data,
                        (const float *)io->grad_loss.data,
                        (const int32_t *)io->topk_idx.data,
                        p->seq_aux ? (const int32_t *)io->cu_seqlens.data : nullptr,
                        (float *)io->grad_scores.data,
                        count,
                        count + sequences * p->n_routed_experts,
                        p->n_tokens,
                        p->batch,
                        io->scores.stride[0],
                        io->topk_idx.stride[0],
                        io->grad_scores.stride[0],
                        (int)p->n_routed_experts,
                        (int)p->num_experts_per_tok,
                        (float)p->aux_loss_alpha};
    dim3 const grid((unsigned)(blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS), (unsigned)sequences);
    count_kernel<<<(unsigned)sequences, THREADS, 0, ctx->stream>>>(d);
    gradient_kernel<<<grid, THREADS, 0, ctx->stream>>>(d);
    return launched();
}

const char *cuda_balance_loss_backward_numerics(const void *, const void *)
{
    return "acc 24 rn splits=32; div ieee; flush none";
}
