/* Speculative decoding on the device: how many drafts are accepted, and the token after them. One block of THREADS a sequence; sums in
 * binary64. */
#include "device.cuh"
#include "reduce.cuh"

namespace
{

enum { FEW = 32, MANY = 512, SMALL = 1024 }; /* FEW threads for a vocabulary of SMALL at most */

/* Pointers to a launch's tensors. Strides in elements: of a sequence and of a position. */
struct acceptance {
    const int32_t *draft;
    const float *q, *p, *uniform;
    int32_t *accepted, *next;
    int64_t drafts, vocab, draft_stride, q_stride, q_row, p_stride, p_row, uniform_stride, accepted_stride, next_stride;
    bool greedy;
};

template <int THREADS> __device__ double total(const float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += THREADS) sum += (double)v[i];
    return block_total<THREADS>(sum);
}

/* Where the first of the largest of n numbers >= 0 is: their bits are in order, and those below them prefer the first. */
template <int THREADS> __device__ int32_t first_largest(const float *v, int64_t n)
{
    unsigned long long best = 0;
    for (int64_t i = threadIdx.x; i < n; i += THREADS) {
        unsigned long long const key = (unsigned long long)__float_as_uint(v[i] + 0.0f) << 32 | (0xffffffffu - i);
        best = key > best ? key : best;
    }
    return (int32_t)(0xffffffffu - (unsigned)block_largest<THREADS>(best, 0ull));
}

/* Is draft x accepted? */
template <int THREADS> __device__ bool accepts(const acceptance &a, const float *p, const float *q, float u, int32_t x)
{
    if (a.greedy) return first_largest<THREADS>(p, a.vocab) == x;
    double const q_sum = total<THREADS>(q, a.vocab), p_sum = total<THREADS>(p, a.vocab);
    return (double)u * ((double)q[x] / q_sum) < (double)p[x] / p_sum;
}

/* What token v weighs when the next one is drawn; no q: p itself. */
__device__ double left(const float *p, const float *q, double p_sum, double q_sum, int64_t v)
{
    if (!q) return (double)p[v];
    double const more = (double)p[v] / p_sum - (double)q[v] / q_sum;
    return more > 0 ? more : 0;
}

/* The first token at which the sum of weights exceeds the share u of all; if rounding leaves none, the last that weighs anything. */
template <int THREADS> __device__ int32_t sample(const float *p, const float *q, int64_t n, float u)
{
    double const p_sum = total<THREADS>(p, n), q_sum = q ? total<THREADS>(q, n) : 1;
    double sum = 0, before = 0, all;
    unsigned last = 0;
    for (int64_t v = threadIdx.x; v < n; v += THREADS) sum += left(p, q, p_sum, q_sum, v);
    double const share = (double)u * block_total<THREADS>(sum);
    for (int64_t first = 0; first < n; first += THREADS, before += all) {
        unsigned const v = (unsigned)first + threadIdx.x;
        double const weight = v < n ? left(p, q, p_sum, q_sum, v) : 0;
        double const prefix = before + block_prefix<THREADS>(weight, &all);
        unsigned const found = block_largest<THREADS>(weight > 0 && share < prefix ? ~v : 0u, 0u);
        if (found) return (int32_t)~found;
        if (weight > 0) last = v;
    }
    return (int32_t)block_largest<THREADS>(last, 0u);
}

template <int THREADS> __global__ void accept_kernel(acceptance a)
{
    int64_t const b = blockIdx.x;
    const int32_t *const x = a.draft + b * a.draft_stride;
    const float *const q = a.q + b * a.q_stride, *const p = a.p + b * a.p_stride,
                       *const u = a.uniform + b * a.uniform_stride;
    int64_t n = 0;
    while (n < a.drafts && accepts<THREADS>(a, p + n * a.p_row, q + n * a.q_row, u[n], x[n])) n++;
    const float *const at = p + n * a.p_row, *const rejected = n < a.drafts ? q + n * a.q_row : nullptr;
    int32_t const next =
        a.greedy ? first_largest<THREADS>(at, a.vocab) : sample<THREADS>(at, rejected, a.vocab, u[a.drafts]);
    if (threadIdx.x == 0) a.accepted[b * a.accepted_stride] = (int32_t)n, a.next[b * a.next_stride] = next;
}

} // namespace

dsv3_status cuda_mtp_accept(dsv3_ctx *ctx, const dsv3_mtp_accept_prob *m, const dsv3_mtp_accept_io *io)
{
    acceptance const a = {(const int32_t *)io->draft_tokens.data,
                          (const float *)io->draft_probs.data,
                          (const float *)io->target_probs.data,
                          (const float *)io->uniforms.data,
                          (int32_t *)io->accepted.data,
                          (int32_t *)io->next_token.data,
                          m->n_draft,
                          m->vocab_size,
                          io->draft_tokens.stride[0],
                          io->draft_probs.stride[0],
                          io->draft_probs.stride[1],
                          io->target_probs.stride[0],
                          io->target_probs.stride[1],
                          io->uniforms.stride[0],
                          io->accepted.stride[0],
                          io->next_token.stride[0],
                          m->greedy != 0};
    if (a.vocab > SMALL)
        accept_kernel<MANY><<<(unsigned)m->batch, MANY, 0, ctx->stream>>>(a);
    else
        accept_kernel<FEW><<<(unsigned)m->batch, FEW, 0, ctx->stream>>>(a);
    return launched();
}

const char *cuda_mtp_accept_numerics(const void *, const void *)
{
    return "acc 53 rn; div ieee; flush none";
}
