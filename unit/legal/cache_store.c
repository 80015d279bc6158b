/* cache_store: include/dsv3.h. */
#include "legal.h"

#include <math.h>
#include <string.h>

enum { EXACT, DIV, RECIP };

void legal_cache_store_config(legal *c, dsv3_cache_store_prob const *p, dsv3_cache_store_io const *io)
{
    static char const *const how[] = {"exact", "div", "recip"};
    legal_start(c, "cache_store", p->n_tokens, p->kv_lora_rank, p->page_size, (int)io->kv_cache.dtype);
    legal_arithmetic(c, false);
    c->arith = IN_F32;
    legal_division(c);
    legal_say(c, "; quotient %s", how[legal_draw(c, "quotient", 3)]);
    c->reciprocal = false;
}

static uint8_t code_of(legal const *c, double x, double scale)
{
    switch (legal_draw(c, "quotient", 3)) {
    case EXACT: return number_to_e4m3(x / scale);
    case DIV: return number_to_e4m3(legal_div(c, x, scale));
    default: return number_to_e4m3(legal_op(c, x * legal_div(c, 1, scale)));
    }
}

static double scale_of(legal const *c, dsv3_cache_store_prob const *p, double amax)
{
    int exponent = 0;
    amax = fmax(amax, number_round(number_f32, p->amax_floor));
    double scale = amax == 0 && p->scale_floor == 0 ? 1 : legal_div(c, amax, 448);
    scale = fmax(scale, number_round(number_f32, p->scale_floor));
    if (p->scale_fmt) scale = ldexp(1, frexp(scale, &exponent) == 0.5 ? exponent - 1 : exponent);
    return scale;
}

/* n entries under one scale: codes, and the scale's bytes. */
static void put_tile(legal const *c, dsv3_cache_store_prob const *p, dsv3_tensor const *kv, int64_t at, int64_t n,
                     uint8_t *codes, uint8_t *bytes)
{
    float scale = 0;
    dsv3_tensor const of_scale = {.data = &scale, .dtype = DSV3_F32, .ndim = 1, .shape = {1}, .stride = {1}};
    double amax = 0;
    for (int64_t i = 0; i < n; i++) amax = fmax(amax, fabs(legal_load(c, kv, at + i)));
    legal_store(c, &of_scale, 0, scale_of(c, p, amax));
    memcpy(bytes, &scale, sizeof scale);
    for (int64_t i = 0; i < n; i++) codes[i] = code_of(c, legal_load(c, kv, at + i), legal_load(c, &of_scale, 0));
}

static void put_bytes(legal const *c, dsv3_cache_store_prob const *p, dsv3_tensor const *kv, int64_t at, uint8_t *row)
{
    int64_t const rank = p->kv_lora_rank, tiles = (rank + 127) / 128;
    for (int64_t k = tiles - 1; k >= 0; k--)
        put_tile(c, p, kv, at + 128 * k, k + 1 < tiles ? 128 : rank - 128 * k, row + 128 * k, row + rank + 4 * k);
    memcpy(row + rank + 4 * tiles, (char const *)kv->data + 2 * (at + rank), (size_t)p->qk_rope_head_dim * 2);
}

static void put_row(legal const *c, dsv3_cache_store_prob const *p, dsv3_cache_store_io const *io, int64_t t, char *row)
{
    dsv3_tensor const *kv = &io->kv;
    int64_t const at = legal_row(kv, t), width = p->kv_lora_rank + p->qk_rope_head_dim;
    size_t const size = kv->dtype == DSV3_F32 ? 4 : 2;
    if (io->kv_cache.dtype == DSV3_U8)
        put_bytes(c, p, kv, at, (uint8_t *)row);
    else if (io->kv_cache.dtype == DSV3_F8_E4M3)
        for (int64_t i = 0; i < width; i++)
            row[i] = (char)code_of(c, legal_load(c, kv, at + i), legal_load(c, dsv3_find(&io->weights, "kv_scale"), 0));
    else
        memcpy(row, (char const *)kv->data + size * (size_t)at, size * (size_t)width);
}

static int64_t slot_of(dsv3_tensor const *slots, int64_t t)
{
    int64_t wide = 0;
    int32_t narrow = 0;
    bool const is_wide = slots->dtype == DSV3_I64;
    memcpy(&wide, (char const *)slots->data + 8 * t * is_wide, is_wide ? 8 : 0);
    memcpy(&narrow, (char const *)slots->data + 4 * t * !is_wide, is_wide ? 0 : 4);
    return is_wide ? wide : narrow;
}

/* From the first token on or from the last, in the memory that both tensors name. */
dsv3_status legal_cache_store(dsv3_ctx *ctx, dsv3_cache_store_prob const *p, dsv3_cache_store_io const *io)
{
    (void)ctx;
    legal c;
    legal_cache_store_config(&c, p, io);
    bool const backward = legal_habit(&c, "backward", 2), by_input = legal_habit(&c, "by_input", 2);
    dsv3_tensor const *pool = by_input ? &io->kv_cache : &io->kv_cache_out;
    int64_t const size = pool->dtype == DSV3_F32 ? 4 : pool->dtype == DSV3_BF16 ? 2 : 1;
    for (int64_t i = 0; i < p->n_tokens; i++) {
        int64_t const t = backward ? p->n_tokens - 1 - i : i, slot = slot_of(&io->slot_mapping, t);
        if (slot >= 0) put_row(&c, p, io, t, (char *)pool->data + size * legal_row(pool, slot));
    }
    return DSV3_OK;
}
