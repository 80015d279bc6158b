/* embed: rows only. The formula is in ref/embed.c. */
#include "rows.h"

#include "case/rng.h"
#include "case/trained.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_embed_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {8, 5, 40, 1}, "ids"},
    {FIELD(vocab_size), FIELD_SIZE, 1, 1 << 20, {129280, 8, 97, 1}, "rows of weight"},
    {FIELD(hidden_size), FIELD_SIZE, 1, 65536, {7168, 4, 64, 1}, "width of a row"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_embed_io, name)
static const tensor_row tensors[] = {
    {"input_ids", TENSOR_IN, IO(input_ids), "i32", "n_tokens", NULL, "0 <= id < vocab_size"},
    {"weight", TENSOR_WEIGHT, 0, "bf16 f32", "vocab_size hidden_size", NULL, "a row for each id"},
    {"y", TENSOR_OUT, IO(y), "=weight", "n_tokens hidden_size", NULL, "rows of weight"},
    {.name = NULL},
};

static const dsv3_embed_prob *prob_of(const struct problem *p)
{
    return (const dsv3_embed_prob *)(const void *)p->prob.bytes;
}

static bool is_id(const tensor_row *row)
{
    return row->kind == TENSOR_IN;
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)i;
    return is_id(row) ? (double)rng_whole(bits, 0, prob_of(p)->vocab_size - 1) : rng_gaussian(bits) / 16;
}

static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return is_id(row) ? real_value(p, row, i, bits) : (double)rng_whole(bits, -64, 64);
}

/* The first id, the last one and their neighbours; every exponent, subnormals and zeros of both signs. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const last = prob_of(p)->vocab_size - 1, near = rng_whole(bits, 0, last < 1 ? last : 1);
    if (is_id(row)) return (double)(i % 2 ? near : last - near);
    double const g = rng_gaussian(bits);
    return i % 17 == 3 ? copysign(0, g) : ldexp(g, (int)rng_whole(bits << 24, -147, 125));
}

static const fill_row fills[] = {
    {"real", real_value, "any ids, near-normal rows"},
    {"exact", exact_value, "any ids, whole numbers"},
    {"adversarial", adversarial_value, "first and last ids; rows of every exponent, subnormals, both zeros"},
    FILL_TRAINED,
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_embed_prob *const p = prob;
    return (double)p->n_tokens * (double)p->hidden_size;
}

const op op_embed = {
    .name = "embed",
    .summary = "y = the rows of weight that input_ids name",
    .source = "transformers, models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3Model, embed_tokens",
    .prob_size = sizeof(dsv3_embed_prob),
    .io_size = sizeof(dsv3_embed_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .work = work,
};
