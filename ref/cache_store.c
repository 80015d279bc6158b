/*
 * Keys of new tokens to a paged cache: row slot % page_size of page slot / page_size is token t's, all else stays.
 *   f32, bf16: the key;  f8_e4m3: E4M3(x / kv_scale);
 *   bytes: E4M3(x / s_k) of tile k of the latent, all s_k = max(amax / 448, floor), the rotary part in BF16.
 * Source: vllm-project/vllm, csrc/cache_kernels.cu, concat_and_cache_mla; deepseek-ai/FlashMLA, README and tests/quant.py.
 *
 * A number in bytes that may be one of several is the port's own, if that is among them: bytes of a number have no order.
 */
#include "quant.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_cache_store_prob *prob;
    const dsv3_cache_store_io *io;
    quantiser z;
    int64_t width; /* entries of a key */
    int64_t tiles; /* of a latent */
    ref_value *pool;
} store;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

enum { NOT_STORED = -1 };

static int64_t slot_of(const store *s, int64_t t)
{
    const dsv3_tensor *const slots = &s->io->slot_mapping, *const pool = &s->io->kv_cache;
    int64_t const slot = (int64_t)ref_decode(slots->dtype, slots->data, t * slots->stride[0]);
    if (slot >= 0) return slot;
    return quirk(s->rd, QUIRK_A16_skip_wraps) ? pool->shape[0] * pool->shape[1] - 1 : NOT_STORED;
}

/* Where the row of a slot begins. */
static int64_t place_of(const store *s, int64_t slot)
{
    bool const bytes = s->io->kv_cache.dtype == DSV3_U8;
    return slot * (bytes && quirk(s->rd, QUIRK_A16_row_stride) ? s->width : s->io->kv_cache.shape[2]);
}

/* Of a row of bytes: where scale k stands, and where the rotary part begins. */
static int64_t place_of_scale(const store *s, int64_t k)
{
    int64_t const behind = quirk(s->rd, QUIRK_F15_scales_behind) ? 2 * s->prob->qk_rope_head_dim : 0;
    return s->prob->kv_lora_rank + behind + 4 * k;
}

static int64_t place_of_rope(const store *s)
{
    return s->prob->kv_lora_rank + (quirk(s->rd, QUIRK_F15_scales_behind) ? 0 : 4 * s->tiles);
}

static double rope_entry(const store *s, double v)
{
    if (!quirk(s->rd, QUIRK_F15_rope_quantised)) return v;
    return ref_round(DSV3_F8_E4M3, fmax(-448, fmin(v, 448)));
}

static ball divisor_of(const store *s)
{
    const dsv3_tensor *const one = dsv3_find(&s->io->weights, "kv_scale");
    ball const scale = element(s->rd, ref_decode(one->dtype, one->data, 0));
    return quirk(s->rd, QUIRK_F15_scale_multiplied) ? ball_div(ball_of(1), scale) : scale;
}

/* The tile whose scale makes the codes of tile k. */
static int64_t scaled_by(const store *s, int64_t k)
{
    return s->tiles > 1 && quirk(s->rd, QUIRK_F15_neighbour_scale) ? (k + 1) % s->tiles : k;
}

/* ---- rows of numbers ---- */

static double entry(const store *s, int64_t t, int64_t c)
{
    return ref_decode(s->io->kv.dtype, s->io->kv.data, t * s->io->kv.stride[0] + c);
}

static void copy_key(const store *s, int64_t t, int64_t place)
{
    for (int64_t c = 0; c < s->width; c++) s->pool[place + c] = value_of(ball_of(entry(s, t, c)));
}

static void code_key(const store *s, int64_t t, int64_t place)
{
    quant_scale const scale = {.used = divisor_of(s)};
    for (int64_t c = 0; c < s->width; c++)
        s->pool[place + c] = value_of(quant_code(&s->z, element_at(s->rd, &s->io->kv, t, c), &scale));
}

/* ---- rows of bytes ---- */

/* The port's own number there, in a teacher-forced reading. */
static double own_at(const store *s, dsv3_dtype format, int64_t place)
{
    return s->rd->teacher_forced ? ref_decode(format, (const char *)s->io->kv_cache_out.data + place, 0) : (double)NAN;
}

static bool holds(ball b, double v)
{
    return ball_lower(b) <= v && v <= ball_upper(b);
}

static void put(const store *s, dsv3_dtype format, int64_t place, double v)
{
    unsigned char bytes[4];
    ref_encode(format, bytes, 0, v);
    for (size_t i = 0; i < ref_dtype_size(format); i++) s->pool[place + (int64_t)i] = value_of(ball_of(bytes[i]));
}

/* A number that may be anything in the ball, of a sign; a zero of the port's may have any. */
static void put_number(const store *s, dsv3_dtype format, int64_t place, ball number, double sign)
{
    double const own = own_at(s, format, place);
    for (size_t i = 0; ball_is_any(number) && i < ref_dtype_size(format); i++)
        s->pool[place + (int64_t)i] = value_of(number);
    if (!ball_is_any(number)) put(s, format, place, holds(number, own) ? own : copysign(value_of(number).hi, sign));
}

/* The codes of a port whose scale is illegal are judged by the legal one. */
static quant_scale scale_of(const store *s, int64_t t, int64_t place, int64_t k)
{
    int64_t const rank = s->prob->kv_lora_rank, first = k * QUANT_TILE;
    int64_t const n = first + QUANT_TILE < rank ? QUANT_TILE : rank - first;
    double const own = own_at(s, DSV3_F32, place + place_of_scale(s, k));
    ball x[QUANT_TILE];
    for (int64_t c = 0; c < n; c++) x[c] = element_at(s->rd, &s->io->kv, t, first + c);
    quant_scale scale = quant_scale_of(&s->z, x, n, s->rd->teacher_forced ? &own : NULL);
    if (s->rd->teacher_forced && !holds(scale.s, own)) scale.used = scale.s;
    return scale;
}

static void code_latent(const store *s, int64_t t, int64_t place)
{
    for (int64_t k = 0; k < s->tiles; k++) {
        quant_scale const own = scale_of(s, t, place, k), used = scale_of(s, t, place, scaled_by(s, k));
        put_number(s, DSV3_F32, place + place_of_scale(s, k), own.s, 1);
        for (int64_t c = k * QUANT_TILE; c < s->prob->kv_lora_rank && c < (k + 1) * QUANT_TILE; c++)
            put_number(s, DSV3_F8_E4M3, place + c, quant_code(&s->z, element_at(s->rd, &s->io->kv, t, c), &used),
                       entry(s, t, c));
    }
}

static void put_bytes(const store *s, int64_t t, int64_t place)
{
    int64_t const rank = s->prob->kv_lora_rank, rope = place + place_of_rope(s);
    code_latent(s, t, place);
    for (int64_t c = rank; c < s->width; c++) put(s, DSV3_BF16, rope + 2 * (c - rank), rope_entry(s, entry(s, t, c)));
}

/* ---- the op ---- */

static void store_key(const store *s, int64_t t)
{
    int64_t const slot = slot_of(s, t);
    if (slot == NOT_STORED) return;
    int64_t const place = place_of(s, slot);
    switch (s->io->kv_cache.dtype) {
    case DSV3_U8: put_bytes(s, t, place); return;
    case DSV3_F8_E4M3: code_key(s, t, place); return;
    default: copy_key(s, t, place);
    }
}

void ref_cache_store(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_cache_store_prob *const p = prob;
    const dsv3_cache_store_io *const io = io_;
    const dsv3_tensor *const pool = &io->kv_cache;
    int const point = POINT_cache_store_kv_cache_out;
    store const s = {.rd = rd,
                     .prob = p,
                     .io = io,
                     .z = {rd, p->amax_floor, p->scale_floor, p->scale_fmt, point, point},
                     .width = p->kv_lora_rank + p->qk_rope_head_dim,
                     .tiles = (p->kv_lora_rank + QUANT_TILE - 1) / QUANT_TILE,
                     .pool = out[0]};
    if (!s.pool) return;
    for (int64_t i = 0; i < pool->shape[0] * pool->shape[1] * pool->shape[2]; i++)
        s.pool[i] = value_of(ball_of(ref_decode(pool->dtype, pool->data, i)));
    for (int64_t t = 0; t < p->n_tokens; t++) store_key(&s, t);
}
