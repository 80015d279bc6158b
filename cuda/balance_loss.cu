/* The balance loss on the device: blocks count and add up shares of a part of each sequence's tokens, another adds up its parts. */
#include "balance.cuh"

namespace
{

enum { WARPS = 8, THREADS = WARPS * LANES, MOST_EXPERTS = 1024, EACH = MOST_EXPERTS / THREADS, PARTS = 32, MANY = 64 };

/* Sequences of many tokens are cut into so many parts. */
int parts_of(const dsv3_balance_loss_prob *p)
{
    return p->n_tokens >= MANY * (p->seq_aux ? p->batch : 1) ? PARTS : 1;
}

struct balance {
    const float *scores;
    const int32_t *topk_idx, *cu_seqlens; /* cu_seqlens: NULL if all tokens count as one sequence */
    float *loss, *share;                  /* share: (sequence, part, expert), the sum over the part's tokens */
    int32_t *assignments;                 /* (sequence, part, expert) */
    int64_t n_tokens, batch, scores_stride, idx_stride;
    int experts, chosen, parts;
    float alpha;
};

/* Counts a token's experts; returns what its scores are divided by. All lanes of a warp must call. */
__device__ float enter_token(const balance &b, int64_t t, int32_t *count)
{
    int const lane = threadIdx.x % LANES;
    const float *const s = b.scores + t * b.scores_stride;
    float sum = 0;
    for (int k = lane; k < b.chosen; k += LANES) atomicAdd(&count[b.topk_idx[t * b.idx_stride + k]], 1);
    for (int e = lane; e < b.experts && b.cu_seqlens; e += LANES) sum += s[e];
    return b.cu_seqlens ? warp_sum(sum) : 1.0f;
}

__device__ void add_shares(const balance &b, int64_t t, float divisor, float share[EACH])
{
    const float *const s = b.scores + t * b.scores_stride;
    for (int i = 0; i < EACH; i++) {
        int const e = threadIdx.x + THREADS * i;
        if (e < b.experts) share[i] += s[e] / divisor;
    }
}

/* Eight tokens at a time: a warp takes one's divisor, then a thread takes an expert of all. */
__global__ void part_kernel(balance b)
{
    __shared__ int32_t count[MOST_EXPERTS];
    __shared__ float divisor[WARPS];
    int const part = blockIdx.x, warp = threadIdx.x / LANES;
    range const all = tokens_of(b.cu_seqlens, b.n_tokens, blockIdx.y);
    int64_t const each = (all.last - all.first + b.parts - 1) / b.parts, first = all.first + part * each;
    int64_t const last = first + each < all.last ? first + each : all.last;
    float share[EACH] = {0};
    for (int e = threadIdx.x; e < b.experts; e += THREADS) count[e] = 0;
    for (int64_t t = first; t < last; t += WARPS) {
        __syncthreads();
        if (t + warp < last) {
            float const sum = enter_token(b, t + warp, count);
            if (threadIdx.x % LANES == 0) divisor[warp] = sum;
        }
        __syncthreads();
        for (int w = 0; w < WARPS && t + w < last; w++) add_shares(b, t + w, divisor[w], share);
    }
    for (int i = 0; i < EACH; i++) {
        int const e = threadIdx.x + THREADS * i;
        if (e >= b.experts) return;
        int64_t const to = ((int64_t)blockIdx.y * b.parts + part) * b.experts + e;
        b.share[to] = share[i];
        b.assignments[to] = count[e];
    }
}

__global__ void loss_kernel(balance b)
{
    range const all = tokens_of(b.cu_seqlens, b.n_tokens, blockIdx.x);
    float const T = (float)(all.last - all.first), K_T = (float)(b.chosen * (all.last - all.first));
    float sum = 0;
    for (int e = threadIdx.x; e < b.experts && all.first < all.last; e += THREADS) {
        float share = 0;
        int32_t count = 0;
        for (int part = 0; part < b.parts; part++) {
            int64_t const from = ((int64_t)blockIdx.x * b.parts + part) * b.experts + e;
            share += b.share[from];
            count += b.assignments[from];
        }
        sum += (float)count * (float)b.experts / K_T * (share / T);
    }
    float const loss = b.alpha * block_sum<THREADS>(sum);
    if (b.cu_seqlens && threadIdx.x == 0) b.loss[blockIdx.x] = loss;
    for (int64_t i = threadIdx.x; i < b.batch && !b.cu_seqlens; i += THREADS) b.loss[i] = loss;
}

} // namespace

dsv3_status cuda_balance_loss(dsv3_ctx *ctx, const dsv3_balance_loss_prob *p, const dsv3_balance_loss_io *io)
{
    unsigned const sequences = p->seq_aux ? (unsigned)p->batch : 1;
    int const parts = parts_of(p);
    size_t const sums = (size_t)sequences * (size_t)parts * (size_t)p->n_routed_experts;
    if (p->n_routed_experts > MOST_EXPERTS || p->batch > 65535) return DSV3_UNSUPPORTED;
    float *const share = (float *)scratch(ctx, sums * (sizeof(float) + sizeof(int32_t)));
    if (!share) return DSV3_NO_MEMORY;
    balance const b = {(const float *)io->scores.data,
                       (const int32_t *)io->topk_idx.data,
                       p->seq_aux ? (const int32_t *)io->cu_seqlens.data : nullptr,
                       (float *)io->loss.data,
                       share,
                       (int32_t *)(share + sums),
                       p->n_tokens,
                       p->batch,
                       io->scores.stride[0],
                       io->topk_idx.stride[0],
                       (int)p->n_routed_experts,
                       (int)p->num_experts_per_tok,
                       parts,
                       (float)p->aux_loss_alpha};
    part_kernel<<<dim3(parts, sequences), THREADS, 0, ctx->stream>>>(b);
    loss_kernel<<<sequences, THREADS, 0, ctx->stream>>>(b);
    return launched();
}

const char *cuda_balance_loss_numerics(const void *prob, const void *)
{
    return parts_of((const dsv3_balance_loss_prob *)prob) == PARTS ? "acc 24 rn splits=32; div ieee; flush none"
                                                                   : "acc 24 rn splits=1; div ieee; flush none";
}
