/* Absorbed attention over a paged cache: one key for all heads, whose start is the value. */
#include "plain.h"

/* Entry c of a row of bytes: E4M3 codes, a scale for each 128 of them, the rotary part in BF16. */
static float from_bytes(const uint8_t *row, int64_t rank, int64_t c)
{
    const uint8_t *const scales = row + rank, *const rope = scales + (rank + BLOCK - 1) / BLOCK * 4;
    uint16_t half;
    float scale;
    if (c < rank) {
        memcpy(&scale, scales + c / BLOCK * 4, sizeof scale);
        return from_e4m3(row[c]) * scale;
    }
    memcpy(&half, rope + (c - rank) * 2, sizeof half);
    return from_bits((uint32_t)half << 16);
}

/* Entry c of the key of token j: one key for all heads, the value is its start. */
static float cached(const heads *s, int64_t j, int64_t c)
{
    const dsv3_mla_decode_prob *const p = s->prob;
    const dsv3_tensor *const table = &((const dsv3_mla_decode_io *)s->io)->block_table;
    const dsv3_tensor *const cache = &((const dsv3_mla_decode_io *)s->io)->kv_cache;
    int64_t const page = int_at(table, s->sequence * table->stride[0] + j / p->page_size);
    int64_t const row = page * cache->stride[0] + j % p->page_size * cache->stride[1];
    if (cache->dtype == DSV3_U8) return from_bytes((const uint8_t *)cache->data + row, p->kv_lora_rank, c);
    return load_at(cache, row + c) * s->kv_scale;
}

/* Is it a cache that this port reads? kv_scale becomes what multiplies its entries. */
static int reads_cache(const dsv3_mla_decode_io *io, float *kv_scale)
{
    const dsv3_tensor *const scale = dsv3_find(&io->weights, "kv_scale");
    *kv_scale = 1;
    if (io->kv_cache.dtype == DSV3_F8_E4M3 && scale) *kv_scale = load_at(scale, 0);
    return is_float(&io->kv_cache) || io->kv_cache.dtype == DSV3_U8 || (io->kv_cache.dtype == DSV3_F8_E4M3 && scale);
}

dsv3_status plain_mla_decode(dsv3_ctx *ctx, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io)
{
    (void)ctx;
    heads s = {.prob = p, .io = io, .key = cached, .value = cached, .q = &io->q, .o = &io->o};
    s.width = p->kv_lora_rank + p->qk_rope_head_dim;
    s.columns = p->kv_lora_rank;
    s.scale = (float)p->softmax_scale; /* of mla_decode */
    if (!is_float(&io->q) || !reads_cache(io, &s.kv_scale)) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t i = 0; i < p->s_q; i++)
            for (int64_t h = 0; h < p->num_attention_heads; h++) {
                int64_t const length = int_at(&io->cache_seqlens, b);
                int64_t const seen = length - p->s_q + i + 1, n = seen > 0 ? seen : 0;
                int64_t const q = b * io->q.stride[0] + i * io->q.stride[1] + h * io->q.stride[2];
                int64_t const o = b * io->o.stride[0] + i * io->o.stride[1] + h * io->o.stride[2];
                s.sequence = b;
                store_at(&io->lse, b * io->lse.stride[0] + i * io->lse.stride[1] + h, attend(&s, n, q, o));
            }
    return DSV3_OK;
}

const char *plain_mla_decode_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 24 rn splits=1; div ieee; exp 2 0; log 2 0; rescales 0; scaled scores; parts 1; flush none; kv f32 "
           "must; scores f32 must; P "
           "f32 must";
}
