/* rmsnorm: rows only. The formula is in ref/rmsnorm.c. */
#include "rows.h"

#include "case/rng.h"
#include "case/trained.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_rmsnorm_prob, name)

static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {8, 2, 7, 1}, "rows"},
    {FIELD(hidden_size), FIELD_SIZE, 1, 65536, {7168, 4, 64, 1}, "width of a row"},
    {FIELD(rms_norm_eps), FIELD_REAL, 0, 1, {1e-6, 1e-6, 1e-2, 1e-6}, "added to the mean square, inside the root"},
    {FIELD(residual), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "1: x + residual is normalised and handed on"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_rmsnorm_io, name)
static const tensor_row tensors[] = {
    {"x", TENSOR_IN, IO(x), "bf16 f32", "n_tokens hidden_size", NULL, "input rows"},
    {"residual", TENSOR_IN, IO(residual), "=x", "n_tokens hidden_size", "residual", "added to x"},
    {"weight", TENSOR_WEIGHT, 0, "=x bf16 f32", "hidden_size", NULL, "gain"},
    {"y", TENSOR_OUT, IO(y), "=x", "n_tokens hidden_size", NULL, "normalised rows"},
    {"residual_out", TENSOR_OUT, IO(residual_out), "=x", "n_tokens hidden_size", "residual", "x + residual"},
    {.name = NULL},
};

static int64_t width(const struct problem *p)
{
    return ((const dsv3_rmsnorm_prob *)(const void *)p->prob.bytes)->hidden_size;
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    if (is(row, "weight")) return 1 + g / 8;
    return ldexp(g, (int)(i / width(p) * 3 % 7) - 3); /* rows of different size */
}

/* z = +-2^k, one k a row: the mean square is 4^k, its root 2^k, eps is below the last bit, y = +-weight. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is(row, "weight")) return ldexp(bits & 1 ? 1 : -1, (int)rng_whole(bits, -2, 2));
    bool const negative = rng_bits(rng_key(p->seed, "sign"), (uint64_t)i) & 1; /* x and residual agree */
    return ldexp(negative ? -1 : 1, 18 + (int)(i / width(p) % 5));
}

/* One kind of row after another. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    int64_t const t = i / width(p), column = i % width(p);
    if (is(row, "weight")) return i % 5 == 4 ? 0x1p-9 * g : 1 + g / 8;
    switch ((t + (int64_t)(p->seed % 6)) % 6) {
    case 0: return 0x1p-10 * g;                                  /* eps shows */
    case 1: return column == t % width(p) ? 0x1p12 : 0x1p-6 * g; /* one large element */
    case 2: return 1.1;                                          /* equal terms: sums drift one way */
    case 3: return 0x1p40 * g;                                   /* large squares */
    case 4: return 0x1p-70 * g;                                  /* squares are subnormal */
    default: return 0;                                           /* eps alone keeps the root from 0 */
    }
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal rows of different size, weights near 1"},
    {"exact", exact_value, "rows of +-2^k: every legal order of IEEE operations gives the same bits"},
    {"adversarial", adversarial_value, "tiny, spiked, constant, huge, subnormal and zero rows"},
    FILL_TRAINED,
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_rmsnorm_prob *const p = prob;
    return 16 * (double)p->n_tokens * (double)p->hidden_size;
}

const op op_rmsnorm = {
    .name = "rmsnorm",
    .summary = "y = weight * x / sqrt(mean(x^2) + rms_norm_eps)",
    .source = "huggingface/transformers, models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3RMSNorm",
    .prob_size = sizeof(dsv3_rmsnorm_prob),
    .io_size = sizeof(dsv3_rmsnorm_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .work = work,
};
