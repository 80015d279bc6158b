/* moe: docs/components/moe.md. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

void legal_moe_points(legal *c, legal_moe_parts *m, dsv3_moe_prob const *p, dsv3_dtype x, bool fp8)
{
    *m = (legal_moe_parts){0};
    if (!p->stages) m->logits = legal_round_at(c, "router_logits", x);
    c->point[0] = legal_round_at(c, "scores", DSV3_F32);
    legal_output(c, "topk_weight", DSV3_F32);
    m->weight_cut = c->cut_output;
    legal_network_config(c, &m->net, x, fp8, p->stages);
    if (!p->stages && p->n_shared_experts > 0) m->shared_act = legal_round_at(c, "shared_act", x);
    c->cut_output = false;
    if (*c->prefix && !p->stages) {
        m->y = legal_round_at(c, "y", x);
        return;
    }
    legal_output(c, "y", x);
    m->y_cut = c->cut_output;
    c->cut_output = false;
}

static void config(legal *c, legal_moe_parts *m, dsv3_moe_prob const *p, dsv3_moe_io const *io)
{
    dsv3_tensor const *w = dsv3_find(&io->weights, "experts.0.gate_proj.weight");
    dsv3_dtype const x = io->hidden_states.dtype;
    bool const fp8 = w && w->dtype == DSV3_F8_E4M3;
    legal_start(c, "moe", p->hidden_size, p->n_shared_experts, p->stages, (int)x * 2 + fp8);
    legal_sums(c, false);
    legal_arithmetic(c, x == DSV3_BF16);
    legal_division(c);
    legal_functions(c, p->scoring_func == DSV3_SOFTMAX ? "exp sigmoid" : "sigmoid");
    legal_moe_points(c, m, p, x, fp8);
}

void legal_moe_config(legal *c, dsv3_moe_prob const *p, dsv3_moe_io const *io)
{
    legal_moe_parts m;
    config(c, &m, p, io);
}

/* A row that is a stage is stored and read again. */
static void stage(legal const *c, dsv3_tensor const *t, int64_t row, int64_t n, double *x)
{
    for (int64_t i = 0; i < n && t->dtype != DSV3_NONE; i++) {
        legal_store(c, t, legal_row(t, row) + i, x[i]);
        x[i] = legal_load(c, t, legal_row(t, row) + i);
    }
}

static dsv3_gate_prob gate_of(dsv3_moe_prob const *p)
{
    return (dsv3_gate_prob){p->n_tokens,       p->n_routed_experts,    p->n_group,
                            p->topk_group,     p->num_experts_per_tok, p->routed_scaling_factor,
                            p->norm_topk_prob, p->scoring_func,        p->topk_method};
}

static void route(legal *c, legal_moe_parts const *m, dsv3_moe_prob const *p, dsv3_moe_io const *io, int64_t t,
                  double const *x, double *z, double *w, double *expert)
{
    dsv3_gate_prob const gate = gate_of(p);
    int32_t chosen[LEGAL_CHOSEN];
    int64_t const n = p->n_routed_experts;
    legal_project(c, &m->net, &io->weights, "gate", n, p->hidden_size, x, z);
    for (int64_t e = 0; e < n; e++) z[e] = legal_at(c, m->logits, z[e]);
    stage(c, &io->router_logits, t, n, z);
    legal_route(c, &gate, z, dsv3_find(&io->weights, "gate.e_score_correction_bias"), z + n, chosen, w);
    c->cut_output = m->weight_cut;
    stage(c, &io->topk_weight, t, p->num_experts_per_tok, w);
    c->cut_output = false;
    for (int64_t i = 0; i < p->num_experts_per_tok; i++) {
        expert[i] = chosen[i];
        memcpy((char *)io->topk_idx.data + 4 * (legal_row(&io->topk_idx, t) + i), chosen + i, 4);
    }
}

/* Outputs of the experts, weighted, and of the shared network, added in an order of the configuration's. */
static void add_up(legal *c, legal_moe_parts const *m, dsv3_moe_prob const *p, dsv3_moe_io const *io, int64_t t,
                   double const *expert, double const *w, double const *out)
{
    int64_t const k = p->num_experts_per_tok, hidden = p->hidden_size, shared = p->n_shared_experts > 0;
    int64_t slot[LEGAL_CHOSEN];
    bool const first = shared && legal_habit(c, "shared_first", 2);
    legal_order(c, k, expert, slot);
    c->cut_output = m->y_cut;
    for (int64_t i = 0; i < hidden; i++) {
        double term[LEGAL_CHOSEN + 1];
        for (int64_t s = 0; s < k; s++)
            term[s + first] = legal_at(c, m->net.routed, legal_op(c, w[slot[s]] * out[slot[s] * hidden + i]));
        if (shared) term[first ? 0 : k] = out[k * hidden + i];
        legal_store(c, &io->y, legal_row(&io->y, t) + i, legal_summed(c, m->net.routed, k + shared, term));
    }
    c->cut_output = false;
}

dsv3_status legal_moe_run(legal *c, legal_moe_parts const *m, dsv3_moe_prob const *p, dsv3_moe_io const *io)
{
    int64_t const k = p->num_experts_per_tok, hidden = p->hidden_size, width = p->moe_intermediate_size;
    int64_t const wide = width * (p->n_shared_experts > 1 ? p->n_shared_experts : 1);
    double *x = legal_room(hidden), *z = legal_room(4 * p->n_routed_experts), *act = legal_room(wide);
    double *out = legal_room((k + 1) * hidden);
    if (!x || !z || !act || !out || k > LEGAL_CHOSEN) return DSV3_UNSUPPORTED;
    legal_network shared = m->net;
    shared.point[LEGAL_ACT] = m->shared_act;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        double w[LEGAL_CHOSEN], expert[LEGAL_CHOSEN];
        for (int64_t i = 0; i < hidden; i++)
            x[i] = legal_load(c, &io->hidden_states, legal_row(&io->hidden_states, t) + i);
        route(c, m, p, io, t, x, z, w, expert);
        for (int64_t s = 0; s < k; s++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "experts.%d", (int)expert[s]);
            legal_network_act(c, &m->net, &io->weights, prefix, hidden, width, x, act);
            stage(c, &io->act, t * k + s, width, act);
            legal_network_out(c, &m->net, &io->weights, prefix, hidden, width, act, out + s * hidden);
        }
        if (p->n_shared_experts > 0) {
            legal_network_act(c, &shared, &io->weights, "shared_experts", hidden, wide, x, act);
            stage(c, &io->shared_act, t, wide, act);
            legal_network_out(c, &m->net, &io->weights, "shared_experts", hidden, wide, act, out + k * hidden);
        }
        add_up(c, m, p, io, t, expert, w, out);
    }
    return DSV3_OK;
}

dsv3_status legal_moe(dsv3_ctx *ctx, dsv3_moe_prob const *p, dsv3_moe_io const *io)
{
    (void)ctx;
    legal c;
    legal_moe_parts m;
    config(&c, &m, p, io);
    return legal_moe_run(&c, &m, p, io);
}
