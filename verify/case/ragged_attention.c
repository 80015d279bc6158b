/* See ragged_attention.h. */
#include "ragged_attention.h"

#include "key_numbers.h"
#include "large_scores.h"
#include "rng.h"

#include <math.h>

int64_t ragged_key_width(const void *prob)
{
    const dsv3_mla_prefill_prob *const p = prob;
    return p->qk_nope_head_dim + p->qk_rope_head_dim;
}

int64_t ragged_starts(const void *prob)
{
    return ((const dsv3_mla_prefill_prob *)prob)->batch + 1;
}

enum { QUERIES, KEYS }; /* the lists */

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

/* Has no query a mask? The gradient has no such field. */
static bool is_full(const struct problem *p)
{
    const field_row *const full = op_field(p->op, "full");
    return full && problem_field(p, full) != 0;
}

/* How many keys query t sees. */
static int64_t seen_by(const struct problem *p, int64_t t)
{
    int64_t const b = sequence_of(p, QUERIES, t);
    if (is_full(p)) return length_of(p, KEYS, b);
    return length_of(p, KEYS, b) - length_of(p, QUERIES, b) + t - start_of(p, QUERIES, b) + 1;
}

/* The number of key j in its sequence. */
static int64_t place_of(const struct problem *p, int64_t j)
{
    return j - start_of(p, KEYS, sequence_of(p, KEYS, j));
}

/* Is that the tensor's name? */
static bool is(const tensor_row *row, const char *name)
{
    return same_name(row->name, name);
}

static bool is_index(const tensor_row *row)
{
    return is(row, "cu_seqlens_q") || is(row, "cu_seqlens_k");
}

/* Values, and gradients by their means. */
static bool is_value(const tensor_row *row)
{
    return is(row, "v") || is(row, "grad_o");
}

/* What follows from the others, and is derived when they are filled. */
static bool follows(const tensor_row *row)
{
    return is(row, "o") || is(row, "lse");
}

static double index_value(const struct problem *p, const tensor_row *row, int64_t i)
{
    return (double)start_of(p, is(row, "cu_seqlens_q") ? QUERIES : KEYS, i);
}

/* ---- fills ---- */

double ragged_real(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is_index(row)) return index_value(p, row, i);
    return rng_gaussian(bits);
}

static key_numbers numbers_for(const struct problem *p)
{
    int64_t most = 0;
    for (int64_t b = 0; b < prob_of(p)->batch; b++)
        if (length_of(p, KEYS, b) > most) most = length_of(p, KEYS, b);
    return key_numbers_of(ragged_key_width(p->prob.bytes), most);
}

/* Queries that select 2^free keys, or as many as they see; values are whole numbers. */
static double selecting(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits, int64_t free)
{
    int64_t const heads = prob_of(p)->num_attention_heads;
    if (is_index(row)) return index_value(p, row, i);
    if (is_value(row)) return (double)rng_whole(bits, -8, 8);
    if (follows(row)) return 0;
    key_numbers const n = numbers_for(p);
    int64_t const r = i / n.width;
    if (is(row, "k")) return key_numbers_key(&n, place_of(p, r / heads), i % n.width, bits);
    uint64_t const draw = rng_bits(rng_key(p->seed, "select"), (uint64_t)r);
    return key_numbers_query(&n, draw, i % n.width, free, seen_by(p, r / heads));
}

double ragged_onehot(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return selecting(p, row, i, bits, 0);
}

double ragged_uniform(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return selecting(p, row, i, bits, 62);
}

double ragged_exact(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const head = i / ragged_key_width(p->prob.bytes) % prob_of(p)->num_attention_heads;
    return selecting(p, row, i, bits, head % 8);
}

/* By head: one key above equal ones, 16 different scores in turn, scores of several tens, equal scores. Values and
 * gradients near 1. */
double ragged_adversarial(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    const dsv3_mla_prefill_prob *const d = prob_of(p);
    int64_t const width = ragged_key_width(d), c = i % width, r = i / width;
    double const g = rng_gaussian(bits);
    if (is_index(row)) return index_value(p, row, i);
    if (is_value(row)) return 1 + g / 8;
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

double ragged_large(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    key_numbers const n = numbers_for(p);
    int64_t const r = i / n.width, heads = prob_of(p)->num_attention_heads;
    uint64_t const draw = rng_bits(rng_key(p->seed, "select"), (uint64_t)r);
    if (is(row, "q"))
        return large_query(&n, p->seed, r, draw, i % n.width, seen_by(p, r / heads)) / prob_of(p)->softmax_scale;
    return is(row, "k") ? large_key(&n, place_of(p, r / heads), i % n.width, rng_gaussian(bits))
                        : ragged_real(p, row, i, bits);
}

const char *ragged_rule(const struct problem *p)
{
    bool const selects =
        p->fill->value == ragged_exact || p->fill->value == ragged_onehot || p->fill->value == ragged_uniform;
    key_numbers const n = numbers_for(p);
    if (prob_of(p)->qk_rope_head_dim % 2) return "qk_rope_head_dim is even";
    if (selects && !key_numbers_fit(&n)) return key_numbers_rule;
    if (p->fill->value == ragged_large && !large_scores_fit(&n)) return key_numbers_rule;
    return NULL;
}
