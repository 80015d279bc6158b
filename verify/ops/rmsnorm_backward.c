/* rmsnorm_backward: rows only. The formula is in ref/rmsnorm_backward.c. */
#include "rows.h"

#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_rmsnorm_backward_prob, name)

static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {8, 2, 7, 1}, "rows"},
    {FIELD(hidden_size), FIELD_SIZE, 1, 65536, {7168, 4, 64, 1}, "width of a row"},
    {FIELD(rms_norm_eps), FIELD_REAL, 0, 1, {1e-6, 1e-6, 1e-2, 1e-6}, "added to the mean square, inside the root"},
    {FIELD(residual), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "1: grad_residual_out is added to grad_x"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_rmsnorm_backward_io, name)
static const tensor_row tensors[] = {
    {"x", TENSOR_IN, IO(x), "bf16 f32", "n_tokens hidden_size", NULL, "rows that were normalised"},
    {"grad_y", TENSOR_IN, IO(grad_y), "=x", "n_tokens hidden_size", NULL, "gradient by y"},
    {"grad_residual_out", TENSOR_IN, IO(grad_residual_out), "=x", "n_tokens hidden_size", "residual",
     "gradient by residual_out"},
    {"weight", TENSOR_WEIGHT, 0, "=x bf16 f32", "hidden_size", NULL, "gain"},
    {"grad_x", TENSOR_OUT, IO(grad_x), "=x", "n_tokens hidden_size", NULL, "gradient by x"},
    {"grad_weight", TENSOR_OUT, IO(grad_weight), "=weight", "hidden_size", NULL, "gradient by weight"},
    {.name = NULL},
};

static int64_t width(const struct problem *p)
{
    return ((const dsv3_rmsnorm_backward_prob *)(const void *)p->prob.bytes)->hidden_size;
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    int64_t const t = i / width(p);
    if (is(row, "weight")) return 1 + g / 8;
    return is(row, "x") ? ldexp(g, (int)(t * 3 % 7) - 3) : ldexp(g, (int)(t * 5 % 7) - 3); /* rows of different size */
}

/* x = +-2^k, one k a row: its root is 2^k, eps is below the last bit. Gains and gradients are whole. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is(row, "x")) return ldexp(bits & 1 ? 1 : -1, 18 + (int)(i / width(p) % 5));
    return (double)rng_whole(bits, -4, 4);
}

/* One kind of row after another; the last two with gradients along x, of which little is left. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    int64_t const t = i / width(p), column = i % width(p), kind = width(p) == 1 ? 0 : (t + (int64_t)(p->seed % 6)) % 6;
    bool const is_x = is(row, "x");
    if (is(row, "weight")) return i % 5 == 4 ? 0x1p-9 * g : 1 + g / 8;
    double const sign = rng_bits(rng_key(p->seed, "sign"), (uint64_t)i) & 1 ? 1 : -1;
    switch (kind) {
    case 0: return is_x ? 0x1p-10 * g : g;                      /* eps shows */
    case 1: return is_x && column == t % width(p) ? 0x1p12 : g; /* one large element */
    case 2: return is_x ? 1.1 : g;                              /* equal terms: sums drift one way */
    case 3: return is_x ? 0x1p30 * g : 0x1p30 * g;              /* large squares */
    case 4: return is_x ? sign * 3 : sign * (3 + 0x1p-6 * g);
    default: return is_x ? 0x1p-6 * sign : is(row, "grad_y") ? 0x1p20 * sign : g;
    }
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal rows and gradients of different size, weights near 1"},
    {"exact", exact_value, "rows of +-2^k, whole gains and gradients"},
    {"adversarial", adversarial_value, "tiny, spiked, constant, huge rows; gradients along x, which cancel"},
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_rmsnorm_backward_prob *const p = prob;
    return 32 * (double)p->n_tokens * (double)p->hidden_size;
}

const op op_rmsnorm_backward = {
    .name = "rmsnorm_backward",
    .summary = "gradients of rmsnorm by x and by weight",
    .source = "derivative of rmsnorm; torch, autograd through DeepseekV3RMSNorm",
    .prob_size = sizeof(dsv3_rmsnorm_backward_prob),
    .io_size = sizeof(dsv3_rmsnorm_backward_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .work = work,
};
