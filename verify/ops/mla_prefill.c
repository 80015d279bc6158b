/* mla_prefill: rows only. The formula is in ref/mla_prefill.c. */
#include "rows.h"

#include "case/key_numbers.h"
#include "case/large_scores.h"
#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_mla_prefill_prob, name)
static const field_row fields[] = {
    {FIELD(batch), FIELD_SIZE, 1, 256, {1, 1, 3, 1}, "sequences"},
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {24, 2, 11, 1}, "queries of all sequences"},
    {FIELD(n_keys), FIELD_SIZE, 1, 1048576, {40, 2, 37, 1}, "keys of all sequences"},
    {FIELD(num_attention_heads), FIELD_SIZE, 1, 1024, {128, 2, 4, 1}, "heads"},
    {FIELD(qk_nope_head_dim), FIELD_SIZE, 1, 1024, {128, 2, 8, 1}, "part of a key without position"},
    {FIELD(qk_rope_head_dim), FIELD_SIZE, 2, 1024, {64, 2, 8, 2}, "rotary part of a key"},
    {FIELD(v_head_dim), FIELD_SIZE, 1, 8192, {128, 2, 12, 1}, "width of a value"},
    {FIELD(softmax_scale), FIELD_REAL, 1e-6, 1e6, {0.1352337788608801, 0.5, 0.3647822717625651, 1}, "multiplies q . k"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_mla_prefill_io, name)
static const tensor_row tensors[] = {
    {"q", TENSOR_IN, IO(q), "bf16 f32", "n_tokens num_attention_heads key_width", NULL, "queries"},
    {"k", TENSOR_IN, IO(k), "=q", "n_keys num_attention_heads key_width", NULL, "keys of each head"},
    {"v", TENSOR_IN, IO(v), "=q", "n_keys num_attention_heads v_head_dim", NULL, "values of each head"},
    {"cu_seqlens_q", TENSOR_IN, IO(cu_seqlens_q), "i32", "starts", NULL, "first query of each sequence, and n_tokens"},
    {"cu_seqlens_k", TENSOR_IN, IO(cu_seqlens_k), "i32", "starts", NULL, "first key of each sequence, and n_keys"},
    {"o", TENSOR_OUT, IO(o), "=q", "n_tokens num_attention_heads v_head_dim", NULL, "weighted sums of values"},
    {"lse", TENSOR_OUT, IO(lse), "f32", "n_tokens num_attention_heads", NULL, "ln sum e^scores"},
    {.name = NULL},
};

static int64_t key_width(const void *prob)
{
    const dsv3_mla_prefill_prob *const p = prob;
    return p->qk_nope_head_dim + p->qk_rope_head_dim;
}

static int64_t starts(const void *prob)
{
    return ((const dsv3_mla_prefill_prob *)prob)->batch + 1;
}

static const derived_row derived[] = {{"key_width", key_width}, {"starts", starts}, {.name = NULL}};

enum { QUERIES, KEYS }; /* the lists */
static const list_row lists[] = {{"q_lens", "batch", NULL, "n_tokens", "queries of each sequence, as in 3+1+5"},
                                 {"kv_lens", "batch", NULL, "n_keys", "keys of each sequence, as in 3+8+5"},
                                 {.name = NULL}};

static const dsv3_mla_prefill_prob *prob_of(const struct problem *p)
{
    return (const dsv3_mla_prefill_prob *)(const void *)p->prob.bytes;
}

/* ---- sequences ---- */

/* The first query or key of sequence b; without a list all sequences are as long, or one longer than others. */
static int64_t start_of(const struct problem *p, int which, int64_t b)
{
    const dsv3_mla_prefill_prob *const d = prob_of(p);
    int64_t start = 0;
    if (!p->lists[which]) return (which == QUERIES ? d->n_tokens : d->n_keys) * b / d->batch;
    for (int64_t i = 0; i < b; i++) start += p->list[which][i];
    return start;
}

static int64_t length_of(const struct problem *p, int which, int64_t b)
{
    return start_of(p, which, b + 1) - start_of(p, which, b);
}

/* The sequence of query or key i. */
static int64_t sequence_of(const struct problem *p, int which, int64_t i)
{
    int64_t b = 0;
    while (start_of(p, which, b + 1) <= i) b++;
    return b;
}

/* How many keys query t sees. */
static int64_t seen_by(const struct problem *p, int64_t t)
{
    int64_t const b = sequence_of(p, QUERIES, t);
    return length_of(p, KEYS, b) - length_of(p, QUERIES, b) + t - start_of(p, QUERIES, b) + 1;
}

/* The number of key j in its sequence. */
static int64_t place_of(const struct problem *p, int64_t j)
{
    return j - start_of(p, KEYS, sequence_of(p, KEYS, j));
}

static bool is_index(const tensor_row *row)
{
    return is(row, "cu_seqlens_q") || is(row, "cu_seqlens_k");
}

static double index_value(const struct problem *p, const tensor_row *row, int64_t i)
{
    return (double)start_of(p, is(row, "cu_seqlens_q") ? QUERIES : KEYS, i);
}

/* ---- fills ---- */

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is_index(row)) return index_value(p, row, i);
    return rng_gaussian(bits);
}

static key_numbers numbers_for(const struct problem *p)
{
    int64_t most = 0;
    for (int64_t b = 0; b < prob_of(p)->batch; b++)
        if (length_of(p, KEYS, b) > most) most = length_of(p, KEYS, b);
    return key_numbers_of(key_width(p->prob.bytes), most);
}

/* Queries that select 2^free keys, or as many as they see; values are whole numbers. */
static double selecting(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits, int64_t free)
{
    int64_t const heads = prob_of(p)->num_attention_heads;
    if (is_index(row)) return index_value(p, row, i);
    if (is(row, "v")) return (double)rng_whole(bits, -8, 8);
    key_numbers const n = numbers_for(p);
    int64_t const r = i / n.width;
    if (is(row, "k")) return key_numbers_key(&n, place_of(p, r / heads), i % n.width, bits);
    uint64_t const draw = rng_bits(rng_key(p->seed, "select"), (uint64_t)r);
    return key_numbers_query(&n, draw, i % n.width, free, seen_by(p, r / heads));
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

/* By head: one key above equal ones, 16 different scores in turn, scores of several tens, equal scores. Values
 * near 1. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    const dsv3_mla_prefill_prob *const d = prob_of(p);
    int64_t const width = key_width(d), c = i % width, r = i / width;
    double const g = rng_gaussian(bits);
    if (is_index(row)) return index_value(p, row, i);
    if (is(row, "v")) return 1 + g / 8;
    if (is(row, "k")) {
        int64_t const j = place_of(p, r / d->num_attention_heads);
        if (c == width - 1) return j % 17 == 2 ? 1 : 0;
        return c == width - 2 ? (double)(j % 16 - 8) / 8 : g;
    }
    switch ((r + (int64_t)(p->seed % 4)) % 4) {
    case 0: return c == width - 1 ? (0.3 + (double)(r % 18) / 10) / d->softmax_scale : 0;
    case 1: return c == width - 2 ? 4 / d->softmax_scale : 0;
    case 2: return 8 * g;
    default: return 0;
    }
}

static double large_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    key_numbers const n = numbers_for(p);
    int64_t const r = i / n.width, heads = prob_of(p)->num_attention_heads;
    uint64_t const draw = rng_bits(rng_key(p->seed, "select"), (uint64_t)r);
    if (is(row, "q"))
        return large_query(&n, p->seed, r, draw, i % n.width, seen_by(p, r / heads)) / prob_of(p)->softmax_scale;
    return is(row, "k") ? large_key(&n, place_of(p, r / heads), i % n.width, rng_gaussian(bits))
                        : real_value(p, row, i, bits);
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal"},
    {"exact", exact_value, "head h selects 2^(h mod 8) keys, the others vanish: o is a mean of whole numbers"},
    {"onehot", onehot_value, "each query selects one key: o is its value"},
    {"uniform", uniform_value, "each query selects as many keys as a power of two allows, all with the same score"},
    {"adversarial", adversarial_value,
     "by head: one key above equal ones, periodic, large, and equal scores; values near 1"},
    {"large", large_value,
     "one key scores near 94, -106, 98 or -112, others are far below: e^score overflows or vanishes"},
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    bool const selects =
        p->fill->value == exact_value || p->fill->value == onehot_value || p->fill->value == uniform_value;
    key_numbers const n = numbers_for(p);
    if (prob_of(p)->qk_rope_head_dim % 2) return "qk_rope_head_dim is even";
    if (selects && !key_numbers_fit(&n)) return key_numbers_rule;
    if (p->fill->value == large_value && !large_scores_fit(&n)) return key_numbers_rule;
    return NULL;
}

static double work(const void *prob)
{
    const dsv3_mla_prefill_prob *const p = prob;
    double const scores = (double)p->n_tokens * (double)p->num_attention_heads * (double)p->n_keys / (double)p->batch;
    return scores * (double)(key_width(p) + p->v_head_dim);
}

const op op_mla_prefill = {
    .name = "mla_prefill",
    .summary = "causal multi-head latent attention over keys and values of each head, ragged: o and lse",
    .source = "DeepSeek-V2 report (arXiv 2405.04434) 2.1; deepseek-ai/DeepSeek-V3, inference/model.py, MLA, naive",
    .prob_size = sizeof(dsv3_mla_prefill_prob),
    .io_size = sizeof(dsv3_mla_prefill_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .rule = rule,
    .work = work,
    .lists = lists,
};
