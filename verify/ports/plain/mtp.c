/* One depth of multi-token prediction: two norms, a projection, attention and MoE layer as mla and moe have them. What
 * is between the steps stays in binary32, unless it is a stage that the caller asked for. */
#include "plain.h"

typedef struct {
    const dsv3_mtp_prob *p;
    const dsv3_mtp_io *io;
    int64_t n, width;
    matrix eh_proj;
    float *h;                       /* (n, width): the residual stream */
    float *pair;                    /* of one token: the two halves of eh_proj's input */
    dsv3_tensor normed, kv, branch; /* (n, width), (n, latent), (n, width): memory for what no stage holds */
    dsv3_weight *below;             /* as many as there are weights */
    int32_t *lengths;               /* of each sequence */
} module;

static dsv3_tensor tensor_in(float *memory, int64_t n, int64_t width)
{
    dsv3_tensor const t = {memory, DSV3_F32, 2, {n, width}, {width, 1}};
    return t;
}

static int find_scratch(module *m, dsv3_ctx *ctx, int64_t weights)
{
    int64_t const cells = m->n * m->width, latent = m->p->kv_lora_rank + m->p->qk_rope_head_dim;
    int64_t const names = weights * (int64_t)(sizeof *m->below / sizeof(float));
    float *at = scratch(ctx, names + 3 * cells + 2 * m->width + m->n * latent + m->p->batch);
    if (!at) return 0;
    m->below = (dsv3_weight *)(void *)at;
    m->h = at += names;
    m->normed = tensor_in(at += cells, m->n, m->width);
    m->branch = tensor_in(at += cells, m->n, m->width);
    m->kv = tensor_in(at += cells, m->n, latent);
    m->pair = at += m->n * latent;
    m->lengths = (int32_t *)(void *)(at + 2 * m->width);
    return 1;
}

/* The stage, or the memory if the caller doesn't want it. */
static dsv3_tensor either(dsv3_tensor stage, dsv3_tensor memory)
{
    return stage.data ? stage : memory;
}

static const dsv3_tensor *gain(const module *m, const char *name)
{
    return dsv3_find(&m->io->weights, name);
}

static void make_input(const module *m, int64_t t)
{
    float *const embedding = m->pair, *const state = m->pair + m->width, *const h = m->h + t * m->width;
    load_row(&m->io->inputs_embeds, t * m->io->inputs_embeds.stride[0], embedding, m->width);
    load_row(&m->io->hidden_states, t * m->io->hidden_states.stride[0], state, m->width);
    normalise(gain(m, "enorm.weight"), m->p->rms_norm_eps, embedding, m->width);
    normalise(gain(m, "hnorm.weight"), m->p->rms_norm_eps, state, m->width);
    multiply(&m->eh_proj, m->pair, h);
    round_trip(&m->io->eh_proj, t * m->io->eh_proj.stride[0], h, m->width);
}

/* The residual stream, normalised, to y. */
static void normalise_all(const module *m, const char *name, const dsv3_tensor *y)
{
    for (int64_t t = 0; t < m->n; t++) {
        memcpy(m->pair, m->h + t * m->width, (size_t)m->width * sizeof *m->pair);
        normalise(gain(m, name), m->p->rms_norm_eps, m->pair, m->width);
        for (int64_t i = 0; i < m->width; i++) store_at(y, t * y->stride[0] + i, m->pair[i]);
    }
}

static void add_branch(const module *m, const dsv3_tensor *branch)
{
    for (int64_t t = 0; t < m->n; t++)
        for (int64_t i = 0; i < m->width; i++) m->h[t * m->width + i] += load(branch, t, i);
}

/* The weights below a prefix, without it. */
static dsv3_weights weights_below(const module *m, const char *prefix)
{
    size_t const length = strlen(prefix);
    dsv3_weights below = {0, m->below};
    for (int64_t i = 0; i < m->io->weights.count; i++) {
        dsv3_weight const w = m->io->weights.item[i];
        if (strncmp(w.name, prefix, length)) continue;
        m->below[below.count].name = w.name + length;
        m->below[below.count++].tensor = w.tensor;
    }
    return below;
}

/* ---- attention ---- */

static dsv3_mla_prob attention_of(const module *m)
{
    const dsv3_mtp_prob *const p = m->p;
    dsv3_mla_prob a = {.batch = p->batch,
                       .n_tokens = p->n_tokens,
                       .page_size = 1,
                       .hidden_size = p->hidden_size,
                       .num_attention_heads = p->num_attention_heads,
                       .q_lora_rank = p->q_lora_rank,
                       .kv_lora_rank = p->kv_lora_rank,
                       .qk_nope_head_dim = p->qk_nope_head_dim,
                       .qk_rope_head_dim = p->qk_rope_head_dim,
                       .v_head_dim = p->v_head_dim,
                       .rms_norm_eps = p->latent_eps,
                       .rope_theta = p->rope_theta,
                       .factor = p->factor,
                       .original_max_position_embeddings = p->original_max_position_embeddings,
                       .beta_fast = p->beta_fast,
                       .beta_slow = p->beta_slow,
                       .mscale = p->mscale,
                       .mscale_all_dim = p->mscale_all_dim,
                       .rope_layout = p->rope_layout,
                       .stages = p->stages};
    for (int64_t b = 0; b < p->batch; b++)
        if (m->lengths[b] > a.kv_len) a.kv_len = m->lengths[b];
    return a;
}

static dsv3_status attend_block(const module *m, dsv3_ctx *ctx, const dsv3_tensor *x, const dsv3_tensor *y)
{
    const int32_t *const begin = (const int32_t *)m->io->cu_seqlens.data;
    dsv3_tensor const lengths = {m->lengths, DSV3_I32, 1, {m->p->batch}, {1}};
    for (int64_t b = 0; b < m->p->batch; b++) m->lengths[b] = begin[b + 1] - begin[b];
    dsv3_mla_prob const p = attention_of(m);
    dsv3_mla_io const io = {.hidden_states = *x,
                            .cu_seqlens = m->io->cu_seqlens,
                            .kv_cache = m->kv, /* nothing is read from it: there is no past */
                            .block_table = lengths,
                            .cache_seqlens = lengths,
                            .weights = weights_below(m, "self_attn."),
                            .q_a_layernorm = m->io->q_a_layernorm,
                            .q = m->io->q,
                            .kv = either(m->io->kv, m->kv),
                            .attn_output = m->io->attn_output,
                            .y = *y};
    return plain_mla(ctx, &p, &io);
}

/* ---- MoE ---- */

static dsv3_status moe_block(const module *m, dsv3_ctx *ctx, const dsv3_tensor *x, const dsv3_tensor *y)
{
    const dsv3_mtp_prob *const p = m->p;
    dsv3_moe_prob const prob = {.n_tokens = p->n_tokens,
                                .hidden_size = p->hidden_size,
                                .moe_intermediate_size = p->moe_intermediate_size,
                                .n_routed_experts = p->n_routed_experts,
                                .n_shared_experts = p->n_shared_experts,
                                .n_group = p->n_group,
                                .topk_group = p->topk_group,
                                .num_experts_per_tok = p->num_experts_per_tok,
                                .routed_scaling_factor = p->routed_scaling_factor,
                                .norm_topk_prob = p->norm_topk_prob,
                                .scoring_func = p->scoring_func,
                                .topk_method = p->topk_method,
                                .stages = p->stages};
    dsv3_moe_io const io = {.hidden_states = *x,
                            .weights = weights_below(m, "mlp."),
                            .router_logits = m->io->router_logits,
                            .topk_idx = m->io->topk_idx,
                            .topk_weight = m->io->topk_weight,
                            .act = m->io->act,
                            .shared_act = m->io->shared_act,
                            .y = *y};
    return plain_moe(ctx, &prob, &io);
}

/* ---- the op ---- */

static int has_gains(const module *m)
{
    static const char *const names[] = {"enorm.weight", "hnorm.weight", "input_layernorm.weight",
                                        "post_attention_layernorm.weight", "shared_head.norm.weight"};
    for (int i = 0; i < 5; i++)
        if (!gain(m, names[i]) || !is_float(gain(m, names[i]))) return 0;
    return 1;
}

dsv3_status plain_mtp(dsv3_ctx *ctx, const dsv3_mtp_prob *p, const dsv3_mtp_io *io)
{
    module m = {.p = p, .io = io, .n = p->n_tokens, .width = p->hidden_size};
    m.eh_proj = find_matrix(&io->weights, "eh_proj");
    if (!is_float(&io->hidden_states) || !is_float(&io->inputs_embeds)) return DSV3_UNSUPPORTED;
    if (!usable(&m.eh_proj) || !has_gains(&m)) return DSV3_UNSUPPORTED;
    if (!find_scratch(&m, ctx, io->weights.count)) return DSV3_NO_MEMORY;
    dsv3_tensor const attention_in = either(io->input_layernorm, m.normed),
                      attention_out = either(io->self_attn, m.branch);
    dsv3_tensor const moe_in = either(io->post_attention_layernorm, m.normed), moe_out = either(io->mlp, m.branch);
    for (int64_t t = 0; t < m.n; t++) make_input(&m, t);
    normalise_all(&m, "input_layernorm.weight", &attention_in);
    dsv3_status status = attend_block(&m, ctx->parts, &attention_in, &attention_out);
    if (status != DSV3_OK) return status;
    add_branch(&m, &attention_out);
    normalise_all(&m, "post_attention_layernorm.weight", &moe_in);
    status = moe_block(&m, ctx->parts, &moe_in, &moe_out);
    if (status != DSV3_OK) return status;
    add_branch(&m, &moe_out);
    normalise_all(&m, "shared_head.norm.weight", &io->y);
    return DSV3_OK;
}

#define STEPS                                                                                                          \
    "rsqrt recip; div ieee; exp 2 0; sigmoid 4; rescales 0; scaled scores; parts 1; angle f64; sincos 3; "              \
    "flush none; form naive; "                                                                                         \
    "x_norm f32 must; enorm f32 must; hnorm f32 must; eh_proj f32 must; input_layernorm f32 must; h1 f32 must; "       \
    "post_attention_layernorm f32 must; h2 f32 must; "                                                                 \
    "self_attn.weight f32 may; self_attn.q_a_proj f32 must; self_attn.x_norm f32 must; "                               \
    "self_attn.q_a_layernorm f32 must; self_attn.q_b_proj f32 must; self_attn.cos_sin f32 must; "                      \
    "self_attn.q f32 must; self_attn.kv_a_proj_with_mqa f32 must; self_attn.kv f32 must; "                             \
    "self_attn.kv_b_proj f32 must; self_attn.scores f32 must; self_attn.P f32 must; "                                  \
    "self_attn.attn_output f32 must; self_attn.y f32 must; "                                                           \
    "mlp.weight f32 may; mlp.router_logits f32 must; mlp.scores f32 must; mlp.gate_proj f32 must; "                    \
    "mlp.up_proj f32 must; mlp.gate_sigmoid f32 may; mlp.silu f32 must; mlp.act f32 must; mlp.shared_act f32 must; "   \
    "mlp.expert_out f32 must; "                                                                                        \
    "mlp.routed f32 must; mlp.y f32 must"

const char *plain_mtp_numerics(const void *prob, const void *io)
{
    const dsv3_mtp_prob *const p = prob;
    (void)io;
    int const few = p->num_experts_per_tok <= LANES && p->scoring_func == DSV3_SIGMOID; /* as in moe.c */
    return few ? "acc 24 rn splits=8; " STEPS : "acc 24 rn; " STEPS;
}
