/* Absorbed attention over a paged cache: one key for all heads, whose start is the value. Keys become binary32 rows first. */
#include "attention.h"
#include "fast.h"
#include "matrix.h"

#include "vec.h"

/* One sequence. */
typedef struct {
    const dsv3_mla_decode_prob *p;
    const dsv3_mla_decode_io *io;
    int64_t b, width;
    float kv_scale;
    float *keys; /* (length, width) */
} sequence;

/* A row of bytes: codes, a scale for each 128 of them, then the rotary part in BF16; scales lie at any byte. */
static void load_bytes(const sequence *s, const uint8_t *from, float *to)
{
    int64_t const rank = s->p->kv_lora_rank, tiles = (rank + BLOCK - 1) / BLOCK;
    float scale[64];
    memcpy(scale, from + rank, (size_t)tiles * sizeof *scale);
    stored_row const codes = {from, DSV3_F8_E4M3, scale}, rope = {from + rank + 4 * tiles, DSV3_BF16, NULL};
    load_row(&codes, rank, to);
    load_row(&rope, s->p->qk_rope_head_dim, to + rank);
}

static void load_codes(const sequence *s, const stored_row *row, float *to)
{
    for (int64_t c = 0; c < s->width; c += WIDTH) {
        lanes const of = first_lanes(s->width - c);
        vec const codes = load_lanes(row->data, DSV3_F8_E4M3, c, of);
        store_lanes(to, DSV3_F32, c, of, vec_mul(codes, vec_of(s->kv_scale * 0x1p8f)));
    }
}

static void load_key(const void *job, int64_t j, int worker)
{
    (void)worker;
    const sequence *const s = job;
    const dsv3_tensor *const cache = &s->io->kv_cache, *const table = &s->io->block_table;
    int64_t const page = ((const int32_t *)table->data)[s->b * table->stride[0] + j / s->p->page_size];
    int64_t const at = page * cache->stride[0] + j % s->p->page_size * cache->stride[1];
    stored_row const row = row_of(cache, at);
    float *const to = s->keys + j * s->width;
    if (cache->dtype == DSV3_U8)
        load_bytes(s, row.data, to);
    else if (cache->dtype == DSV3_F8_E4M3)
        load_codes(s, &row, to);
    else
        load_row(&row, s->width, to);
}

/* 0: no memory. */
static int attend_sequence(dsv3_ctx *ctx, sequence *s)
{
    const dsv3_mla_decode_prob *const p = s->p;
    const dsv3_tensor *const q = &s->io->q, *const o = &s->io->o, *const lse = &s->io->lse;
    int64_t const length = ((const int32_t *)s->io->cache_seqlens.data)[s->b * s->io->cache_seqlens.stride[0]];
    int64_t const heads = p->num_attention_heads, rows = p->s_q * heads;
    size_t const mark = ctx_mark(ctx);
    s->keys = ctx_take(ctx, length * s->width, sizeof(float));
    stored_row *const key = ctx_take(ctx, length, sizeof *key);
    float *const queries = ctx_take(ctx, rows * s->width, sizeof(float));
    float *const out = ctx_take(ctx, rows * p->kv_lora_rank, sizeof(float));
    float *const out_lse = ctx_take(ctx, rows, sizeof(float));
    int64_t *const seen = ctx_take(ctx, rows, sizeof *seen);
    if (!s->keys || !key || !queries || !out || !out_lse || !seen) return 0;
    ctx_run(ctx, load_key, s, length);
    for (int64_t j = 0; j < length; j++) key[j] = (stored_row){s->keys + j * s->width, DSV3_F32, NULL};
    for (int64_t r = 0; r < rows; r++) {
        int64_t const sees = length - p->s_q + r / heads + 1;
        stored_row const row = row_of(q, s->b * q->stride[0] + r / heads * q->stride[1] + r % heads * q->stride[2]);
        load_row(&row, s->width, queries + r * s->width);
        seen[r] = sees > 0 ? sees : 0;
    }
    attention_group const group = {.rows = rows,
                                   .q = queries,
                                   .q_stride = s->width,
                                   .width = s->width,
                                   .key = key,
                                   .value = key,
                                   .len = length,
                                   .columns = p->kv_lora_rank,
                                   .scale = (float)p->softmax_scale,
                                   .seen = seen,
                                   .o = out,
                                   .o_stride = p->kv_lora_rank,
                                   .lse = out_lse};
    int const done = attend(ctx, &group, 1);
    for (int64_t r = 0; done && r < rows; r++) {
        int64_t const i = r / heads, h = r % heads;
        store_row(o, s->b * o->stride[0] + i * o->stride[1] + h * o->stride[2], out + r * p->kv_lora_rank,
                  p->kv_lora_rank);
        ((float *)lse->data)[s->b * lse->stride[0] + i * lse->stride[1] + h] = out_lse[r];
    }
    ctx_back(ctx, mark);
    return done;
}

dsv3_status fast_mla_decode(dsv3_ctx *ctx, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io)
{
    const dsv3_tensor *const scale = dsv3_find(&io->weights, "kv_scale");
    dsv3_dtype const cached = io->kv_cache.dtype;
    sequence s = {.p = p, .io = io, .width = p->kv_lora_rank + p->qk_rope_head_dim};
    s.kv_scale = scale ? *(const float *)scale->data : 1;
    if (!is_float(&io->q) || !is_float(&io->o)) return DSV3_UNSUPPORTED;
    if (!is_float(&io->kv_cache) && cached != DSV3_U8 && !(cached == DSV3_F8_E4M3 && scale)) return DSV3_UNSUPPORTED;
    if (p->kv_lora_rank > 64 * BLOCK) return DSV3_UNSUPPORTED;
    for (s.b = 0; s.b < p->batch; s.b++)
        if (!attend_sequence(ctx, &s)) return DSV3_NO_MEMORY;
    return DSV3_OK;
}

const char *fast_mla_decode_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn fused; div ieee; exp 2 0; log 2 0; rescales 0; flush none; kv f32 must; scores f32 must; P f32 "
           "must";
}
