/* The MoE layer: the gate, the routed experts as in experts.c, the shared ones last. */
#include "plain.h"

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
        round_trip(&io->router_logits, t * io->router_logits.stride[0], logits, m->experts);
        route(p, bias, logits, (int32_t *)io->topk_idx.data + t * io->topk_idx.stride[0],
              (float *)io->topk_weight.data + t * io->topk_weight.stride[0]);
    }
}

dsv3_status plain_moe(dsv3_ctx *ctx, const dsv3_moe_prob *p, const dsv3_moe_io *io)
{
    layer m = {.weights = &io->weights, .x = &io->hidden_states, .n_tokens = p->n_tokens};
    m.hidden_size = p->hidden_size, m.experts = p->n_routed_experts, m.k = p->num_experts_per_tok;
    int64_t const shared_width = p->n_shared_experts * p->moe_intermediate_size;
    dsv3_gate_prob const routing = gate_of(p);
    matrix const gate = find_matrix(m.weights, "gate");
    network const shared = find_network(m.weights, "shared_experts");
    if (!is_float(m.x) || !usable(&gate) || !usable_experts(&m)) return DSV3_UNSUPPORTED;
    if ((shared_width && !usable_network(&shared)) || !can_route(&routing)) return DSV3_UNSUPPORTED;
    if (!open_layer(&m, ctx, shared_width ? shared_width : p->moe_intermediate_size)) return DSV3_NO_MEMORY;
    route_tokens(&m, &routing, &gate, io);
    add_experts(&m, &io->topk_idx, &io->topk_weight, &io->act);
    for (int64_t t = 0; shared_width && t < m.n_tokens; t++)
        add_network(&m, &shared, t, 1, &io->shared_act, t * io->shared_act.stride[0]);
    store_sums(&m, &io->y);
    return DSV3_OK;
}

#define STEPS                                                                                                          \
    "div ieee; exp 2 0; router_logits f32 must; scores f32 must; shared_act f32 must; "                                \
    "sigmoid 4; flush none; weight f32 may; gate_proj f32 must; up_proj f32 must; gate_sigmoid f32 may; silu f32 "     \
    "must; act f32 must; "                                                                                             \
    "expert_out f32 must; routed f32 must"

/* As in experts.c; a softmax adds up all scores. */
const char *plain_moe_numerics(const void *prob, const void *io)
{
    const dsv3_moe_prob *const p = prob;
    (void)io;
    int const few = p->num_experts_per_tok <= LANES && p->scoring_func == DSV3_SIGMOID;
    return few ? "acc 24 rn splits=8; " STEPS : "acc 24 rn; " STEPS;
}
