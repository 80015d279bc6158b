/* Absorbed attention over a paged cache: one key for all heads, whose start is the value. The cache is read once for 64 heads. */
#include "attention.cuh"
#include "products.cuh"

namespace
{

/* A group is a query of a sequence, its rows are the heads. T: __nv_bfloat16, float; codes with one scale, or rows of bytes. */
struct codes {
    uint8_t code;
};
struct bytes {
    uint8_t byte;
};

template <typename T> struct absorbed {
    enum {
        PROMOTE = 128,
        IN_PARTS = 1,
        FLOATS = sizeof(T) == sizeof(float)
    }; /* a cache of floats has queries of floats */
    const T *cache;
    const int32_t *table, *lengths;
    const float *kv_scale;
    int64_t page_size, page_stride, row_stride, table_stride, lengths_stride;
    int64_t s_q, heads, width, rank, columns, value_at;
    const void *q;
    int64_t q_stride[3], o_stride[3], lse_stride[2];
    void *o;
    float *lse;
    float scale;
    bool q_bf16, o_bf16, whole, whole_q; /* sixteen bytes of the cache, of queries, may be read at once */

    __device__ int64_t rows(int64_t) const
    {
        return heads;
    }

    __device__ int64_t seen(int64_t g, int64_t) const
    {
        int64_t const n = lengths[g / s_q * lengths_stride] - s_q + g % s_q + 1;
        return n > 0 ? n : 0;
    }

    __device__ const T *key(int64_t g, int64_t j) const
    {
        int64_t const page = table[g / s_q * table_stride + j / page_size];
        return cache + page * page_stride + j % page_size * row_stride;
    }

    __device__ int64_t query_at(int64_t g, int64_t r) const
    {
        return g / s_q * q_stride[0] + g % s_q * q_stride[1] + r * q_stride[2];
    }

    __device__ float query(int64_t g, int64_t r, int64_t c) const
    {
        int64_t const at = query_at(g, r) + c;
        return !FLOATS && q_bf16 ? load((const __nv_bfloat16 *)q, at) : load((const float *)q, at);
    }

    __device__ void bring_query(__nv_bfloat16 *to, int64_t g, int64_t r, int64_t c) const
    {
        bring_some(to, (const __nv_bfloat16 *)q + query_at(g, r), width, c, whole_q);
    }

    __device__ float entry(int64_t g, int64_t j, int64_t c) const
    {
        return entry_of(key(g, j), c);
    }

    __device__ float value(int64_t g, int64_t j, int64_t c) const
    {
        return value_of(key(g, j), c);
    }

    template <typename U> __device__ float value_of(const U *row, int64_t c) const
    {
        return entry_of(row, c);
    }

    __device__ float entry_of(const float *row, int64_t c) const
    {
        return row[c];
    }

    __device__ float entry_of(const __nv_bfloat16 *row, int64_t c) const
    {
        return load(row, c);
    }

    __device__ float entry_of(const codes *row, int64_t c) const
    {
        return __fmul_rn(of_e4m3(row[c].code), *kv_scale);
    }

    /* Codes, a scale for each 128 of them, then the rotary part in BF16; scales lie at any byte. */
    __device__ float entry_of(const bytes *row, int64_t c) const
    {
        const bytes *const rope = row + rank + (rank + 127) / 128 * 4;
        if (c < rank) return value_of(row, c);
        return __uint_as_float((uint32_t)rope[(c - rank) * 2].byte << 16 | (uint32_t)rope[(c - rank) * 2 + 1].byte
                                                                               << 24);
    }

    __device__ float value_of(const bytes *row, int64_t c) const
    {
        uint32_t bits = 0;
        for (int i = 0; i < 4; i++) bits |= (uint32_t)row[rank + c / 128 * 4 + i].byte << (8 * i);
        return __fmul_rn(of_e4m3(row[c].byte), __uint_as_float(bits));
    }

    __device__ void bring(__nv_bfloat16 *to, int64_t g, int64_t j, int64_t c) const
    {
        bring_from(to, key(g, j), c);
    }

    __device__ void bring_from(__nv_bfloat16 *to, const __nv_bfloat16 *row, int64_t c) const
    {
        bring_some(to, row, width, c, whole);
    }

    template <typename U> __device__ void bring_from(__nv_bfloat16 *to, const U *row, int64_t c) const
    {
        for (int i = 0; i < 8; i++) to[i] = __float2bfloat16_rn(c + i < width ? entry_of(row, c + i) : 0);
    }

    __device__ void put(int64_t g, int64_t r, int64_t c, float v) const
    {
        int64_t const at = g / s_q * o_stride[0] + g % s_q * o_stride[1] + r * o_stride[2] + c;
        if (!FLOATS && o_bf16)
            store((__nv_bfloat16 *)o, at, v);
        else
            store((float *)o, at, v);
    }

    __device__ void put_lse(int64_t g, int64_t r, float v) const
    {
        lse[g / s_q * lse_stride[0] + g % s_q * lse_stride[1] + r] = v;
    }
};

template <typename T>
absorbed<T> absorbed_of(const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io, const dsv3_tensor *kv_scale)
{
    absorbed<T> s = {};
    s.cache = (const T *)io->kv_cache.data;
    s.table = (const int32_t *)io->block_table.data, s.lengths = (const int32_t *)io->cache_seqlens.data;
    s.kv_scale = kv_scale ? (const float *)kv_scale->data : nullptr;
    s.page_size = p->page_size, s.page_stride = io->kv_cache.stride[0], s.row_stride = io->kv_cache.stride[1];
    s.table_stride = io->block_table.stride[0], s.lengths_stride = io->cache_seqlens.stride[0];
    s.s_q = p->s_q, s.heads = p->num_attention_heads;
    s.rank = s.columns = p->kv_lora_rank, s.width = p->kv_lora_rank + p->qk_rope_head_dim, s.value_at = 0;
    s.q = io->q.data, s.o = io->o.data, s.lse = (float *)io->lse.data;
    for (int i = 0; i < 3; i++) s.q_stride[i] = io->q.stride[i], s.o_stride[i] = io->o.stride[i];
    for (int i = 0; i < 2; i++) s.lse_stride[i] = io->lse.stride[i];
    s.scale = (float)p->softmax_scale;
    s.q_bf16 = io->q.dtype == DSV3_BF16, s.o_bf16 = io->o.dtype == DSV3_BF16;
    s.whole = ((uintptr_t)s.cache | (uintptr_t)(s.page_stride * 2) | (uintptr_t)(s.row_stride * 2)) % 16 == 0;
    s.whole_q = ((uintptr_t)s.q | (uintptr_t)((s.q_stride[0] | s.q_stride[1] | s.q_stride[2]) * 2)) % 16 == 0;
    return s;
}

/* BF16 queries over a cache that is no binary32. */
bool by_units(const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io)
{
    return io->q.dtype == DSV3_BF16 && io->kv_cache.dtype != DSV3_F32 &&
           fits_units(absorbed_of<__nv_bfloat16>(p, io, nullptr));
}

template <typename T>
dsv3_status attend_cache(dsv3_ctx *ctx, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io,
                         const dsv3_tensor *kv_scale)
{
    absorbed<T> const s = absorbed_of<T>(p, io, kv_scale);
    extent const e = {p->batch * p->s_q, p->num_attention_heads, p->kv_len};
    if constexpr (sizeof(T) < sizeof(float))
        if (by_units(p, io)) return attend_by_units(ctx, s, e);
    return attend_in_floats(ctx, s, e);
}

} // namespace

dsv3_status cuda_mla_decode(dsv3_ctx *ctx, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io)
{
    const dsv3_tensor *const scale = dsv3_find(&io->weights, "kv_scale");
    if (!is_float(&io->q) || !is_float(&io->o)) return DSV3_UNSUPPORTED;
    switch (io->kv_cache.dtype) {
    case DSV3_BF16: return attend_cache<__nv_bfloat16>(ctx, p, io, scale);
    case DSV3_F32: return attend_cache<float>(ctx, p, io, scale);
    case DSV3_U8: return attend_cache<bytes>(ctx, p, io, scale);
    case DSV3_F8_E4M3: return scale ? attend_cache<codes>(ctx, p, io, scale) : DSV3_UNSUPPORTED;
    default: return DSV3_UNSUPPORTED;
    }
}

/* Weights times values: a sum of 32 products is added to a part's, at most 8 of them, and a part's to the row's: fewer additions than
 * promote=128 has. */
#define STEPS "div ieee; exp 2; log 1; scaled scores; parts 1; scores f32 must; flush none; "

const char *cuda_mla_decode_numerics(const void *prob, const void *io)
{
    if (by_units((const dsv3_mla_decode_prob *)prob, (const dsv3_mla_decode_io *)io))
        return of_unit("acc %s splits=1 promote=128 bits2=24; rescales 8; kv bf16 must; P bf16 must; " STEPS);
    return "acc 24 rn fused; rescales 1; kv f32 must; P f32 must; " STEPS;
}
