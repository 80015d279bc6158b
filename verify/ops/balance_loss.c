/* balance_loss: rows only. The formula is in ref/balance_loss.c. */
#include "rows.h"

#include "case/routed_scores.h"

#define FIELD(name) #name, offsetof(dsv3_balance_loss_prob, name)
static const field_row fields[] = {
    {FIELD(batch), FIELD_SIZE, 1, 4096, {2, 2, 3, 1}, "sequences"},
    {FIELD(n_tokens), FIELD_SIZE, 1, 1048576, {64, 4, 40, 1}, "tokens of all sequences"},
    {FIELD(n_routed_experts), FIELD_SIZE, 1, 1024, {256, 8, 16, 1}, "experts"},
    {FIELD(num_experts_per_tok), FIELD_SIZE, 1, 64, {8, 2, 6, 1}, "experts chosen for a token"},
    {FIELD(aux_loss_alpha), FIELD_REAL, 0, 1e6, {0.0001, 0.0001, 0.0003, 1}, "multiplies the loss"},
    {FIELD(seq_aux), FIELD_FLAG, 0, 1, {1, 1, 1, 1}, "1: by sequence; 0: over the batch, scores as they are"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_balance_loss_io, name)
static const tensor_row tensors[] = {
    {"scores", TENSOR_IN, IO(scores), "f32", "n_tokens n_routed_experts", NULL, "sigmoids of the gate's logits"},
    {"topk_idx", TENSOR_IN, IO(topk_idx), "i32", "n_tokens num_experts_per_tok", NULL, "experts chosen"},
    {"cu_seqlens", TENSOR_IN, IO(cu_seqlens), "i32", "boundaries", NULL, "where sequences begin, and the end"},
    {"loss", TENSOR_OUT, IO(loss), "f32", "batch", NULL, "the loss of each sequence"},
    {.name = NULL},
};

static int64_t boundaries(const void *prob)
{
    return ((const dsv3_balance_loss_prob *)prob)->batch + 1;
}

static const derived_row derived[] = {{"boundaries", boundaries}, {.name = NULL}};

static const list_row lists[] = {{"seq_lens", "batch", NULL, "n_tokens", "tokens of each sequence, as in 3+0+4"},
                                 {.name = NULL}};

static const fill_row fills[] = {
    {"real", routed_real, "scores around 1/2, routing that prefers low experts"},
    {"exact", routed_exact,
     "scores of 1/4 and 3/4 by turns: with powers of two for experts, K and T nothing rounds but aux_loss_alpha"},
    {"adversarial", routed_adversarial, "by token: one strong expert, scores near 2^-58, near 1, of many sizes"},
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    const dsv3_balance_loss_prob *const l = (const dsv3_balance_loss_prob *)(const void *)p->prob.bytes;
    if (l->num_experts_per_tok > l->n_routed_experts) return "num_experts_per_tok is at most n_routed_experts";
    return NULL;
}

static double work(const void *prob)
{
    const dsv3_balance_loss_prob *const p = prob;
    return 3 * (double)p->n_tokens * (double)p->n_routed_experts;
}

const op op_balance_loss = {
    .name = "balance_loss",
    .summary = "the complementary balance loss, by sequence or over the batch",
    .source = "DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eqs. 17-20; DeepSeekMoE (arXiv 2401.06066) 3.3",
    .prob_size = sizeof(dsv3_balance_loss_prob),
    .io_size = sizeof(dsv3_balance_loss_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .rule = rule,
    .work = work,
    .lists = lists,
};
