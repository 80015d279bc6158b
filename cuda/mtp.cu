/* One depth of multi-token prediction: two norms, a projection, attention and MoE layer as mla and moe have them. */
#include "mla.cuh"
#include "norm.cuh"
#include "products.cuh"

#include <cstdlib>

namespace
{

enum { THREADS = NORM_THREADS };

struct module {
    const dsv3_mtp_prob *p;
    const dsv3_mtp_io *io;
    int64_t n, width;
    matrix eh_proj;
    float *h;                       /* (n, width): the residual stream */
    dsv3_tensor pair;               /* (n, 2 width): eh_proj's input */
    dsv3_tensor normed, branch, kv; /* (n, width), (n, width), (n, latent): for what no stage holds */
};

/* ---- kernels: a block a row, or 256 entries of one ---- */

template <typename V, typename T>
__global__ void __launch_bounds__(THREADS)
    normalise_rows(const V *v, int64_t v_stride, const T *gain, int64_t n, float eps, T *to, int64_t stride)
{
    normalise(v + blockIdx.x * v_stride, gain, n, eps, to + blockIdx.x * stride);
}

template <typename T>
__global__ void __launch_bounds__(THREADS) add_rows(float *h, int64_t n, const T *branch, int64_t stride)
{
    int64_t const t = blockIdx.x, i = (int64_t)blockIdx.y * THREADS + threadIdx.x;
    if (i < n) h[t * n + i] = __fadd_rn(h[t * n + i], load(branch, t * stride + i));
}

/* To the stage and back. */
template <typename T>
__global__ void __launch_bounds__(THREADS) keep_rows(float *h, int64_t n, T *stage, int64_t stride)
{
    int64_t const t = blockIdx.x, i = (int64_t)blockIdx.y * THREADS + threadIdx.x;
    if (i >= n) return;
    store(stage, t * stride + i, h[t * n + i]);
    h[t * n + i] = load(stage, t * stride + i);
}

/* ---- steps ---- */

/* For a block of each 256 entries of a row. */
dim3 entries(const module *m)
{
    return dim3((unsigned)m->n, (unsigned)((m->width + THREADS - 1) / THREADS));
}

const dsv3_tensor *gain(const module *m, const char *name)
{
    return dsv3_find(&m->io->weights, name);
}

template <typename T>
void normalise_input(dsv3_ctx *ctx, const module *m, const dsv3_tensor *x, const char *name, int64_t column)
{
    normalise_rows<<<(unsigned)m->n, THREADS, 0, ctx->stream>>>(
        (const T *)x->data, x->stride[0], (const T *)gain(m, name)->data, m->width, (float)m->p->rms_norm_eps,
        (T *)m->pair.data + column, 2 * m->width);
}

template <typename T> dsv3_status make_input(dsv3_ctx *ctx, const module *m)
{
    const dsv3_tensor *const kept = &m->io->eh_proj;
    normalise_input<T>(ctx, m, &m->io->inputs_embeds, "enorm.weight", 0);
    normalise_input<T>(ctx, m, &m->io->hidden_states, "hnorm.weight", m->width);
    dsv3_status const status = multiply(ctx, &m->eh_proj, rows_of(&m->pair), m->n, {m->h, DSV3_F32, m->width, nullptr});
    if (kept->data)
        keep_rows<<<entries(m), THREADS, 0, ctx->stream>>>(m->h, m->width, (T *)kept->data, kept->stride[0]);
    return status;
}

/* The residual stream, normalised, to y. */
template <typename T> void normalise_all(dsv3_ctx *ctx, const module *m, const char *name, const dsv3_tensor *y)
{
    normalise_rows<<<(unsigned)m->n, THREADS, 0, ctx->stream>>>(m->h, m->width, (const T *)gain(m, name)->data,
                                                                m->width, (float)m->p->rms_norm_eps, (T *)y->data,
                                                                y->stride[0]);
}

template <typename T> void add_branch(dsv3_ctx *ctx, const module *m, const dsv3_tensor *branch)
{
    add_rows<<<entries(m), THREADS, 0, ctx->stream>>>(m->h, m->width, (const T *)branch->data, branch->stride[0]);
}

/* The weights below a prefix, without it; `below` has room for all. */
dsv3_weights weights_below(const module *m, const char *prefix, dsv3_weight *below)
{
    size_t const length = strlen(prefix);
    int64_t n = 0;
    for (int64_t i = 0; i < m->io->weights.count; i++) {
        dsv3_weight const w = m->io->weights.item[i];
        if (!strncmp(w.name, prefix, length)) below[n++] = {w.name + length, w.tensor};
    }
    return {n, below};
}

/* The stage, or the memory if the caller doesn't want it. */
dsv3_tensor either(dsv3_tensor stage, dsv3_tensor memory)
{
    return stage.data ? stage : memory;
}

/* Without a past. How long the longest sequence is only the device knows: no longer than all. */
dsv3_status attend_block(dsv3_ctx *ctx, const module *m, const dsv3_tensor *x, const dsv3_tensor *y, dsv3_weight *below)
{
    const dsv3_mtp_prob *const p = m->p;
    dsv3_mla_prob a = {};
    a.batch = p->batch, a.n_tokens = a.kv_len = p->n_tokens, a.page_size = 1, a.hidden_size = p->hidden_size;
    a.num_attention_heads = p->num_attention_heads, a.q_lora_rank = p->q_lora_rank, a.kv_lora_rank = p->kv_lora_rank;
    a.qk_nope_head_dim = p->qk_nope_head_dim, a.qk_rope_head_dim = p->qk_rope_head_dim, a.v_head_dim = p->v_head_dim;
    a.rms_norm_eps = p->latent_eps, a.rope_theta = p->rope_theta, a.factor = p->factor;
    a.original_max_position_embeddings = p->original_max_position_embeddings;
    a.beta_fast = p->beta_fast, a.beta_slow = p->beta_slow, a.mscale = p->mscale, a.mscale_all_dim = p->mscale_all_dim;
    a.rope_layout = p->rope_layout, a.stages = p->stages;
    dsv3_mla_io io = {};
    io.hidden_states = *x, io.cu_seqlens = m->io->cu_seqlens, io.weights = weights_below(m, "self_attn.", below);
    io.q_a_layernorm = m->io->q_a_layernorm, io.q = m->io->q, io.kv = either(m->io->kv, m->kv);
    io.attn_output = m->io->attn_output, io.y = *y;
    return cuda_mla(ctx, &a, &io);
}

dsv3_status moe_block(dsv3_ctx *ctx, const module *m, const dsv3_tensor *x, const dsv3_tensor *y, dsv3_weight *below)
{
    const dsv3_mtp_prob *const p = m->p;
    dsv3_moe_prob a = {};
    a.n_tokens = p->n_tokens, a.hidden_size = p->hidden_size, a.moe_intermediate_size = p->moe_intermediate_size;
    a.n_routed_experts = p->n_routed_experts, a.n_shared_experts = p->n_shared_experts;
    a.n_group = p->n_group, a.topk_group = p->topk_group, a.num_experts_per_tok = p->num_experts_per_tok;
    a.routed_scaling_factor = p->routed_scaling_factor, a.norm_topk_prob = p->norm_topk_prob;
    a.scoring_func = p->scoring_func, a.topk_method = p->topk_method, a.stages = p->stages;
    dsv3_moe_io io = {};
    io.hidden_states = *x, io.weights = weights_below(m, "mlp.", below), io.router_logits = m->io->router_logits;
    io.topk_idx = m->io->topk_idx, io.topk_weight = m->io->topk_weight, io.act = m->io->act,
    io.shared_act = m->io->shared_act;
    io.y = *y;
    return cuda_moe(ctx, &a, &io);
}

template <typename T> dsv3_status run(dsv3_ctx *ctx, const module *m, dsv3_weight *below)
{
    dsv3_tensor const attention_in = either(m->io->input_layernorm, m->normed),
                      attention_out = either(m->io->self_attn, m->branch);
    dsv3_tensor const moe_in = either(m->io->post_attention_layernorm, m->normed),
                      moe_out = either(m->io->mlp, m->branch);
    dsv3_status status = make_input<T>(ctx, m);
    if (status != DSV3_OK) return status;
    normalise_all<T>(ctx, m, "input_layernorm.weight", &attention_in);
    status = attend_block(ctx, m, &attention_in, &attention_out, below);
    if (status != DSV3_OK) return status;
    add_branch<T>(ctx, m, &attention_out);
    normalise_all<T>(ctx, m, "post_attention_layernorm.weight", &moe_in);
    status = moe_block(ctx, m, &moe_in, &moe_out, below);
    if (status != DSV3_OK) return status;
    add_branch<T>(ctx, m, &moe_out);
    normalise_all<T>(ctx, m, "shared_head.norm.weight", &m->io->y);
    return launched();
}

dsv3_tensor rows_in(dsv3_ctx *ctx, const module *m, int64_t width)
{
    return {
        take(ctx, (size_t)(m->n * width) * sizeof(float)), m->io->hidden_states.dtype, 2, {m->n, width}, {width, 1}};
}

bool take_memory(dsv3_ctx *ctx, module *m)
{
    m->h = (float *)take(ctx, (size_t)(m->n * m->width) * sizeof(float));
    m->pair = rows_in(ctx, m, 2 * m->width), m->normed = rows_in(ctx, m, m->width),
    m->branch = rows_in(ctx, m, m->width);
    m->kv = rows_in(ctx, m, m->p->kv_lora_rank + m->p->qk_rope_head_dim);
    return m->h && m->pair.data && m->normed.data && m->branch.data && m->kv.data;
}

bool has_gains(const module *m)
{
    static const char *const names[] = {"enorm.weight", "hnorm.weight", "input_layernorm.weight",
                                        "post_attention_layernorm.weight", "shared_head.norm.weight"};
    for (const char *name : names)
        if (!gain(m, name) || gain(m, name)->dtype != m->io->hidden_states.dtype) return false;
    return true;
}

/* In BF16: are there matrices of binary32? */
bool has_floats(const dsv3_mtp_io *io)
{
    for (int64_t i = 0; i < io->weights.count; i++) {
        const dsv3_weight *const w = &io->weights.item[i];
        if (w->tensor.ndim == 2 && w->tensor.dtype == DSV3_F32 && !strstr(w->name, "weight_scale_inv")) return true;
    }
    return false;
}

} // namespace

dsv3_status cuda_mtp(dsv3_ctx *ctx, const dsv3_mtp_prob *p, const dsv3_mtp_io *io)
{
    module m = {p, io, p->n_tokens, p->hidden_size, find_matrix(&io->weights, "eh_proj")};
    if (!is_float(&io->hidden_states) || io->inputs_embeds.dtype != io->hidden_states.dtype) return DSV3_UNSUPPORTED;
    if (!usable(&m.eh_proj) || !has_gains(&m)) return DSV3_UNSUPPORTED;
    dsv3_weight *const below = (dsv3_weight *)calloc((size_t)io->weights.count + 1, sizeof *below);
    memory_mark const before = mark(ctx);
    dsv3_status status = DSV3_NO_MEMORY;
    if (below && take_memory(ctx, &m))
        status = io->hidden_states.dtype == DSV3_BF16 ? run<__nv_bfloat16>(ctx, &m, below) : run<float>(ctx, &m, below);
    give_back(ctx, before);
    free(below);
    return status;
}

#define STEPS                                                                                                          \
    "rsqrt recip; div ieee; exp 2; sigmoid 4; scaled scores; parts 1; angle f64; sincos 1; form absorbed; flush "      \
    "none; "                                                                                                           \
    "x_norm f32 must; enorm output must; hnorm output must; eh_proj f32 must; input_layernorm output must; "           \
    "h1 f32 must; post_attention_layernorm output must; h2 f32 must; "                                                 \
    "self_attn.q_a_proj f32 must; self_attn.x_norm f32 must; self_attn.q_a_layernorm output must; "                    \
    "self_attn.q_b_proj f32 must; self_attn.cos_sin f32 must; self_attn.q output must; "                               \
    "self_attn.kv_a_proj_with_mqa f32 must; self_attn.kv output must; self_attn.q_absorbed output must; "              \
    "self_attn.scores f32 must; self_attn.o_latent output must; "                                                      \
    "self_attn.attn_output output must; self_attn.y output must; self_attn.weight f32 may; "                           \
    "mlp.router_logits f32 must; mlp.scores f32 must; mlp.gate_proj f32 must; mlp.up_proj f32 must; "                  \
    "mlp.gate_sigmoid f32 may; mlp.silu f32 must; mlp.act output must; mlp.shared_act output must; "                   \
    "mlp.expert_out f32 must; mlp.routed f32 may; mlp.y output must; mlp.weight f32 may; "

const char *cuda_mtp_numerics(const void *prob, const void *io)
{
    const dsv3_mtp_prob *const p = (const dsv3_mtp_prob *)prob;
    const dsv3_mtp_io *const t = (const dsv3_mtp_io *)io;
    if (t->hidden_states.dtype != DSV3_BF16) return "acc 24 rn fused; rescales 1; self_attn.P f32 must; " STEPS;
    if (has_floats(t) || !latent_by_units(p->kv_lora_rank, p->qk_rope_head_dim))
        return "acc 24 rz fused; rescales 8; self_attn.P bf16 may; " STEPS;
    return of_unit("acc %s splits=1 promote=128 bits2=24; rescales 8; self_attn.P bf16 must; " STEPS);
}
