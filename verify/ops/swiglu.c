/* swiglu: rows only. The formula is in ref/swiglu.c. */
#include "rows.h"

#include "case/rng.h"
#include "case/trained.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_swiglu_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {16, 3, 7, 1}, "rows"},
    {FIELD(intermediate_size), FIELD_SIZE, 1, 65536, {2048, 2, 20, 1}, "width of a feed-forward; that of an expert"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_swiglu_io, name)
static const tensor_row tensors[] = {
    {"gate", TENSOR_IN, IO(gate), "bf16 f32", "n_tokens intermediate_size", NULL, "x times gate_proj"},
    {"up", TENSOR_IN, IO(up), "=gate", "n_tokens intermediate_size", NULL, "x times up_proj"},
    {"y", TENSOR_OUT, IO(y), "=gate", "n_tokens intermediate_size", NULL, "silu(gate) * up"},
    {.name = NULL},
};

static const dsv3_swiglu_prob *prob_of(const struct problem *p)
{
    return (const dsv3_swiglu_prob *)(const void *)p->prob.bytes;
}

static bool is_gate(const tensor_row *row)
{
    return row->name[0] == 'g';
}

/* Rows of different size. */
static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const t = i / prob_of(p)->intermediate_size;
    return is_gate(row) ? 2 * rng_gaussian(bits) : ldexp(rng_gaussian(bits), (int)(t * 3 % 7) - 3);
}

/* Gates of 2^5 to 2^9 and 0: silu is the gate but for e^-32 of it, or 0. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)p, (void)i;
    int64_t const k = rng_whole(bits, 4, 9);
    if (!is_gate(row)) return (double)rng_whole(bits, -8, 8);
    return k == 4 ? 0 : ldexp(1, (int)k);
}

/* Gates of 3 2^k, silu the gate but for e^-96 of it, and an odd up of as many bits as make the product one bit too long: it is
 * midway between two results, of which the even one is now the smaller, now the larger. */
static double tie_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)i;
    if (is_gate(row)) return ldexp(3, (int)rng_whole(bits, 5, 7));
    bool const is_f32 = problem_tensor(p, row->name)->dtype == DSV3_F32;
    int64_t const half = is_f32 ? rng_whole(bits, 2796203, 5592404) : rng_whole(bits, 43, 84);
    return (double)(2 * half + 1) * (bits & 1 ? -1 : 1);
}

/* Near 0, subnormal, the whole range of e^-z, its overflow, far below it, and far above; large and tiny partners. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    int64_t const kind = (i + i / prob_of(p)->intermediate_size + (int64_t)(p->seed % 9)) % 9;
    if (!is_gate(row)) return kind == 5 ? ldexp(g, 100) : kind == 4 ? ldexp(g, -100) : kind == 6 ? ldexp(g, 60) : g;
    switch (kind) {
    case 0: return -1.278 + g / 64; /* the lowest point */
    case 1: return ldexp(g, -24);
    case 2: return 20 * g;
    case 3: return ldexp(g, -140);
    case 4: return ldexp(g, 100);
    case 5: return -88 + g / 2; /* e^-z is near the largest binary32 */
    case 6: return -96 + 8 * g;
    case 7: return -ldexp(fabs(g), 40);
    default: return 17 + g; /* sigmoid is next to 1 */
    }
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal gates of sd 2.3, rows of up of different size"},
    {"exact", exact_value, "gates 0 and 2^5 to 2^9, whole numbers: silu(gate) is the gate"},
    {"tie", tie_value, "gates 96, 192 and 384, odd up: silu(gate) up is midway between two results"},
    {"adversarial", adversarial_value, "the minimum, overflow of e^-z, subnormals, both far ends, large and tiny up"},
    FILL_TRAINED,
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_swiglu_prob *const p = prob;
    return 8 * (double)p->n_tokens * (double)p->intermediate_size;
}

const op op_swiglu = {
    .name = "swiglu",
    .summary = "y = silu(gate) * up, silu(z) = z / (1 + e^-z)",
    .source = "DeepSeek-V3 report (arXiv 2412.19437) 2.1.2; transformers, DeepseekV3MLP",
    .prob_size = sizeof(dsv3_swiglu_prob),
    .io_size = sizeof(dsv3_swiglu_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .work = work,
};
