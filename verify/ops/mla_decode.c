/* mla_decode: rows only. The formula is in ref/mla_decode.c. */
#include "../problem.h"
#include "../rng.h"

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
    {"kv_cache", TENSOR_IN, IO(kv_cache), "=q bf16 f32", "pages page_size key_width", NULL,
     "keys; values are their start"},
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

/* Pages of the longest sequence. */
static int64_t most_pages(const dsv3_mla_decode_prob *p)
{
    return (p->kv_len + p->page_size - 1) / p->page_size;
}

static int64_t table_width(const void *prob)
{
    return most_pages(prob) + 1; /* the last entry is dead */
}

static int64_t pages(const void *prob)
{
    const dsv3_mla_decode_prob *const p = prob;
    return p->batch * most_pages(p) + 2; /* two belong to nobody */
}

static const derived_row derived[] = {
    {"key_width", key_width}, {"table_width", table_width}, {"pages", pages}, {.name = NULL}};

static const list_row list = {"kv_lens", "batch", "kv_len", "tokens of each sequence, as in 0+37+64", NULL};

static const dsv3_mla_decode_prob *prob_of(const struct problem *p)
{
    return (const dsv3_mla_decode_prob *)(const void *)p->prob.bytes;
}

static bool is(const tensor_row *row, const char *name)
{
    return !strcmp(row->name, name);
}

/* ---- pages ---- */

static int64_t length_of(const struct problem *p, int64_t b)
{
    return p->lists ? p->list[b] : prob_of(p)->kv_len;
}

/* Pages lie in reverse order, turned by the seed: its own inverse. */
static int64_t shuffled(const struct problem *p, int64_t page)
{
    int64_t const n = pages(p->prob.bytes);
    return (n - 1 - page + (int64_t)(p->seed % (uint64_t)n)) % n;
}

/* The token in slot i of the cache, or -1 when the slot is unused. */
static int64_t token_of(const struct problem *p, int64_t slot)
{
    const dsv3_mla_decode_prob *const d = prob_of(p);
    int64_t const page = shuffled(p, slot / d->page_size), most = most_pages(d);
    if (most == 0 || page >= d->batch * most) return -1;
    int64_t const token = page % most * d->page_size + slot % d->page_size;
    return token < length_of(p, page / most) ? token : -1;
}

/* block_table and cache_seqlens; dead entries are `dead`. */
static double index_value(const struct problem *p, const tensor_row *row, int64_t i, double dead)
{
    const dsv3_mla_decode_prob *const d = prob_of(p);
    if (is(row, "cache_seqlens")) return (double)length_of(p, i);
    int64_t const b = i / table_width(d), page = i % table_width(d);
    bool const used = page * d->page_size < length_of(p, b);
    return used ? (double)shuffled(p, b * most_pages(d) + page) : dead;
}

static bool is_index(const tensor_row *row)
{
    return is(row, "block_table") || is(row, "cache_seqlens");
}

/* ---- fills ---- */

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is_index(row)) return index_value(p, row, i, 0);
    return is(row, "q") ? rng_gaussian(bits) / 2 : rng_gaussian(bits);
}

static double nan_unused_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is_index(row)) return index_value(p, row, i, 2147480000);
    bool const unused = is(row, "kv_cache") && token_of(p, i / key_width(p->prob.bytes)) < 0;
    return unused ? (double)NAN : real_value(p, row, i, bits);
}

/* Keys carry their number in binary, +1 and -1, then `pads` times +1, then 1, at their end. A query that asks for a number
 * scores 0 there and below -2^15 softmax_scale elsewhere; bits that it leaves out are made up by pads, so that all of its
 * entries are powers of two. */
typedef struct {
    int64_t bits, pads;
} code;

static code code_of(const dsv3_mla_decode_prob *d)
{
    code c = {0, 1};
    while ((int64_t)1 << c.bits < d->kv_len) c.bits++;
    while (c.pads < c.bits) c.pads *= 2;
    return c;
}

/* Entry c of the key of token j. */
static double coded_key(const struct problem *p, int64_t j, int64_t c, uint64_t bits)
{
    code const k = code_of(prob_of(p));
    int64_t const from_end = key_width(p->prob.bytes) - 1 - c;
    if (from_end <= k.pads) return 1;
    if (from_end <= k.pads + k.bits) return j >> (from_end - k.pads - 1) & 1 ? 1 : -1;
    return (double)rng_whole(bits, -8, 8);
}

/* Entry c of the query that selects the 2^free keys of a block among those that row r sees. */
static double coded_query(const struct problem *p, int64_t r, int64_t c, int64_t free, int64_t seen)
{
    code const k = code_of(prob_of(p));
    int64_t const from_end = key_width(p->prob.bytes) - 1 - c;
    uint64_t const draw = rng_bits(rng_key(p->seed, "select"), (uint64_t)r);
    int64_t const block = rng_whole(draw, 0, (seen >> free) - 1), bit = from_end - k.pads - 1;
    if (from_end == 0) return -(double)k.pads * 0x1p14;
    if (from_end <= k.pads) return from_end <= k.pads - k.bits + free ? 0x1p14 : 0;
    if (bit >= k.bits || bit < free) return 0;
    return block >> (bit - free) & 1 ? 0x1p14 : -0x1p14;
}

/* free: bits that a query leaves out; at most as many as keep its block among the keys that it sees. */
static double selecting(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits, int64_t free)
{
    const dsv3_mla_decode_prob *const d = prob_of(p);
    int64_t const width = key_width(d), r = i / width;
    if (is_index(row)) return index_value(p, row, i, 0);
    if (is(row, "kv_cache")) {
        int64_t const token = token_of(p, r);
        return coded_key(p, token < 0 ? (int64_t)(bits >> 40) : token, i % width, bits);
    }
    int64_t const rows = d->s_q * d->num_attention_heads, b = r / rows, query = r % rows / d->num_attention_heads;
    int64_t const seen = length_of(p, b) - d->s_q + query + 1;
    int64_t most = 0;
    while (seen >> (most + 1) > 0) most++;
    if (seen <= 0) return 0;
    return coded_query(p, r, i % width, free < most ? free : most, seen);
}

static double onehot_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return selecting(p, row, i, bits, 0);
}

static double uniform_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return selecting(p, row, i, bits, 62);
}

static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const head = i / key_width(p->prob.bytes) % prob_of(p)->num_attention_heads;
    return selecting(p, row, i, bits, head % 8);
}

/* By head: one key above equal ones, 16 different scores in turn, scores of several tens, equal scores. Values near 1. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    const dsv3_mla_decode_prob *const d = prob_of(p);
    int64_t const width = key_width(d), c = i % width, r = i / width;
    double const g = rng_gaussian(bits);
    if (is_index(row)) return index_value(p, row, i, 0);
    if (is(row, "kv_cache")) {
        if (c == width - 1) return token_of(p, r) % 97 == 5 ? 1 : 0;
        if (c == width - 2) return (double)(token_of(p, r) % 16 - 8) / 8;
        return 1 + g / 8;
    }
    switch ((r + (int64_t)(p->seed % 4)) % 4) {
    case 0: return c == width - 1 ? (0.3 + (double)(r % 18) / 10) / d->softmax_scale : 0;
    case 1: return c == width - 2 ? 4 / d->softmax_scale : 0;
    case 2: return 8 * g;
    default: return 0;
    }
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal; slots past the end of a sequence hold the same kind of numbers"},
    {"exact", exact_value, "head h selects 2^(h mod 8) keys, the others vanish: o is a mean of whole numbers"},
    {"onehot", onehot_value, "each query selects one key: o is its value"},
    {"uniform", uniform_value, "each query selects as many keys as a power of two allows, all with the same score"},
    {"nan_unused", nan_unused_value, "as real; NaN in unused slots, page 2147480000 in dead entries of block_table"},
    {"adversarial", adversarial_value,
     "by head: one key above equal ones, periodic, large, and equal scores; values near 1"},
    {.name = NULL},
};

static bool coded(const struct problem *p)
{
    return p->fill->value == exact_value || p->fill->value == onehot_value || p->fill->value == uniform_value;
}

static const char *rule(const struct problem *p)
{
    const dsv3_mla_decode_prob *const d = prob_of(p);
    bool const mixed = problem_tensor(p, "kv_cache")->dtype == DSV3_F32 && problem_tensor(p, "q")->dtype == DSV3_BF16;
    code const c = code_of(d);
    if (mixed) return "a cache of f32 needs q of f32: no public model keeps one for bf16";
    if (d->qk_rope_head_dim % 2) return "qk_rope_head_dim is even";
    if (coded(p) && c.bits + c.pads + 1 > key_width(d))
        return "fills exact, onehot and uniform write the number of a key into its last entries: too many keys for "
               "this width";
    return NULL;
}

static dsv3_status call(const dsv3_backend *b, dsv3_ctx *ctx, const void *prob, const void *io)
{
    return b->mla_decode ? b->mla_decode(ctx, prob, io) : DSV3_UNSUPPORTED;
}

static ref_op *reference(const ref_table *tier)
{
    return tier->mla_decode;
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
    .call = call,
    .reference = reference,
    .work = work,
    .list = &list,
};
