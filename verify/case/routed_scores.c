/* See routed_scores.h. */
#include "routed_scores.h"

#include "rng.h"

#include <math.h>

/* Both problems begin alike. */
_Static_assert(offsetof(dsv3_balance_loss_prob, num_experts_per_tok) ==
                   offsetof(dsv3_balance_loss_backward_prob, num_experts_per_tok),
               "a cast between them");
_Static_assert(offsetof(dsv3_balance_loss_prob, batch) == offsetof(dsv3_balance_loss_backward_prob, batch), "likewise");

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

static bool is_grad(const tensor_row *row)
{
    return row->name[0] == 'g';
}

static bool index_value(const struct problem *p, const tensor_row *row, int64_t i, double *v)
{
    if (!strcmp(row->name, "cu_seqlens")) return *v = (double)start_of(p, i), true;
    if (!strcmp(row->name, "topk_idx")) return *v = (double)routed(p, i), true;
    return false;
}

double routed_real(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double v;
    if (is_grad(row)) return rng_gaussian(bits);
    return index_value(p, row, i, &v) ? v : 0.5 + rng_gaussian(bits) / 10;
}

/* Scores of 1/4 and 3/4 by turns: with an even number of experts every sum of them is whole. */
double routed_exact(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    const dsv3_balance_loss_prob *const l = prob_of(p);
    double v;
    if (is_grad(row)) return ldexp(1, (int)rng_whole(bits, -4, 4));
    if (index_value(p, row, i, &v)) return v;
    return (i % l->n_routed_experts + i / l->n_routed_experts / 2) % 2 ? 0.75 : 0.25;
}

/* By token: one score of 1 and weak others, vanishing scores, scores near 1, scores of many sizes. */
double routed_adversarial(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const n = prob_of(p)->n_routed_experts, token = i / n, e = i % n;
    double const g = rng_gaussian(bits);
    double v;
    if (is_grad(row)) return ldexp(g, (int)rng_whole(bits, -8, 8));
    if (index_value(p, row, i, &v)) return v;
    switch ((token + (int64_t)(p->seed % 4)) % 4) {
    case 0: return e == token % n ? 1 : 0.01 + g / 500;
    case 1: return (5 + g) * 0x1p-60;
    case 2: return 1 - (5 + g) * 0x1p-20;
    default: return (5 + g) / (double)(int64_t)(16 << (bits % 16));
    }
}
