/* balance_loss: rows only. The formula is in ref/balance_loss.c. */
#include "rows.h"

#include "case/rng.h"

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

static const dsv3_balance_loss_prob *prob_of(const struct problem *p)
{
    return (const dsv3_balance_loss_prob *)(const void *)p->prob.bytes;
}

/* Where sequence b begins: as the list says, or nearly equal parts. */
static int64_t start_of(const struct problem *p, int64_t b)
{
    const dsv3_balance_loss_prob *const l = prob_of(p);
    int64_t start = 0;
    if (!p->lists[0]) return b * l->n_tokens / l->batch;
    for (int64_t i = 0; i < b; i++) start += p->list[0][i];
    return start;
}

/* Neighbouring experts from a random one on, lower ones more often. */
static int64_t routed(const struct problem *p, int64_t i)
{
    const dsv3_balance_loss_prob *const l = prob_of(p);
    int64_t const token = i / l->num_experts_per_tok, k = i % l->num_experts_per_tok, last = l->n_routed_experts - 1;
    uint64_t const key = rng_key(p->seed, "routed");
    int64_t const a = rng_whole(rng_bits(key, 2 * (uint64_t)token), 0, last);
    int64_t const b = rng_whole(rng_bits(key, 2 * (uint64_t)token + 1), 0, last);
    return ((a < b ? a : b) + k) % l->n_routed_experts;
}

static bool index_value(const struct problem *p, const tensor_row *row, int64_t i, double *v)
{
    if (!strcmp(row->name, "cu_seqlens")) return *v = (double)start_of(p, i), true;
    if (!strcmp(row->name, "topk_idx")) return *v = (double)routed(p, i), true;
    return false;
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double v;
    return index_value(p, row, i, &v) ? v : 0.5 + rng_gaussian(bits) / 10;
}

/* Scores of 1/4 and 3/4 by turns: with an even number of experts every sum of them is whole. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    const dsv3_balance_loss_prob *const l = prob_of(p);
    double v;
    (void)bits;
    if (index_value(p, row, i, &v)) return v;
    return (i % l->n_routed_experts + i / l->n_routed_experts / 2) % 2 ? 0.75 : 0.25;
}

/* By token: one score of 1 and weak others, vanishing scores, scores near 1, scores of many sizes. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const n = prob_of(p)->n_routed_experts, token = i / n, e = i % n;
    double const g = rng_gaussian(bits);
    double v;
    if (index_value(p, row, i, &v)) return v;
    switch ((token + (int64_t)(p->seed % 4)) % 4) {
    case 0: return e == token % n ? 1 : 0.01 + g / 500;
    case 1: return (5 + g) * 0x1p-60;
    case 2: return 1 - (5 + g) * 0x1p-20;
    default: return (5 + g) / (double)(int64_t)(16 << (bits % 16));
    }
}

static const fill_row fills[] = {
    {"real", real_value, "scores around 1/2, routing that prefers low experts"},
    {"exact", exact_value,
     "scores of 1/4 and 3/4 by turns: with powers of two for experts, K and T nothing rounds but aux_loss_alpha"},
    {"adversarial", adversarial_value, "by token: one strong expert, scores near 2^-58, near 1, of many sizes"},
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    if (prob_of(p)->num_experts_per_tok > prob_of(p)->n_routed_experts)
        return "num_experts_per_tok is at most n_routed_experts";
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
