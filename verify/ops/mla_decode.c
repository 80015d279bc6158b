/* mla_decode: rows only. The formula is in ref/mla_decode.c. */
#include "rows.h"

#include "case/key_numbers.h"
#include "case/large_scores.h"
#include "case/paged_cache.h"
#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_mla_decode_prob, name)
static const field_row fields[] = {
    {FIELD(batch), FIELD_SIZE, 1, 4096, {1, 1, 3, 1}, "sequences"},
    {FIELD(s_q), FIELD_SIZE, 1, 64, {1, 1, 2, 1}, "queries a sequence"},
    {FIELD(num_attention_heads), FIELD_SIZE, 1, 1024, {128, 2, 4, 1}, "heads"},
    {FIELD(kv_lora_rank), FIELD_SIZE, 1, 8192, {512, 3, 16, 1}, "width of a value"},
    {FIELD(qk_rope_head_dim), FIELD_SIZE, 2, 1024, {64, 2, 8, 2}, "rotary part of a key"},
    {FIELD(qk_nope_head_dim), FIELD_SIZE, 1, 1024, {128, 2, 8, 1}, "softmax_scale is made from it"},
    {FIELD(page_size), FIELD_SIZE, 1, 4096, {64, 2, 8, 1}, "tokens a page"},
    {FIELD(kv_len), FIELD_SIZE, 0, 1048576, {200, 3, 37, 1}, "tokens of the longest sequence"},
    {FIELD(softmax_scale), FIELD_REAL, 1e-6, 1e6, {0.1352337788608801, 0.5, 0.3647822717625651, 1}, "multiplies q . k"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_mla_decode_io, name)
static const tensor_row tensors[] = {
    {"q", TENSOR_IN, IO(q), "bf16 f32", "batch s_q num_attention_heads key_width", NULL, "absorbed queries"},
    {"kv_cache", TENSOR_IN, IO(kv_cache), "=q bf16 f32 f8_e4m3 u8", "pages page_size row_size", NULL,
     "keys; values are their start; u8: codes, scales of 128 codes, rotary part in bf16"},
    {"kv_scale", TENSOR_WEIGHT, 0, "f32", "one", "kv_cache=f8_e4m3", "multiplies every code"},
    {"block_table", TENSOR_IN, IO(block_table), "i32", "batch table_width", NULL, "pages of each sequence"},
    {"cache_seqlens", TENSOR_IN, IO(cache_seqlens), "i32", "batch", NULL, "tokens of each sequence"},
    {"o", TENSOR_OUT, IO(o), "=q", "batch s_q num_attention_heads kv_lora_rank", NULL, "weighted sums of values"},
    {"lse", TENSOR_OUT, IO(lse), "f32", "batch s_q num_attention_heads", NULL, "ln sum e^scores"},
    {.name = NULL},
};

static int64_t key_width(const void *prob)
{
    const dsv3_mla_decode_prob *const p = prob;
    return p->kv_lora_rank + p->qk_rope_head_dim;
}

static paging paging_of_prob(const dsv3_mla_decode_prob *p)
{
    return (paging){p->batch, p->page_size, p->kv_len, NULL, 0};
}

static int64_t table_width(const void *prob)
{
    paging const g = paging_of_prob(prob);
    return paging_table_width(&g);
}

static int64_t pages(const void *prob)
{
    paging const g = paging_of_prob(prob);
    return paging_pages(&g);
}

enum { TILE = 128 }; /* codes that share a scale in a row of bytes */

static int64_t tiles(const dsv3_mla_decode_prob *p)
{
    return (p->kv_lora_rank + TILE - 1) / TILE;
}

static const dsv3_mla_decode_prob *prob_of(const struct problem *p)
{
    return (const dsv3_mla_decode_prob *)(const void *)p->prob.bytes;
}

/* Elements of a row of the cache. */
static int64_t row_size(const struct problem *p)
{
    const dsv3_mla_decode_prob *const d = prob_of(p);
    bool const bytes = problem_tensor(p, "kv_cache")->dtype == DSV3_U8;
    return bytes ? d->kv_lora_rank + 4 * tiles(d) + 2 * d->qk_rope_head_dim : key_width(d);
}

static int64_t one(const void *prob)
{
    (void)prob;
    return 1;
}

static const derived_row derived[] = {{"key_width", key_width},
                                      {"row_size", .by_formats = row_size},
                                      {"table_width", table_width},
                                      {"pages", pages},
                                      {"one", one},
                                      {.name = NULL}};

static const list_row lists[] = {{"kv_lens", "batch", "kv_len", NULL, "tokens of each sequence, as in 0+37+64"},
                                 {.name = NULL}};

/* ---- pages ---- */

static paging paging_of(const struct problem *p)
{
    paging g = paging_of_prob(prob_of(p));
    g.lengths = p->lists[0] ? p->list[0] : NULL;
    g.seed = p->seed;
    return g;
}

static int64_t length_of(const struct problem *p, int64_t b)
{
    paging const g = paging_of(p);
    return paging_length(&g, b);
}

/* The token in slot i of the cache, or -1 when the slot is unused. */
static int64_t token_of(const struct problem *p, int64_t slot)
{
    paging const g = paging_of(p);
    int64_t b;
    return paging_token(&g, slot, &b);
}

/* block_table and cache_seqlens; dead entries are `dead`. */
static double index_value(const struct problem *p, const tensor_row *row, int64_t i, double dead)
{
    if (is(row, "cache_seqlens")) return (double)length_of(p, i);
    paging const g = paging_of(p);
    return (double)paging_entry(&g, i / paging_table_width(&g), i % paging_table_width(&g), (int64_t)dead);
}

static bool is_index(const tensor_row *row)
{
    return is(row, "block_table") || is(row, "cache_seqlens");
}

/* ---- the cache ---- */

/* Entry c of the key in a slot, before it is stored. */
typedef double key_fill(const struct problem *p, int64_t slot, int64_t c, uint64_t bits);

/* Some number of 24 bits. */
static double drawn_scale(const struct problem *p, const char *name, int64_t i)
{
    uint64_t const bits = rng_bits(rng_key(p->seed, name), (uint64_t)i);
    return (1 + (double)(bits >> 41) * 0x1p-23) / 64;
}

static bool is_drawn(const struct problem *p);

static double kv_scale(const struct problem *p)
{
    return is_drawn(p) ? drawn_scale(p, "kv_scale", 0) : 0.5;
}

static double tile_scale(const struct problem *p, int64_t slot, int64_t tile)
{
    bool const drawn = is_drawn(p);
    return drawn ? drawn_scale(p, "tile_scale", slot * tiles(prob_of(p)) + tile)
                 : ldexp(1, (int)((slot + tile) % 3) - 1);
}

/* Byte `at` of a number stored in a format. */
static double byte_of(dsv3_dtype format, double v, int64_t at)
{
    uint8_t bytes[4] = {0};
    ref_encode(format, bytes, 0, v);
    return bytes[at];
}

/* Byte i of a cache of bytes. */
static double cache_byte(const struct problem *p, int64_t i, key_fill *key)
{
    const dsv3_mla_decode_prob *const d = prob_of(p);
    int64_t const slot = i / row_size(p), at = i % row_size(p), rank = d->kv_lora_rank, width = key_width(d);
    int64_t const past_codes = at - rank, past_scales = past_codes - 4 * tiles(d);
    int64_t const c = past_codes < 0 ? at : past_scales < 0 ? past_codes / 4 * TILE : rank + past_scales / 2;
    double const v = key(p, slot, c, rng_bits(rng_key(p->seed, "kv_cache"), (uint64_t)(slot * width + c)));
    double const scale = c < rank ? tile_scale(p, slot, c / TILE) : 1;
    if (past_codes < 0) return byte_of(DSV3_F8_E4M3, v / scale, 0);
    if (past_scales < 0) return byte_of(DSV3_F32, isnan(v) ? v : scale, past_codes % 4);
    return byte_of(DSV3_BF16, v, past_scales % 2);
}

static double cache_value(const struct problem *p, int64_t i, uint64_t bits, key_fill *key)
{
    dsv3_dtype const format = problem_tensor(p, "kv_cache")->dtype;
    int64_t const width = key_width(prob_of(p));
    if (format == DSV3_U8) return cache_byte(p, i, key);
    return key(p, i / width, i % width, bits) / (format == DSV3_F8_E4M3 ? kv_scale(p) : 1);
}

/* ---- fills ---- */

/* Entry i of q. */
typedef double query_fill(const struct problem *p, int64_t i, uint64_t bits);

static double input_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits, key_fill *key,
                          query_fill *query)
{
    if (is_index(row)) return index_value(p, row, i, 0);
    if (is(row, "kv_scale")) return kv_scale(p);
    return is(row, "kv_cache") ? cache_value(p, i, bits, key) : query(p, i, bits);
}

static double real_key(const struct problem *p, int64_t slot, int64_t c, uint64_t bits)
{
    (void)p, (void)slot, (void)c;
    return rng_gaussian(bits);
}

static double real_query(const struct problem *p, int64_t i, uint64_t bits)
{
    (void)p, (void)i;
    return rng_gaussian(bits) / 2;
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return input_value(p, row, i, bits, real_key, real_query);
}

static double nan_unused_key(const struct problem *p, int64_t slot, int64_t c, uint64_t bits)
{
    (void)c;
    return token_of(p, slot) < 0 ? (double)NAN : rng_gaussian(bits);
}

static double nan_unused_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is_index(row)) return index_value(p, row, i, 2147480000);
    return input_value(p, row, i, bits, nan_unused_key, real_query);
}

static bool is_drawn(const struct problem *p)
{
    return p->fill->value == real_value || p->fill->value == nan_unused_value;
}

static key_numbers numbers_for(const dsv3_mla_decode_prob *d)
{
    return key_numbers_of(key_width(d), d->kv_len);
}

/* The number that the key in a slot carries: any in an unused slot. */
static int64_t number_of(const struct problem *p, int64_t slot, uint64_t bits)
{
    int64_t const token = token_of(p, slot);
    return token < 0 ? (int64_t)(bits >> 40) : token;
}

static double numbered_key(const struct problem *p, int64_t slot, int64_t c, uint64_t bits)
{
    key_numbers const n = numbers_for(prob_of(p));
    return key_numbers_key(&n, number_of(p, slot, bits), c, bits);
}

/* How many keys the query of row r sees; below 1: none. */
static int64_t seen_by(const struct problem *p, int64_t r)
{
    const dsv3_mla_decode_prob *const d = prob_of(p);
    int64_t const rows = d->s_q * d->num_attention_heads;
    return length_of(p, r / rows) - d->s_q + r % rows / d->num_attention_heads + 1;
}

/* Queries that select 2^free keys, or as many as they see. */
static double selecting(const struct problem *p, int64_t i, int64_t free)
{
    key_numbers const n = numbers_for(prob_of(p));
    int64_t const r = i / n.width;
    uint64_t const draw = rng_bits(rng_key(p->seed, "select"), (uint64_t)r);
    return key_numbers_query(&n, draw, i % n.width, free, seen_by(p, r));
}

static double one_query(const struct problem *p, int64_t i, uint64_t bits)
{
    (void)bits;
    return selecting(p, i, 0);
}

static double all_query(const struct problem *p, int64_t i, uint64_t bits)
{
    (void)bits;
    return selecting(p, i, 62);
}

static double some_query(const struct problem *p, int64_t i, uint64_t bits)
{
    (void)bits;
    return selecting(p, i, i / key_width(prob_of(p)) % prob_of(p)->num_attention_heads % 8);
}

static double onehot_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return input_value(p, row, i, bits, numbered_key, one_query);
}

static double uniform_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return input_value(p, row, i, bits, numbered_key, all_query);
}

/* By head: the last key that the query sees, the first of its page, the last of the page before, the first of all. */
static int64_t end_of(const struct problem *p, int64_t seen, int64_t head)
{
    int64_t const last = seen - 1, page = prob_of(p)->page_size, first = last / page * page;
    int64_t const ends[] = {last, first, first > 0 ? first - 1 : 0, 0};
    return ends[(head + (int64_t)(p->seed % 4)) % 4];
}

static double end_query(const struct problem *p, int64_t i, uint64_t bits)
{
    const dsv3_mla_decode_prob *const d = prob_of(p);
    key_numbers const n = numbers_for(d);
    int64_t const r = i / n.width, seen = seen_by(p, r);
    (void)bits;
    return seen > 0 ? key_numbers_select(&n, end_of(p, seen, r % d->num_attention_heads), i % n.width, 0) : 0;
}

static double ends_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return input_value(p, row, i, bits, numbered_key, end_query);
}

static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return input_value(p, row, i, bits, numbered_key, some_query);
}

static double adversarial_key(const struct problem *p, int64_t slot, int64_t c, uint64_t bits)
{
    int64_t const from_end = key_width(prob_of(p)) - 1 - c, token = token_of(p, slot);
    if (from_end == 0) return token % 97 == 5 ? 1 : 0;
    if (from_end == 1) return (double)(token % 16 - 8) / 8;
    return 1 + rng_gaussian(bits) / 8;
}

/* By head: one key above equal ones, 16 different scores in turn, scores of several tens, equal scores. Values
 * near 1. */
static double adversarial_query(const struct problem *p, int64_t i, uint64_t bits)
{
    const dsv3_mla_decode_prob *const d = prob_of(p);
    int64_t const width = key_width(d), c = i % width, r = i / width;
    switch ((r + (int64_t)(p->seed % 4)) % 4) {
    case 0: return c == width - 1 ? (0.3 + (double)(r % 18) / 10) / d->softmax_scale : 0;
    case 1: return c == width - 2 ? 4 / d->softmax_scale : 0;
    case 2: return 8 * rng_gaussian(bits);
    default: return 0;
    }
}

static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return input_value(p, row, i, bits, adversarial_key, adversarial_query);
}

static double clear_key(const struct problem *p, int64_t slot, int64_t c, uint64_t bits)
{
    key_numbers const n = numbers_for(prob_of(p));
    return large_key(&n, number_of(p, slot, bits), c, rng_gaussian(bits));
}

static double clear_query(const struct problem *p, int64_t i, uint64_t bits)
{
    key_numbers const n = numbers_for(prob_of(p));
    int64_t const r = i / n.width;
    uint64_t const draw = rng_bits(rng_key(p->seed, "select"), (uint64_t)r);
    (void)bits;
    return large_query(&n, p->seed, r, draw, i % n.width, seen_by(p, r)) / prob_of(p)->softmax_scale;
}

static double large_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return input_value(p, row, i, bits, clear_key, clear_query);
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal; slots past the end of a sequence hold the same kind of numbers"},
    {"exact", exact_value, "head h selects 2^(h mod 8) keys, the others vanish: o is a mean of whole numbers"},
    {"onehot", onehot_value, "each query selects one key: o is its value"},
    {"uniform", uniform_value, "each query selects as many keys as a power of two allows, all with the same score"},
    {"nan_unused", nan_unused_value, "as real; NaN in unused slots, page 2147480000 in dead entries of block_table"},
    {"adversarial", adversarial_value,
     "by head: one key above equal ones, periodic, large, and equal scores; values near 1"},
    {"large", large_value,
     "one key scores near 94, -106, 98 or -112, others are far below: e^score overflows or vanishes"},
    {"ends", ends_value, "by head a query selects the last key, the first of its page, the last before it, the first"},
    {.name = NULL},
};

static bool coded(const struct problem *p)
{
    return p->fill->value == exact_value || p->fill->value == onehot_value || p->fill->value == uniform_value ||
           p->fill->value == ends_value;
}

static const char *rule(const struct problem *p)
{
    const dsv3_mla_decode_prob *const d = prob_of(p);
    bool const mixed = problem_tensor(p, "kv_cache")->dtype == DSV3_F32 && problem_tensor(p, "q")->dtype == DSV3_BF16;
    key_numbers const n = numbers_for(d);
    if (mixed) return "a cache of f32 needs q of f32: no public model keeps one for bf16";
    if (d->qk_rope_head_dim % 2) return "qk_rope_head_dim is even";
    if (coded(p) && !key_numbers_fit(&n)) return key_numbers_rule;
    if (p->fill->value == large_value && !large_scores_fit(&n)) return key_numbers_rule;
    return NULL;
}

static double work(const void *prob)
{
    const dsv3_mla_decode_prob *const p = prob;
    double const scores = (double)p->batch * (double)p->s_q * (double)p->num_attention_heads * (double)p->kv_len;
    return scores * (double)(key_width(p) + p->kv_lora_rank);
}

const op op_mla_decode = {
    .name = "mla_decode",
    .summary = "absorbed multi-head latent attention over a paged cache: o and lse",
    .source = "DeepSeek-V2 report (arXiv 2405.04434) 2.1; deepseek-ai/FlashMLA, flash_mla_with_kvcache",
    .prob_size = sizeof(dsv3_mla_decode_prob),
    .io_size = sizeof(dsv3_mla_decode_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .rule = rule,
    .work = work,
    .lists = lists,
};
