/* rope_backward: rows only. The formula is in ref/rope_backward.c. */
#include "rows.h"

#include "case/rotated_vectors.h"

#define FIELD(name) #name, offsetof(dsv3_rope_backward_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {8, 2, 5, 1}, "rows of grad_y"},
    {FIELD(num_heads), FIELD_SIZE, 1, 1024, {8, 2, 6, 1}, "heads that share a position"},
    {FIELD(num_key_value_heads), FIELD_SIZE, 1, 1024, {1, 1, 2, 1}, "vectors; each serves as many neighbouring heads"},
    {FIELD(qk_rope_head_dim), FIELD_SIZE, 2, 1024, {64, 2, 8, 2}, "width of a vector, even"},
    ROWS_YARN,
    {FIELD(mscale_all_dim), FIELD_REAL, 0, 100, {1, 1, 1, 1}, "YaRN: amplitude, denominator"},
    {FIELD(in_layout), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "pairs of grad_x: 0 interleaved (2j, 2j+1), 1 half (j, j+r/2)"},
    {FIELD(out_layout), FIELD_FLAG, 0, 1, {0, 0, 1, 0}, "pairs of grad_y, likewise"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_rope_backward_io, name)
static const tensor_row tensors[] = {
    {"grad_y", TENSOR_IN, IO(grad_y), "bf16 f32", "n_tokens num_heads qk_rope_head_dim", NULL, "gradients by y"},
    {"positions", TENSOR_IN, IO(positions), "i32", "n_tokens", NULL, "position of each token"},
    {"grad_x", TENSOR_OUT, IO(grad_x), "=grad_y", "n_tokens num_key_value_heads qk_rope_head_dim", NULL,
     "gradients by x"},
    {.name = NULL},
};

static const dsv3_rope_backward_prob *prob_of(const struct problem *p)
{
    return (const dsv3_rope_backward_prob *)(const void *)p->prob.bytes;
}

static const fill_row fills[] = {
    {"real", rotated_real, "near-normal vectors, positions 1 to 4095"},
    {"exact", rotated_exact, "whole numbers at position 0: sums over heads, up to the layouts"},
    {"far", rotated_far, "near-normal vectors, positions up to 163839 and one at 2^24 - 1"},
    {"onehot", rotated_onehot, "one element of each vector is 1: shows what each element turns into"},
    {"adversarial", rotated_adversarial, "pairs of very different size, nearly equal, subnormal, zero and large ones"},
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    if (prob_of(p)->qk_rope_head_dim % 2) return "qk_rope_head_dim is even: its elements are pairs";
    if (prob_of(p)->num_heads % prob_of(p)->num_key_value_heads) return "num_key_value_heads divides num_heads";
    return prob_of(p)->beta_fast < prob_of(p)->beta_slow ? "beta_fast is at least beta_slow" : NULL;
}

static double work(const void *prob)
{
    const dsv3_rope_backward_prob *const p = prob;
    return 2 * (double)p->n_tokens * (double)p->num_heads * (double)p->qk_rope_head_dim;
}

const op op_rope_backward = {
    .name = "rope_backward",
    .summary = "gradient of rope by x: the sum over heads, rotated back",
    .source = "transpose of rope; transformers, DeepseekV3Attention, k_rot",
    .prob_size = sizeof(dsv3_rope_backward_prob),
    .io_size = sizeof(dsv3_rope_backward_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .rule = rule,
    .work = work,
};
