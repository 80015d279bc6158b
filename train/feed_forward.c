/* See feed_forward.h. Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2; transformers, modeling_deepseek_v3.py, DeepseekV3MoE. */
#include "feed_forward.h"

#include <math.h>

/* ---- dense ---- */

void mlp_forward(const desk *d, const mlp_weights *w, dsv3_tensor x, const mlp_values *v, dsv3_tensor y)
{
    dsv3_swiglu_prob const p = {d->n, v->gate.shape[1]};
    dsv3_swiglu_io const io = {.gate = v->gate, .up = v->up, .y = v->act};
    linear_forward(d, w->gate_proj, x, v->gate);
    linear_forward(d, w->up_proj, x, v->up);
    CALL(d->call, swiglu, &p, &io);
    linear_forward(d, w->down_proj, v->act, y);
}

/* The first columns, where a layer has fewer than the widest. */
static mlp_values narrowed(const mlp_values *g, int64_t width)
{
    return (mlp_values){rows_at(g->gate.data, g->gate.shape[0], width), rows_at(g->up.data, g->gate.shape[0], width),
                        rows_at(g->act.data, g->gate.shape[0], width)};
}

void mlp_backward(const desk *d, const mlp_weights *w, dsv3_tensor x, const mlp_values *v, dsv3_tensor grad_y,
                  dsv3_tensor grad_x)
{
    mlp_values const g = narrowed(&d->mlp, v->gate.shape[1]);
    dsv3_swiglu_backward_prob const p = {d->n, v->gate.shape[1]};
    dsv3_swiglu_backward_io const io = {
        .gate = v->gate, .up = v->up, .grad_y = g.act, .grad_gate = g.gate, .grad_up = g.up};
    linear_backward(d, w->down_proj, v->act, grad_y, g.act);
    CALL(d->call, swiglu_backward, &p, &io);
    linear_backward(d, w->gate_proj, x, g.gate, grad_x);
    linear_backward(d, w->up_proj, x, g.up, d->grad_part);
    add_values(grad_x, d->grad_part);
}

/* ---- routing ---- */

dsv3_gate_prob gate_of(const dsv3_config *c, int64_t n_tokens)
{
    return (dsv3_gate_prob){.n_tokens = n_tokens,
                            .n_routed_experts = c->n_routed_experts,
                            .n_group = c->n_group,
                            .topk_group = c->topk_group,
                            .num_experts_per_tok = c->num_experts_per_tok,
                            .routed_scaling_factor = c->routed_scaling_factor,
                            .norm_topk_prob = c->norm_topk_prob,
                            .scoring_func = DSV3_SIGMOID,
                            .topk_method = DSV3_NOAUX_TC};
}

static void route(const desk *d, const dsv3_config *c, const layer *l, const layer_values *v)
{
    dsv3_weight const bias = {"e_score_correction_bias", {l->bias, DSV3_F32, 1, {c->n_routed_experts}, {1}}};
    dsv3_gate_prob const p = gate_of(c, d->n);
    dsv3_gate_io const io = {
        .logits = v->router_logits, .weights = {1, &bias}, .topk_idx = v->topk_idx, .topk_weight = v->topk_weight};
    CALL(d->call, gate, &p, &io);
}

static void count_load(const desk *d, const dsv3_config *c, layer *l, const layer_values *v)
{
    const int32_t *const idx = v->topk_idx.data;
    memset(l->load, 0, (size_t)c->n_routed_experts * sizeof *l->load);
    for (int64_t i = 0; d->call->good && i < d->n * c->num_experts_per_tok; i++) {
        if (idx[i] >= 0 && idx[i] < c->n_routed_experts)
            l->load[idx[i]]++;
        else
            d->call->good =
                refuse(d->call->why, "gate: it chose expert %d of %lld", (int)idx[i], (long long)c->n_routed_experts);
    }
}

static void route_backward(const desk *d, const dsv3_config *c, const layer *l, const layer_values *v)
{
    dsv3_weight const bias = {"e_score_correction_bias", {l->bias, DSV3_F32, 1, {c->n_routed_experts}, {1}}};
    dsv3_gate_backward_prob const p = {.n_tokens = d->n,
                                       .n_routed_experts = c->n_routed_experts,
                                       .num_experts_per_tok = c->num_experts_per_tok,
                                       .routed_scaling_factor = c->routed_scaling_factor,
                                       .norm_topk_prob = c->norm_topk_prob,
                                       .scoring_func = DSV3_SIGMOID,
                                       .topk_method = DSV3_NOAUX_TC};
    dsv3_gate_backward_io const io = {.logits = v->router_logits,
                                      .topk_idx = v->topk_idx,
                                      .grad_topk_weight = d->topk_weight,
                                      .weights = {1, &bias},
                                      .grad_logits = d->router_logits};
    CALL(d->call, gate_backward, &p, &io);
}

/* ---- the balance loss of the batch, as one sequence ---- */

static void make_scores(const desk *d, const layer_values *v)
{
    const float *const z = v->router_logits.data;
    float *const s = d->scores.data;
    for (int64_t i = 0; i < d->n * d->scores.shape[1]; i++) s[i] = (float)(1 / (1 + exp(-(double)z[i])));
}

static void balance(const desk *d, const dsv3_config *c, layer_values *v)
{
    float loss = 0;
    dsv3_balance_loss_prob const p = {1, d->n, c->n_routed_experts, c->num_experts_per_tok, d->aux_loss_alpha, 1};
    dsv3_balance_loss_io const io = {
        .scores = d->scores, .topk_idx = v->topk_idx, .cu_seqlens = d->whole, .loss = {&loss, DSV3_F32, 1, {1}, {1}}};
    make_scores(d, v);
    CALL(d->call, balance_loss, &p, &io);
    v->balance_loss = (double)loss;
}

static void balance_backward(const desk *d, const dsv3_config *c, const layer_values *v)
{
    float one = 1, *const by_logit = d->router_logits.data;
    const float *const s = d->scores.data, *const by_score = d->grad_scores.data;
    dsv3_balance_loss_backward_prob const p = {1, d->n, c->n_routed_experts, c->num_experts_per_tok, d->aux_loss_alpha,
                                               1};
    dsv3_balance_loss_backward_io const io = {.scores = d->scores,
                                              .topk_idx = v->topk_idx,
                                              .cu_seqlens = d->whole,
                                              .grad_loss = {&one, DSV3_F32, 1, {1}, {1}},
                                              .grad_scores = d->grad_scores};
    make_scores(d, v);
    CALL(d->call, balance_loss_backward, &p, &io);
    for (int64_t i = 0; i < d->n * c->n_routed_experts; i++) by_logit[i] += by_score[i] * s[i] * (1 - s[i]);
}

/* ---- experts ---- */

static void run_experts(const desk *d, const dsv3_config *c, const layer *l, const layer_values *v)
{
    dsv3_experts_prob const p = {
        d->n, c->hidden_size, c->moe_intermediate_size, c->n_routed_experts, c->num_experts_per_tok, 0};
    dsv3_experts_io const io = {.hidden_states = v->norm2,
                                .topk_idx = v->topk_idx,
                                .topk_weight = v->topk_weight,
                                .weights = {l->expert_weights, l->expert_weight},
                                .y = v->routed};
    CALL(d->call, experts, &p, &io);
}

static dsv3_tensor stacked(const parameter *w)
{
    int64_t const one = w->shape[0] * w->shape[1];
    return (dsv3_tensor){w->grad, DSV3_F32, 3, {w->experts, w->shape[0], w->shape[1]}, {one, w->shape[1], 1}};
}

static void run_experts_backward(const desk *d, const dsv3_config *c, const layer *l, const layer_values *v,
                                 dsv3_tensor grad_y, dsv3_tensor grad_x)
{
    dsv3_experts_backward_prob const p = {d->n, c->hidden_size, c->moe_intermediate_size, c->n_routed_experts,
                                          c->num_experts_per_tok};
    dsv3_experts_backward_io const io = {.hidden_states = v->norm2,
                                         .topk_idx = v->topk_idx,
                                         .topk_weight = v->topk_weight,
                                         .grad_y = grad_y,
                                         .weights = {l->expert_weights, l->expert_weight},
                                         .grad_hidden_states = grad_x,
                                         .grad_topk_weight = d->topk_weight,
                                         .grad_gate_proj = stacked(l->experts.gate_proj),
                                         .grad_up_proj = stacked(l->experts.up_proj),
                                         .grad_down_proj = stacked(l->experts.down_proj)};
    CALL(d->call, experts_backward, &p, &io);
}

/* ---- the module ---- */

void moe_forward(const desk *d, const dsv3_config *c, layer *l, layer_values *v)
{
    linear_forward(d, l->gate, v->norm2, v->router_logits);
    route(d, c, l, v);
    count_load(d, c, l, v);
    if (d->aux_loss_alpha > 0) balance(d, c, v);
    run_experts(d, c, l, v);
    mlp_forward(d, &l->mlp, v->norm2, &v->mlp, v->out);
    add_values(v->out, v->routed);
}

void moe_backward(const desk *d, const dsv3_config *c, const layer *l, const layer_values *v, dsv3_tensor grad_y,
                  dsv3_tensor grad_x)
{
    mlp_backward(d, &l->mlp, v->norm2, &v->mlp, grad_y, grad_x);
    run_experts_backward(d, c, l, v, grad_y, d->grad_part);
    add_values(grad_x, d->grad_part);
    route_backward(d, c, l, v);
    if (d->aux_loss_alpha > 0) balance_backward(d, c, v);
    linear_backward(d, l->gate, v->norm2, d->router_logits, d->grad_part);
    add_values(grad_x, d->grad_part);
}
