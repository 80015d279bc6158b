/*
 * One depth of multi-token prediction:  u = W_eh [RMSNorm(e) | RMSNorm(h)],  y = RMSNorm(Layer(u)).
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.2, eqs. 21-23, with h first; deepseek-ai/DeepSeek-V3, README_WEIGHTS.md (the names); the
 * order of the released weights: NVIDIA/Megatron-LM #1588; Hugging Face transformers, modeling_layers.py, MtpLayer; vllm-project/vllm,
 * model_executor/models/deepseek_mtp.py; sgl-project/sglang, srt/models/deepseek_nextn.py.
 */
#include "layer.h"
#include "matrix.h"
#include "rmsnorm.h"
#include "scratch.h"

#include <stdlib.h>

static const layer_points points = {POINT_mtp_x_norm, POINT_mtp_input_layernorm, POINT_mtp_h1,
                                    POINT_mtp_post_attention_layernorm, POINT_mtp_h2};

typedef struct {
    const ref_reading *rd;
    const dsv3_mtp_prob *p;
    const dsv3_mtp_io *io;
    dsv3_dtype format;
    double *parts; /* (n_tokens, 6 hidden_size) */
    operand *rows; /* (n_tokens) */
    ball *pair;    /* (n_tokens, 2 hidden_size): the two halves of eh_proj's input */
    ball *h;       /* (n_tokens, hidden_size): the layer's input, and its output */
    ball *kv;      /* (n_tokens, kv_lora_rank + qk_rope_head_dim) */
    int32_t *lengths;
} module;

static int64_t begins(const module *m, int64_t b)
{
    return (int64_t)ref_decode(m->io->cu_seqlens.dtype, m->io->cu_seqlens.data, b);
}

/* ---- the layer's input ---- */

static void read_row(const module *m, const dsv3_tensor *x, int64_t t, ball *out)
{
    for (int64_t i = 0; i < m->p->hidden_size; i++)
        out[i] = element(m->rd, ref_decode(x->dtype, x->data, t * x->stride[0] + i));
}

static void normalise(const module *m, const char *weight, int point, ball *x)
{
    norm const n = {
        m->rd,    dsv3_find(&m->io->weights, weight), m->p->hidden_size, m->p->rms_norm_eps, POINT_mtp_x_norm, point,
        m->format};
    norm_row(&n, x, x);
}

/* The embedding that row t takes, row `first` being the first of its sequence. */
static void read_embedding(const module *m, int64_t t, int64_t first, ball *out)
{
    int64_t const early = quirk(m->rd, QUIRK_M6_own_token) && t > first;
    read_row(m, &m->io->inputs_embeds, t - early, out);
    for (int64_t i = 0; quirk(m->rd, QUIRK_M5_first_zeroed) && t == first && i < m->p->hidden_size; i++)
        out[i] = ball_of(0);
}

static void read_pair(const module *m, int64_t t, int64_t first)
{
    int64_t const width = m->p->hidden_size;
    bool const exchanged = quirk(m->rd, QUIRK_M1_norms_exchanged), swapped = quirk(m->rd, QUIRK_M1_hidden_first);
    ball *const pair = m->pair + 2 * t * width, *const e = pair + (swapped ? width : 0),
                *const h = pair + (swapped ? 0 : width);
    read_embedding(m, t, first, e);
    read_row(m, &m->io->hidden_states, t, h);
    if (!quirk(m->rd, QUIRK_M4_no_enorm)) normalise(m, exchanged ? "hnorm.weight" : "enorm.weight", POINT_mtp_enorm, e);
    if (!quirk(m->rd, QUIRK_M4_no_hnorm)) normalise(m, exchanged ? "enorm.weight" : "hnorm.weight", POINT_mtp_hnorm, h);
    m->rows[t] = operand_of_balls(pair, 2 * width, m->parts + 6 * t * width);
}

static bool make_input(const module *m, ref_value *out)
{
    matrix const eh_proj = matrix_of(m->rd, &m->io->weights, "eh_proj", POINT_mtp_eh_proj, m->format);
    for (int64_t b = 0; b < m->p->batch; b++)
        for (int64_t t = begins(m, b); t < begins(m, b + 1); t++) read_pair(m, t, begins(m, b));
    matrix_times(&eh_proj, m->rows, m->p->n_tokens, POINT_mtp_eh_proj, m->format, m->h);
    stage(m->rd, &m->io->eh_proj, 0, out, m->h, m->p->n_tokens * m->p->hidden_size);
    return true;
}

/* ---- the layer ---- */

static dsv3_mla_prob attention_of(const module *m)
{
    const dsv3_mtp_prob *const p = m->p;
    return (dsv3_mla_prob){.batch = p->batch,
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
}

static dsv3_moe_prob moe_of(const dsv3_mtp_prob *p)
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

/* Its tensor of outputs, or nothing but the format. */
static dsv3_tensor output_of(const module *m, dsv3_tensor stage)
{
    stage.dtype = m->format;
    return stage;
}

/* Nothing is cached: a sequence has as many tokens as rows. */
static dsv3_mla_io attention_io_of(const module *m)
{
    dsv3_tensor const lengths = {m->lengths, DSV3_I32, 1, {m->p->batch}, {1}};
    for (int64_t b = 0; b < m->p->batch; b++) m->lengths[b] = (int32_t)(begins(m, b + 1) - begins(m, b));
    return (dsv3_mla_io){.cu_seqlens = m->io->cu_seqlens,
                         .cache_seqlens = lengths,
                         .q_a_layernorm = m->io->q_a_layernorm,
                         .q = m->io->q,
                         .kv = m->io->kv,
                         .attn_output = m->io->attn_output,
                         .y = output_of(m, m->io->self_attn)};
}

static dsv3_moe_io moe_io_of(const module *m)
{
    return (dsv3_moe_io){.router_logits = m->io->router_logits,
                         .topk_idx = m->io->topk_idx,
                         .topk_weight = m->io->topk_weight,
                         .act = m->io->act,
                         .shared_act = m->io->shared_act,
                         .y = output_of(m, m->io->mlp)};
}

/* The outputs in the order of dsv3_mtp_io. */
enum { EH_PROJ, INPUT_LAYERNORM, ATTENTION, POST_ATTENTION_LAYERNORM = ATTENTION + 5, MOE, Y = MOE + 6 };

static bool run_layer(const module *m, ref_value *const out[])
{
    dsv3_mla_prob const attention = attention_of(m);
    dsv3_moe_prob const moe = moe_of(m->p);
    dsv3_mla_io const attention_io = attention_io_of(m);
    dsv3_moe_io const moe_io = moe_io_of(m);
    layer const l = {.rd = m->rd,
                     .weights = &m->io->weights,
                     .point = &points,
                     .format = m->format,
                     .rms_norm_eps = m->p->rms_norm_eps,
                     .input_layernorm = {&m->io->input_layernorm, out[INPUT_LAYERNORM]},
                     .post_attention_layernorm = {&m->io->post_attention_layernorm, out[POST_ATTENTION_LAYERNORM]},
                     .attention = &attention,
                     .attention_io = &attention_io,
                     .attention_out = out + ATTENTION,
                     .moe = &moe,
                     .moe_io = &moe_io,
                     .moe_out = out + MOE};
    decoder_layer(&l, m->h, m->kv, m->h);
    return true;
}

/* ---- the op ---- */

/* Without stages these are outputs of no tensor: a port rounds them as it declares. */
static ref_set hidden_points(const dsv3_mtp_prob *p)
{
    ref_set const one = 1;
    return p->stages ? 0 : one << POINT_mla_kv | one << POINT_mla_y | one << POINT_moe_y;
}

static void finish(const module *m, ref_value *out)
{
    int64_t const width = m->p->hidden_size;
    bool const skipped = quirk(m->rd, QUIRK_M4_no_head_norm);
    for (int64_t t = 0; out && t < m->p->n_tokens; t++) {
        ball *const z = m->h + t * width;
        if (!skipped) normalise(m, "shared_head.norm.weight", POINT_mtp_y, z);
        for (int64_t i = 0; i < width; i++)
            out[t * width + i] = value_of(skipped ? round_at(m->rd, POINT_mtp_y, m->format, z[i]) : z[i]);
    }
}

static bool open_module(module *m)
{
    size_t const n = (size_t)m->p->n_tokens, width = (size_t)m->p->hidden_size;
    m->parts = malloc(6 * n * width * sizeof *m->parts);
    m->rows = malloc(n * sizeof *m->rows);
    m->pair = malloc(2 * n * width * sizeof *m->pair);
    m->h = malloc(n * width * sizeof *m->h);
    m->kv = malloc(n * (size_t)(m->p->kv_lora_rank + m->p->qk_rope_head_dim) * sizeof *m->kv);
    m->lengths = malloc((size_t)m->p->batch * sizeof *m->lengths);
    return m->parts && m->rows && m->pair && m->h && m->kv && m->lengths;
}

static void close_module(module *m)
{
    free(m->parts);
    free(m->rows);
    free(m->pair);
    free(m->h);
    free(m->kv);
    free(m->lengths);
}

void ref_mtp(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_mtp_io *const io = io_;
    ref_reading staged = *rd;
    module m = {.rd = &staged, .p = prob, .io = io, .format = io->y.dtype};
    staged.stages = m.p->stages;
    staged.hidden = hidden_points(m.p);
    bool const good = open_module(&m) && make_input(&m, out[EH_PROJ]) && run_layer(&m, out);
    if (good) finish(&m, out[Y]);
    close_module(&m);
    scratch_need(rd->scratch, good);
}
