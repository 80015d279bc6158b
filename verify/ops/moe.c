/* moe: rows only. The formula is in ref/moe.c. */
#include "rows.h"

#include "case/large_scores.h"
#include "case/rng.h"
#include "case/weight_values.h"
#include "case/trained.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_moe_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {2, 2, 7, 1}, "rows of hidden states"},
    {FIELD(hidden_size), FIELD_SIZE, 1, 65536, {7168, 4, 64, 1}, "width of a hidden state"},
    {FIELD(moe_intermediate_size), FIELD_SIZE, 1, 65536, {2048, 2, 20, 1}, "width of an expert"},
    {FIELD(n_routed_experts), FIELD_SIZE, 1, 256, {256, 8, 16, 1}, "experts"},
    {FIELD(n_shared_experts), FIELD_SIZE, 0, 64, {1, 1, 2, 1}, "experts of every token; 0: none"},
    ROWS_ROUTING,
    ROWS_SCORING,
    {FIELD(stages), FIELD_FLAG, 0, 1, {1, 0, 0, 0}, "1: stages are written, and what follows is made of them"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_moe_io, name)
#define FIRST    "experts.0.gate_proj.weight"
static const tensor_row tensors[] = {
    {"hidden_states", TENSOR_IN, IO(hidden_states), "bf16 f32", "n_tokens hidden_size", NULL, "input rows"},
    {"gate.weight", TENSOR_WEIGHT, 0, "=hidden_states", "n_routed_experts hidden_size", NULL, "makes the logits"},
    {"gate.e_score_correction_bias", TENSOR_WEIGHT, 0, "f32", "n_routed_experts", "topk_method=0",
     "added to the scores for the choice"},
    {"experts.#.gate_proj.weight", TENSOR_WEIGHT, 0, "=hidden_states bf16 f32 f8_e4m3",
     "moe_intermediate_size hidden_size", NULL, "one an expert", "n_routed_experts", "weights"},
    ROW_SCALES("experts.#.gate_proj", "expert_blocks hidden_blocks", FP8, "n_routed_experts"),
    ROWS_EXPERT_MATRIX("experts.#.up_proj", "moe_intermediate_size hidden_size", "expert_blocks hidden_blocks",
                       "likewise"),
    ROWS_EXPERT_MATRIX("experts.#.down_proj", "hidden_size moe_intermediate_size", "hidden_blocks expert_blocks",
                       "likewise"),
    ROWS_SHARED_EXPERTS(""),
    {"router_logits", TENSOR_OUT, IO(router_logits), "f32", "n_tokens n_routed_experts", "stages", "gate.weight x"},
    ROWS_CHOSEN,
    {"act", TENSOR_OUT, IO(act), "=hidden_states", "n_tokens num_experts_per_tok moe_intermediate_size", "stages",
     "silu(gate_proj x) * up_proj x of each expert chosen"},
    {"shared_act", TENSOR_OUT, IO(shared_act), "=hidden_states", "n_tokens shared_width", "stages n_shared_experts",
     "the same of the shared experts"},
    {"y", TENSOR_OUT, IO(y), "=hidden_states", "n_tokens hidden_size", NULL, "the layer's output"},
    {.name = NULL},
};

static const dsv3_moe_prob *prob_of(const struct problem *p)
{
    return (const dsv3_moe_prob *)(const void *)p->prob.bytes;
}

static int64_t expert_blocks(const void *prob)
{
    return blocks(((const dsv3_moe_prob *)prob)->moe_intermediate_size);
}

static int64_t hidden_blocks(const void *prob)
{
    return blocks(((const dsv3_moe_prob *)prob)->hidden_size);
}

static int64_t shared_width(const void *prob)
{
    const dsv3_moe_prob *const p = prob;
    return p->n_shared_experts * p->moe_intermediate_size;
}

static int64_t shared_blocks(const void *prob)
{
    return blocks(shared_width(prob));
}

static const derived_row derived[] = {{"expert_blocks", expert_blocks},
                                      {"hidden_blocks", hidden_blocks},
                                      {"shared_width", shared_width},
                                      {"shared_blocks", shared_blocks},
                                      {.name = NULL}};

static bool fp8(const struct problem *p)
{
    return problem_tensor(p, FIRST)->dtype == DSV3_F8_E4M3;
}

static int64_t inputs_of(const dsv3_moe_prob *p, const char *name)
{
    if (!strstr(name, "down_proj")) return p->hidden_size;
    return name[0] == 's' ? shared_width(p) : p->moe_intermediate_size;
}

static weight_law law(const struct problem *p, const tensor_row *row)
{
    return weight_law_of(row->name, fp8(p) && !is(row, "gate.weight"), inputs_of(prob_of(p), row->name));
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)i;
    if (is(row, "hidden_states")) return rng_gaussian(bits);
    if (is(row, "gate.e_score_correction_bias")) return rng_gaussian(bits) / 8;
    return weight_value(p, row, bits);
}

/* Biases below every score: a mask of 0 would be chosen. */
static double negative_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return is(row, "gate.e_score_correction_bias") ? -1.5 + rng_gaussian(bits) / 32 : real_value(p, row, i, bits);
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

/* Tokens of different kinds: large, zero (every score is 1/2), tiny, one large entry. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = prob_of(p)->hidden_size, t = i / width, c = i % width;
    double const g = rng_gaussian(bits);
    if (!is(row, "hidden_states")) return real_value(p, row, i, bits);
    switch ((t + (int64_t)(p->seed % 4)) % 4) {
    case 0: return 16 * g;
    case 1: return 0;
    case 2: return 0x1p-70 * g;
    default: return c == t % width ? 64 : g / 16;
    }
}

/* With softmax, the first entry of a token makes its logits large. Sigmoids of such would be 0 and 1. */
static double large_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    const dsv3_moe_prob *const m = prob_of(p);
    bool const first = m->scoring_func == DSV3_SOFTMAX && i % m->hidden_size == 0;
    if (first && is(row, "hidden_states")) return large_score(p->seed, i / m->hidden_size);
    return first && is(row, "gate.weight") ? 1 : real_value(p, row, i, bits);
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal hidden states, biases of both signs"},
    {"negative", negative_value, "all biases near -1.5: a mask of 0 would be chosen"},
    {"adversarial", adversarial_value, "large, zero, tiny and spiked hidden states"},
    {"large", large_value,
     "with softmax, logits near 120, -120, 720 or -760: e^logit overflows or vanishes; else real"},
    {"mixed", mixed_value, "large, spiked, small and zero hidden states"},
    FILL_TRAINED,
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    const dsv3_moe_prob *const m = prob_of(p);
    dsv3_dtype const x = problem_tensor(p, "hidden_states")->dtype, w = problem_tensor(p, FIRST)->dtype;
    if (m->n_routed_experts % m->n_group) return "n_group divides n_routed_experts";
    if (m->topk_group > m->n_group) return "topk_group is at most n_group";
    if (m->topk_group * (m->n_routed_experts / m->n_group) < m->num_experts_per_tok)
        return "the topk_group groups kept hold at least num_experts_per_tok experts";
    if (w == DSV3_F32 && x == DSV3_BF16) return "weights of f32 need hidden states of f32: no public model mixes them";
    return NULL;
}

static double work(const void *prob)
{
    const dsv3_moe_prob *const p = prob;
    double const experts = (double)p->num_experts_per_tok + (double)p->n_shared_experts, h = (double)p->hidden_size;
    return (double)p->n_tokens * h * (3 * experts * (double)p->moe_intermediate_size + (double)p->n_routed_experts);
}

const op op_moe = {
    .name = "moe",
    .summary = "a whole MoE layer: gate, routed and shared experts",
    .source = "DeepSeek-V3 report (arXiv 2412.19437) 2.1.2; transformers, DeepseekV3MoE",
    .prob_size = sizeof(dsv3_moe_prob),
    .io_size = sizeof(dsv3_moe_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .rule = rule,
    .work = work,
    .law = law,
    .staged = true,
    .choice = "topk_idx",
};
