/* Keys of new tokens to a paged cache, a token a job: copies, codes with one scale, or rows of bytes. */
#include "ctx.h"
#include "fast.h"
#include "matrix.h"
#include "quant.h"

typedef struct {
    const dsv3_cache_store_prob *p;
    const dsv3_cache_store_io *io;
    float kv_scale; /* of f8_e4m3 */
} store;

/* Codes, a scale for each 128 of them, the rotary part as it is. */
static void put_bytes(const store *s, int64_t from, uint8_t *row)
{
    int64_t const rank = s->p->kv_lora_rank, tiles = (rank + BLOCK - 1) / BLOCK;
    const dsv3_tensor *const kv = &s->io->kv;
    for (int64_t k = 0; k < tiles; k++) {
        int64_t const first = k * BLOCK, n = rank - first < BLOCK ? rank - first : BLOCK;
        float const amax = largest_size(kv, from + first, n);
        float const scale = tile_scale(s->p->amax_floor, s->p->scale_floor, s->p->scale_fmt, amax);
        memcpy(row + rank + 4 * k, &scale, sizeof scale);
        put_codes(row + first, kv, from + first, n, scale);
    }
    memcpy(row + rank + 4 * tiles, (const uint16_t *)kv->data + from + rank, 2 * (size_t)s->p->qk_rope_head_dim);
}

static int64_t slot_of(const dsv3_tensor *slots, int64_t t)
{
    return slots->dtype == DSV3_I64 ? ((const int64_t *)slots->data)[t] : ((const int32_t *)slots->data)[t];
}

static void store_key(const void *job, int64_t t, int worker)
{
    (void)worker;
    const store *const s = job;
    const dsv3_tensor *const kv = &s->io->kv, *const pool = &s->io->kv_cache_out;
    int64_t const slot = slot_of(&s->io->slot_mapping, t), page = s->p->page_size, from = t * kv->stride[0];
    int64_t const width = s->p->kv_lora_rank + s->p->qk_rope_head_dim;
    if (slot < 0) return;
    size_t const size = pool->dtype == DSV3_F32 ? 4 : pool->dtype == DSV3_BF16 ? 2 : 1;
    char *const row =
        (char *)pool->data + (size_t)(slot / page * pool->stride[0] + slot % page * pool->stride[1]) * size;
    if (pool->dtype == DSV3_U8)
        put_bytes(s, from, (uint8_t *)row);
    else if (pool->dtype == DSV3_F8_E4M3)
        put_codes((uint8_t *)row, kv, from, width, s->kv_scale);
    else
        memcpy(row, (const char *)kv->data + (size_t)from * size, (size_t)width * size);
}

dsv3_status fast_cache_store(dsv3_ctx *ctx, const dsv3_cache_store_prob *p, const dsv3_cache_store_io *io)
{
    const dsv3_tensor *const scale = dsv3_find(&io->weights, "kv_scale");
    dsv3_dtype const pool = io->kv_cache_out.dtype;
    store const s = {p, io, scale ? *(const float *)scale->data : 1};
    bool const bytes = pool == DSV3_U8 && io->kv.dtype == DSV3_BF16, codes = pool == DSV3_F8_E4M3 && scale;
    if (!is_float(&io->kv) || !(bytes || codes || pool == io->kv.dtype)) return DSV3_UNSUPPORTED;
    ctx_run(ctx, store_key, &s, p->n_tokens);
    return DSV3_OK;
}

const char *fast_cache_store_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "div ieee; quotient div; flush none";
}
