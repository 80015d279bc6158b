/* linear: rows only. The formula is in ref/linear.c. */
#include "rows.h"

#include "case/rng.h"
#include "case/trained.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_linear_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {4, 2, 5, 1}, "rows of x"},
    {FIELD(in_features), FIELD_SIZE, 1, 65536, {7168, 4, 64, 1}, "width of x (V3: hidden_size)"},
    {FIELD(out_features), FIELD_SIZE, 1, 262144, {1536, 3, 24, 1}, "width of y (V3: q_lora_rank)"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_linear_io, name)
static const tensor_row tensors[] = {
    {"x", TENSOR_IN, IO(x), "bf16 f32 f8_e4m3", "n_tokens in_features", NULL, "input rows"},
    {"x_scale", TENSOR_IN, IO(x_scale), "f32 u8", "n_tokens in_blocks", "x=f8_e4m3",
     "multiplies each 1x128 block of x; u8: byte b is 2^(b - 127)"},
    {"weight", TENSOR_WEIGHT, 0, "=x bf16 f32 f8_e4m3", "out_features in_features", NULL, "matrix, one row an output"},
    {"weight_scale_inv", TENSOR_WEIGHT, 0, "f32 u8", "out_blocks in_blocks", "weight=f8_e4m3",
     "multiplies each 128x128 block of weight; u8 as x_scale, and only beside it"},
    {"y", TENSOR_OUT, IO(y), "=x bf16 f32", "n_tokens out_features", NULL, "x weight^T"},
    {.name = NULL},
};

static const dsv3_linear_prob *prob_of(const struct problem *p)
{
    return (const dsv3_linear_prob *)(const void *)p->prob.bytes;
}

static int64_t out_blocks(const void *prob)
{
    return blocks(((const dsv3_linear_prob *)prob)->out_features);
}

static int64_t in_blocks(const void *prob)
{
    return blocks(((const dsv3_linear_prob *)prob)->in_features);
}

static const derived_row derived[] = {{"out_blocks", out_blocks}, {"in_blocks", in_blocks}, {.name = NULL}};

static bool fp8(const struct problem *p)
{
    return problem_tensor(p, "weight")->dtype == DSV3_F8_E4M3;
}

/* Scales are log-uniform over 2^8 and no two alike, so that a scale from another block shows. */
static double scale_value(uint64_t bits)
{
    return ldexp(1 + (double)(bits >> 44) * 0x1p-20, (int)rng_whole(bits << 20, -16, -9));
}

static bool coded(const struct problem *p)
{
    return problem_tensor(p, "x")->dtype == DSV3_F8_E4M3;
}

static bool is_scale(const tensor_row *row)
{
    return is(row, "weight_scale_inv") || is(row, "x_scale");
}

/* 2^exponent times a drawn significand, or as a byte of u8. */
static double scale_of(const struct problem *p, const tensor_row *row, int exponent, uint64_t bits)
{
    if (problem_tensor(p, row->name)->dtype == DSV3_U8) return 127 + exponent;
    return ldexp(1 + (double)(bits >> 44) * 0x1p-20, exponent);
}

/* Scale i of either tensor: its block of columns, and the row or block of rows that it belongs to. */
static int64_t block_of(const struct problem *p, int64_t i)
{
    return i % in_blocks(p->prob.bytes);
}

static int64_t line_of(const struct problem *p, int64_t i)
{
    return i / in_blocks(p->prob.bytes);
}

/* As scale_value; powers of two are no neighbour's. */
static double real_scale(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (problem_tensor(p, row->name)->dtype != DSV3_U8) return scale_value(bits);
    return scale_of(p, row, (int)((block_of(p, i) * 5 + line_of(p, i) * 3 + (int64_t)(p->seed % 8)) % 8) - 16, bits);
}

/* Far from 1 on either side, where the product of both is not; the least is subnormal. No sum of codes times one of them
 * overflows. */
static double extreme_scale(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    static int const exponent[][2] = {{0, 0}, {90, -90}, {-90, 90}, {98, -104}, {-127, 96}};
    int64_t const pair = (block_of(p, i) + (int64_t)(p->seed % 5)) % 5;
    int const small = (int)((line_of(p, i) * 3 + block_of(p, i)) % 4);
    int const e = exponent[pair][is(row, "weight_scale_inv")];
    return scale_of(p, row, e == -127 ? e : e + small, bits);
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    if (is_scale(row)) return real_scale(p, row, i, bits);
    if (is(row, "x") && coded(p)) return 64 * g;
    if (is(row, "weight")) return fp8(p) ? 64 * g : ldexp(g, -ilogb((double)prob_of(p)->in_features) / 2);
    return g;
}

static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)i;
    if (is_scale(row)) return scale_of(p, row, (int)rng_whole(bits, 0, 3), 0);
    return (double)rng_whole(bits, -2, 2);
}

/* Element k of a row whose neighbours cancel: pairs (v, -v (1 + 2^-6)). */
static double cancelling(const struct problem *p, const char *name, int64_t row, int64_t k, int64_t width)
{
    uint64_t const pair = (uint64_t)(row * width + k / 2);
    double const g = rng_gaussian(rng_bits(rng_key(p->seed, name), pair));
    return k % 2 ? -g * (1 + 0x1p-6) : g;
}

/* Large products of both signs at the ends of each 128, small whole numbers between: an accumulator of few bits loses
 * the small ones. */
static double crafted(int64_t k, uint64_t bits, bool weight)
{
    int64_t const at = k % 128;
    if (at == 0) return 448;
    if (at == 127) return weight ? -448 : 448;
    return weight ? 1 : (double)rng_whole(bits, 1, 15);
}

static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = prob_of(p)->in_features, r = i / width, k = i % width;
    double const g = rng_gaussian(bits);
    if (is_scale(row)) return coded(p) ? extreme_scale(p, row, i, bits) : scale_value(bits);
    bool const weight = is(row, "weight");
    switch ((r + (int64_t)(p->seed % 4)) % 4) {
    case 0: return weight ? cancelling(p, "pairs", r, k, width) : 1 + (double)(k / 2 % 8) / 8;
    case 1: return crafted(k, bits, weight);
    case 2: return k % 128 == r % 128 ? 256 * g : 0x1p-5 * g; /* one outlier in each block */
    default: return weight ? 1.1 : 0.7;                       /* equal terms: sums drift one way */
    }
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal; block scales log-uniform over 2^8"},
    {"exact", exact_value, "whole numbers -2..2, scales 1..8: every order of summation gives the same bits"},
    {"adversarial", adversarial_value,
     "cancelling pairs, large products around small ones, outliers, equal terms; x of f8_e4m3: scales far from 1"},
    FILL_TRAINED,
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    bool const mixed = problem_tensor(p, "weight")->dtype == DSV3_F32 && problem_tensor(p, "x")->dtype == DSV3_BF16;
    if (mixed) return "a weight of f32 needs x of f32: no public model multiplies bf16 by f32";
    if (coded(p) && !fp8(p)) return "x of f8_e4m3 needs a weight of f8_e4m3";
    bool const bytes = fp8(p) && problem_tensor(p, "weight_scale_inv")->dtype == DSV3_U8;
    return bytes && !coded(p) ? "weight_scale_inv of u8 needs x of f8_e4m3" : NULL;
}

static double work(const void *prob)
{
    const dsv3_linear_prob *const p = prob;
    return (double)p->n_tokens * (double)p->in_features * (double)p->out_features;
}

const op op_linear = {
    .name = "linear",
    .summary = "y = x weight^T; FP8 weights times weight_scale_inv, block by block, FP8 x times x_scale",
    .source = "DeepSeek-V3 report (arXiv 2412.19437) 3.3; deepseek-ai/DeepSeek-V3, README_WEIGHTS.md",
    .prob_size = sizeof(dsv3_linear_prob),
    .io_size = sizeof(dsv3_linear_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .rule = rule,
    .work = work,
};
