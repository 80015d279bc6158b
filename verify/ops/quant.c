/* quant: rows only. The formula is in ref/quant.c. */
#include "rows.h"

#include "case/rng.h"
#include "case/trained.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_quant_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {4, 8, 12, 1}, "rows"},
    {FIELD(in_features),
     FIELD_SIZE,
     1,
     65536,
     {7168, 4, 200, 1},
     "width of a row; tiles of 128, the last may be shorter"},
    {FIELD(amax_floor), FIELD_REAL, 0, 1, {1e-4, 1e-4, 1e-2, 1e-4}, "least amax of a tile; 0: none"},
    {FIELD(scale_fmt), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "1: ue8m0, scales are powers of two"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_quant_io, name)
static const tensor_row tensors[] = {
    {"x", TENSOR_IN, IO(x), "bf16 f32", "n_tokens in_features", NULL, "activations"},
    {"scale", TENSOR_OUT, IO(scale), "f32", "n_tokens tiles", NULL, "amax / 448 of a tile of 128"},
    {"q", TENSOR_OUT, IO(q), "f8_e4m3", "n_tokens in_features", NULL, "x / scale"},
    {.name = NULL},
};

static int64_t tiles(const void *prob)
{
    return blocks(((const dsv3_quant_prob *)prob)->in_features);
}

static const derived_row derived[] = {{"tiles", tiles}, {.name = NULL}};

static const dsv3_quant_prob *prob_of(const struct problem *p)
{
    return (const dsv3_quant_prob *)(const void *)p->prob.bytes;
}

/* The tile of element i, and its place in it. */
static int64_t tile_of(const struct problem *p, int64_t i)
{
    int64_t const width = prob_of(p)->in_features;
    return i / width * tiles(p->prob.bytes) + i % width / 128;
}

static int64_t place_of(const struct problem *p, int64_t i)
{
    return i % prob_of(p)->in_features % 128;
}

/* The exponent of a tile's scale: 2^-8 to 2^7, no two neighbours alike. */
static int exponent_of(const struct problem *p, int64_t i)
{
    return (int)((tile_of(p, i) * 5 + (int64_t)(p->seed % 16)) % 16) - 8;
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)row;
    return ldexp(rng_gaussian(bits), exponent_of(p, i));
}

/* Code k of the 253 finite values of E4M3. */
static double value_of_code(int64_t k)
{
    uint8_t const code = (uint8_t)(k < 127 ? k : k + 1);
    return ref_decode(DSV3_F8_E4M3, &code, 0);
}

/* The first entry makes the scale a power of two; the others are that times values of E4M3, all of them in turn. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)row;
    if (place_of(p, i) == 0) return ldexp(bits & 1 ? 448 : -448, exponent_of(p, i));
    return ldexp(value_of_code((i * 83 + (int64_t)(p->seed % 254)) % 254), exponent_of(p, i));
}

/* As exact, but midway between two values of E4M3, or one unit of binary32 beside that. */
static double tie_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (place_of(p, i) == 0) return exact_value(p, row, i, bits);
    uint8_t const code = (uint8_t)rng_whole(bits, 0, 125), next = code + 1;
    double const middle = (ref_decode(DSV3_F8_E4M3, &code, 0) + ref_decode(DSV3_F8_E4M3, &next, 0)) / 2;
    double const beside = middle * (1 + (double)rng_whole(bits << 32, -1, 1) * 0x1p-23);
    return ldexp(bits & 1 ? -beside : beside, exponent_of(p, i));
}

/* By tile: zeros, below the floor, largest values of 465, 448 2^k and its neighbours, subnormal codes, one outlier. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    bool const first = place_of(p, i) == 0;
    double const sign = bits & 1 ? -1 : 1, part = (double)rng_whole(bits, 1, 448) / 512;
    int const k = exponent_of(p, i);
    (void)row;
    switch ((tile_of(p, i) + (int64_t)(p->seed % 8)) % 8) {
    case 0: return sign * (first ? 465 : 465 * part);
    case 1: return copysign(0, sign);
    case 2: return sign * (first ? 1e-6 : 1e-6 * part);
    case 3: return sign * ldexp(first ? 448 : 448 * part, k);
    case 4: return sign * ldexp(first ? 448 * (1 + 0x1p-23) : 448 * part, k);
    case 5: return sign * ldexp(first ? 448 * (1 - 0x1p-24) : 448 * part, k);
    case 6: return sign * ldexp(first ? 448 : part / 32, k);
    default: return sign * (first ? 30000 : part);
    }
}

/* As real, but the largest of a tile is its last. */
static double last_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = prob_of(p)->in_features, next = i % width + 1;
    double const v = real_value(p, row, i, bits);
    bool const last = next == width || place_of(p, i) == 127;
    return last ? copysign(ldexp(5, exponent_of(p, i)), v) : v; /* no drawn number is above 4 */
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal tiles of different size"},
    {"exact", exact_value, "scales 2^k, and 2^k times every value of E4M3"},
    {"tie", tie_value, "scales 2^k, and 2^k times midpoints of neighbouring values and what is beside them"},
    {"adversarial", adversarial_value,
     "by tile: zeros, 1e-6, 465, 448 2^k and its neighbours, subnormal codes, an outlier"},
    {"last", last_value, "as real; the largest of a tile is its last"},
    FILL_TRAINED,
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_quant_prob *const p = prob;
    return 4 * (double)p->n_tokens * (double)p->in_features;
}

const op op_quant = {
    .name = "quant",
    .summary = "scale = amax / 448 of 128 neighbours, q = E4M3(x / scale)",
    .source = "DeepSeek-V3 report (arXiv 2412.19437) 3.3.2; deepseek-ai/DeepSeek-V3, inference/kernel.py",
    .prob_size = sizeof(dsv3_quant_prob),
    .io_size = sizeof(dsv3_quant_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .work = work,
    .staged = true,
};
