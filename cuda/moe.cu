/* The MoE layer: the gate, the routed experts, the shared ones. */
#include "experts.cuh"

#include <cstdio>

static dsv3_gate_prob gate_of(const dsv3_moe_prob *p)
{
    dsv3_gate_prob gate = {};
    gate.n_tokens = p->n_tokens, gate.n_routed_experts = p->n_routed_experts;
    gate.n_group = p->n_group, gate.topk_group = p->topk_group, gate.num_experts_per_tok = p->num_experts_per_tok;
    gate.routed_scaling_factor = p->routed_scaling_factor, gate.norm_topk_prob = p->norm_topk_prob;
    gate.scoring_func = p->scoring_func, gate.topk_method = p->topk_method;
    return gate;
}

static layer layer_of(const dsv3_moe_prob *p, const dsv3_moe_io *io)
{
    layer l = {&io->weights, &io->hidden_states, &io->topk_idx, &io->topk_weight, &io->act, &io->shared_act, &io->y};
    l.n_tokens = p->n_tokens, l.hidden_size = p->hidden_size, l.width = p->moe_intermediate_size;
    l.experts = p->n_routed_experts, l.k = p->num_experts_per_tok;
    l.shared_width = p->n_shared_experts * p->moe_intermediate_size;
    return l;
}

/* Logits go to the stage, or to memory of the context. */
static dsv3_status route_tokens(dsv3_ctx *ctx, const dsv3_moe_prob *p, const dsv3_moe_io *io, const matrix *gate)
{
    dsv3_gate_prob const routing = gate_of(p);
    dsv3_gate_io routed = {};
    const dsv3_tensor *const bias = dsv3_find(&io->weights, "gate.e_score_correction_bias");
    dsv3_weight named = {};
    if (bias) named = {"e_score_correction_bias", *bias};
    routed.weights.item = &named, routed.weights.count = bias ? 1 : 0;
    routed.topk_idx = io->topk_idx, routed.topk_weight = io->topk_weight;
    routed.logits = io->router_logits;
    if (!routed.logits.data) {
        void *const data = take(ctx, (size_t)(p->n_tokens * p->n_routed_experts) * sizeof(float));
        if (!data) return DSV3_NO_MEMORY;
        routed.logits = {data, DSV3_F32, 2, {p->n_tokens, p->n_routed_experts}, {p->n_routed_experts, 1}};
    }
    dsv3_status const status = multiply(ctx, gate, rows_of(&io->hidden_states), p->n_tokens, rows_of(&routed.logits));
    return status == DSV3_OK ? cuda_gate(ctx, &routing, &routed) : status;
}

dsv3_status cuda_moe(dsv3_ctx *ctx, const dsv3_moe_prob *p, const dsv3_moe_io *io)
{
    layer const l = layer_of(p, io);
    matrix const gate = find_matrix(&io->weights, "gate");
    if (!usable(&gate)) return DSV3_UNSUPPORTED;
    memory_mark const m = mark(ctx);
    dsv3_status status = route_tokens(ctx, p, io, &gate);
    if (status == DSV3_OK) status = run_layer(ctx, &l);
    give_back(ctx, m);
    return status;
}

const char *cuda_moe_numerics(const void *prob, const void *io)
{
    static char text[600];
    layer const l = layer_of((const dsv3_moe_prob *)prob, (const dsv3_moe_io *)io);
    snprintf(text, sizeof text, "%sdiv ieee; exp 2; router_logits f32 must; scores f32 must; shared_act output must",
             layer_numerics(&l, l.x->dtype == DSV3_BF16));
    return text;
}
