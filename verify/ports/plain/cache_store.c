/* Keys of new tokens to a paged cache: copies, codes with one scale, or rows of bytes with a scale for each 128 codes. */
#include "plain.h"

static int64_t slot_of(const dsv3_tensor *slots, int64_t t)
{
    int64_t const at = t * slots->stride[0];
    return slots->dtype == DSV3_I64 ? ((const int64_t *)slots->data)[at] : int_at(slots, at);
}

/* The row of a slot; NULL: the token isn't stored. */
static char *row_of(const dsv3_cache_store_prob *p, const dsv3_cache_store_io *io, int64_t slot, size_t size)
{
    const dsv3_tensor *const pool = &io->kv_cache_out;
    if (slot < 0) return NULL;
    int64_t const at = slot / p->page_size * pool->stride[0] + slot % p->page_size * pool->stride[1];
    return (char *)pool->data + (size_t)at * size;
}

static void store_coded(const dsv3_cache_store_prob *p, const dsv3_cache_store_io *io, int64_t t, uint8_t *row)
{
    float const scale = load_at(dsv3_find(&io->weights, "kv_scale"), 0);
    for (int64_t c = 0; c < p->kv_lora_rank + p->qk_rope_head_dim; c++) row[c] = to_e4m3(load(&io->kv, t, c) / scale);
}

/* s = max(amax, floor) / 448, or the least scale; ue8m0: raised to a power of two. */
static float scale_of_tile(const dsv3_cache_store_prob *p, float amax)
{
    float const most = fmaxf(amax, (float)p->amax_floor);
    float const scale = p->scale_floor > 0 ? fmaxf(most / 448, (float)p->scale_floor) : most > 0 ? most / 448 : 1;
    int exponent;
    if (!p->scale_fmt) return scale;
    return frexpf(scale, &exponent) == 0.5f ? scale : ldexpf(1, exponent);
}

static float scale_of(const dsv3_cache_store_prob *p, const dsv3_cache_store_io *io, int64_t t, int64_t first)
{
    float amax = 0;
    for (int64_t c = first; c < first + BLOCK && c < p->kv_lora_rank; c++)
        amax = fmaxf(amax, fabsf(load(&io->kv, t, c)));
    return scale_of_tile(p, amax);
}

/* Codes, a scale for each 128 of them, the rotary part in BF16. */
static void store_bytes(const dsv3_cache_store_prob *p, const dsv3_cache_store_io *io, int64_t t, uint8_t *row)
{
    int64_t const rank = p->kv_lora_rank, tiles = (rank + BLOCK - 1) / BLOCK;
    uint8_t *const scales = row + rank, *const rope = scales + 4 * tiles;
    for (int64_t k = 0; k < tiles; k++) {
        float const scale = scale_of(p, io, t, k * BLOCK);
        memcpy(scales + 4 * k, &scale, sizeof scale);
        for (int64_t c = k * BLOCK; c < (k + 1) * BLOCK && c < rank; c++) row[c] = to_e4m3(load(&io->kv, t, c) / scale);
    }
    for (int64_t c = 0; c < p->qk_rope_head_dim; c++) {
        uint16_t const entry = to_bf16(load(&io->kv, t, rank + c));
        memcpy(rope + 2 * c, &entry, sizeof entry);
    }
}

/* Has the pool a format that this port writes? Else 0; the bytes of an element. */
static size_t element_size(const dsv3_cache_store_io *io)
{
    dsv3_dtype const pool = io->kv_cache_out.dtype;
    if (!is_float(&io->kv)) return 0;
    if (pool == io->kv.dtype) return pool == DSV3_F32 ? 4 : 2;
    return pool == DSV3_U8 || (pool == DSV3_F8_E4M3 && dsv3_find(&io->weights, "kv_scale"));
}

dsv3_status plain_cache_store(dsv3_ctx *ctx, const dsv3_cache_store_prob *p, const dsv3_cache_store_io *io)
{
    size_t const size = element_size(io);
    (void)ctx;
    if (!size) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        char *const row = row_of(p, io, slot_of(&io->slot_mapping, t), size);
        const char *const key = (const char *)io->kv.data + (size_t)(t * io->kv.stride[0]) * size;
        if (!row) continue;
        switch (io->kv_cache_out.dtype) {
        case DSV3_U8: store_bytes(p, io, t, (uint8_t *)row); break;
        case DSV3_F8_E4M3: store_coded(p, io, t, (uint8_t *)row); break;
        default: memcpy(row, key, (size_t)(p->kv_lora_rank + p->qk_rope_head_dim) * size);
        }
    }
    return DSV3_OK;
}

const char *plain_cache_store_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "div ieee; quotient div; flush none";
}
