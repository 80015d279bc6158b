/* Attention with a key and a value for each head, sequences one after the other. */
#include "attention.cuh"
#include "products.cuh"

namespace
{

/* A group is a head of a sequence, its rows are the queries. */
template <typename T> struct expanded {
    enum { PROMOTE = 32, IN_PARTS = 0 };
    const T *q, *k, *v;
    T *o;
    float *lse;
    const int32_t *starts_q, *starts_k;
    int64_t starts_q_stride, starts_k_stride;
    int64_t heads, width, columns, value_at;
    int64_t q_stride[2], k_stride[2], v_stride[2], o_stride[2], lse_stride;
    float scale;
    bool whole_q, whole_k, whole_v; /* sixteen bytes of it may be read at once */
    bool full;                      /* no mask */

    __device__ int64_t first_row(int64_t g) const
    {
        return starts_q[g / heads * starts_q_stride];
    }

    __device__ int64_t first_key(int64_t g) const
    {
        return starts_k[g / heads * starts_k_stride];
    }

    __device__ int64_t rows(int64_t g) const
    {
        return starts_q[(g / heads + 1) * starts_q_stride] - first_row(g);
    }

    /* The last query sees all keys; without a mask each does. */
    __device__ int64_t seen(int64_t g, int64_t r) const
    {
        int64_t const keys = starts_k[(g / heads + 1) * starts_k_stride] - first_key(g);
        int64_t const n = full ? keys : keys - rows(g) + r + 1;
        return n > 0 ? n : 0;
    }

    __device__ const T *query_at(int64_t g, int64_t r) const
    {
        return q + (first_row(g) + r) * q_stride[0] + g % heads * q_stride[1];
    }

    __device__ const T *key_at(int64_t g, int64_t j) const
    {
        return k + (first_key(g) + j) * k_stride[0] + g % heads * k_stride[1];
    }

    __device__ const T *value_of(int64_t g, int64_t j) const
    {
        return v + (first_key(g) + j) * v_stride[0] + g % heads * v_stride[1];
    }

    __device__ float query(int64_t g, int64_t r, int64_t c) const
    {
        return load(query_at(g, r), c);
    }

    __device__ float entry(int64_t g, int64_t j, int64_t c) const
    {
        return load(key_at(g, j), c);
    }

    __device__ float value(int64_t g, int64_t j, int64_t c) const
    {
        return load(value_of(g, j), c);
    }

    __device__ void bring_query(__nv_bfloat16 *to, int64_t g, int64_t r, int64_t c) const
    {
        bring_some(to, query_at(g, r), width, c, whole_q);
    }

    __device__ void bring(__nv_bfloat16 *to, int64_t g, int64_t j, int64_t c) const
    {
        if (c < value_at)
            bring_some(to, key_at(g, j), width, c, whole_k);
        else
            bring_some(to, value_of(g, j), columns, c - value_at, whole_v);
    }

    __device__ void put(int64_t g, int64_t r, int64_t c, float x) const
    {
        store(o, (first_row(g) + r) * o_stride[0] + g % heads * o_stride[1] + c, x);
    }

    __device__ void put_lse(int64_t g, int64_t r, float x) const
    {
        lse[(first_row(g) + r) * lse_stride + g % heads] = x;
    }
};

bool is_whole(const dsv3_tensor *t)
{
    return ((uintptr_t)t->data | (uintptr_t)(t->stride[0] * 2) | (uintptr_t)(t->stride[1] * 2)) % 16 == 0;
}

template <typename T> expanded<T> expanded_of(const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io)
{
    expanded<T> s = {};
    s.q = (const T *)io->q.data, s.k = (const T *)io->k.data, s.v = (const T *)io->v.data;
    s.o = (T *)io->o.data, s.lse = (float *)io->lse.data;
    s.starts_q = (const int32_t *)io->cu_seqlens_q.data, s.starts_k = (const int32_t *)io->cu_seqlens_k.data;
    s.starts_q_stride = io->cu_seqlens_q.stride[0], s.starts_k_stride = io->cu_seqlens_k.stride[0];
    s.heads = p->num_attention_heads, s.width = p->qk_nope_head_dim + p->qk_rope_head_dim, s.columns = p->v_head_dim;
    s.value_at = (s.width + 15) / 16 * 16;
    for (int i = 0; i < 2; i++) {
        s.q_stride[i] = io->q.stride[i], s.k_stride[i] = io->k.stride[i];
        s.v_stride[i] = io->v.stride[i], s.o_stride[i] = io->o.stride[i];
    }
    s.lse_stride = io->lse.stride[0], s.scale = (float)p->softmax_scale;
    s.whole_q = is_whole(&io->q), s.whole_k = is_whole(&io->k), s.whole_v = is_whole(&io->v);
    s.full = p->full;
    return s;
}

bool by_units(const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io)
{
    return io->q.dtype == DSV3_BF16 && fits_units(expanded_of<__nv_bfloat16>(p, io));
}

} // namespace

dsv3_status cuda_mla_prefill(dsv3_ctx *ctx, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io)
{
    extent const e = {p->batch * p->num_attention_heads, p->n_tokens, p->n_keys};
    if (!is_float(&io->q)) return DSV3_UNSUPPORTED;
    if (by_units(p, io)) return attend_by_units(ctx, expanded_of<__nv_bfloat16>(p, io), e);
    if (io->q.dtype == DSV3_BF16) return attend_in_floats(ctx, expanded_of<__nv_bfloat16>(p, io), e);
    return attend_in_floats(ctx, expanded_of<float>(p, io), e);
}

#define STEPS "div ieee; exp 2; log 1; scaled scores; parts 1; scores f32 must; flush none; "

/* A block of keys moves sums once. */
const char *cuda_mla_prefill_numerics(const void *prob, const void *io)
{
    if (by_units((const dsv3_mla_prefill_prob *)prob, (const dsv3_mla_prefill_io *)io))
        return of_unit("acc %s splits=1 promote=32 bits2=24; rescales any; P bf16 must; " STEPS);
    return "acc 24 rn fused; rescales 1; P f32 must; " STEPS;
}
