/*
 * Attention of the absorbed form over a paged cache, one key k_j for all heads, its first kv_lora_rank entries the value v_j:
 *   s_j = softmax_scale q . k_j,  lse = ln sum_j e^s_j,  o = sum_j P_j v_j,  P_j = e^(s_j - lse).
 * Source: DeepSeek-V2 report (arXiv 2405.04434) 2.1.2; DeepSeek-V3 report (arXiv 2412.19437) 2.1.1;
 * deepseek-ai/DeepSeek-V3, inference/model.py, MLA, absorb; deepseek-ai/FlashMLA, tests/ref.py.
 */
#include "attention.h"

#include <stdlib.h>

enum { TILE_SIZE = 128 }; /* codes that share a scale in a row of bytes */

/* One sequence. A row is one query of one head. */
typedef struct {
    const ref_reading *rd;
    const dsv3_mla_decode_prob *prob;
    const dsv3_mla_decode_io *io;
    int64_t b, len, rows, width; /* keys; s_q * heads; entries of a key */
    double *key;                 /* (len, stride): the keys, if all of them are numbers */
    int64_t stride;
    bool numbers;
    ball *coded;   /* (len, width): the keys of an FP8 cache; else NULL */
    double *query; /* (rows, width) */
    row *key_row, *query_row;
    int64_t *seen; /* (rows) */
    ball *o, *lse;
} sequence;

static ball scale_of(const ref_reading *rd, const dsv3_mla_decode_prob *p)
{
    if (quirk(rd, QUIRK_A1_absorbed_scale)) return ball_rsqrt(ball_of((double)(p->kv_lora_rank + p->qk_rope_head_dim)));
    if (quirk(rd, QUIRK_R6_mscale_missing))
        return ball_rsqrt(ball_of((double)(p->qk_nope_head_dim + p->qk_rope_head_dim)));
    return constant(rd, p->softmax_scale);
}

/* How many keys query i of the sequence sees. */
static int64_t visible(const sequence *s, int64_t i)
{
    int64_t const s_q = s->prob->s_q;
    if (quirk(s->rd, QUIRK_A9_not_causal)) return s->len;
    if (quirk(s->rd, QUIRK_A10_square_mask) && s_q > 1) return i + 1 < s->len ? i + 1 : s->len;
    int64_t const n = s->len - s_q + i + 1;
    return n > 0 ? n : 0;
}

static int64_t length_of(const ref_reading *rd, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io, int64_t b)
{
    int64_t const len = (int64_t)ref_decode(DSV3_I32, io->cache_seqlens.data, b * io->cache_seqlens.stride[0]);
    if (!quirk(rd, QUIRK_A16_last_page_whole)) return len;
    return (len + p->page_size - 1) / p->page_size * p->page_size;
}

/* Where the key of token j begins in the cache, in elements. */
static int64_t place_of(const sequence *s, int64_t j)
{
    const dsv3_tensor *const cache = &s->io->kv_cache, *const table = &s->io->block_table;
    int64_t const page = (int64_t)ref_decode(DSV3_I32, table->data, s->b * table->stride[0] + j / s->prob->page_size);
    return page * cache->stride[0] + j % s->prob->page_size * cache->stride[1];
}

/* ---- FP8 caches ---- */

static int64_t tiles_of(const sequence *s)
{
    return (s->prob->kv_lora_rank + TILE_SIZE - 1) / TILE_SIZE;
}

/* The scale of entry c of the key at that place. */
static double scale_at(const sequence *s, int64_t place, int64_t c)
{
    const dsv3_tensor *const cache = &s->io->kv_cache, *const one = dsv3_find(&s->io->weights, "kv_scale");
    if (cache->dtype == DSV3_F8_E4M3) return ref_decode(one->dtype, one->data, 0);
    const char *const scales = (const char *)cache->data + place + s->prob->kv_lora_rank;
    int64_t tile = c / TILE_SIZE;
    if (quirk(s->rd, QUIRK_F15_one_scale)) tile = 0;
    if (quirk(s->rd, QUIRK_F15_tiles_reversed)) tile = tiles_of(s) - 1 - tile;
    return ref_decode(DSV3_F32, scales, tile);
}

/* A code times its scale, as the port has it. */
static ball dequantised(const sequence *s, double code, double scale)
{
    bool const scaled = !quirk(s->rd, QUIRK_F15_scale_missing);
    ball const key = scaled ? ball_mul(ball_of(code), element(s->rd, scale)) : ball_of(code);
    return at(s->rd, POINT_mla_decode_kv, s->io->q.dtype, key);
}

/* Entry c of the key at that place. */
static ball entry_of(const sequence *s, int64_t place, int64_t c)
{
    const dsv3_tensor *const cache = &s->io->kv_cache;
    int64_t const rank = s->prob->kv_lora_rank;
    if (cache->dtype == DSV3_F8_E4M3 || c < rank)
        return dequantised(s, ref_decode(DSV3_F8_E4M3, cache->data, place + c), scale_at(s, place, c));
    const char *const rope = (const char *)cache->data + place + rank + 4 * tiles_of(s);
    double const v = ref_decode(DSV3_BF16, rope, c - rank);
    return ball_of(quirk(s->rd, QUIRK_F15_rope_rounded) ? ref_round(DSV3_F8_E4M3, v) : v);
}

/* Lemma Late: a port that isn't sure to dequantise keys may scale sums of codes. That rounds unless every scale is a power of two. */
static void find_lateness(const sequence *s, attention *a)
{
    int ignored;
    if (!s->coded || !s->rd->port || rounding_at(s->rd, POINT_mla_decode_kv).must) return;
    double const unit = ref_half_unit(s->rd->port->arith, 1);
    a->top_scale = 1;
    for (int64_t j = 0; j < s->len; j++)
        for (int64_t c = 0; c < s->prob->kv_lora_rank; c += TILE_SIZE) {
            double const scale = fabs(scale_at(s, place_of(s, j), c));
            if (scale == 0) continue;
            if (frexp(scale, &ignored) != 0.5) a->late = fmax(a->late, 3 * unit * (1 + 2 * unit));
            if (!(scale >= 0x1p-60 && scale <= 0x1p60)) a->late = INFINITY;
            a->top_scale = fmax(a->top_scale, scale);
        }
}

/* ---- keys and queries ---- */

static void read_coded(sequence *s)
{
    for (int64_t j = 0; j < s->len; j++) {
        ball *const k = s->coded + j * s->width;
        for (int64_t c = 0; c < s->width; c++) k[c] = entry_of(s, place_of(s, j), c);
        s->key_row[j] = row_of_balls(k, s->width, s->key + j * s->stride);
        s->numbers = s->numbers && !s->key_row[j].radius && !s->key_row[j].low;
    }
}

static void read_keys(sequence *s)
{
    s->numbers = true;
    if (s->coded) {
        read_coded(s);
        return;
    }
    for (int64_t j = 0; j < s->len; j++) {
        double *const k = s->key + j * s->stride;
        ref_decode_all(s->io->kv_cache.dtype, s->io->kv_cache.data, place_of(s, j), s->width, k);
        s->key_row[j] = row_of(k, NULL, s->width);
    }
}

static void read_queries(const sequence *s)
{
    const dsv3_tensor *const q = &s->io->q;
    for (int64_t r = 0; r < s->rows; r++) {
        int64_t const i = r / s->prob->num_attention_heads, h = r % s->prob->num_attention_heads;
        double *const query = s->query + r * s->width;
        ref_decode_all(q->dtype, q->data, s->b * q->stride[0] + i * q->stride[1] + h * q->stride[2], s->width, query);
        s->query_row[r] = row_of(query, NULL, s->width);
        s->seen[r] = visible(s, i);
    }
}

static ball in_base(const ref_reading *rd, ball lse)
{
    return quirk(rd, QUIRK_A12_lse_base_2) ? ball_div(lse, ball_log(ball_of(2))) : lse;
}

static bool run_sequence(sequence *s, ref_value *o, ref_value *lse)
{
    read_keys(s);
    read_queries(s);
    attention a = {.rd = s->rd,
                   .scores = POINT_mla_decode_scores,
                   .P = POINT_mla_decode_P,
                   .output = s->io->q.dtype,
                   .scale = scale_of(s->rd, s->prob),
                   .rows = s->rows,
                   .len = s->len,
                   .width = s->prob->kv_lora_rank,
                   .query = s->query_row,
                   .key = s->key_row,
                   .seen = s->seen,
                   .number = s->numbers ? s->key : NULL,
                   .value = s->numbers ? NULL : s->coded,
                   .stride = s->numbers ? s->stride : s->width};
    find_lateness(s, &a);
    if (!attend(&a, o ? s->o : NULL, lse ? s->lse : NULL)) return false;
    for (int64_t i = 0; o && i < a.rows * a.width; i++)
        o[i] = value_of(at(s->rd, POINT_mla_decode_o, s->io->q.dtype, s->o[i]));
    for (int64_t r = 0; lse && r < a.rows; r++)
        lse[r] = lse_value(&a, r, POINT_mla_decode_lse, in_base(s->rd, s->lse[r]));
    return true;
}

static bool open_sequence(sequence *s)
{
    size_t const keys = (size_t)s->len + 1, rows = (size_t)s->rows, width = (size_t)s->width;
    dsv3_dtype const stored = s->io->kv_cache.dtype;
    bool const coded = stored == DSV3_F8_E4M3 || stored == DSV3_U8;
    s->stride = coded ? 3 * s->width : s->width; /* of three parts the first is the numbers */
    s->key = malloc(keys * (size_t)s->stride * sizeof *s->key);
    s->coded = coded ? malloc(keys * width * sizeof *s->coded) : NULL;
    s->query = malloc(rows * width * sizeof *s->query);
    s->key_row = malloc(keys * sizeof *s->key_row);
    s->query_row = malloc(rows * sizeof *s->query_row);
    s->seen = malloc(rows * sizeof *s->seen);
    s->o = malloc(rows * (size_t)s->prob->kv_lora_rank * sizeof *s->o);
    s->lse = malloc(rows * sizeof *s->lse);
    return s->key && (s->coded || !coded) && s->query && s->key_row && s->query_row && s->seen && s->o && s->lse;
}

static void close_sequence(sequence *s)
{
    free(s->key);
    free(s->coded);
    free(s->query);
    free(s->key_row);
    free(s->query_row);
    free(s->seen);
    free(s->o);
    free(s->lse);
}

bool ref_mla_decode(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_mla_decode_prob *const p = prob;
    const dsv3_mla_decode_io *const io = io_;
    bool good = true;
    for (int64_t b = 0; good && b < p->batch; b++) {
        int64_t const rows = p->s_q * p->num_attention_heads, width = p->kv_lora_rank;
        sequence s = {.rd = rd, .prob = p, .io = io, .b = b, .len = length_of(rd, p, io, b), .rows = rows};
        s.width = width + p->qk_rope_head_dim;
        good = open_sequence(&s) &&
               run_sequence(&s, out[0] ? out[0] + b * rows * width : NULL, out[1] ? out[1] + b * rows : NULL);
        close_sequence(&s);
    }
    return good;
}
