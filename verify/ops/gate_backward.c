/* gate_backward: rows only. The formula is in ref/gate_backward.c. */
#include "rows.h"

#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_gate_backward_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {64, 4, 40, 2}, "rows of logits"},
    {FIELD(n_routed_experts), FIELD_SIZE, 1, 1024, {256, 8, 16, 1}, "experts"},
    {FIELD(num_experts_per_tok), FIELD_SIZE, 1, 64, {8, 2, 6, 1}, "experts chosen for a token"},
    {FIELD(routed_scaling_factor), FIELD_REAL, 0, 1e6, {2.5, 2.5, 1.7, 1}, "multiplies the weights"},
    ROWS_SCORING,
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_gate_backward_io, name)
static const tensor_row tensors[] = {
    {"logits", TENSOR_IN, IO(logits), "f32 bf16", "n_tokens n_routed_experts", NULL, "x W^T of the gate"},
    {"topk_idx", TENSOR_IN, IO(topk_idx), "i32", "n_tokens num_experts_per_tok", NULL, "experts chosen"},
    {"grad_topk_weight", TENSOR_IN, IO(grad_topk_weight), "f32", "n_tokens num_experts_per_tok", NULL,
     "gradient by their weights"},
    {"e_score_correction_bias", TENSOR_WEIGHT, 0, "f32", "n_routed_experts", "topk_method=0", "isn't read"},
    {"grad_logits", TENSOR_OUT, IO(grad_logits), "=logits", "n_tokens n_routed_experts", NULL, "gradient by logits"},
    {.name = NULL},
};

static const dsv3_gate_backward_prob *prob_of(const struct problem *p)
{
    return (const dsv3_gate_backward_prob *)(const void *)p->prob.bytes;
}

/* Experts one after the other, from one that is drawn for the token; a token's are different. */
static double expert_of(const struct problem *p, int64_t i)
{
    int64_t const n = prob_of(p)->n_routed_experts, k = prob_of(p)->num_experts_per_tok;
    int64_t const first = rng_whole(rng_bits(rng_key(p->seed, "first"), (uint64_t)(i / k)), 0, n - 1);
    return (double)((first + i % k) % n);
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is(row, "topk_idx")) return expert_of(p, i);
    return is(row, "e_score_correction_bias") ? 0.25 + rng_gaussian(bits) / 8 : rng_gaussian(bits);
}

/* Logits of 0, whole gradients: sigmoids are 1/2, the shares alike. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is(row, "logits")) return 0;
    return is(row, "grad_topk_weight") ? (double)rng_whole(bits, -8, 8) : real_value(p, row, i, bits);
}

/* By token: equal gradients, of which nothing is left; saturated scores; small ones; gradients of very different size. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    bool const is_logit = is(row, "logits"), is_grad = is(row, "grad_topk_weight");
    int64_t const width = is_logit ? prob_of(p)->n_routed_experts : prob_of(p)->num_experts_per_tok;
    int64_t const kind = (i / width + (int64_t)(p->seed % 4)) % 4;
    double const g = rng_gaussian(bits);
    if (is_logit) return kind == 1 ? 8 + g : kind == 2 ? -12 + g : 2 * g;
    if (is_grad) return kind == 0 ? 1 + 0x1p-6 * g : kind == 3 ? ldexp(g, (int)rng_whole(bits, -4, 4)) : g;
    return real_value(p, row, i, bits);
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal logits and gradients, any neighbouring experts"},
    {"exact", exact_value, "logits of 0, whole gradients"},
    {"adversarial", adversarial_value, "equal gradients, scores near 1 and near 0, gradients of very different size"},
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    const dsv3_gate_backward_prob *const g = prob_of(p);
    if (g->n_routed_experts < g->num_experts_per_tok) return "num_experts_per_tok is at most n_routed_experts";
    return NULL;
}

static double work(const void *prob)
{
    const dsv3_gate_backward_prob *const p = prob;
    return 20 * (double)p->n_tokens * (double)p->n_routed_experts;
}

const op op_gate_backward = {
    .name = "gate_backward",
    .summary = "gradient of the chosen experts' weights by the logits",
    .source = "derivative of gate; torch, autograd through DeepseekV3TopkRouter",
    .prob_size = sizeof(dsv3_gate_backward_prob),
    .io_size = sizeof(dsv3_gate_backward_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .rule = rule,
    .work = work,
};
