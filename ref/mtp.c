/*
 * One depth of multi-token prediction:  u = W_eh [RMSNorm(e) | RMSNorm(h)],  y = RMSNorm(Layer(u)).
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.2, eqs. 21-23, with h first; deepseek-ai/DeepSeek-V3, README_WEIGHTS.md (the names); the
 * order of the released weights: NVIDIA/Megatron-LM #1588; Hugging Face transformers, modeling_layers.py, MtpLayer; vllm-project/vllm,
 * model_executor/models/deepseek_mtp.py; sgl-project/sglang, srt/models/deepseek_nextn.py.
 */
#include "layer.h"
#include "matrix.h"
#include "rmsnorm.h"
#include "vectors.h"

static const layer_points points = {POINT_mtp_x_norm, POINT_mtp_input_layernorm, POINT_mtp_h1,
                                    POINT_mtp_post_attention_layernorm, POINT_mtp_h2};

typedef struct {
    const ref_reading *rd;
    const dsv3_mtp_prob *p;
    const dsv3_mtp_io *io;
    dsv3_dtype format;
} module;

/* Its rows are [first, last). */
typedef struct {
    int64_t first, last;
} sequence;

/* The outputs in the order of dsv3_mtp_io. */
enum { EH_PROJ, INPUT_LAYERNORM, ATTENTION, POST_ATTENTION_LAYERNORM = ATTENTION + 5, MOE, Y = MOE + 6 };

static sequence sequence_of(const module *m, int64_t b)
{
    const dsv3_tensor *const cu = &m->io->cu_seqlens;
    return (sequence){(int64_t)ref_decode(cu->dtype, cu->data, b), (int64_t)ref_decode(cu->dtype, cu->data, b + 1)};
}

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* The row of inputs_embeds that row t takes. */
static int64_t embedding_of(const module *m, int64_t t, int64_t first)
{
    return quirk(m->rd, QUIRK_M6_own_token) && t > first ? t - 1 : t;
}

static bool zeroes_embedding(const module *m, int64_t t, int64_t first)
{
    return quirk(m->rd, QUIRK_M5_first_zeroed) && t == first;
}

/* The weights of enorm and hnorm; NULL: not normalised. */
static const char *enorm_of(const ref_reading *rd)
{
    if (quirk(rd, QUIRK_M4_no_enorm)) return NULL;
    return quirk(rd, QUIRK_M1_norms_exchanged) ? "hnorm.weight" : "enorm.weight";
}

static const char *hnorm_of(const ref_reading *rd)
{
    if (quirk(rd, QUIRK_M4_no_hnorm)) return NULL;
    return quirk(rd, QUIRK_M1_norms_exchanged) ? "enorm.weight" : "hnorm.weight";
}

/* Without stages these are outputs of no tensor: a port rounds them as it declares. */
static ref_set hidden_points(const dsv3_mtp_prob *p)
{
    static int const inside[] = {POINT_mla_kv, POINT_mla_y, POINT_moe_y};
    ref_set hidden = ref_none();
    for (int i = 0; i < 3 && !p->stages; i++) ref_add(&hidden, inside[i]);
    return hidden;
}

/* ---- the layer's input ---- */

static void read_row(const module *m, const dsv3_tensor *x, int64_t t, ball *out)
{
    for (int64_t i = 0; i < m->p->hidden_size; i++)
        out[i] = element(m->rd, ref_decode(x->dtype, x->data, t * x->stride[0] + i));
}

/* x <- RMSNorm(x), unless weight is NULL. */
static void normalise(const module *m, const char *weight, int point, ball *x)
{
    if (!weight) return;
    norm const n = {
        m->rd,    dsv3_find(&m->io->weights, weight), m->p->hidden_size, m->p->rms_norm_eps, POINT_mtp_x_norm, point,
        m->format};
    norm_row(&n, x, x);
}

/* [RMSNorm(e) | RMSNorm(h)] of row t */
static void read_pair(const module *m, int64_t t, int64_t first, ball *pair)
{
    int64_t const width = m->p->hidden_size;
    bool const h_first = quirk(m->rd, QUIRK_M1_hidden_first);
    ball *const e = pair + (h_first ? width : 0), *const h = pair + (h_first ? 0 : width);
    read_row(m, &m->io->inputs_embeds, embedding_of(m, t, first), e);
    for (int64_t i = 0; zeroes_embedding(m, t, first) && i < width; i++) e[i] = ball_of(0);
    read_row(m, &m->io->hidden_states, t, h);
    normalise(m, enorm_of(m->rd), POINT_mtp_enorm, e);
    normalise(m, hnorm_of(m->rd), POINT_mtp_hnorm, h);
}

/* u = W_eh [RMSNorm(e) | RMSNorm(h)] */
static void project_pairs(const module *m, vectors u)
{
    scratch *const memory = m->rd->scratch;
    scratch_piece *const mark = scratch_mark(memory);
    matrix const eh_proj = matrix_of(m->rd, &m->io->weights, "eh_proj", POINT_mtp_eh_proj, m->format);
    vectors pair = vectors_take(memory, u.n, 2 * u.width);
    for (int64_t b = 0; b < m->p->batch; b++) {
        sequence const s = sequence_of(m, b);
        for (int64_t t = s.first; t < s.last; t++) read_pair(m, t, s.first, pair.ball + t * pair.width);
    }
    vectors_prepare(memory, &pair);
    matrix_times(&eh_proj, pair.row, pair.n, POINT_mtp_eh_proj, m->format, u.ball);
    scratch_back(memory, mark);
}

/* ---- the layer: problems and tensors of its parts ---- */

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

/* The tensor of a part's output; without stages it is nothing but the format. */
static dsv3_tensor output_of(const module *m, dsv3_tensor stage)
{
    stage.dtype = m->format;
    return stage;
}

/* Nothing is cached: a sequence has as many keys as rows. */
static dsv3_mla_io attention_io_of(const module *m)
{
    int32_t *const length = scratch_take(m->rd->scratch, m->p->batch, sizeof *length);
    for (int64_t b = 0; b < m->p->batch; b++) {
        sequence const s = sequence_of(m, b);
        length[b] = (int32_t)(s.last - s.first);
    }
    return (dsv3_mla_io){.cu_seqlens = m->io->cu_seqlens,
                         .cache_seqlens = {length, DSV3_I32, 1, {m->p->batch}, {1}},
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

/* h <- Layer(h), in place; kv (n_tokens, kv_lora_rank + qk_rope_head_dim) is scratch. */
static void run_layer(const module *m, vectors h, vectors kv, ref_value *const out[])
{
    scratch_piece *const mark = scratch_mark(m->rd->scratch);
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
    decoder_layer(&l, h.ball, kv.ball, h.ball);
    scratch_back(m->rd->scratch, mark);
}

/* Is an output wanted that comes after EH_PROJ? */
static bool wants_more(ref_value *const out[])
{
    for (int i = EH_PROJ + 1; i <= Y; i++)
        if (out[i]) return true;
    return false;
}

/* ---- the op ---- */

/* The numbers of equations are those of the V3 report; (23) is the op's part of it, the shared head multiplies y. */
void ref_mtp(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_mtp_prob *const p = prob;
    const dsv3_mtp_io *const io = io_;
    ref_reading staged = *rd;
    staged.stages = p->stages;
    staged.hidden = hidden_points(p);
    module const m = {&staged, p, io, io->y.dtype};
    vectors const h = vectors_take(rd->scratch, p->n_tokens, p->hidden_size);
    vectors const kv = vectors_take(rd->scratch, p->n_tokens, p->kv_lora_rank + p->qk_rope_head_dim);
    bool const head_norm = !quirk(rd, QUIRK_M4_no_head_norm);

    project_pairs(&m, h); /* (21)  u = W_eh [RMSNorm(e) | RMSNorm(h)] */
    stage(&staged, &io->eh_proj, 0, out[EH_PROJ], h.ball, h.n * h.width);
    if (!wants_more(out)) return;
    run_layer(&m, h, kv, out);                               /* (22)  h = Layer(u) */
    for (int64_t t = 0; out[Y] && head_norm && t < h.n; t++) /* (23)  y = RMSNorm(h) */
        normalise(&m, "shared_head.norm.weight", POINT_mtp_y, h.ball + t * h.width);
    for (int64_t i = 0; out[Y] && i < h.n * h.width; i++)
        out[Y][i] = value_of(head_norm ? h.ball[i] : round_at(&staged, POINT_mtp_y, m.format, h.ball[i]));
}
