/* cache_store: rows only. The formula is in ref/cache_store.c. */
#include "rows.h"

#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_cache_store_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {4, 4, 17, 1}, "keys to store"},
    {FIELD(kv_lora_rank), FIELD_SIZE, 1, 8192, {512, 3, 16, 1}, "latent of a key"},
    {FIELD(qk_rope_head_dim), FIELD_SIZE, 2, 1024, {64, 2, 8, 2}, "rotary part of a key"},
    {FIELD(page_size), FIELD_SIZE, 1, 4096, {64, 2, 8, 1}, "tokens a page"},
    {FIELD(amax_floor), FIELD_REAL, 0, 1, {0, 0, 0, 0}, "u8: least amax of a tile; 0: none"},
    {FIELD(scale_floor), FIELD_REAL, 0, 1, {0, 0, 0, 0}, "u8: least scale of a tile; 0: none"},
    {FIELD(scale_fmt), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "u8, 1: ue8m0, scales are powers of two"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_cache_store_io, name)
static const tensor_row tensors[] = {
    {"kv", TENSOR_IN, IO(kv), "bf16 f32", "n_tokens key_width", NULL, "latent and rotary part of each token's key"},
    {"slot_mapping", TENSOR_IN, IO(slot_mapping), "i64 i32", "n_tokens", NULL, "rows of the pool; -1: not stored"},
    {"kv_cache", TENSOR_IN, IO(kv_cache), "=kv bf16 f32 f8_e4m3 u8", "pages page_size row_size", NULL,
     "the pool before; u8: codes, scales of 128 codes, rotary part in bf16"},
    {"kv_scale", TENSOR_WEIGHT, 0, "f32", "one", "kv_cache=f8_e4m3", "divides every entry"},
    {"kv_cache_out", TENSOR_OUT, IO(kv_cache_out), "=kv_cache", "pages page_size row_size", NULL,
     "the pool, in the same memory: rows of no slot stay as they are", .over = "kv_cache"},
    {.name = NULL},
};

static int64_t key_width(const void *prob)
{
    const dsv3_cache_store_prob *const p = prob;
    return p->kv_lora_rank + p->qk_rope_head_dim;
}

/* Half of the slots and more stay free. */
static int64_t pages(const void *prob)
{
    const dsv3_cache_store_prob *const p = prob;
    return 2 * p->n_tokens / p->page_size + 2;
}

static int64_t one(const void *prob)
{
    (void)prob;
    return 1;
}

static const dsv3_cache_store_prob *prob_of(const struct problem *p)
{
    return (const dsv3_cache_store_prob *)(const void *)p->prob.bytes;
}

static dsv3_dtype format_of_pool(const struct problem *p)
{
    return problem_tensor(p, "kv_cache")->dtype;
}

/* Elements of a row of the pool. */
static int64_t row_size(const struct problem *p)
{
    const dsv3_cache_store_prob *const d = prob_of(p);
    bool const bytes = format_of_pool(p) == DSV3_U8;
    return bytes ? d->kv_lora_rank + 4 * blocks(d->kv_lora_rank) + 2 * d->qk_rope_head_dim : key_width(d);
}

static const derived_row derived[] = {
    {"key_width", key_width}, {"row_size", .by_formats = row_size}, {"pages", pages}, {"one", one}, {.name = NULL}};

/* ---- slots ---- */

static int64_t common_divisor(int64_t a, int64_t b)
{
    return b ? common_divisor(b, a % b) : a;
}

static int64_t slots_of(const struct problem *p)
{
    return pages(p->prob.bytes) * prob_of(p)->page_size;
}

/* Slots far apart, each once, the last of the pool never; every fifth token isn't stored. */
static double scattered_slot(const struct problem *p, int64_t t)
{
    int64_t const n = slots_of(p) - 1;
    int64_t step = 1 + n * 3 / 8;
    while (common_divisor(step, n) != 1) step++;
    return t % 5 == 3 ? -1 : (double)(((int64_t)(p->seed % 1024) + (t + 1) * step) % n);
}

/* The last slots of the pool, one after the other. */
static double last_slot(const struct problem *p, int64_t t)
{
    return (double)(slots_of(p) - prob_of(p)->n_tokens + t);
}

/* Back to the first one; every other token isn't stored, but for the last. */
static double backward_slot(const struct problem *p, int64_t t)
{
    int64_t const left = prob_of(p)->n_tokens - 1 - t;
    return left % 2 ? -1 : (double)left;
}

/* ---- the pool ---- */

/* What stands there before: no zeros, no NaN; of bytes any. */
static double before(const struct problem *p, uint64_t bits)
{
    double const drawn = (double)(bits >> 32);
    uint8_t const code = (uint8_t)(1 + (bits >> 32) % 125);
    switch (format_of_pool(p)) {
    case DSV3_U8: return fmod(drawn, 256);
    case DSV3_F8_E4M3: return ref_decode(DSV3_F8_E4M3, &code, 0);
    default: return 128 + fmod(drawn, 127);
    }
}

/* ---- keys ---- */

static int64_t column_of(const struct problem *p, int64_t i)
{
    return i % key_width(prob_of(p));
}

static int64_t place_in_tile(const struct problem *p, int64_t i)
{
    return column_of(p, i) % 128;
}

/* Of a tile: 2^-4 to 2^3, no two neighbours alike; where one scale serves all, none. */
static int exponent_of(const struct problem *p, int64_t i)
{
    int64_t const tile = i / key_width(prob_of(p)) * 3 + column_of(p, i) / 128 * 5;
    return format_of_pool(p) == DSV3_F8_E4M3 ? -1 : (int)((tile + (int64_t)(p->seed % 8)) % 8) - 4;
}

/* Some number of 24 bits. */
static double drawn_scale(const struct problem *p)
{
    uint64_t const bits = rng_bits(rng_key(p->seed, "kv_scale"), 0);
    return (1 + (double)(bits >> 41) * 0x1p-23) / 64;
}

/* Value of a code that is no NaN, all of them in turn. */
static double value_of_code(int64_t k)
{
    uint8_t const code = (uint8_t)(k < 127 ? k : k + 1);
    return ref_decode(DSV3_F8_E4M3, &code, 0);
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is(row, "slot_mapping")) return scattered_slot(p, i);
    if (is(row, "kv_scale")) return drawn_scale(p);
    return is(row, "kv_cache") ? before(p, bits) : ldexp(rng_gaussian(bits), exponent_of(p, i));
}

/* The first entry of a tile makes its scale a power of two; the others are that times values of E4M3. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is(row, "slot_mapping")) return last_slot(p, i);
    if (is(row, "kv_scale")) return 0.5;
    if (is(row, "kv_cache")) return before(p, bits);
    double const whole = place_in_tile(p, i) == 0 ? 448 : value_of_code((i * 83 + (int64_t)(p->seed % 254)) % 254);
    return ldexp(place_in_tile(p, i) == 0 && bits & 1 ? -whole : whole, exponent_of(p, i));
}

/* As exact, but midway between two values of E4M3, or one unit of BF16 beside that. */
static double tie_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (!is(row, "kv") || place_in_tile(p, i) == 0) return exact_value(p, row, i, bits);
    uint8_t const code = (uint8_t)rng_whole(bits, 0, 125), next = code + 1;
    double const middle = (ref_decode(DSV3_F8_E4M3, &code, 0) + ref_decode(DSV3_F8_E4M3, &next, 0)) / 2;
    double const beside = middle * (1 + (double)rng_whole(bits << 32, -1, 1) * 0x1p-7);
    return ldexp(bits & 1 ? -beside : beside, exponent_of(p, i));
}

/* By token: zeros of both signs, more than the largest code can be, near 2^-20, subnormal codes, one outlier. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const sign = bits & 1 ? -1 : 1, part = (double)rng_whole(bits, 1, 448) / 512;
    bool const first = place_in_tile(p, i) == 0;
    if (is(row, "slot_mapping")) return backward_slot(p, i);
    if (!is(row, "kv")) return exact_value(p, row, i, bits);
    int64_t const stored = (prob_of(p)->n_tokens - 1 - i / key_width(prob_of(p))) / 2;
    switch ((stored + (int64_t)(p->seed % 5)) % 5) {
    case 0: return sign * (464 + 128 * part) / 2;
    case 1: return copysign(0, sign);
    case 2: return sign * 0x1p-20 * part;
    case 3: return sign * ldexp(first ? 448 : part / 32, exponent_of(p, i));
    default: return sign * (first ? 30000 : part);
    }
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal keys; slots all over the pool, every fifth token isn't stored"},
    {"exact", exact_value, "scales 2^k, and 2^k times every value of E4M3; the last slots of the pool"},
    {"tie", tie_value, "as exact, midpoints of neighbouring values and what is beside them"},
    {"adversarial", adversarial_value,
     "by token: zeros, above the largest code, near 2^-20, subnormal codes, an outlier; slots backward"},
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    dsv3_dtype const kv = problem_tensor(p, "kv")->dtype, pool = format_of_pool(p);
    if (pool == DSV3_U8 && kv != DSV3_BF16) return "a pool of u8 keeps the rotary part as it is: it takes kv=bf16";
    bool const copies = pool == DSV3_F32 || pool == DSV3_BF16;
    return copies && pool != kv ? "a pool of f32 or bf16 has the format of kv" : NULL;
}

static double work(const void *prob)
{
    return 4 * (double)((const dsv3_cache_store_prob *)prob)->n_tokens * (double)key_width(prob);
}

const op op_cache_store = {
    .name = "cache_store",
    .summary = "keys of new tokens to a paged cache, by slot_mapping: copies, codes, or rows of 656 bytes",
    .source = "vllm-project/vllm, csrc/cache_kernels.cu, concat_and_cache_mla; deepseek-ai/FlashMLA, tests/quant.py",
    .prob_size = sizeof(dsv3_cache_store_prob),
    .io_size = sizeof(dsv3_cache_store_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .rule = rule,
    .work = work,
    .staged = true,
};
