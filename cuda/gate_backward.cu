/* The gradient of the chosen experts' weights by the logits, on the device: a warp a token; what belongs to chosen expert k lies in
 * register k / 32 of lane k % 32. */
#include "gate.cuh"

namespace
{

enum { WARPS = 4 };

template <typename T> struct gradient {
    const T *logits;
    const int32_t *topk_idx;
    const float *grad_topk_weight;
    T *grad_logits;
    int64_t n_tokens, logits_stride, idx_stride, grad_stride, out_stride;
    int experts, chosen;
    bool softmax, normalised;
    float factor;
};

/* Of the chosen experts: which, the gradient by their weights, their scores, the gradient by those. */
struct choice {
    int index[2];
    float grad[2], score[2], by_score[2];
};

template <int EACH, typename T>
__device__ choice read_choice(const gradient<T> &d, int64_t token, int lane, const float s[EACH])
{
    choice c;
    for (int i = 0; i < 2; i++) {
        int const k = lane + LANES * i;
        c.index[i] = k < d.chosen ? d.topk_idx[token * d.idx_stride + k] : 0;
        c.grad[i] = k < d.chosen ? d.grad_topk_weight[token * d.grad_stride + k] : 0.0f;
        c.score[i] = 0;
    }
    for (int k = 0; k < d.chosen; k++) {
        int const e = __shfl_sync(~0u, k < LANES ? c.index[0] : c.index[1], k % LANES);
        float const score = score_of<EACH>(s, e, lane);
        for (int i = 0; i < 2; i++)
            if (lane + LANES * i == k) c.score[i] = score;
    }
    return c;
}

template <typename T> __device__ void to_scores(const gradient<T> &d, choice *c)
{
    float const sum = warp_sum(c->score[0] + c->score[1]);
    float const mean = warp_sum(c->grad[0] * c->score[0] + c->grad[1] * c->score[1]) / sum;
    for (int i = 0; i < 2; i++)
        c->by_score[i] = d.normalised ? d.factor * (c->grad[i] - mean) / sum : d.factor * c->grad[i];
}

/* Where the experts lie: 0 where one isn't chosen. */
template <int EACH> __device__ void spread(const choice &c, int chosen, int lane, float by[EACH])
{
    for (int i = 0; i < EACH; i++) by[i] = 0;
    for (int k = 0; k < chosen; k++) {
        int const e = __shfl_sync(~0u, k < LANES ? c.index[0] : c.index[1], k % LANES);
        float const v = __shfl_sync(~0u, k < LANES ? c.by_score[0] : c.by_score[1], k % LANES);
        for (int i = 0; i < EACH; i++)
            if (lane + LANES * i == e) by[i] = v;
    }
}

template <int EACH, typename T> __global__ void backward_kernel(gradient<T> d)
{
    int const lane = threadIdx.x % LANES;
    int64_t const token = (int64_t)blockIdx.x * WARPS + threadIdx.x / LANES;
    if (token >= d.n_tokens) return;
    float s[EACH], by[EACH], shared = 0;
    find_scores<EACH>(d.logits + token * d.logits_stride, d.experts, d.softmax, lane, s);
    choice c = read_choice<EACH>(d, token, lane, s);
    to_scores(d, &c);
    spread<EACH>(c, d.chosen, lane, by);
    for (int i = 0; i < EACH; i++) shared += by[i] * s[i];
    if (d.softmax) shared = warp_sum(shared);
    for (int i = 0; i < EACH; i++) {
        int const e = lane + LANES * i;
        if (e >= d.experts) return;
        store(d.grad_logits + token * d.out_stride, e, s[i] * (d.softmax ? by[i] - shared : by[i] * (1 - s[i])));
    }
}

template <typename T>
dsv3_status launch(dsv3_ctx *ctx, const dsv3_gate_backward_prob *p, const dsv3_gate_backward_io *io)
{
    gradient<T> const d = {(const T *)io->logits.data,
                           (const int32_t *)io->topk_idx.data,
                           (const float *)io->grad_topk_weight.data,
                           (T *)io->grad_logits.data,
                           p->n_tokens,
                           io->logits.stride[0],
                           io->topk_idx.stride[0],
                           io->grad_topk_weight.stride[0],
                           io->grad_logits.stride[0],
                           (int)p->n_routed_experts,
                           (int)p->num_experts_per_tok,
                           p->scoring_func == DSV3_SOFTMAX,
                           p->norm_topk_prob != 0,
                           (float)p->routed_scaling_factor};
    unsigned const blocks = (unsigned)((p->n_tokens + WARPS - 1) / WARPS);
    if (p->n_routed_experts <= FEW_EXPERTS)
        backward_kernel<FEW_EXPERTS / LANES><<<blocks, WARPS * LANES, 0, ctx->stream>>>(d);
    else
        backward_kernel<MOST_EXPERTS / LANES><<<blocks, WARPS * LANES, 0, ctx->stream>>>(d);
    return launched();
}

} // namespace

dsv3_status cuda_gate_backward(dsv3_ctx *ctx, const dsv3_gate_backward_prob *p, const dsv3_gate_backward_io *io)
{
    if (p->n_routed_experts > MOST_EXPERTS || p->num_experts_per_tok > MOST_CHOSEN) return DSV3_UNSUPPORTED;
    if (io->grad_logits.dtype != io->logits.dtype) return DSV3_UNSUPPORTED;
    if (io->logits.dtype == DSV3_BF16) return launch<__nv_bfloat16>(ctx, p, io);
    return io->logits.dtype == DSV3_F32 ? launch<float>(ctx, p, io) : DSV3_UNSUPPORTED;
}

const char *cuda_gate_backward_numerics(const void *, const void *)
{
    return "acc 24 rn splits=32; div ieee; exp 1.3; sigmoid 3; flush none; scores f32 must; grad_scores f32 must";
}
