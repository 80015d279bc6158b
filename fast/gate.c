/* See gate.h. */
#include "gate.h"

#include "ctx.h"
#include "elementwise.h"
#include "fast.h"
#include "matrix.h"

#include <math.h>

int can_route(const dsv3_gate_prob *p)
{
    return p->n_routed_experts <= MOST_EXPERTS && p->n_group <= MOST_GROUPS && p->num_experts_per_tok <= WIDTH;
}

/* The sum of the largest two of n numbers. */
static float top_two(const float *v, int64_t n)
{
    vec first = vec_of(-INFINITY), second = first; /* in each lane */
    for (int64_t i = 0; i < n; i += WIDTH) {
        lanes const of = first_lanes(n - i);
        vec const next = vec_choose(of, load_lanes(v, DSV3_F32, i, of), vec_of(-INFINITY));
        second = vec_max(vec_min(next, first), second);
        first = vec_max(next, first);
    }
    float const most = vec_largest(first);
    lanes const where = vec_equal(first, vec_of(most)), one = where & (lanes)-where;
    return n > 1 ? most + vec_largest(vec_choose(one, second, first)) : most;
}

static void score(const dsv3_gate_prob *p, float *s)
{
    int64_t const n = p->n_routed_experts;
    bool const softmax = p->scoring_func == DSV3_SOFTMAX;
    float const sum = softmax ? exponentials(s, n, largest_of(s, n)) : 1;
    for (int64_t e = 0; e < n; e += WIDTH) {
        lanes const of = first_lanes(n - e);
        vec const v = load_lanes(s, DSV3_F32, e, of);
        store_lanes(s, DSV3_F32, e, of, softmax ? vec_div(v, vec_of(sum)) : vec_sigmoid(v));
    }
}

static void add_bias(const float *s, const dsv3_tensor *bias, float *t, int64_t n)
{
    for (int64_t e = 0; e < n; e += WIDTH) {
        lanes const of = first_lanes(n - e);
        vec const v = load_lanes(s, DSV3_F32, e, of);
        store_lanes(t, DSV3_F32, e, of, bias ? vec_add(v, load_lanes(bias->data, DSV3_F32, e, of)) : v);
    }
}

/* All groups but the best get t = -infinity. */
static void mask_groups(const dsv3_gate_prob *p, float *t)
{
    int64_t const size = p->n_routed_experts / p->n_group;
    float of_group[MOST_GROUPS];
    bool kept[MOST_GROUPS] = {false};
    for (int64_t g = 0; g < p->n_group; g++)
        of_group[g] = p->topk_method == DSV3_NOAUX_TC ? top_two(t + g * size, size) : largest_of(t + g * size, size);
    for (int64_t i = 0; i < p->topk_group; i++) {
        int64_t const g = first_largest(of_group, p->n_group);
        kept[g] = true;
        of_group[g] = -INFINITY;
    }
    for (int64_t g = 0; g < p->n_group; g++)
        for (int64_t e = g * size; !kept[g] && e < (g + 1) * size; e++) t[e] = -INFINITY;
}

void route(const dsv3_gate_prob *p, const dsv3_tensor *bias, float *logits, int32_t *idx, float *weight)
{
    float t[MOST_EXPERTS], sum = 0;
    const float *const s = logits;
    score(p, logits);
    add_bias(s, bias, t, p->n_routed_experts);
    if (p->topk_method != DSV3_GREEDY) mask_groups(p, t);
    for (int64_t k = 0; k < p->num_experts_per_tok; k++) {
        idx[k] = (int32_t)first_largest(t, p->n_routed_experts);
        t[idx[k]] = -INFINITY;
        weight[k] = s[idx[k]];
        sum += weight[k];
    }
    for (int64_t k = 0; k < p->num_experts_per_tok; k++)
        weight[k] = (p->norm_topk_prob ? weight[k] / sum : weight[k]) * (float)p->routed_scaling_factor;
}

typedef struct {
    const dsv3_gate_prob *p;
    const dsv3_gate_io *io;
    const dsv3_tensor *bias;
} gate;

static void route_token(const void *job, int64_t t, int worker)
{
    (void)worker;
    const gate *const g = job;
    float logits[MOST_EXPERTS];
    stored_row const row = row_of(&g->io->logits, t * g->io->logits.stride[0]);
    load_row(&row, g->p->n_routed_experts, logits);
    route(g->p, g->bias, logits, (int32_t *)g->io->topk_idx.data + t * g->io->topk_idx.stride[0],
          (float *)g->io->topk_weight.data + t * g->io->topk_weight.stride[0]);
}

dsv3_status fast_gate(dsv3_ctx *ctx, const dsv3_gate_prob *p, const dsv3_gate_io *io)
{
    gate const g = {p, io, dsv3_find(&io->weights, "e_score_correction_bias")};
    if (!is_float(&io->logits) || (!g.bias && p->topk_method == DSV3_NOAUX_TC)) return DSV3_UNSUPPORTED;
    if (!can_route(p)) return DSV3_UNSUPPORTED;
    ctx_run(ctx, route_token, &g, p->n_tokens);
    return DSV3_OK;
}

const char *fast_gate_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn; div ieee; sigmoid 4; exp 2 0; flush none; scores f32 must";
}
