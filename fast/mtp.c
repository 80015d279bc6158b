/* One depth of multi-token prediction: two norms, a projection, attention and MoE layer as mla and moe have them. */
#include "fast.h"
#include "matrix.h"
#include "norm.h"

#include "vec.h"

typedef struct {
    const dsv3_mtp_prob *p;
    const dsv3_mtp_io *io;
    int64_t n, width;
    matrix eh_proj;
    float *h, *row;                 /* (n, width): the residual stream; one row of it */
    dsv3_tensor pair;               /* (n, 2 width): eh_proj's input */
    dsv3_tensor normed, kv, branch; /* (n, width), (n, latent), (n, width): for what no stage holds */
    dsv3_weight *below;             /* as many as there are weights */
    int32_t *lengths;               /* of each sequence */
} module;

static int find_memory(dsv3_ctx *ctx, module *m)
{
    m->h = ctx_take(ctx, m->n * m->width, sizeof *m->h);
    m->row = ctx_take(ctx, m->width, sizeof *m->row);
    m->pair = tensor_in(ctx, m->io->hidden_states.dtype, m->n, 2 * m->width);
    m->normed = tensor_in(ctx, m->io->hidden_states.dtype, m->n, m->width);
    m->kv = tensor_in(ctx, m->io->hidden_states.dtype, m->n, m->p->kv_lora_rank + m->p->qk_rope_head_dim);
    m->branch = tensor_in(ctx, m->io->hidden_states.dtype, m->n, m->width);
    m->below = ctx_take(ctx, m->io->weights.count, sizeof *m->below);
    m->lengths = ctx_take(ctx, m->p->batch, sizeof *m->lengths);
    return m->h && m->row && m->pair.data && m->normed.data && m->kv.data && m->branch.data && m->below && m->lengths;
}

static const dsv3_tensor *gain(const module *m, const char *name)
{
    return dsv3_find(&m->io->weights, name);
}

static void normalise_input(const module *m, const dsv3_tensor *x, int64_t t, const char *name, int64_t column)
{
    stored_row const from = row_of(x, t * x->stride[0]);
    load_row(&from, m->width, m->row);
    normalise(gain(m, name), m->p->rms_norm_eps, m->row, m->row, m->width);
    store_row(&m->pair, t * m->pair.stride[0] + column, m->row, m->width);
}

/* 0: no memory. */
static int make_input(dsv3_ctx *ctx, const module *m)
{
    const dsv3_tensor *const kept = &m->io->eh_proj;
    row_list const h = {m->h, DSV3_F32, m->width, NULL};
    for (int64_t t = 0; t < m->n; t++) {
        normalise_input(m, &m->io->inputs_embeds, t, "enorm.weight", 0);
        normalise_input(m, &m->io->hidden_states, t, "hnorm.weight", m->width);
    }
    if (!multiply(ctx, &m->eh_proj, rows_of(&m->pair), m->n, h)) return 0;
    for (int64_t t = 0; kept->data && t < m->n; t++) {
        stored_row const row = row_of(kept, t * kept->stride[0]);
        store_row(kept, t * kept->stride[0], m->h + t * m->width, m->width);
        load_row(&row, m->width, m->h + t * m->width);
    }
    return 1;
}

/* The residual stream, normalised, to y. */
static void normalise_all(const module *m, const char *name, const dsv3_tensor *y)
{
    for (int64_t t = 0; t < m->n; t++) {
        normalise(gain(m, name), m->p->rms_norm_eps, m->h + t * m->width, m->row, m->width);
        store_row(y, t * y->stride[0], m->row, m->width);
    }
}

static void add_branch(const module *m, const dsv3_tensor *branch)
{
    for (int64_t t = 0; t < m->n; t++) {
        float *const h = m->h + t * m->width;
        stored_row const row = row_of(branch, t * branch->stride[0]);
        load_row(&row, m->width, m->row);
        for (int64_t i = 0; i < m->width; i++) h[i] += m->row[i];
    }
}

/* The weights below a prefix, without it. */
static dsv3_weights weights_below(const module *m, const char *prefix)
{
    size_t const length = strlen(prefix);
    dsv3_weights below = {0, m->below};
    for (int64_t i = 0; i < m->io->weights.count; i++) {
        dsv3_weight const w = m->io->weights.item[i];
        if (!strncmp(w.name, prefix, length)) m->below[below.count++] = (dsv3_weight){w.name + length, w.tensor};
    }
    return below;
}

/* The stage, or the memory if the caller doesn't want it. */
static dsv3_tensor either(dsv3_tensor stage, dsv3_tensor memory)
{
    return stage.data ? stage : memory;
}

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

static dsv3_status attend_block(dsv3_ctx *ctx, const module *m, const dsv3_tensor *x, const dsv3_tensor *y)
{
    const int32_t *const begin = m->io->cu_seqlens.data;
    dsv3_tensor const lengths = {m->lengths, DSV3_I32, 1, {m->p->batch}, {1}};
    for (int64_t b = 0; b < m->p->batch; b++) m->lengths[b] = begin[b + 1] - begin[b];
    dsv3_mla_prob const p = attention_of(m);
    dsv3_tensor past = m->kv; /* nothing is read from it, but attention in binary32 is told by it */
    past.dtype = DSV3_F32;
    dsv3_mla_io const io = {.hidden_states = *x,
                            .cu_seqlens = m->io->cu_seqlens,
                            .kv_cache = past,
                            .block_table = lengths,
                            .cache_seqlens = lengths,
                            .weights = weights_below(m, "self_attn."),
                            .q_a_layernorm = m->io->q_a_layernorm,
                            .q = m->io->q,
                            .kv = either(m->io->kv, m->kv),
                            .attn_output = m->io->attn_output,
                            .y = *y};
    return fast_mla(ctx, &p, &io);
}

static dsv3_status moe_block(dsv3_ctx *ctx, const module *m, const dsv3_tensor *x, const dsv3_tensor *y)
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
    return fast_moe(ctx, &prob, &io);
}

static int has_gains(const module *m)
{
    static const char *const names[] = {"enorm.weight", "hnorm.weight", "input_layernorm.weight",
                                        "post_attention_layernorm.weight", "shared_head.norm.weight"};
    for (int i = 0; i < 5; i++)
        if (!is_float(gain(m, names[i]))) return 0;
    return 1;
}

static dsv3_status run(dsv3_ctx *ctx, const module *m)
{
    dsv3_tensor const attention_in = either(m->io->input_layernorm, m->normed),
                      attention_out = either(m->io->self_attn, m->branch);
    dsv3_tensor const moe_in = either(m->io->post_attention_layernorm, m->normed),
                      moe_out = either(m->io->mlp, m->branch);
    if (!make_input(ctx, m)) return DSV3_NO_MEMORY;
    normalise_all(m, "input_layernorm.weight", &attention_in);
    dsv3_status status = attend_block(ctx, m, &attention_in, &attention_out);
    if (status != DSV3_OK) return status;
    add_branch(m, &attention_out);
    normalise_all(m, "post_attention_layernorm.weight", &moe_in);
    status = moe_block(ctx, m, &moe_in, &moe_out);
    if (status != DSV3_OK) return status;
    add_branch(m, &moe_out);
    normalise_all(m, "shared_head.norm.weight", &m->io->y);
    return DSV3_OK;
}

dsv3_status fast_mtp(dsv3_ctx *ctx, const dsv3_mtp_prob *p, const dsv3_mtp_io *io)
{
    module m = {.p = p, .io = io, .n = p->n_tokens, .width = p->hidden_size};
    m.eh_proj = find_matrix(&io->weights, "eh_proj");
    if (!is_float(&io->hidden_states) || !is_float(&io->inputs_embeds)) return DSV3_UNSUPPORTED;
    if (!usable(&m.eh_proj) || !has_gains(&m)) return DSV3_UNSUPPORTED;
    size_t const mark = ctx_mark(ctx);
    dsv3_status const status = find_memory(ctx, &m) ? run(ctx, &m) : DSV3_NO_MEMORY;
    ctx_back(ctx, mark);
    return status;
}

#define STEPS                                                                                                          \
    "acc 24 rn fused; "                                                                                                \
    "rsqrt recip; div ieee; exp 2 0; sigmoid 4; rescales 0; scaled scores; parts 1; angle f64; sincos 3; form "        \
    "absorbed; "                                                                                                       \
    "x_norm f32 must; enorm output must; hnorm output must; eh_proj f32 must; input_layernorm output must; "           \
    "h1 f32 must; post_attention_layernorm output must; h2 f32 must; "                                                 \
    "self_attn.q_a_proj f32 must; self_attn.x_norm f32 must; self_attn.q_a_layernorm output must; "                    \
    "self_attn.q_b_proj f32 must; self_attn.cos_sin f32 must; self_attn.q f32 must; "                                  \
    "self_attn.kv_a_proj_with_mqa f32 must; self_attn.kv output must; self_attn.q_absorbed f32 must; "                 \
    "self_attn.scores f32 must; self_attn.P f32 must; self_attn.o_latent f32 must; "                                   \
    "self_attn.attn_output output must; self_attn.y output must; "                                                     \
    "mlp.router_logits f32 must; mlp.scores f32 must; mlp.gate_proj f32 must; mlp.up_proj f32 must; "                  \
    "mlp.gate_sigmoid f32 may; mlp.silu f32 must; mlp.act output must; mlp.shared_act output must; mlp.expert_out "    \
    "f32 must; "                                                                                                       \
    "mlp.routed f32 must; mlp.y output must; "

const char *fast_mtp_numerics(const void *prob, const void *io)
{
    (void)prob;
    dsv3_dtype const x = ((const dsv3_mtp_io *)io)->hidden_states.dtype;
    return by_pairs(x) || by_amx(x) ? STEPS "flush daz; self_attn.weight f32 may; mlp.weight f32 may"
                                    : STEPS "flush none; self_attn.weight f32 must; mlp.weight f32 must";
}
