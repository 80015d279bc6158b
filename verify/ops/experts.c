/* experts: rows only. The formula is in ref/experts.c. */
#include "rows.h"

#include "case/rng.h"
#include "case/weight_values.h"
#include "case/trained.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_experts_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {2, 2, 7, 1}, "rows of hidden states"},
    {FIELD(hidden_size), FIELD_SIZE, 1, 65536, {7168, 4, 64, 1}, "width of a hidden state"},
    {FIELD(moe_intermediate_size), FIELD_SIZE, 1, 65536, {2048, 2, 20, 1}, "width of an expert"},
    {FIELD(n_routed_experts), FIELD_SIZE, 1, 256, {256, 8, 16, 1}, "experts"},
    {FIELD(num_experts_per_tok), FIELD_SIZE, 1, 64, {8, 2, 6, 1}, "experts of a token"},
    {FIELD(stages), FIELD_FLAG, 0, 1, {1, 0, 0, 0}, "1: act is written, and what follows is made of it"},
    {FIELD(amax_floor), FIELD_REAL, 0, 1, {0, 0, 0, 0}, "W8A8: lower bound of a tile's amax in act; 0: none"},
    {FIELD(scale_fmt), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "W8A8: 1: the scales of act are powers of two"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_experts_io, name)
#define FIRST    "experts.0.gate_proj.weight"
#define CODED    "hidden_states=f8_e4m3"
#define SCALES   "experts.0.gate_proj.weight_scale_inv"
/* clang-format off */

/* The scales of a projection of every expert; the others are in the format of the first. */
#define ROW_EXPERT_SCALES(name, dtypes, shape, key)                                                                    \
    {name ".weight_scale_inv", TENSOR_WEIGHT, 0, dtypes, shape, FP8, "multiplies each 128x128 block; u8 as x_scale",   \
     "n_routed_experts", key}
#define ROWS_OTHER_MATRIX(name, shape, scales)                                                                         \
    {name ".weight", TENSOR_WEIGHT, 0, "=" FIRST, shape, NULL, "likewise", "n_routed_experts"},                        \
    ROW_EXPERT_SCALES(name, "=" SCALES, scales, NULL)
/* clang-format on */

static const tensor_row tensors[] = {
    {"hidden_states", TENSOR_IN, IO(hidden_states), "bf16 f32 f8_e4m3", "n_tokens hidden_size", NULL, "input rows"},
    {"topk_idx", TENSOR_IN, IO(topk_idx), "i32", "n_tokens num_experts_per_tok", NULL, "experts of each token"},
    {"topk_weight", TENSOR_IN, IO(topk_weight), "f32", "n_tokens num_experts_per_tok", NULL, "their weights"},
    {"experts.#.gate_proj.weight", TENSOR_WEIGHT, 0, "=hidden_states bf16 f32 f8_e4m3",
     "moe_intermediate_size hidden_size", NULL, "one an expert", "n_routed_experts", "weights"},
    ROW_EXPERT_SCALES("experts.#.gate_proj", "f32 u8", "expert_blocks hidden_blocks", "weight_scale_inv"),
    ROWS_OTHER_MATRIX("experts.#.up_proj", "moe_intermediate_size hidden_size", "expert_blocks hidden_blocks"),
    ROWS_OTHER_MATRIX("experts.#.down_proj", "hidden_size moe_intermediate_size", "hidden_blocks expert_blocks"),
    {"act", TENSOR_OUT, IO(act), "=hidden_states bf16 f32", "n_tokens num_experts_per_tok moe_intermediate_size",
     "stages", "silu(gate_proj x) * up_proj x"},
    {"y", TENSOR_OUT, IO(y), "=hidden_states bf16 f32", "n_tokens hidden_size", NULL, "weighted sums"},
    {"x_scale", TENSOR_IN, IO(x_scale), "f32 u8", "n_tokens hidden_blocks", CODED,
     "multiplies each 1x128 block of hidden_states; u8: byte b is 2^(b - 127)"},
    {"act_scale", TENSOR_OUT, IO(act_scale), "f32", "n_tokens num_experts_per_tok expert_blocks", "stages " CODED,
     "amax / 448 of a tile of 128 of act"},
    {"act_q", TENSOR_OUT, IO(act_q), "f8_e4m3", "n_tokens num_experts_per_tok moe_intermediate_size", "stages " CODED,
     "act / act_scale"},
    {.name = NULL},
};

static const dsv3_experts_prob *prob_of(const struct problem *p)
{
    return (const dsv3_experts_prob *)(const void *)p->prob.bytes;
}

static int64_t expert_blocks(const void *prob)
{
    return blocks(((const dsv3_experts_prob *)prob)->moe_intermediate_size);
}

static int64_t hidden_blocks(const void *prob)
{
    return blocks(((const dsv3_experts_prob *)prob)->hidden_size);
}

static const derived_row derived[] = {
    {"expert_blocks", expert_blocks}, {"hidden_blocks", hidden_blocks}, {.name = NULL}};

static bool fp8(const struct problem *p)
{
    return problem_tensor(p, FIRST)->dtype == DSV3_F8_E4M3;
}

static bool coded(const struct problem *p)
{
    return problem_tensor(p, "hidden_states")->dtype == DSV3_F8_E4M3;
}

static bool is_exponent(const struct problem *p, const tensor_row *row)
{
    const char *const name = is(row, "x_scale") ? "x_scale" : SCALES;
    return (is(row, "x_scale") || strstr(row->name, "weight_scale_inv")) && problem_tensor(p, name)->dtype == DSV3_U8;
}

/* Experts of a token: a start that belongs to it, then every seventh, or every next where seven divides their
 * number. */
static double chosen(const struct problem *p, int64_t i)
{
    const dsv3_experts_prob *const e = prob_of(p);
    int64_t const t = i / e->num_experts_per_tok, k = i % e->num_experts_per_tok;
    int64_t const start = rng_whole(rng_bits(rng_key(p->seed, "route"), (uint64_t)t), 0, e->n_routed_experts - 1);
    return (double)((start + k * (e->n_routed_experts % 7 ? 7 : 1)) % e->n_routed_experts);
}

static weight_law law(const struct problem *p, const tensor_row *row)
{
    const dsv3_experts_prob *const e = prob_of(p);
    bool const down = !strncmp(row->name, "experts.#.down", 14);
    return weight_law_of(row->name, fp8(p), down ? e->moe_intermediate_size : e->hidden_size);
}

/* A scale of activations: log-uniform over 2^8, no two alike; the largest make them near 1. */
static double x_scale(uint64_t bits)
{
    return ldexp(1 + (double)(bits >> 44) * 0x1p-20, (int)rng_whole(bits << 20, -13, -6));
}

static double number_of(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is(row, "topk_idx")) return chosen(p, i);
    if (is(row, "topk_weight")) return 0.1 + (double)(bits >> 40) * 0x1p-25;
    if (is(row, "hidden_states")) return coded(p) ? 64 * rng_gaussian(bits) : rng_gaussian(bits);
    return is(row, "x_scale") ? x_scale(bits) : weight_value(p, row, bits);
}

/* A scale in u8 is the exponent of the number that it would be. */
static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const v = number_of(p, row, i, bits);
    return is_exponent(p, row) ? 127 + ilogb(v) : v;
}

/* What an expert gives grows with its number: the result tells which ones were used. */
static double ids_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    const dsv3_experts_prob *const e = prob_of(p);
    double const v = real_value(p, row, i, bits);
    if (fp8(p) ? !is(row, "experts.#.down_proj.weight_scale_inv") : !is(row, "experts.#.down_proj.weight")) return v;
    int64_t const size = fp8(p) ? hidden_blocks(e) * expert_blocks(e) : e->hidden_size * e->moe_intermediate_size;
    return is_exponent(p, row) ? v + (double)(i / size % 8) : v * (double)(1 + i / size);
}

/* The kind of the token that element i belongs to, of a tensor with so many columns. */
static int kind_of(const struct problem *p, int64_t i, int64_t columns)
{
    return (int)((i / columns + (int64_t)(p->seed % 4)) % 4);
}

/* W8A8: codes of a token are near 1, its scale says how large they are; of one kind they are 0 or -0. */
static double code_of_kind(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits, int zeros,
                           const int exponent[4])
{
    int64_t const columns = is(row, "x_scale") ? hidden_blocks(p->prob.bytes) : prob_of(p)->hidden_size;
    int const kind = kind_of(p, i, columns);
    double const g = rng_gaussian(bits);
    if (is(row, "hidden_states")) return kind == zeros ? copysign(0, g) : 64 * g;
    if (!is(row, "x_scale")) return real_value(p, row, i, bits);
    return is_exponent(p, row) ? 127 + exponent[kind] : ldexp(1 + (double)(bits >> 44) * 0x1p-20, exponent[kind]);
}

static double mixed_code(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return code_of_kind(p, row, i, bits, 3, (const int[]){-4, -10, -24, -6});
}

static double extreme_code(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return code_of_kind(p, row, i, bits, 1, (const int[]){0, -6, -70, -2});
}

/* Tokens of different kinds whose activations are all numbers that BF16 holds: large, one large entry, small, zero. */
static double mixed_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = prob_of(p)->hidden_size, t = i / width, c = i % width;
    double const g = rng_gaussian(bits);
    if (coded(p)) return mixed_code(p, row, i, bits);
    if (!is(row, "hidden_states")) return real_value(p, row, i, bits);
    switch ((t + (int64_t)(p->seed % 4)) % 4) {
    case 0: return 4 * g;
    case 1: return c == t % width ? 16 : g / 16;
    case 2: return 0x1p-20 * g;
    default: return 0;
    }
}

/* Tokens of different kinds: zero, saturating, tiny, one large entry. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = prob_of(p)->hidden_size, t = i / width, c = i % width;
    double const g = rng_gaussian(bits);
    if (coded(p)) return extreme_code(p, row, i, bits);
    if (!is(row, "hidden_states")) return real_value(p, row, i, bits);
    switch ((t + (int64_t)(p->seed % 4)) % 4) {
    case 0: return 40 * g;
    case 1: return 0;
    case 2: return 0x1p-70 * g;
    default: return c == t % width ? 256 : g / 16;
    }
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal hidden states, weights between 0.1 and 0.6"},
    {"ids", ids_value, "as real; an expert's output grows with its number"},
    {"adversarial", adversarial_value, "saturating, zero, tiny and spiked hidden states"},
    {"mixed", mixed_value, "large, spiked, small and zero hidden states"},
    FILL_TRAINED,
    {.name = NULL},
};

static const char *rule_of_codes(const struct problem *p)
{
    return fp8(p) ? NULL : "hidden_states of f8_e4m3 need weights of f8_e4m3";
}

static const char *rule_without_codes(const struct problem *p)
{
    const dsv3_experts_prob *const e = prob_of(p);
    dsv3_dtype const x = problem_tensor(p, "hidden_states")->dtype;
    bool const other = problem_tensor(p, "y")->dtype != x || (e->stages && problem_tensor(p, "act")->dtype != x);
    if (other) return "act and y have the format of hidden_states, unless that is f8_e4m3";
    if (fp8(p) && problem_tensor(p, SCALES)->dtype == DSV3_U8)
        return "weight_scale_inv of u8 needs hidden_states of f8_e4m3";
    if (e->amax_floor != 0) return "amax_floor needs hidden_states of f8_e4m3: act isn't quantised else";
    return e->scale_fmt ? "scale_fmt needs hidden_states of f8_e4m3: act isn't quantised else" : NULL;
}

static const char *rule(const struct problem *p)
{
    const dsv3_experts_prob *const e = prob_of(p);
    dsv3_dtype const x = problem_tensor(p, "hidden_states")->dtype, w = problem_tensor(p, FIRST)->dtype;
    if (e->num_experts_per_tok > e->n_routed_experts) return "num_experts_per_tok is at most n_routed_experts";
    if (w == DSV3_F32 && x == DSV3_BF16) return "weights of f32 need hidden states of f32: no public model mixes them";
    return coded(p) ? rule_of_codes(p) : rule_without_codes(p);
}

static double work(const void *prob)
{
    const dsv3_experts_prob *const p = prob;
    return 3 * (double)p->n_tokens * (double)p->num_experts_per_tok * (double)p->hidden_size *
           (double)p->moe_intermediate_size;
}

const op op_experts = {
    .name = "experts",
    .summary = "the routed experts of a MoE layer, the routing given; W8A8 quantises again inside",
    .source = "DeepSeek-V3 report (arXiv 2412.19437) eq. 12; transformers, DeepseekV3Experts",
    .prob_size = sizeof(dsv3_experts_prob),
    .io_size = sizeof(dsv3_experts_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .rule = rule,
    .work = work,
    .law = law,
    .staged = true,
};
