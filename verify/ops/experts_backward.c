/* experts_backward: rows only. The formula is in ref/experts_backward.c. */
#include "rows.h"

#include "case/rng.h"
#include "case/weight_values.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_experts_backward_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {2, 2, 7, 1}, "rows of hidden states"},
    {FIELD(hidden_size), FIELD_SIZE, 1, 65536, {7168, 4, 64, 1}, "width of a hidden state"},
    {FIELD(moe_intermediate_size), FIELD_SIZE, 1, 65536, {2048, 2, 20, 1}, "width of an expert"},
    {FIELD(n_routed_experts), FIELD_SIZE, 1, 256, {256, 8, 16, 1}, "experts"},
    {FIELD(num_experts_per_tok), FIELD_SIZE, 1, 64, {8, 2, 6, 1}, "experts of a token"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_experts_backward_io, name)
static const tensor_row tensors[] = {
    {"hidden_states", TENSOR_IN, IO(hidden_states), "bf16 f32", "n_tokens hidden_size", NULL, "input rows"},
    {"topk_idx", TENSOR_IN, IO(topk_idx), "i32", "n_tokens num_experts_per_tok", NULL, "experts of each token"},
    {"topk_weight", TENSOR_IN, IO(topk_weight), "f32", "n_tokens num_experts_per_tok", NULL, "their weights"},
    {"grad_y", TENSOR_IN, IO(grad_y), "=hidden_states", "n_tokens hidden_size", NULL, "gradient by the weighted sums"},
    {"experts.#.gate_proj.weight", TENSOR_WEIGHT, 0, "=hidden_states", "moe_intermediate_size hidden_size", NULL,
     "one an expert", "n_routed_experts"},
    {"experts.#.up_proj.weight", TENSOR_WEIGHT, 0, "=hidden_states", "moe_intermediate_size hidden_size", NULL,
     "likewise", "n_routed_experts"},
    {"experts.#.down_proj.weight", TENSOR_WEIGHT, 0, "=hidden_states", "hidden_size moe_intermediate_size", NULL,
     "likewise", "n_routed_experts"},
    {"grad_hidden_states", TENSOR_OUT, IO(grad_hidden_states), "=hidden_states", "n_tokens hidden_size", NULL,
     "gradient by hidden_states"},
    {"grad_topk_weight", TENSOR_OUT, IO(grad_topk_weight), "f32", "n_tokens num_experts_per_tok", NULL,
     "gradient by topk_weight"},
    {"grad_gate_proj", TENSOR_OUT, IO(grad_gate_proj), "=hidden_states bf16 f32",
     "n_routed_experts moe_intermediate_size hidden_size", NULL, "gradient by gate_proj of each expert"},
    {"grad_up_proj", TENSOR_OUT, IO(grad_up_proj), "=grad_gate_proj",
     "n_routed_experts moe_intermediate_size hidden_size", NULL, "by up_proj"},
    {"grad_down_proj", TENSOR_OUT, IO(grad_down_proj), "=grad_gate_proj",
     "n_routed_experts hidden_size moe_intermediate_size", NULL, "by down_proj"},
    {.name = NULL},
};

static const dsv3_experts_backward_prob *prob_of(const struct problem *p)
{
    return (const dsv3_experts_backward_prob *)(const void *)p->prob.bytes;
}

/* Experts of a token: a start that belongs to it, then every seventh, or every next where seven divides their
 * number. */
static double chosen(const struct problem *p, int64_t i)
{
    const dsv3_experts_backward_prob *const e = prob_of(p);
    int64_t const t = i / e->num_experts_per_tok, k = i % e->num_experts_per_tok;
    int64_t const start = rng_whole(rng_bits(rng_key(p->seed, "route"), (uint64_t)t), 0, e->n_routed_experts - 1);
    return (double)((start + k * (e->n_routed_experts % 7 ? 7 : 1)) % e->n_routed_experts);
}

static weight_law law(const struct problem *p, const tensor_row *row)
{
    const dsv3_experts_backward_prob *const e = prob_of(p);
    bool const down = is(row, "experts.#.down_proj.weight");
    return weight_law_of(row->name, false, down ? e->moe_intermediate_size : e->hidden_size);
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is(row, "topk_idx")) return chosen(p, i);
    if (is(row, "topk_weight")) return 0.1 + (double)(bits >> 40) * 0x1p-25;
    if (is(row, "hidden_states") || is(row, "grad_y")) return rng_gaussian(bits);
    return weight_value(p, row, bits);
}

/* Gates of 32 or 64, where silu is the gate and silu' 1; small whole numbers; weights that are powers of two. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = prob_of(p)->hidden_size;
    if (is(row, "topk_idx")) return chosen(p, i);
    if (is(row, "topk_weight")) return ldexp(1, (int)rng_whole(bits, -2, 0));
    if (is(row, "hidden_states")) return (double)rng_whole(bits, 1, 2);
    if (!is(row, "experts.#.gate_proj.weight")) return (double)rng_whole(bits, -2, 2);
    return i % width == i / width % width ? 32 : 0;
}

/* Tokens of different kinds: saturating, without any state, tiny, one large entry; gradients that cancel, large, none, of
 * one entry; weights of very different size, and 0. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    bool const is_x = is(row, "hidden_states"), is_grad = is(row, "grad_y");
    int64_t const width = is_x || is_grad ? prob_of(p)->hidden_size : prob_of(p)->num_experts_per_tok;
    int64_t const t = i / width, c = i % width, kind = (t + (int64_t)(p->seed % 4)) % 4;
    double const g = rng_gaussian(bits), entry = c == t % width ? 32 : g / 16;
    if (is(row, "topk_weight")) return c % 4 == 3 ? 0 : ldexp(1 + fabs(g), (int)rng_whole(bits, -12, 2));
    if (is_x) return kind == 0 ? 8 * g : kind == 1 ? 0 : kind == 2 ? 0x1p-40 * g : entry;
    if (is_grad) return kind == 0 ? (c % 2 ? -1 : 1) * (1 + 0x1p-6 * g) : kind == 1 ? 64 * g : kind == 2 ? g : entry;
    return real_value(p, row, i, bits);
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal hidden states and gradients, weights between 0.1 and 0.6"},
    {"exact", exact_value, "gates of 32 and 64, whole numbers, weights 1/4 to 1: every order gives the same bits"},
    {"adversarial", adversarial_value,
     "saturating, zero, tiny and spiked hidden states, cancelling and spiked gradients, weights of any size and 0"},
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    const dsv3_experts_backward_prob *const e = prob_of(p);
    if (e->num_experts_per_tok > e->n_routed_experts) return "num_experts_per_tok is at most n_routed_experts";
    return NULL;
}

/* A token times three matrices, back through two more, and three gradients of matrices. */
static double work(const void *prob)
{
    const dsv3_experts_backward_prob *const p = prob;
    return 8 * (double)p->n_tokens * (double)p->num_experts_per_tok * (double)p->hidden_size *
           (double)p->moe_intermediate_size;
}

const op op_experts_backward = {
    .name = "experts_backward",
    .summary = "gradients of the routed experts by states, weights of the choice and matrices",
    .source = "derivative of experts; torch, autograd through DeepseekV3Experts",
    .prob_size = sizeof(dsv3_experts_backward_prob),
    .io_size = sizeof(dsv3_experts_backward_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .rule = rule,
    .work = work,
    .law = law,
};
