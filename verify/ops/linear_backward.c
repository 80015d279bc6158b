/* linear_backward: rows only. The formula is in ref/linear_backward.c. */
#include "rows.h"

#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_linear_backward_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {4, 2, 5, 1}, "rows of x"},
    {FIELD(in_features), FIELD_SIZE, 1, 65536, {7168, 4, 64, 1}, "width of x (V3: hidden_size)"},
    {FIELD(out_features), FIELD_SIZE, 1, 262144, {576, 3, 24, 1}, "width of y (V3: kv_lora_rank + qk_rope_head_dim)"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_linear_backward_io, name)
static const tensor_row tensors[] = {
    {"x", TENSOR_IN, IO(x), "bf16 f32", "n_tokens in_features", NULL, "input rows"},
    {"grad_y", TENSOR_IN, IO(grad_y), "=x", "n_tokens out_features", NULL, "gradient by y"},
    {"weight", TENSOR_WEIGHT, 0, "=x", "out_features in_features", NULL, "matrix, one row an output"},
    {"grad_x", TENSOR_OUT, IO(grad_x), "=x", "n_tokens in_features", NULL, "grad_y weight"},
    {"grad_weight", TENSOR_OUT, IO(grad_weight), "=x bf16 f32", "out_features in_features", NULL, "grad_y^T x"},
    {.name = NULL},
};

static const dsv3_linear_backward_prob *prob_of(const struct problem *p)
{
    return (const dsv3_linear_backward_prob *)(const void *)p->prob.bytes;
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)i;
    double const g = rng_gaussian(bits);
    return is(row, "weight") ? ldexp(g, -ilogb((double)prob_of(p)->in_features) / 2) : g;
}

static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)p, (void)row, (void)i;
    return (double)rng_whole(bits, -2, 2);
}

/* Entry k of what is summed over, in one of four ways by column: cancelling pairs, large products around small ones,
 * outliers, equal terms. Both sums have the entries of grad_y for factors: over outputs, and over tokens. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = is(row, "grad_y") ? prob_of(p)->out_features : prob_of(p)->in_features;
    int64_t const k = i / width, column = i % width;
    double const g = rng_gaussian(bits), sign = (k + column) % 2 ? -1 : 1;
    if (is(row, "grad_y")) return sign * (1 + (double)(k / 2 % 8) / 8);
    switch ((column + (int64_t)(p->seed % 4)) % 4) {
    case 0: return 1 + 0x1p-6 * g;
    case 1: return k % 8 ? g : 448;
    case 2: return k == column % 4 ? 256 * g : 0x1p-5 * g;
    default: return 1.1;
    }
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal"},
    {"exact", exact_value, "whole numbers -2..2: every order of summation gives the same bits"},
    {"adversarial", adversarial_value, "cancelling sums over outputs and over tokens, outliers, equal terms"},
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_linear_backward_prob *const p = prob;
    return 2 * (double)p->n_tokens * (double)p->in_features * (double)p->out_features;
}

const op op_linear_backward = {
    .name = "linear_backward",
    .summary = "gradients of x weight^T by x and by weight",
    .source = "derivative of linear; torch.nn.Linear",
    .prob_size = sizeof(dsv3_linear_backward_prob),
    .io_size = sizeof(dsv3_linear_backward_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .work = work,
};
