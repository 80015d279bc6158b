/* embed_backward: rows only. The formula is in ref/embed_backward.c. */
#include "rows.h"

#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_embed_backward_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {8, 16, 40, 1}, "ids"},
    {FIELD(vocab_size), FIELD_SIZE, 1, 1 << 20, {128, 8, 17, 1}, "rows of weight (V3: 129280)"},
    {FIELD(hidden_size), FIELD_SIZE, 1, 65536, {7168, 4, 64, 1}, "width of a row"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_embed_backward_io, name)
static const tensor_row tensors[] = {
    {"input_ids", TENSOR_IN, IO(input_ids), "i32", "n_tokens", NULL, "0 <= id < vocab_size"},
    {"grad_y", TENSOR_IN, IO(grad_y), "bf16 f32", "n_tokens hidden_size", NULL, "gradient by y"},
    {"grad_weight", TENSOR_OUT, IO(grad_weight), "=grad_y bf16 f32", "vocab_size hidden_size", NULL,
     "gradient by weight"},
    {.name = NULL},
};

static const dsv3_embed_backward_prob *prob_of(const struct problem *p)
{
    return (const dsv3_embed_backward_prob *)(const void *)p->prob.bytes;
}

static bool is_id(const tensor_row *row)
{
    return row->name[0] == 'i';
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

/* The first id, the last one and their neighbours: sums of many, which cancel in pairs; and rows of very different size. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const last = prob_of(p)->vocab_size - 1, near = rng_whole(bits, 0, last < 1 ? last : 1);
    if (is_id(row)) return (double)(i % 4 == 3 ? last - near : near);
    double const g = rng_gaussian(bits);
    int64_t const t = i / prob_of(p)->hidden_size;
    return i % 3 ? (t % 2 ? -1 : 1) * (1 + 0x1p-6 * g) : ldexp(g, (int)(t % 5) * 4);
}

static const fill_row fills[] = {
    {"real", real_value, "any ids, near-normal gradients"},
    {"exact", exact_value, "any ids, whole numbers"},
    {"adversarial", adversarial_value,
     "first and last ids, again and again; gradients that cancel, or differ much in size"},
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_embed_backward_prob *const p = prob;
    return (double)(p->n_tokens + p->vocab_size) * (double)p->hidden_size;
}

const op op_embed_backward = {
    .name = "embed_backward",
    .summary = "gradient of embed: the sum of each row's gradients",
    .source = "derivative of embed; torch.nn.Embedding",
    .prob_size = sizeof(dsv3_embed_backward_prob),
    .io_size = sizeof(dsv3_embed_backward_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .work = work,
};
