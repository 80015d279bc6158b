/*
 * See attention.h. The materialised form: keys and values of each head are made of the latent.
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.1; transformers, modeling_deepseek_v3.py, DeepseekV3Attention.
 */
#include "attention.h"

static double const latent_eps = 1e-6;

attention_values attention_values_open(room *r, const dsv3_config *c, dsv3_dtype format, int64_t n)
{
    int64_t const heads = c->num_attention_heads, qk = c->qk_nope_head_dim + c->qk_rope_head_dim;
    return (attention_values){.q_a = room_values(r, format, n, c->q_lora_rank),
                              .q_a_norm = room_values(r, format, n, c->q_lora_rank),
                              .q_b = room_values(r, format, n, heads * qk),
                              .q = room_values(r, format, n, heads * qk),
                              .kv_a = room_values(r, format, n, c->kv_lora_rank + c->qk_rope_head_dim),
                              .kv_a_norm = room_values(r, format, n, c->kv_lora_rank),
                              .kv = room_values(r, format, n, heads * (c->qk_nope_head_dim + c->v_head_dim)),
                              .k = room_values(r, format, n, heads * qk),
                              .k_pe = room_values(r, format, n, c->qk_rope_head_dim),
                              .o = room_values(r, format, n, heads * c->v_head_dim),
                              .lse = room_rows(r, n, heads)};
}

/* ---- parts of the tensors ---- */

/* The latent in kv_a, and the key part beside it. */
static dsv3_tensor latent_of(const dsv3_config *c, const attention_values *v)
{
    return columns_of(v->kv_a, 0, c->kv_lora_rank);
}

static dsv3_tensor pe_of(const dsv3_config *c, const attention_values *v)
{
    return heads_of(columns_of(v->kv_a, c->kv_lora_rank, c->qk_rope_head_dim), 1);
}

static dsv3_tensor nope_part(const dsv3_config *c, dsv3_tensor t)
{
    return part_of_heads(heads_of(t, c->num_attention_heads), 0, c->qk_nope_head_dim);
}

/* Behind qk_nope_head_dim: the rotated part of a key or query, or the value in kv. */
static dsv3_tensor last_part(const dsv3_config *c, dsv3_tensor t, int64_t width)
{
    return part_of_heads(heads_of(t, c->num_attention_heads), c->qk_nope_head_dim, width);
}

/* ---- rotation ---- */

static int32_t layout_of(const dsv3_config *c)
{
    return c->rope_interleave ? DSV3_INTERLEAVED : DSV3_HALF;
}

static void rotate(const desk *d, const dsv3_config *c, dsv3_tensor x, dsv3_tensor y)
{
    dsv3_rope_prob const p = {.n_tokens = d->n,
                              .num_heads = x.shape[1],
                              .qk_rope_head_dim = c->qk_rope_head_dim,
                              .rope_theta = c->rope_theta,
                              .factor = c->factor,
                              .original_max_position_embeddings = c->original_max_position_embeddings,
                              .beta_fast = c->beta_fast,
                              .beta_slow = c->beta_slow,
                              .mscale = c->mscale,
                              .mscale_all_dim = c->mscale_all_dim,
                              .in_layout = layout_of(c),
                              .out_layout = DSV3_HALF};
    dsv3_rope_io const io = {.x = x, .positions = d->positions, .y = y};
    CALL(d->call, rope, &p, &io);
}

static void rotate_backward(const desk *d, const dsv3_config *c, dsv3_tensor grad_y, dsv3_tensor grad_x)
{
    dsv3_rope_backward_prob const p = {.n_tokens = d->n,
                                       .num_heads = grad_y.shape[1],
                                       .num_key_value_heads = grad_x.shape[1],
                                       .qk_rope_head_dim = c->qk_rope_head_dim,
                                       .rope_theta = c->rope_theta,
                                       .factor = c->factor,
                                       .original_max_position_embeddings = c->original_max_position_embeddings,
                                       .beta_fast = c->beta_fast,
                                       .beta_slow = c->beta_slow,
                                       .mscale = c->mscale,
                                       .mscale_all_dim = c->mscale_all_dim,
                                       .in_layout = layout_of(c),
                                       .out_layout = DSV3_HALF};
    dsv3_rope_backward_io const io = {.grad_y = grad_y, .positions = d->positions, .grad_x = grad_x};
    CALL(d->call, rope_backward, &p, &io);
}

/* ---- scores, softmax and sums ---- */

static dsv3_mla_prefill_prob prefill_of(const desk *d, const dsv3_config *c)
{
    return (dsv3_mla_prefill_prob){.batch = d->batch,
                                   .n_tokens = d->n,
                                   .n_keys = d->n,
                                   .num_attention_heads = c->num_attention_heads,
                                   .qk_nope_head_dim = c->qk_nope_head_dim,
                                   .qk_rope_head_dim = c->qk_rope_head_dim,
                                   .v_head_dim = c->v_head_dim,
                                   .softmax_scale = d->softmax_scale};
}

static void attend(const desk *d, const dsv3_config *c, const attention_values *v)
{
    int64_t const heads = c->num_attention_heads;
    dsv3_mla_prefill_prob const p = prefill_of(d, c);
    dsv3_mla_prefill_io const io = {.q = heads_of(v->q, heads),
                                    .k = heads_of(v->k, heads),
                                    .v = last_part(c, v->kv, c->v_head_dim),
                                    .cu_seqlens_q = d->cu_seqlens,
                                    .cu_seqlens_k = d->cu_seqlens,
                                    .o = heads_of(v->o, heads),
                                    .lse = v->lse};
    CALL(d->call, mla_prefill, &p, &io);
}

static void attend_backward(const desk *d, const dsv3_config *c, const attention_values *v)
{
    int64_t const heads = c->num_attention_heads;
    const attention_values *const g = &d->attention;
    dsv3_mla_prefill_prob const q = prefill_of(d, c);
    dsv3_mla_prefill_backward_prob p;
    memcpy(&p, &q, sizeof p);
    _Static_assert(sizeof p == offsetof(dsv3_mla_prefill_prob, full), "the gradient has the problem of its op");
    dsv3_mla_prefill_backward_io const io = {.q = heads_of(v->q, heads),
                                             .k = heads_of(v->k, heads),
                                             .v = last_part(c, v->kv, c->v_head_dim),
                                             .cu_seqlens_q = d->cu_seqlens,
                                             .cu_seqlens_k = d->cu_seqlens,
                                             .o = heads_of(v->o, heads),
                                             .lse = v->lse,
                                             .grad_o = heads_of(g->o, heads),
                                             .grad_q = heads_of(g->q, heads),
                                             .grad_k = heads_of(g->k, heads),
                                             .grad_v = last_part(c, g->kv, c->v_head_dim)};
    CALL(d->call, mla_prefill_backward, &p, &io);
}

/* ---- the module ---- */

void attention_forward(const desk *d, const dsv3_config *c, const attention_weights *w, dsv3_tensor x,
                       const attention_values *v, dsv3_tensor y)
{
    int64_t const rope = c->qk_rope_head_dim;
    linear_forward(d, w->q_a_proj, x, v->q_a);
    norm_forward(d, w->q_a_layernorm, latent_eps, v->q_a, NULL, v->q_a, v->q_a_norm);
    linear_forward(d, w->q_b_proj, v->q_a_norm, v->q_b);
    copy_values(nope_part(c, v->q), nope_part(c, v->q_b));
    rotate(d, c, last_part(c, v->q_b, rope), last_part(c, v->q, rope));

    linear_forward(d, w->kv_a_proj_with_mqa, x, v->kv_a);
    norm_forward(d, w->kv_a_layernorm, latent_eps, latent_of(c, v), NULL, v->kv_a, v->kv_a_norm);
    linear_forward(d, w->kv_b_proj, v->kv_a_norm, v->kv);
    copy_values(nope_part(c, v->k), nope_part(c, v->kv));
    rotate(d, c, pe_of(c, v), heads_of(v->k_pe, 1));
    for (int64_t h = 0; h < c->num_attention_heads; h++)
        copy_values(columns_of(v->k, h * (c->qk_nope_head_dim + rope) + c->qk_nope_head_dim, rope), v->k_pe);

    attend(d, c, v);
    linear_forward(d, w->o_proj, v->o, y);
}

void attention_backward(const desk *d, const dsv3_config *c, const attention_weights *w, dsv3_tensor x,
                        const attention_values *v, dsv3_tensor grad_y, dsv3_tensor grad_x)
{
    const attention_values *const g = &d->attention;
    int64_t const rope = c->qk_rope_head_dim;
    linear_backward(d, w->o_proj, v->o, grad_y, g->o);
    attend_backward(d, c, v);

    copy_values(nope_part(c, g->q_b), nope_part(c, g->q));
    rotate_backward(d, c, last_part(c, g->q, rope), last_part(c, g->q_b, rope));
    linear_backward(d, w->q_b_proj, v->q_a_norm, g->q_b, g->q_a_norm);
    norm_backward(d, w->q_a_layernorm, latent_eps, v->q_a, g->q_a_norm, NULL, g->q_a);
    linear_backward(d, w->q_a_proj, x, g->q_a, grad_x);

    copy_values(nope_part(c, g->kv), nope_part(c, g->k));
    rotate_backward(d, c, last_part(c, g->k, rope), pe_of(c, g));
    linear_backward(d, w->kv_b_proj, v->kv_a_norm, g->kv, g->kv_a_norm);
    norm_backward(d, w->kv_a_layernorm, latent_eps, latent_of(c, v), g->kv_a_norm, NULL, latent_of(c, g));
    linear_backward(d, w->kv_a_proj_with_mqa, x, g->kv_a, d->grad_part);
    add_values(grad_x, d->grad_part);
}
