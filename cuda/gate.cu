/* The gate on the device: a warp a token. Expert e lies in register e / 32 of lane e % 32, what is chosen likewise; sums are of 32
 * lanes and a tree. */
#include "gate.cuh"

namespace
{

enum { WARPS = 4, MOST_GROUPS = LANES };

template <typename T> struct gate {
    const T *logits;
    const float *bias; /* NULL: none */
    int32_t *topk_idx;
    float *topk_weight;
    int64_t n_tokens, logits_stride, idx_stride, weight_stride;
    int experts, groups, group_size, kept, chosen;
    bool softmax, by_groups, by_two, normalised; /* by_two: a group's score is the sum of its two largest */
    float factor;
};

/* The largest of numbers, and the next. */
struct two {
    float first, second;
};

__device__ inline void enter(two *of, float v)
{
    float const lower = v > of->first ? of->first : v;
    if (v > of->first) of->first = v;
    if (lower > of->second) of->second = lower;
}

template <int EACH> __device__ float group_score(const float t[EACH], int lane, int first, int size, bool by_two)
{
    two best = {-INFINITY, -INFINITY};
    for (int i = 0; i < EACH; i++)
        if ((unsigned)(lane + LANES * i - first) < (unsigned)size) enter(&best, t[i]);
    for (int offset = LANES / 2; offset > 0; offset /= 2) {
        float const first_there = __shfl_xor_sync(~0u, best.first, offset);
        float const second_there = __shfl_xor_sync(~0u, best.second, offset);
        enter(&best, first_there);
        enter(&best, second_there);
    }
    return by_two && size > 1 ? best.first + best.second : best.first;
}

/* All groups but the best get t = -infinity. */
template <int EACH, typename T> __device__ void mask_groups(const gate<T> &g, int lane, float t[EACH])
{
    int const size = g.group_size;
    candidate mine = {-INFINITY, lane};
    unsigned kept = 0;
    for (int i = 0; i < g.groups; i++) {
        float const score = group_score<EACH>(t, lane, i * size, size, g.by_two);
        if (lane == i) mine.v = score;
    }
    for (int k = 0; k < g.kept; k++) {
        int const best = warp_best(mine).index;
        kept |= 1u << best;
        if (lane == best) mine.v = -INFINITY;
    }
    for (int i = 0; i < g.groups; i++)
        for (int j = 0; j < EACH && !(kept >> i & 1); j++)
            if ((unsigned)(lane + LANES * j - i * size) < (unsigned)size) t[j] = -INFINITY;
}

template <int EACH> __device__ candidate best_of_lane(const float t[EACH], int lane)
{
    candidate best = {-INFINITY, lane};
    for (int i = 0; i < EACH; i++)
        if (t[i] > best.v) best = {t[i], lane + LANES * i};
    return best;
}

/* The experts of the largest t, and their scores. */
template <int EACH>
__device__ void choose(const float s[EACH], float t[EACH], int lane, int chosen, int index[2], float score[2])
{
    candidate mine = best_of_lane<EACH>(t, lane);
    for (int k = 0; k < chosen; k++) {
        int const best = warp_best(mine).index;
        float const found = score_of<EACH>(s, best, lane);
        if (mine.index == best) {
            for (int i = 0; i < EACH; i++)
                if (lane + LANES * i == best) t[i] = -INFINITY;
            mine = best_of_lane<EACH>(t, lane);
        }
        for (int i = 0; i < 2; i++) {
            if (lane + LANES * i != k) continue;
            index[i] = best;
            score[i] = found;
        }
    }
}

template <int EACH, typename T> __global__ void gate_kernel(gate<T> g)
{
    int const lane = threadIdx.x % LANES;
    int64_t const token = (int64_t)blockIdx.x * WARPS + threadIdx.x / LANES;
    if (token >= g.n_tokens) return;
    float s[EACH], t[EACH], score[2] = {0, 0};
    int index[2] = {0, 0};
    find_scores<EACH>(g.logits + token * g.logits_stride, g.experts, g.softmax, lane, s);
    for (int i = 0; i < EACH; i++) {
        int const e = lane + LANES * i;
        t[i] = e >= g.experts ? -INFINITY : g.bias ? s[i] + g.bias[e] : s[i];
    }
    if (g.by_groups) mask_groups<EACH>(g, lane, t);
    choose<EACH>(s, t, lane, g.chosen, index, score);
    float const sum = warp_sum(score[0] + score[1]);
    for (int i = 0; i < 2; i++) {
        int const k = lane + LANES * i;
        if (k >= g.chosen) return;
        g.topk_idx[token * g.idx_stride + k] = index[i];
        g.topk_weight[token * g.weight_stride + k] = (g.normalised ? score[i] / sum : score[i]) * g.factor;
    }
}

template <typename T>
dsv3_status launch(dsv3_ctx *ctx, const dsv3_gate_prob *p, const dsv3_gate_io *io, const dsv3_tensor *bias)
{
    gate<T> const g = {(const T *)io->logits.data,
                       bias ? (const float *)bias->data : nullptr,
                       (int32_t *)io->topk_idx.data,
                       (float *)io->topk_weight.data,
                       p->n_tokens,
                       io->logits.stride[0],
                       io->topk_idx.stride[0],
                       io->topk_weight.stride[0],
                       (int)p->n_routed_experts,
                       (int)p->n_group,
                       (int)(p->n_routed_experts / p->n_group),
                       (int)p->topk_group,
                       (int)p->num_experts_per_tok,
                       p->scoring_func == DSV3_SOFTMAX,
                       p->topk_method != DSV3_GREEDY,
                       p->topk_method == DSV3_NOAUX_TC,
                       p->norm_topk_prob != 0,
                       (float)p->routed_scaling_factor};
    unsigned const blocks = (unsigned)((p->n_tokens + WARPS - 1) / WARPS);
    if (p->n_routed_experts <= FEW_EXPERTS)
        gate_kernel<FEW_EXPERTS / LANES><<<blocks, WARPS * LANES, 0, ctx->stream>>>(g);
    else
        gate_kernel<MOST_EXPERTS / LANES><<<blocks, WARPS * LANES, 0, ctx->stream>>>(g);
    return launched();
}

} // namespace

dsv3_status cuda_gate(dsv3_ctx *ctx, const dsv3_gate_prob *p, const dsv3_gate_io *io)
{
    const dsv3_tensor *const bias = dsv3_find(&io->weights, "e_score_correction_bias");
    if (p->n_routed_experts > MOST_EXPERTS || p->n_group > MOST_GROUPS || p->num_experts_per_tok > MOST_CHOSEN)
        return DSV3_UNSUPPORTED;
    if (!bias && p->topk_method == DSV3_NOAUX_TC) return DSV3_UNSUPPORTED;
    if (io->logits.dtype == DSV3_BF16) return launch<__nv_bfloat16>(ctx, p, io, bias);
    return io->logits.dtype == DSV3_F32 ? launch<float>(ctx, p, io, bias) : DSV3_UNSUPPORTED;
}

const char *cuda_gate_numerics(const void *, const void *)
{
    return "acc 24 rn splits=32; div ieee; sigmoid 3; exp 1.3; flush none; scores f32 must";
}
