/* The MoE layer: the gate, the routed experts as in experts.c, the shared ones last. */
#include "experts.h"
#include "fast.h"
#include "gate.h"

#include <stdbool.h>

static dsv3_gate_prob gate_of(const dsv3_moe_prob *p)
{
    return (dsv3_gate_prob){.n_tokens = p->n_tokens,
                            .n_routed_experts = p->n_routed_experts,
                            .n_group = p->n_group,
                            .topk_group = p->topk_group,
                            .num_experts_per_tok = p->num_experts_per_tok,
                            .routed_scaling_factor = p->routed_scaling_factor,
                            .norm_topk_prob = p->norm_topk_prob,
                            .scoring_func = p->scoring_func,
                            .topk_method = p->topk_method};
}

typedef struct {
    const dsv3_gate_prob *p;
    const dsv3_moe_io *io;
    const dsv3_tensor *bias;
    float *logits; /* (n_tokens, n_routed_experts) */
} routing;

/* Where logits are stored they are read again. */
static void route_token(const void *job, int64_t t, int worker)
{
    (void)worker;
    const routing *const r = job;
    const dsv3_tensor *const kept = &r->io->router_logits;
    int64_t const experts = r->p->n_routed_experts;
    float *const logits = r->logits + t * experts;
    if (kept->data) store_row(kept, t * kept->stride[0], logits, experts);
    route(r->p, r->bias, logits, (int32_t *)r->io->topk_idx.data + t * r->io->topk_idx.stride[0],
          (float *)r->io->topk_weight.data + t * r->io->topk_weight.stride[0]);
}

/* 0: no memory. */
static int route_tokens(const layer *m, const dsv3_gate_prob *p, const matrix *gate, const dsv3_moe_io *io)
{
    routing r = {p, io, dsv3_find(m->weights, "gate.e_score_correction_bias"), NULL};
    r.logits = ctx_take(m->ctx, m->n_tokens * m->experts, sizeof *r.logits);
    if (!r.logits) return 0;
    row_list const logits = {r.logits, DSV3_F32, m->experts, NULL};
    if (!multiply(m->ctx, gate, rows_of(m->x), m->n_tokens, logits)) return 0;
    ctx_run(m->ctx, route_token, &r, m->n_tokens);
    return 1;
}

static int add_shared(const layer *m, const network *shared, const dsv3_tensor *act)
{
    int64_t *const token = ctx_take(m->ctx, m->n_tokens, sizeof *token);
    float *const one = ctx_take(m->ctx, m->n_tokens, sizeof *one);
    if (!token || !one) return 0;
    for (int64_t t = 0; t < m->n_tokens; t++) token[t] = t, one[t] = 1;
    return add_network(m, shared, m->n_tokens, token, one, token, act);
}

dsv3_status fast_moe(dsv3_ctx *ctx, const dsv3_moe_prob *p, const dsv3_moe_io *io)
{
    layer m = {.ctx = ctx, .weights = &io->weights, .x = &io->hidden_states, .n_tokens = p->n_tokens};
    m.hidden_size = p->hidden_size, m.experts = p->n_routed_experts, m.k = p->num_experts_per_tok;
    dsv3_gate_prob const gating = gate_of(p);
    matrix const gate = find_matrix(m.weights, "gate");
    network const shared = find_network(m.weights, "shared_experts");
    if (!is_float(m.x) || !is_float(&io->y) || !usable(&gate)) return DSV3_UNSUPPORTED;
    if ((p->n_shared_experts && !usable_network(&shared)) || !can_route(&gating)) return DSV3_UNSUPPORTED;
    size_t const mark = ctx_mark(ctx);
    bool const open = open_layer(&m), able = open && usable_experts(&m);
    bool const done = able && route_tokens(&m, &gating, &gate, io) &&
                      add_experts(&m, &io->topk_idx, &io->topk_weight, &io->act) &&
                      (!p->n_shared_experts || add_shared(&m, &shared, &io->shared_act));
    if (done) store_sums(&m, &io->y);
    ctx_back(ctx, mark);
    return done ? DSV3_OK : open && !able ? DSV3_UNSUPPORTED : DSV3_NO_MEMORY;
}

#define STEPS                                                                                                          \
    "div ieee; exp 2 0; sigmoid 4; router_logits f32 must; scores f32 must; shared_act output must; "                  \
    "gate_proj f32 must; up_proj f32 must; gate_sigmoid f32 may; silu f32 must; act output must; expert_out f32 "      \
    "must; routed f32 must; "
#define FMA   "flush none; weight f32 must"
#define PAIRS "flush daz; weight f32 may"

/* As in experts.c. */
const char *fast_moe_numerics(const void *prob, const void *io)
{
    bool const few = ((const dsv3_moe_prob *)prob)->num_experts_per_tok < 16;
    dsv3_dtype const x = ((const dsv3_moe_io *)io)->hidden_states.dtype;
    if (few && all_by_amx(x, 1, &((const dsv3_moe_io *)io)->weights)) return "acc amx.bf16; " STEPS PAIRS;
    if (by_amx(x)) return "acc 24 rn fused; " STEPS PAIRS;
    if (few && all_by_pairs(x, &((const dsv3_moe_io *)io)->weights))
        return "acc avx512.bf16 promote=128 bits2=24; " STEPS PAIRS;
    if (by_pairs(x)) return few ? "acc 24 rn fused splits=16; " STEPS PAIRS : "acc 24 rn fused; " STEPS PAIRS;
    return few ? "acc 24 rn fused splits=16; " STEPS FMA : "acc 24 rn fused; " STEPS FMA;
}
