/* Absorbed attention over a paged cache: one key for all heads, whose start is the value. */
#include "attention.h"
#include "attention_squares.h"
#include "fast.h"
#include "matrix.h"

#include "vec.h"

/* One sequence. */
typedef struct {
    const dsv3_mla_decode_prob *p;
    const dsv3_mla_decode_io *io;
    int64_t b, width, length;
    bool bf16;
    float kv_scale;
    void *keys;      /* (length, width), f32, or bf16: where they aren't taken as they are cached */
    stored_row *key; /* (length) */
} sequence;

/* Numbers become those of our own memory. */
static void put(const sequence *s, int64_t j, int64_t from, const float *v, int64_t n)
{
    dsv3_tensor const to = {s->keys, s->bf16 ? DSV3_BF16 : DSV3_F32, 0, {0}, {0}};
    store_row(&to, j * s->width + from, v, n);
}

/* A row of bytes: codes, a scale for each 128 of them, then the rotary part in BF16; scales lie at any byte. */
static void convert_bytes(const sequence *s, int64_t j, const uint8_t *from)
{
    int64_t const rank = s->p->kv_lora_rank, tiles = (rank + BLOCK - 1) / BLOCK;
    for (int64_t c = 0; c < rank; c += BLOCK) {
        float scale, v[BLOCK];
        memcpy(&scale, from + rank + c / BLOCK * 4, sizeof scale);
        stored_row const codes = {from + c, DSV3_F8_E4M3, &scale};
        int64_t const n = rank - c < BLOCK ? rank - c : BLOCK;
        load_row(&codes, n, v);
        put(s, j, c, v, n);
    }
    for (int64_t c = 0; c < s->p->qk_rope_head_dim; c += BLOCK) {
        float v[BLOCK];
        stored_row const rope = {from + rank + 4 * tiles + 2 * c, DSV3_BF16, NULL};
        int64_t const n = s->p->qk_rope_head_dim - c < BLOCK ? s->p->qk_rope_head_dim - c : BLOCK;
        load_row(&rope, n, v);
        put(s, j, rank + c, v, n);
    }
}

/* Numbers, or codes that have one scale. */
static void convert_row(const sequence *s, int64_t j, const stored_row *row)
{
    int64_t const size = row->dtype == DSV3_F32 ? 4 : row->dtype == DSV3_BF16 ? 2 : 1;
    for (int64_t c = 0; c < s->width; c += BLOCK) {
        float v[BLOCK];
        stored_row const part = {(const char *)row->data + c * size, row->dtype, &s->kv_scale};
        int64_t const n = s->width - c < BLOCK ? s->width - c : BLOCK;
        load_row(&part, n, v);
        put(s, j, c, v, n);
    }
}

static void find_key(const void *job, int64_t j, int worker)
{
    (void)worker;
    const sequence *const s = job;
    const dsv3_tensor *const cache = &s->io->kv_cache;
    stored_row const row = paged_row(cache, &s->io->block_table, s->p->page_size, s->b, j);
    s->key[j] = row;
    if (!s->keys) return;
    if (cache->dtype == DSV3_U8)
        convert_bytes(s, j, row.data);
    else
        convert_row(s, j, &row);
    dsv3_tensor const ours = {s->keys, s->bf16 ? DSV3_BF16 : DSV3_F32, 0, {0}, {0}};
    s->key[j] = row_of(&ours, j * s->width);
}

/* Queries as they are computed with: (s_q * heads, width). */
static void find_queries(const sequence *s, float *to, int64_t *seen)
{
    const dsv3_tensor *const q = &s->io->q;
    int64_t const heads = s->p->num_attention_heads;
    for (int64_t r = 0; r < s->p->s_q * heads; r++) {
        int64_t const from = s->b * q->stride[0] + r / heads * q->stride[1] + r % heads * q->stride[2];
        int64_t const sees = s->length - s->p->s_q + r / heads + 1;
        stored_row const row = row_of(q, from);
        load_row(&row, s->width, to + r * s->width);
        seen[r] = sees > 0 ? sees : 0;
    }
}

static void store_results(const sequence *s, const float *out, const float *out_lse)
{
    const dsv3_tensor *const o = &s->io->o, *const lse = &s->io->lse;
    int64_t const heads = s->p->num_attention_heads, rank = s->p->kv_lora_rank;
    for (int64_t r = 0; r < s->p->s_q * heads; r++) {
        int64_t const i = r / heads, h = r % heads;
        store_row(o, s->b * o->stride[0] + i * o->stride[1] + h * o->stride[2], out + r * rank, rank);
        ((float *)lse->data)[s->b * lse->stride[0] + i * lse->stride[1] + h] = out_lse[r];
    }
}

/* The keys of sequence b. 0: no memory. */
static int find_keys(dsv3_ctx *ctx, sequence *s, int64_t b)
{
    bool const as_cached = s->bf16 && s->io->kv_cache.dtype == DSV3_BF16;
    s->b = b;
    s->length = ((const int32_t *)s->io->cache_seqlens.data)[b * s->io->cache_seqlens.stride[0]];
    s->keys = as_cached ? NULL : ctx_take(ctx, s->length * s->width, s->bf16 ? 2 : 4);
    s->key = ctx_take(ctx, s->length, sizeof *s->key);
    if ((!as_cached && !s->keys) || !s->key) return 0;
    ctx_run(ctx, find_key, s, s->length);
    return 1;
}

/* In binary32. 0: no memory. */
static int attend_sequence(dsv3_ctx *ctx, const sequence *s)
{
    int64_t const rows = s->p->s_q * s->p->num_attention_heads, rank = s->p->kv_lora_rank;
    float *const queries = ctx_take(ctx, rows * s->width, sizeof *queries);
    float *const out = ctx_take(ctx, rows * rank, sizeof *out), *const lse = ctx_take(ctx, rows, sizeof *lse);
    int64_t *const seen = ctx_take(ctx, rows, sizeof *seen);
    if (!queries || !out || !lse || !seen) return 0;
    find_queries(s, queries, seen);
    attention_group const group = {.rows = rows,
                                   .q = queries,
                                   .q_stride = s->width,
                                   .width = s->width,
                                   .key = s->key,
                                   .value = s->key,
                                   .len = s->length,
                                   .columns = rank,
                                   .scale = (float)s->p->softmax_scale,
                                   .seen = seen,
                                   .o = out,
                                   .lse = lse};
    if (!attend(ctx, &group)) return 0;
    store_results(s, out, lse);
    return 1;
}

/* ---- in BF16: all sequences at once ---- */

static head_rows heads_of(const dsv3_tensor *t, int64_t b)
{
    return (head_rows){(char *)t->data + b * t->stride[0] * size_in(t->dtype), t->dtype, t->stride[1], t->stride[2]};
}

static square_group group_of(const sequence *s)
{
    const dsv3_tensor *const lse = &s->io->lse;
    return (square_group){.tokens = s->p->s_q,
                          .heads = s->p->num_attention_heads,
                          .q = heads_of(&s->io->q, s->b),
                          .o = heads_of(&s->io->o, s->b),
                          .lse = (float *)lse->data + s->b * lse->stride[0],
                          .lse_token = lse->stride[1],
                          .lse_head = 1,
                          .key = {s->key, NULL, 0},
                          .value = {s->key, NULL, 0},
                          .len = s->length,
                          .width = s->width,
                          .columns = s->p->kv_lora_rank,
                          .scale = (float)s->p->softmax_scale};
}

/* 0: no memory. */
static int attend_batch(dsv3_ctx *ctx, const sequence *any)
{
    square_group *const group = ctx_take(ctx, any->p->batch, sizeof *group);
    if (!group) return 0;
    for (int64_t b = 0; b < any->p->batch; b++) {
        sequence s = *any;
        if (!find_keys(ctx, &s, b)) return 0;
        group[b] = group_of(&s);
    }
    return attend_squares(ctx, group, any->p->batch);
}

/* ---- the op ---- */

/* BF16 queries over a cache that is no binary32. */
static bool takes_bf16(const dsv3_mla_decode_io *io)
{
    return io->q.dtype == DSV3_BF16 && io->kv_cache.dtype != DSV3_F32;
}

/* 0: no memory. */
static int attend_in_turn(dsv3_ctx *ctx, sequence *s)
{
    size_t const mark = ctx_mark(ctx);
    for (int64_t b = 0; b < s->p->batch; b++) {
        int const done = find_keys(ctx, s, b) && attend_sequence(ctx, s);
        ctx_back(ctx, mark);
        if (!done) return 0;
    }
    return 1;
}

dsv3_status fast_mla_decode(dsv3_ctx *ctx, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io)
{
    const dsv3_tensor *const scale = dsv3_find(&io->weights, "kv_scale");
    dsv3_dtype const cached = io->kv_cache.dtype;
    sequence s = {.p = p, .io = io, .width = p->kv_lora_rank + p->qk_rope_head_dim};
    s.bf16 = ctx_path(ctx) != PATH_FMA && takes_bf16(io);
    s.kv_scale = scale ? *(const float *)scale->data : 1;
    if (!is_float(&io->q) || !is_float(&io->o)) return DSV3_UNSUPPORTED;
    if (!is_float(&io->kv_cache) && cached != DSV3_U8 && !(cached == DSV3_F8_E4M3 && scale)) return DSV3_UNSUPPORTED;
    size_t const mark = ctx_mark(ctx);
    int const done = s.bf16 ? attend_batch(ctx, &s) : attend_in_turn(ctx, &s);
    ctx_back(ctx, mark);
    return done ? DSV3_OK : DSV3_NO_MEMORY;
}

#define STEPS "div ieee; exp 2 0; log 2 0; scaled scores; parts 1; scores f32 must; "

const char *fast_mla_decode_numerics(const void *prob, const void *io)
{
    (void)prob;
    bool const bf16 = takes_bf16(io);
    if (bf16 && by_amx(DSV3_BF16)) return STEPS "acc amx.bf16; rescales 4; flush daz; kv bf16 must; P bf16 must";
    if (bf16 && by_pairs(DSV3_BF16))
        return STEPS "acc avx512.bf16 promote=288 bits2=24; rescales 4; flush daz; kv bf16 must; P bf16 must";
    return STEPS "acc 24 rn fused; rescales 0; flush none; kv f32 must; P f32 must";
}
