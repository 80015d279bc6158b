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
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_experts_io, name)
#define FIRST    "experts.0.gate_proj.weight"
static const tensor_row tensors[] = {
    {"hidden_states", TENSOR_IN, IO(hidden_states), "bf16 f32", "n_tokens hidden_size", NULL, "input rows"},
    {"topk_idx", TENSOR_IN, IO(topk_idx), "i32", "n_tokens num_experts_per_tok", NULL, "experts of each token"},
    {"topk_weight", TENSOR_IN, IO(topk_weight), "f32", "n_tokens num_experts_per_tok", NULL, "their weights"},
    {"experts.#.gate_proj.weight", TENSOR_WEIGHT, 0, "=hidden_states bf16 f32 f8_e4m3",
     "moe_intermediate_size hidden_size", NULL, "one an expert", "n_routed_experts", "weights"},
    ROW_SCALES("experts.#.gate_proj", "expert_blocks hidden_blocks", FP8, "n_routed_experts"),
    ROWS_EXPERT_MATRIX("experts.#.up_proj", "moe_intermediate_size hidden_size", "expert_blocks hidden_blocks",
                       "likewise"),
    ROWS_EXPERT_MATRIX("experts.#.down_proj", "hidden_size moe_intermediate_size", "hidden_blocks expert_blocks",
                       "likewise"),
    {"act", TENSOR_OUT, IO(act), "=hidden_states", "n_tokens num_experts_per_tok moe_intermediate_size", "stages",
     "silu(gate_proj x) * up_proj x"},
    {"y", TENSOR_OUT, IO(y), "=hidden_states", "n_tokens hidden_size", NULL, "weighted sums"},
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

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is(row, "topk_idx")) return chosen(p, i);
    if (is(row, "topk_weight")) return 0.1 + (double)(bits >> 40) * 0x1p-25;
    if (is(row, "hidden_states")) return rng_gaussian(bits);
    return weight_value(p, row, bits);
}

/* What an expert gives grows with its number: the result tells which ones were used. */
static double ids_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    const dsv3_experts_prob *const e = prob_of(p);
    double const v = real_value(p, row, i, bits);
    if (fp8(p) ? !is(row, "experts.#.down_proj.weight_scale_inv") : !is(row, "experts.#.down_proj.weight")) return v;
    int64_t const size = fp8(p) ? hidden_blocks(e) * expert_blocks(e) : e->hidden_size * e->moe_intermediate_size;
    return v * (double)(1 + i / size);
}

/* Tokens of different kinds whose activations are all numbers that BF16 holds: large, one large entry, small, zero. */
static double mixed_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = prob_of(p)->hidden_size, t = i / width, c = i % width;
    double const g = rng_gaussian(bits);
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

static const char *rule(const struct problem *p)
{
    const dsv3_experts_prob *const e = prob_of(p);
    dsv3_dtype const x = problem_tensor(p, "hidden_states")->dtype, w = problem_tensor(p, FIRST)->dtype;
    if (e->num_experts_per_tok > e->n_routed_experts) return "num_experts_per_tok is at most n_routed_experts";
    if (w == DSV3_F32 && x == DSV3_BF16) return "weights of f32 need hidden states of f32: no public model mixes them";
    return NULL;
}

static double work(const void *prob)
{
    const dsv3_experts_prob *const p = prob;
    return 3 * (double)p->n_tokens * (double)p->num_experts_per_tok * (double)p->hidden_size *
           (double)p->moe_intermediate_size;
}

const op op_experts = {
    .name = "experts",
    .summary = "the routed experts of a MoE layer, the routing given",
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
