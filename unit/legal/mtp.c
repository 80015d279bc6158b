/* mtp: docs/components/mtp.md. */
#include "parts.h"

#include <string.h>

enum { NORM, ENORM, HNORM, H1, H2, ALWAYS, EH_PROJ = ALWAYS, ATTENTION_IN, EXPERTS_IN, POINTS };
enum { SEQUENCES = 4096, WEIGHTS = 4096 };

/* One configuration: the parts have copies of c with their own points. */
typedef struct {
    legal c, mla, moe;
    legal_mla_parts attention;
    legal_moe_parts experts;
    legal_point point[POINTS];
} mtp_config;

static dsv3_mla_prob mla_of(dsv3_mtp_prob const *p)
{
    return (dsv3_mla_prob){.batch = p->batch,
                           .n_tokens = p->n_tokens,
                           .kv_len = p->n_tokens,
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
}

static dsv3_moe_prob moe_of(dsv3_mtp_prob const *p)
{
    return (dsv3_moe_prob){.n_tokens = p->n_tokens,
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
}

static void config(mtp_config *m, dsv3_mtp_prob const *p, dsv3_mtp_io const *io)
{
    static char const *const names[POINTS] = {"x_norm", "enorm",   "hnorm",           "h1",
                                              "h2",     "eh_proj", "input_layernorm", "post_attention_layernorm"};
    legal *c = &m->c;
    dsv3_dtype const x = io->hidden_states.dtype;
    dsv3_mla_prob const mla = mla_of(p);
    dsv3_moe_prob const moe = moe_of(p);
    bool const fp8 = dsv3_find(&io->weights, "self_attn.o_proj.weight")->dtype == DSV3_F8_E4M3;
    legal_start(c, "mtp", p->hidden_size, p->q_lora_rank, p->rope_layout, (int)x * 4 + fp8 * 2 + p->stages);
    legal_sums(c, false);
    legal_arithmetic(c, x == DSV3_BF16);
    legal_division(c);
    legal_functions(c, "exp log sigmoid sincos rsqrt");
    legal_say(c, "; angle f64");
    for (int i = 0; i < (p->stages ? ALWAYS : POINTS); i++) m->point[i] = legal_round_at(c, names[i], x);
    m->mla = *c, m->mla.prefix = "self_attn.";
    legal_mla_points(&m->mla, &m->attention, &mla, x, fp8);
    m->moe = m->mla, m->moe.prefix = "mlp.";
    legal_moe_points(&m->moe, &m->experts, &moe, x, fp8);
    memcpy(c->text, m->moe.text, LEGAL_TEXT);
    legal_output(c, "y", x);
}

void legal_mtp_config(legal *c, dsv3_mtp_prob const *p, dsv3_mtp_io const *io)
{
    static mtp_config m;
    config(&m, p, io);
    *c = m.c;
}

static void load(legal const *c, dsv3_tensor const *t, int64_t row, int64_t n, double *x)
{
    for (int64_t i = 0; i < n; i++) x[i] = legal_load(c, t, legal_row(t, row) + i);
}

static void store(legal const *c, dsv3_tensor const *t, int64_t row, int64_t n, double const *x)
{
    for (int64_t i = 0; i < n; i++) legal_store(c, t, legal_row(t, row) + i, x[i]);
}

static void at_point(legal const *c, legal_point point, int64_t n, double *x)
{
    for (int64_t i = 0; i < n; i++) x[i] = legal_at(c, point, x[i]);
}

static void norm(mtp_config const *m, dsv3_mtp_prob const *p, dsv3_mtp_io const *io, char const *weight, double *x)
{
    legal_normalise(&m->c, m->point[NORM], dsv3_find(&io->weights, weight), p->rms_norm_eps, p->hidden_size, x);
}

/* The weights below a prefix, without it. */
static dsv3_weights below(dsv3_weights const *all, char const *prefix, dsv3_weight *room)
{
    dsv3_weights some = {0, room};
    size_t const length = strlen(prefix);
    for (int64_t i = 0; i < all->count && some.count < WEIGHTS; i++)
        if (!strncmp(all->item[i].name, prefix, length))
            room[some.count++] = (dsv3_weight){all->item[i].name + length, all->item[i].tensor};
    return some;
}

/* eh_proj and input_layernorm of every row. */
static void enter(mtp_config const *m, dsv3_mtp_prob const *p, dsv3_mtp_io const *io, double *x)
{
    legal_network const plain = {0};
    legal const *c = &m->c;
    int64_t const n = p->hidden_size;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        load(c, &io->inputs_embeds, t, n, x);
        norm(m, p, io, "enorm.weight", x);
        at_point(c, m->point[ENORM], n, x);
        load(c, &io->hidden_states, t, n, x + n);
        norm(m, p, io, "hnorm.weight", x + n);
        at_point(c, m->point[HNORM], n, x + n);
        legal_project(c, &plain, &io->weights, "eh_proj", n, 2 * n, x, x + 2 * n);
        store(c, &io->eh_proj, t, n, x + 2 * n);
        load(c, &io->eh_proj, t, n, x);
        norm(m, p, io, "input_layernorm.weight", x);
        store(c, &io->input_layernorm, t, n, x);
    }
}

static dsv3_status attention(mtp_config *m, dsv3_mtp_prob const *p, dsv3_mtp_io const *io)
{
    static dsv3_weight room[WEIGHTS];
    static int32_t lengths[SEQUENCES];
    dsv3_mla_prob const prob = mla_of(p);
    for (int64_t b = 0; b < p->batch; b++)
        lengths[b] = (int32_t)(legal_load(&m->c, &io->cu_seqlens, b + 1) - legal_load(&m->c, &io->cu_seqlens, b));
    dsv3_mla_io const part = {.hidden_states = io->input_layernorm,
                              .cu_seqlens = io->cu_seqlens,
                              .cache_seqlens = {lengths, DSV3_I32, 1, {p->batch}, {1}},
                              .weights = below(&io->weights, "self_attn.", room),
                              .q_a_layernorm = io->q_a_layernorm,
                              .q = io->q,
                              .kv = io->kv,
                              .attn_output = io->attn_output,
                              .y = io->self_attn};
    return legal_mla_run(&m->mla, &m->attention, &prob, &part);
}

static dsv3_status experts(mtp_config *m, dsv3_mtp_prob const *p, dsv3_mtp_io const *io)
{
    static dsv3_weight room[WEIGHTS];
    dsv3_moe_prob const prob = moe_of(p);
    dsv3_moe_io const part = {.hidden_states = io->post_attention_layernorm,
                              .weights = below(&io->weights, "mlp.", room),
                              .router_logits = io->router_logits,
                              .topk_idx = io->topk_idx,
                              .topk_weight = io->topk_weight,
                              .act = io->act,
                              .shared_act = io->shared_act,
                              .y = io->mlp};
    return legal_moe_run(&m->moe, &m->experts, &prob, &part);
}

/* h1 of a row: the layer's input and its attention block. */
static void first_sum(mtp_config const *m, dsv3_mtp_prob const *p, dsv3_mtp_io const *io, int64_t t, double *x)
{
    legal const *c = &m->c;
    for (int64_t i = 0; i < p->hidden_size; i++) {
        double const u = legal_load(c, &io->eh_proj, legal_row(&io->eh_proj, t) + i);
        double const a = legal_load(c, &io->self_attn, legal_row(&io->self_attn, t) + i);
        x[i] = legal_at(c, m->point[H1], legal_op(c, u + a));
    }
}

/* A matrix for an intermediate, in the format of its point. */
static dsv3_tensor matrix(legal_point at, int64_t rows, int64_t n)
{
    dsv3_dtype const dtype = !at.rounds ? DSV3_F64 : at.format.bits == number_bf16.bits ? DSV3_BF16 : DSV3_F32;
    return (dsv3_tensor){legal_room(rows * n), dtype, 2, {rows, n}, {n, 1}};
}

/* Without stages the port has matrices of its own in their place. False: no room. */
static bool own_stages(mtp_config const *m, dsv3_mtp_prob const *p, dsv3_mtp_io *io)
{
    int64_t const rows = p->n_tokens, n = p->hidden_size, width = p->kv_lora_rank + p->qk_rope_head_dim;
    io->eh_proj = matrix(m->point[EH_PROJ], rows, n);
    io->input_layernorm = matrix(m->point[ATTENTION_IN], rows, n);
    io->kv = matrix(m->attention.kv, rows, width);
    io->self_attn = matrix(m->attention.y, rows, n);
    io->post_attention_layernorm = matrix(m->point[EXPERTS_IN], rows, n);
    io->mlp = matrix(m->experts.y, rows, n);
    return io->eh_proj.data && io->input_layernorm.data && io->kv.data && io->self_attn.data &&
           io->post_attention_layernorm.data && io->mlp.data;
}

static dsv3_status run(mtp_config *m, dsv3_mtp_prob const *p, dsv3_mtp_io const *io)
{
    legal *c = &m->c;
    int64_t const n = p->hidden_size;
    bool const cut = c->cut_output;
    double *x = legal_room(3 * n);
    if (!x) return DSV3_UNSUPPORTED;
    c->cut_output = false;
    enter(m, p, io, x);
    if (attention(m, p, io) != DSV3_OK) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        first_sum(m, p, io, t, x);
        norm(m, p, io, "post_attention_layernorm.weight", x);
        store(c, &io->post_attention_layernorm, t, n, x);
    }
    if (experts(m, p, io) != DSV3_OK) return DSV3_UNSUPPORTED;
    c->cut_output = cut;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        first_sum(m, p, io, t, x);
        for (int64_t i = 0; i < n; i++)
            x[i] = legal_at(c, m->point[H2], legal_op(c, x[i] + legal_load(c, &io->mlp, legal_row(&io->mlp, t) + i)));
        norm(m, p, io, "shared_head.norm.weight", x);
        store(c, &io->y, t, n, x);
    }
    return DSV3_OK;
}

dsv3_status legal_mtp(dsv3_ctx *ctx, dsv3_mtp_prob const *p, dsv3_mtp_io const *io)
{
    (void)ctx;
    static mtp_config m;
    if (p->batch > SEQUENCES) return DSV3_UNSUPPORTED;
    config(&m, p, io);
    dsv3_mtp_io with_stages = *io;
    if (!p->stages && !own_stages(&m, p, &with_stages)) return DSV3_UNSUPPORTED;
    return run(&m, p, &with_stages);
}
