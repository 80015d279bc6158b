/* swiglu_backward: rows only. The formula is in ref/swiglu_backward.c. */
#include "rows.h"

#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_swiglu_backward_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {16, 3, 7, 1}, "rows"},
    {FIELD(intermediate_size), FIELD_SIZE, 1, 65536, {2048, 2, 20, 1}, "width of a feed-forward; that of an expert"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_swiglu_backward_io, name)
static const tensor_row tensors[] = {
    {"gate", TENSOR_IN, IO(gate), "bf16 f32", "n_tokens intermediate_size", NULL, "x times gate_proj"},
    {"up", TENSOR_IN, IO(up), "=gate", "n_tokens intermediate_size", NULL, "x times up_proj"},
    {"grad_y", TENSOR_IN, IO(grad_y), "=gate", "n_tokens intermediate_size", NULL, "gradient by silu(gate) * up"},
    {"grad_gate", TENSOR_OUT, IO(grad_gate), "=gate", "n_tokens intermediate_size", NULL, "gradient by gate"},
    {"grad_up", TENSOR_OUT, IO(grad_up), "=gate", "n_tokens intermediate_size", NULL, "gradient by up"},
    {.name = NULL},
};

static int64_t width_of(const struct problem *p)
{
    return ((const dsv3_swiglu_backward_prob *)(const void *)p->prob.bytes)->intermediate_size;
}

/* Rows of different size. */
static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const t = i / width_of(p);
    double const g = rng_gaussian(bits);
    if (is(row, "gate")) return 2 * g;
    return ldexp(g, (int)((is(row, "up") ? 3 : 5) * t % 7) - 3);
}

/* Gates of 2^5 to 2^9 and 0: silu' is 1 but for e^-24 of it, or 1/2; silu is the gate, or 0. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)p, (void)i;
    int64_t const k = rng_whole(bits, 4, 9);
    if (!is(row, "gate")) return (double)rng_whole(bits, -8, 8);
    return k == 4 ? 0 : ldexp(1, (int)k);
}

/* The zero and the ends of silu', subnormal, the whole range of e^-z, its overflow, far below it; large and tiny partners. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    int64_t const kind = (i + i / width_of(p) + (int64_t)(p->seed % 24)) % 24;
    if (is(row, "up")) return kind == 4 ? ldexp(g, -60) : kind == 8 ? ldexp(g, 60) : g;
    if (is(row, "grad_y")) return kind == 5 ? ldexp(g, 100) : kind == 4 || kind == 6 ? ldexp(g, 60) : g;
    switch (kind) {
    case 0: return -1.278464542761074 + g / 64; /* silu' is 0 */
    case 1: return ldexp(g, -24);
    case 2: return 20 * g;
    case 3: return ldexp(g, -140);
    case 4: return 2.3993572805154 + g / 64; /* silu' is largest */
    case 5: return -88 + g / 2;              /* e^-z is near the largest binary32 */
    case 6: return -96 + 8 * g;
    case 7: return -ldexp(fabs(g), 40);
    case 8: return 17 + g; /* sigmoid is next to 1 */
    default: return 6 * g;
    }
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal gates of sd 2, rows of up and grad_y of different size"},
    {"exact", exact_value, "gates 0 and 2^5 to 2^9, whole numbers: silu' is 1/2 or 1, silu(gate) is the gate"},
    {"adversarial", adversarial_value,
     "where silu' is 0 and largest, overflow of e^-z, subnormals, far below, large and tiny"},
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_swiglu_backward_prob *const p = prob;
    return 16 * (double)p->n_tokens * (double)p->intermediate_size;
}

const op op_swiglu_backward = {
    .name = "swiglu_backward",
    .summary = "gradients of silu(gate) * up by gate and by up",
    .source = "derivative of swiglu; torch, silu_backward",
    .prob_size = sizeof(dsv3_swiglu_backward_prob),
    .io_size = sizeof(dsv3_swiglu_backward_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .work = work,
};
