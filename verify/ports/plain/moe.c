/* The MoE layer of the plain port, and its routed experts alone: binary32, experts in ascending order, the shared ones last. What is
 * between the steps stays in binary32, unless it is a stage that the caller asked for: that is stored, and read again. */
#include "plain.h"

#include <stdio.h>

/* One feed-forward network. */
typedef struct {
    matrix gate, up, down;
} network;

typedef struct {
    const dsv3_weights *weights;
    const dsv3_tensor *x;
    int64_t n_tokens, hidden_size, experts, k;
    float *row, *act, *sum; /* of one token; the widest network; (n_tokens, hidden_size) */
} layer;

static matrix find_leaf(const dsv3_weights *weights, const char *name, const char *leaf)
{
    char full[100];
    snprintf(full, sizeof full, "%s.%s", name, leaf);
    return find_matrix(weights, full);
}

static network find_network(const dsv3_weights *weights, const char *name)
{
    network const f = {find_leaf(weights, name, "gate_proj"), find_leaf(weights, name, "up_proj"),
                       find_leaf(weights, name, "down_proj")};
    return f;
}

static network find_expert(const layer *m, int64_t e)
{
    char name[40];
    snprintf(name, sizeof name, "experts.%lld", (long long)e);
    return find_network(m->weights, name);
}

static int usable_network(const network *f)
{
    return usable(&f->gate) && usable(&f->up) && usable(&f->down);
}

static int usable_experts(const layer *m)
{
    for (int64_t e = 0; e < m->experts; e++) {
        network const f = find_expert(m, e);
        if (!usable_network(&f)) return 0;
    }
    return 1;
}

static int find_room(layer *m, dsv3_ctx *ctx, int64_t widest)
{
    int64_t const cells = m->n_tokens * m->hidden_size;
    m->row = room(ctx, m->hidden_size + widest + cells);
    if (!m->row) return 0;
    m->act = m->row + m->hidden_size;
    m->sum = m->act + widest;
    for (int64_t i = 0; i < cells; i++) m->sum[i] = 0;
    return 1;
}

static void load_token(const layer *m, int64_t t)
{
    load_row(m->x, t * m->x->stride[0], m->row, m->hidden_size);
}

/* Adds weight times the network's output for token t to its sum; `from`: where its activations go. */
static void add_network(const layer *m, const network *f, int64_t t, float weight, const dsv3_tensor *act, int64_t from)
{
    int64_t const width = f->gate.weight->shape[0];
    load_token(m, t);
    for (int64_t i = 0; i < width; i++) m->act[i] = silu(row_times(&f->gate, i, m->row)) * row_times(&f->up, i, m->row);
    settle(act, from, m->act, width);
    for (int64_t c = 0; c < m->hidden_size; c++)
        m->sum[t * m->hidden_size + c] += weight * row_times(&f->down, c, m->act);
}

/* Expert e, for the tokens that chose it. */
static void add_expert(const layer *m, int64_t e, const dsv3_tensor *idx, const dsv3_tensor *weight,
                       const dsv3_tensor *act)
{
    network const f = find_expert(m, e);
    int64_t const width = f.gate.weight->shape[0];
    for (int64_t t = 0; t < m->n_tokens; t++)
        for (int64_t i = 0; i < m->k; i++)
            if (((const int32_t *)idx->data)[t * idx->stride[0] + i] == e)
                add_network(m, &f, t, load_at(weight, t * weight->stride[0] + i), act, (t * m->k + i) * width);
}

static void store_sums(const layer *m, const dsv3_tensor *y)
{
    for (int64_t t = 0; t < m->n_tokens; t++)
        for (int64_t c = 0; c < m->hidden_size; c++) store_at(y, t * y->stride[0] + c, m->sum[t * m->hidden_size + c]);
}

dsv3_status experts(dsv3_ctx *ctx, const dsv3_experts_prob *p, const dsv3_experts_io *io)
{
    layer m = {.weights = &io->weights, .x = &io->hidden_states, .n_tokens = p->n_tokens};
    m.hidden_size = p->hidden_size, m.experts = p->n_routed_experts, m.k = p->num_experts_per_tok;
    if (!is_float(m.x) || !usable_experts(&m)) return DSV3_UNSUPPORTED;
    if (!find_room(&m, ctx, p->moe_intermediate_size)) return DSV3_NO_MEMORY;
    for (int64_t e = 0; e < m.experts; e++) add_expert(&m, e, &io->topk_idx, &io->topk_weight, &io->act);
    store_sums(&m, &io->y);
    return DSV3_OK;
}

/* ---- moe ---- */

static dsv3_gate_prob gate_of(const dsv3_moe_prob *p)
{
    dsv3_gate_prob const gate = {.n_tokens = p->n_tokens,
                                 .n_routed_experts = p->n_routed_experts,
                                 .n_group = p->n_group,
                                 .topk_group = p->topk_group,
                                 .num_experts_per_tok = p->num_experts_per_tok,
                                 .routed_scaling_factor = p->routed_scaling_factor,
                                 .norm_topk_prob = p->norm_topk_prob,
                                 .scoring_func = p->scoring_func,
                                 .topk_method = p->topk_method};
    return gate;
}

/* Experts and weights of every token, to topk_idx and topk_weight. */
static void route_tokens(const layer *m, const dsv3_gate_prob *p, const matrix *gate, const dsv3_moe_io *io)
{
    const dsv3_tensor *const bias = dsv3_find(m->weights, "gate.e_score_correction_bias");
    float logits[MOST_EXPERTS];
    for (int64_t t = 0; t < m->n_tokens; t++) {
        load_token(m, t);
        multiply(gate, m->row, logits);
        settle(&io->router_logits, t * m->experts, logits, m->experts);
        route(p, bias, logits, (int32_t *)io->topk_idx.data + t * io->topk_idx.stride[0],
              (float *)io->topk_weight.data + t * io->topk_weight.stride[0]);
    }
}

dsv3_status moe(dsv3_ctx *ctx, const dsv3_moe_prob *p, const dsv3_moe_io *io)
{
    layer m = {.weights = &io->weights, .x = &io->hidden_states, .n_tokens = p->n_tokens};
    m.hidden_size = p->hidden_size, m.experts = p->n_routed_experts, m.k = p->num_experts_per_tok;
    int64_t const shared_width = p->n_shared_experts * p->moe_intermediate_size;
    dsv3_gate_prob const routing = gate_of(p);
    matrix const gate = find_matrix(m.weights, "gate");
    network const shared = find_network(m.weights, "shared_experts");
    if (!is_float(m.x) || !usable(&gate) || !usable_experts(&m)) return DSV3_UNSUPPORTED;
    if ((shared_width && !usable_network(&shared)) || !can_route(&routing)) return DSV3_UNSUPPORTED;
    if (!find_room(&m, ctx, shared_width ? shared_width : p->moe_intermediate_size)) return DSV3_NO_MEMORY;
    route_tokens(&m, &routing, &gate, io);
    for (int64_t e = 0; e < m.experts; e++) add_expert(&m, e, &io->topk_idx, &io->topk_weight, &io->act);
    for (int64_t t = 0; shared_width && t < m.n_tokens; t++)
        add_network(&m, &shared, t, 1, &io->shared_act, t * shared_width);
    store_sums(&m, &io->y);
    return DSV3_OK;
}
