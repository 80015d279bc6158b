/* gate: rows only. The formula is in ref/gate.c. */
#include "rows.h"

#include "case/large_scores.h"
#include "case/rng.h"
#include "case/trained.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_gate_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {64, 4, 40, 2}, "rows of logits"},
    {FIELD(n_routed_experts), FIELD_SIZE, 1, 1024, {256, 8, 16, 1}, "experts"},
    ROWS_ROUTING,
    {FIELD(norm_topk_prob), FIELD_FLAG, 0, 1, {1, 1, 1, 1}, "1: weights are divided by their sum"},
    {FIELD(scoring_func), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "0: sigmoid, 1: softmax over all experts"},
    {FIELD(topk_method), FIELD_FLAG, 0, 2, {0, 0, 0, 0}, "0: noaux_tc, 1: greedy, 2: group_limited_greedy"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_gate_io, name)
static const tensor_row tensors[] = {
    {"logits", TENSOR_IN, IO(logits), "f32 bf16", "n_tokens n_routed_experts", NULL, "x W^T of the gate"},
    {"e_score_correction_bias", TENSOR_WEIGHT, 0, "f32", "n_routed_experts", "topk_method=0",
     "added to the scores for the choice"},
    ROWS_CHOSEN,
    {.name = NULL},
};

static const dsv3_gate_prob *prob_of(const struct problem *p)
{
    return (const dsv3_gate_prob *)(const void *)p->prob.bytes;
}

static bool is_bias(const tensor_row *row)
{
    return row->kind == TENSOR_WEIGHT;
}

/* The group of expert e. */
static int64_t group_of(const struct problem *p, int64_t e)
{
    return e / (prob_of(p)->n_routed_experts / prob_of(p)->n_group);
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)p, (void)i;
    return is_bias(row) ? rng_gaussian(bits) / 8 : rng_gaussian(bits);
}

static bool has_bias(const struct problem *p)
{
    return prob_of(p)->topk_method == DSV3_NOAUX_TC;
}

/* All logits 0; biases that are whole eighths, no two sums alike by group. Without biases: as many logits of 0 as
 * experts are chosen, from the first of a group on, and the others far below. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    const dsv3_gate_prob *const g = prob_of(p);
    int64_t const n = g->n_routed_experts, size = n / g->n_group, first = i / n % g->n_group * size;
    (void)bits;
    if (is_bias(row)) return (double)(i * 37 % n) / 8;
    return has_bias(p) || (i % n - first + n) % n < g->num_experts_per_tok ? 0 : -1000;
}

/* Every score is the same: any group and any expert is as good as another. */
static double tie_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)i, (void)p;
    return is_bias(row) ? 0 : (double)rng_whole(bits, 0, 1);
}

/* Scores at seven levels, biases that lift them all to 1/2: what is selected differs in its last bits only.
 * Without biases, or where no level is known, all scores are alike but that of one expert. */
static double neartie_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    static const struct {
        double logit, sigmoid;
    } level[] = {{-1.5, 0.18242552380635635}, {-1, 0.2689414213699951}, {-0.5, 0.3775406687981454}, {0, 0.5},
                 {0.5, 0.6224593312018546},   {1, 0.7310585786300049},  {1.5, 0.8175744761936437}};
    int64_t const e = i % prob_of(p)->n_routed_experts;
    bool const levels = has_bias(p) && prob_of(p)->scoring_func == DSV3_SIGMOID;
    if (!levels && is_bias(row)) return 0;
    if (!levels && e == i / prob_of(p)->n_routed_experts % prob_of(p)->n_routed_experts) return 2 + (double)(e % 4) / 2;
    if (!levels) return 1 + (double)rng_whole(bits, -4, 4) * 0x1p-22;
    if (is_bias(row)) return 0.5 - level[e % 7].sigmoid;
    return level[e % 7].logit + (double)rng_whole(bits, -4, 4) * 0x1p-22;
}

/* Biases below every score, whole groups of them: a mask of 0 would win over the experts that are kept. */
static double negative_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    return is_bias(row) ? -1.5 - (double)group_of(p, i) / 16 + g / 64 : g;
}

/* One expert that stands out and weak neighbours, against groups of good second ones; saturated and vanishing
 * scores. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const n = prob_of(p)->n_routed_experts, size = n / prob_of(p)->n_group, e = i % n, token = i / n;
    double const g = rng_gaussian(bits);
    if (is_bias(row)) return 4 + g / 16; /* like the released biases: all alike and large */
    switch ((token + (int64_t)(p->seed % 4)) % 4) {
    case 0: return e % size == 0 && group_of(p, e) % 2 ? 3 + g / 8 : group_of(p, e) % 2 ? -4 + g : 0.5 + g / 8;
    case 1: return 20 * g;
    case 2: return -48 + g;
    default: return 4 * g;
    }
}

/* Sigmoids of such logits would be 0 and 1. */
static double large_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    bool const softmax = prob_of(p)->scoring_func == DSV3_SOFTMAX && !is_bias(row);
    double const near = softmax ? large_score(p->seed, i / prob_of(p)->n_routed_experts) : 0;
    return near + real_value(p, row, i, bits);
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal logits, biases of both signs"},
    {"exact", exact_value,
     "all scores alike, distinct biases, or without biases all but the chosen ones 0: the choice is certain"},
    {"tie", tie_value, "two different logits only and no bias: ties everywhere"},
    {"neartie", neartie_value,
     "scores at seven levels, biases that lift them all to 1/2, or all scores alike: differences in the last bits"},
    {"negative", negative_value, "all biases below -1: a mask of 0 would be chosen"},
    {"adversarial", adversarial_value, "biases near 4, single strong experts, saturated and vanishing scores"},
    {"large", large_value,
     "with softmax, logits near 120, -120, 720 or -760: e^logit overflows or vanishes; else real"},
    FILL_TRAINED,
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    const dsv3_gate_prob *const g = prob_of(p);
    bool const grouped = g->topk_method != DSV3_GREEDY;
    if (g->n_routed_experts < g->num_experts_per_tok) return "num_experts_per_tok is at most n_routed_experts";
    if (g->n_routed_experts % g->n_group) return "n_group divides n_routed_experts";
    if (g->topk_group > g->n_group) return "topk_group is at most n_group";
    if (!grouped) return NULL;
    if (g->topk_group * (g->n_routed_experts / g->n_group) < g->num_experts_per_tok)
        return "the topk_group groups kept hold at least num_experts_per_tok experts";
    return NULL;
}

static double work(const void *prob)
{
    const dsv3_gate_prob *const p = prob;
    return 20 * (double)p->n_tokens * (double)p->n_routed_experts;
}

const op op_gate = {
    .name = "gate",
    .summary = "the experts of each token by biased, group-limited scores, and their weights",
    .source =
        "DeepSeek-V3 report (arXiv 2412.19437) 2.1.2; transformers, DeepseekV3TopkRouter and DeepseekV2TopkRouter",
    .prob_size = sizeof(dsv3_gate_prob),
    .io_size = sizeof(dsv3_gate_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .rule = rule,
    .work = work,
    .staged = true,
    .choice = "topk_idx",
};
