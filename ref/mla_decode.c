/*
 * Attention of the absorbed form over a paged cache, one key k_j for all heads, its first kv_lora_rank entries the value v_j:
 *   s_j = softmax_scale q . k_j,  lse = ln sum_j e^s_j,  o = sum_j P_j v_j,  P_j = e^(s_j - lse).
 * Source: DeepSeek-V2 report (arXiv 2405.04434) 2.1.2; DeepSeek-V3 report (arXiv 2412.19437) 2.1.1;
 * deepseek-ai/DeepSeek-V3, inference/model.py, MLA, absorb; deepseek-ai/FlashMLA, tests/ref.py.
 */
#include "attention.h"
#include "vectors.h"

enum { TILE_SIZE = 128 }; /* codes that share a scale in a row of bytes */

/* One sequence. A row is one query of one head. */
typedef struct {
    const ref_reading *rd;
    const dsv3_mla_decode_prob *prob;
    const dsv3_mla_decode_io *io;
    int64_t b, len, rows, width; /* keys; s_q * heads; entries of a key */
} sequence;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

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
    if (i + 1 < s_q && quirk(s->rd, QUIRK_A9_not_causal)) return s->len;
    if (s_q > 1 && quirk(s->rd, QUIRK_A10_square_mask)) return i + 1 < s->len ? i + 1 : s->len;
    int64_t const n = s->len - s_q + i + 1;
    return n > 0 ? n : 0;
}

static int64_t length_of(const ref_reading *rd, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io, int64_t b)
{
    int64_t const len = (int64_t)ref_decode(DSV3_I32, io->cache_seqlens.data, b * io->cache_seqlens.stride[0]);
    if (len % p->page_size == 0 || !quirk(rd, QUIRK_A16_last_page_whole)) return len;
    return (len + p->page_size - 1) / p->page_size * p->page_size;
}

static ball in_base(const ref_reading *rd, ball lse)
{
    return quirk(rd, QUIRK_A12_lse_base_2) ? ball_div(lse, ball_log(ball_of(2))) : lse;
}

/* ---- the cache ---- */

/* Where the key of token j begins in the cache, in elements. */
static int64_t place_of(const sequence *s, int64_t j)
{
    const dsv3_tensor *const cache = &s->io->kv_cache, *const table = &s->io->block_table;
    int64_t const page = (int64_t)ref_decode(DSV3_I32, table->data, s->b * table->stride[0] + j / s->prob->page_size);
    return page * cache->stride[0] + j % s->prob->page_size * cache->stride[1];
}

/* ---- FP8 caches ---- */

static bool is_coded(const sequence *s)
{
    return s->io->kv_cache.dtype == DSV3_F8_E4M3 || s->io->kv_cache.dtype == DSV3_U8;
}

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
    if (tile > 0 && quirk(s->rd, QUIRK_F15_one_scale)) tile = 0;
    if (tiles_of(s) > 1 && quirk(s->rd, QUIRK_F15_tiles_reversed)) tile = tiles_of(s) - 1 - tile;
    return ref_decode(DSV3_F32, scales, tile);
}

/* A code times its scale, as the port has it. */
static ball dequantised(const sequence *s, double code, double scale)
{
    bool const scaled = !quirk(s->rd, QUIRK_F15_scale_missing);
    ball const key = scaled ? ball_mul(ball_of(code), element(s->rd, scale)) : ball_of(code);
    return round_at(s->rd, POINT_mla_decode_kv, s->io->q.dtype, key);
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

/* Lemma Late: a port that isn't sure to dequantise keys may scale sums of codes. That rounds unless every scale is a power of
 * two. */
static void find_scale_after_sum(const sequence *s, attention *a)
{
    int ignored;
    if (!is_coded(s) || !s->rd->declared || declared_at(s->rd, POINT_mla_decode_kv).must) return;
    double const unit = ref_half_ulp(s->rd->declared->arith, 1);
    a->largest_scale = 1;
    for (int64_t j = 0; j < s->len; j++)
        for (int64_t c = 0; c < s->prob->kv_lora_rank; c += TILE_SIZE) {
            double const scale = fabs(scale_at(s, place_of(s, j), c));
            if (scale == 0) continue;
            if (frexp(scale, &ignored) != 0.5) a->scale_after_sum = fmax(a->scale_after_sum, 3 * unit * (1 + 2 * unit));
            if (!(scale >= 0x1p-60 && scale <= 0x1p60)) a->scale_after_sum = INFINITY;
            a->largest_scale = fmax(a->largest_scale, scale);
        }
}

/* ---- keys and queries ---- */

/* Balls if they are coded, else numbers. */
static vectors read_keys(const sequence *s)
{
    vectors k = {s->len, s->width, NULL, NULL, NULL};
    if (is_coded(s)) {
        k = vectors_take(s->rd->scratch, s->len, s->width);
        for (int64_t i = 0; i < s->len * s->width; i++)
            k.ball[i] = entry_of(s, place_of(s, i / s->width), i % s->width);
        vectors_prepare(s->rd->scratch, &k);
        return k;
    }
    k.row = scratch_take(s->rd->scratch, k.n, sizeof *k.row);
    k.parts = scratch_take(s->rd->scratch, k.n * k.width, sizeof *k.parts);
    for (int64_t j = 0; j < s->len; j++) {
        double *const number = k.parts + j * k.width;
        ref_decode_all(s->io->kv_cache.dtype, s->io->kv_cache.data, place_of(s, j), k.width, number);
        k.row[j] = operand_of(number, NULL, k.width);
    }
    return k;
}

/* Is every key one number? Then the numbers are the first thirds of the parts. */
static bool are_numbers(const vectors *k)
{
    for (int64_t j = 0; j < k->n; j++)
        if (k->row[j].radius || k->row[j].low) return false;
    return true;
}

static vectors read_queries(const sequence *s)
{
    const dsv3_tensor *const q = &s->io->q;
    int64_t const heads = s->prob->num_attention_heads;
    vectors v = {s->rows, s->width, NULL, scratch_take(s->rd->scratch, s->rows, sizeof(operand)), NULL};
    v.parts = scratch_take(s->rd->scratch, v.n * v.width, sizeof *v.parts);
    for (int64_t r = 0; r < s->rows; r++) {
        int64_t const from = s->b * q->stride[0] + r / heads * q->stride[1] + r % heads * q->stride[2];
        ref_decode_all(q->dtype, q->data, from, v.width, v.parts + r * v.width);
        v.row[r] = operand_of(v.parts + r * v.width, NULL, v.width);
    }
    return v;
}

/* ---- the op ---- */

static void attend_sequence(const sequence *s, ref_value *o_out, ref_value *lse_out)
{
    scratch *const memory = s->rd->scratch;
    vectors const k = read_keys(s), q = read_queries(s);
    vectors const o = vectors_take(memory, s->rows, s->prob->kv_lora_rank), lse = vectors_take(memory, s->rows, 1);
    int64_t *const seen = scratch_take(memory, s->rows, sizeof *seen);
    for (int64_t r = 0; r < s->rows; r++) seen[r] = visible(s, r / s->prob->num_attention_heads);
    attention a = {.rd = s->rd,
                   .scale_q = POINT_mla_decode_scale,
                   .scores = POINT_mla_decode_scores,
                   .P = POINT_mla_decode_P,
                   .output = s->io->q.dtype,
                   .scale = scale_of(s->rd, s->prob),
                   .rows = s->rows,
                   .len = s->len,
                   .width = s->prob->kv_lora_rank,
                   .query = q.row,
                   .key = k.row,
                   .seen = seen};
    if (are_numbers(&k))
        a.number = k.parts, a.stride = k.ball ? 3 * k.width : k.width;
    else
        a.value = k.ball, a.stride = k.width;
    find_scale_after_sum(s, &a);
    attend(&a, o_out ? o.ball : NULL, lse_out ? lse.ball : NULL);
    for (int64_t i = 0; o_out && i < o.n * o.width; i++)
        o_out[i] = value_of(round_at(s->rd, POINT_mla_decode_o, a.output, o.ball[i]));
    for (int64_t r = 0; lse_out && r < lse.n; r++)
        lse_out[r] = lse_value(&a, r, POINT_mla_decode_lse, in_base(s->rd, lse.ball[r]));
}

void ref_mla_decode(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])
{
    const dsv3_mla_decode_prob *const p = prob;
    int64_t const rows = p->s_q * p->num_attention_heads, width = p->kv_lora_rank;
    for (int64_t b = 0; b < p->batch; b++) {
        scratch_piece *const mark = scratch_mark(rd->scratch);
        sequence const s = {rd, p, io, b, length_of(rd, p, io, b), rows, width + p->qk_rope_head_dim};
        attend_sequence(&s, out[0] ? out[0] + b * rows * width : NULL, out[1] ? out[1] + b * rows : NULL);
        scratch_back(rd->scratch, mark);
    }
}
