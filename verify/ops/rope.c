/* rope: rows only. The formula is in ref/rope.c. */
#include "rows.h"

#include "case/rotated_vectors.h"

#define FIELD(name) #name, offsetof(dsv3_rope_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {8, 2, 5, 1}, "rows of x"},
    {FIELD(num_heads), FIELD_SIZE, 1, 1024, {8, 1, 3, 1}, "vectors that share a position"},
    {FIELD(qk_rope_head_dim), FIELD_SIZE, 2, 1024, {64, 2, 8, 2}, "width of a vector, even"},
    ROWS_YARN,
    {FIELD(mscale_all_dim), FIELD_REAL, 0, 100, {1, 1, 1, 1}, "YaRN: amplitude, denominator"},
    {FIELD(in_layout), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "pairs of x: 0 interleaved (2j, 2j+1), 1 half (j, j+r/2)"},
    {FIELD(out_layout), FIELD_FLAG, 0, 1, {0, 0, 1, 0}, "pairs of y, likewise"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_rope_io, name)
static const tensor_row tensors[] = {
    {"x", TENSOR_IN, IO(x), "bf16 f32", "n_tokens num_heads qk_rope_head_dim", NULL, "vectors to rotate"},
    {"positions", TENSOR_IN, IO(positions), "i32", "n_tokens", NULL, "position of each token"},
    {"y", TENSOR_OUT, IO(y), "=x", "n_tokens num_heads qk_rope_head_dim", NULL, "rotated vectors"},
    {.name = NULL},
};

static const dsv3_rope_prob *prob_of(const struct problem *p)
{
    return (const dsv3_rope_prob *)(const void *)p->prob.bytes;
}

static const fill_row fills[] = {
    {"real", rotated_real, "near-normal vectors, positions 1 to 4095"},
    {"exact", rotated_exact, "whole numbers at position 0: the identity, up to the layouts"},
    {"far", rotated_far, "near-normal vectors, positions up to 163839 and one at 2^24 - 1"},
    {"onehot", rotated_onehot, "one element of each vector is 1: shows what each element turns into"},
    {"adversarial", rotated_adversarial, "pairs of very different size, nearly equal, subnormal, zero and large ones"},
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    if (prob_of(p)->qk_rope_head_dim % 2) return "qk_rope_head_dim is even: its elements are pairs";
    return prob_of(p)->beta_fast < prob_of(p)->beta_slow ? "beta_fast is at least beta_slow" : NULL;
}

static double work(const void *prob)
{
    const dsv3_rope_prob *const p = prob;
    return 2 * (double)p->n_tokens * (double)p->num_heads * (double)p->qk_rope_head_dim;
}

const op op_rope = {
    .name = "rope",
    .summary = "y = x, its pairs rotated by position times a YaRN frequency",
    .source = "arXiv 2309.00071; deepseek-ai/DeepSeek-V3, inference/model.py, precompute_freqs_cis",
    .prob_size = sizeof(dsv3_rope_prob),
    .io_size = sizeof(dsv3_rope_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .rule = rule,
    .work = work,
};
