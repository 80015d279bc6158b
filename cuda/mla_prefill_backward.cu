/* The gradients of attention with a key and a value for each head, sequences one after the other. */
#include "attention_backward.cuh"
#include "products.cuh"

namespace
{

enum { D_WARPS = 8 };

/* D = grad_o . o, a warp a row. */
template <typename T> __global__ void __launch_bounds__(D_WARPS *LANES) find_D(gradients<T> d)
{
    int64_t const row = (int64_t)blockIdx.x * D_WARPS + threadIdx.x / LANES;
    if (row >= d.n_tokens * d.heads) return;
    const T *const grad_o = lines_of(d.grad_o, row / d.heads, row % d.heads).data;
    const T *const o = lines_of(d.o, row / d.heads, row % d.heads).data;
    float D = 0;
    for (int c = threadIdx.x % LANES; c < d.columns; c += LANES) D = __fmaf_rn(load(grad_o, c), load(o, c), D);
    D = warp_sum(D);
    if (threadIdx.x % LANES == 0) d.D[row] = D;
}

template <typename T> tokens<T> tokens_of(const dsv3_tensor *t)
{
    bool const whole = ((uintptr_t)t->data | (uintptr_t)((t->stride[0] | t->stride[1]) * (int64_t)sizeof(T))) % 16 == 0;
    return {(T *)t->data, {t->stride[0], t->stride[1]}, whole};
}

template <typename T>
gradients<T> gradients_of(const dsv3_mla_prefill_backward_prob *p, const dsv3_mla_prefill_backward_io *io, float *D)
{
    return {tokens_of<const T>(&io->q),
            tokens_of<const T>(&io->k),
            tokens_of<const T>(&io->v),
            tokens_of<const T>(&io->o),
            tokens_of<const T>(&io->grad_o),
            tokens_of<T>(&io->grad_q),
            tokens_of<T>(&io->grad_k),
            tokens_of<T>(&io->grad_v),
            (const float *)io->lse.data,
            D,
            (const int32_t *)io->cu_seqlens_q.data,
            (const int32_t *)io->cu_seqlens_k.data,
            io->cu_seqlens_q.stride[0],
            io->cu_seqlens_k.stride[0],
            io->lse.stride[0],
            p->n_tokens,
            p->num_attention_heads,
            (int)(p->qk_nope_head_dim + p->qk_rope_head_dim),
            (int)p->v_head_dim,
            (float)p->softmax_scale};
}

/* D, then the gradients. */
template <typename T>
dsv3_status differentiate(dsv3_ctx *ctx, const dsv3_mla_prefill_backward_prob *p,
                          const dsv3_mla_prefill_backward_io *io,
                          dsv3_status (*backward)(dsv3_ctx *, const gradients<T> &, const extent &))
{
    int64_t const n = p->n_tokens * p->num_attention_heads;
    float *const D = (float *)scratch(ctx, (size_t)(n + 1) * sizeof(float));
    if (!D) return DSV3_NO_MEMORY;
    gradients<T> const d = gradients_of<T>(p, io, D);
    find_D<<<(unsigned)(n / D_WARPS + 1), D_WARPS * LANES, 0, ctx->stream>>>(d);
    return backward(ctx, d, {p->batch * p->num_attention_heads, p->n_tokens, p->n_keys});
}

bool by_units(const dsv3_mla_prefill_backward_prob *p, const dsv3_mla_prefill_backward_io *io)
{
    return io->q.dtype == DSV3_BF16 && fits_units(gradients_of<__nv_bfloat16>(p, io, nullptr));
}

} // namespace

dsv3_status cuda_mla_prefill_backward(dsv3_ctx *ctx, const dsv3_mla_prefill_backward_prob *p,
                                      const dsv3_mla_prefill_backward_io *io)
{
    if (!is_float(&io->q) || p->batch * p->num_attention_heads > 65535) return DSV3_UNSUPPORTED;
    if (by_units(p, io)) return differentiate<__nv_bfloat16>(ctx, p, io, backward_by_units::launch);
    if (io->q.dtype == DSV3_BF16) return differentiate<__nv_bfloat16>(ctx, p, io, backward_in_floats::launch);
    return differentiate<float>(ctx, p, io, backward_in_floats::launch);
}

#define STEPS                                                                                                          \
    "; div ieee; exp 1.5 0; log 0 0; rescales 0; scaled scores; parts 1; flush none; scores f32 must; o output must; " \
    "lse f32 must; P f32 must; P_v f32 must; dP f32 must; D f32 must; "

/* By the unit: the sum with a piece of P begins with those of its smaller pieces, 2^-7 of it: a guard bit less covers them. */
const char *cuda_mla_prefill_backward_numerics(const void *prob, const void *io)
{
    if (!by_units((const dsv3_mla_prefill_backward_prob *)prob, (const dsv3_mla_prefill_backward_io *)io))
        return "acc 24 rn fused" STEPS "dS f32 must";
    if (*of_unit("%s") == 'a')
        return "acc 24 rz fused block=8 guard=0 splits=1 promote=32 bits2=24" STEPS "dS bf16 must";
    return "acc 24 rz fused block=16 guard=1 splits=1 promote=32 bits2=24" STEPS "dS bf16 must";
}
