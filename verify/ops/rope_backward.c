/* rope_backward: rows only. The formula is in ref/rope_backward.c. */
#include "rows.h"

#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_rope_backward_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {8, 2, 5, 1}, "rows of grad_y"},
    {FIELD(num_heads), FIELD_SIZE, 1, 1024, {8, 2, 6, 1}, "heads that share a position"},
    {FIELD(num_key_value_heads), FIELD_SIZE, 1, 1024, {1, 1, 2, 1}, "vectors; each serves as many neighbouring heads"},
    {FIELD(qk_rope_head_dim), FIELD_SIZE, 2, 1024, {64, 2, 8, 2}, "width of a vector, even"},
    ROWS_YARN,
    {FIELD(mscale_all_dim), FIELD_REAL, 0, 100, {1, 1, 1, 1}, "YaRN: amplitude, denominator"},
    {FIELD(in_layout), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "pairs of grad_x: 0 interleaved (2j, 2j+1), 1 half (j, j+r/2)"},
    {FIELD(out_layout), FIELD_FLAG, 0, 1, {0, 0, 1, 0}, "pairs of grad_y, likewise"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_rope_backward_io, name)
static const tensor_row tensors[] = {
    {"grad_y", TENSOR_IN, IO(grad_y), "bf16 f32", "n_tokens num_heads qk_rope_head_dim", NULL, "gradients by y"},
    {"positions", TENSOR_IN, IO(positions), "i32", "n_tokens", NULL, "position of each token"},
    {"grad_x", TENSOR_OUT, IO(grad_x), "=grad_y", "n_tokens num_key_value_heads qk_rope_head_dim", NULL,
     "gradients by x"},
    {.name = NULL},
};

static const dsv3_rope_backward_prob *prob_of(const struct problem *p)
{
    return (const dsv3_rope_backward_prob *)(const void *)p->prob.bytes;
}

static bool is_positions(const tensor_row *row)
{
    return !strcmp(row->name, "positions");
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)p, (void)i;
    return is_positions(row) ? (double)rng_whole(bits, 1, 4095) : rng_gaussian(bits);
}

/* Position 0: nothing turns, so that only the places of the elements are left to be wrong. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)p, (void)i;
    return is_positions(row) ? 0 : (double)rng_whole(bits, -100, 100);
}

/* Where 16-bit positions, BF16 tables, the original length and binary32 angles end; then anywhere far out. */
static double far_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    static const double edges[] = {163839, 4096, 65537, 131071, 257, 4095, 65535, 16777215};
    (void)p;
    if (!is_positions(row)) return rng_gaussian(bits);
    return i < 8 ? edges[i] : (double)rng_whole(bits, 4096, 163839);
}

static double onehot_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const r = prob_of(p)->qk_rope_head_dim;
    if (is_positions(row)) return (double)rng_whole(bits, 1, 4095);
    return i % r == (i / r + (int64_t)(p->seed % 1024)) % r ? 1 : 0;
}

/* Pairs of very different size, nearly equal ones, subnormal ones, zeros. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const r = prob_of(p)->qk_rope_head_dim;
    double const g = rng_gaussian(bits);
    if (is_positions(row)) return (double)rng_whole(bits, 0, i % 3 ? 100000 : 8);
    switch ((i / r + (int64_t)(p->seed % 5)) % 5) {
    case 0: return i % 2 ? g : 0x1p20 * g;
    case 1: return 1 + 0x1p-7 * g;
    case 2: return 0x1p-130 * g;
    case 3: return i % 3 ? 0 : g;
    default: return 0x1p60 * g;
    }
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal vectors, positions 1 to 4095"},
    {"exact", exact_value, "whole numbers at position 0: sums over heads, up to the layouts"},
    {"far", far_value, "near-normal vectors, positions up to 163839 and one at 2^24 - 1"},
    {"onehot", onehot_value, "one element of each vector is 1: shows what each element turns into"},
    {"adversarial", adversarial_value, "pairs of very different size, nearly equal, subnormal, zero and large ones"},
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    if (prob_of(p)->qk_rope_head_dim % 2) return "qk_rope_head_dim is even: its elements are pairs";
    if (prob_of(p)->num_heads % prob_of(p)->num_key_value_heads) return "num_key_value_heads divides num_heads";
    return prob_of(p)->beta_fast < prob_of(p)->beta_slow ? "beta_fast is at least beta_slow" : NULL;
}

static double work(const void *prob)
{
    const dsv3_rope_backward_prob *const p = prob;
    return 2 * (double)p->n_tokens * (double)p->num_heads * (double)p->qk_rope_head_dim;
}

const op op_rope_backward = {
    .name = "rope_backward",
    .summary = "gradient of rope by x: the sum over heads, rotated back",
    .source = "transpose of rope; transformers, DeepseekV3Attention, k_rot",
    .prob_size = sizeof(dsv3_rope_backward_prob),
    .io_size = sizeof(dsv3_rope_backward_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .rule = rule,
    .work = work,
};
