/* See case_ids.h. */
#include "case_ids.h"

#include <stdio.h>

/* Truth, which is binary64, has the case of f32. */
static const char *format_name(const model_run *m)
{
    return ref_dtype_name(m->format == DSV3_F64 ? DSV3_F32 : m->format);
}

/* Format of a module's projections in the checkpoint, where a case can have it; opening the tensor says what is wrong with it. */
static const char *weights_format(const model_run *m, const char *module, const char *leaf)
{
    char name[ID];
    snprintf(name, sizeof name, "%s.%s", module, leaf);
    const safetensor *const t = checkpoint_find(m->weights, name);
    return t && t->dtype && t->dtype != DSV3_F16 ? ref_dtype_name(t->dtype) : format_name(m);
}

void id_of_embed(const model_run *m, int64_t rows, char id[ID])
{
    snprintf(id, ID, "embed@v3:n_tokens=%lld,vocab_size=%lld,hidden_size=%lld,weight=%s", (long long)rows,
             (long long)m->config->vocab_size, (long long)m->config->hidden_size, format_name(m));
}

void id_of_norm(const model_run *m, int64_t rows, bool adds, char id[ID])
{
    snprintf(id, ID, "rmsnorm@v3:n_tokens=%lld,hidden_size=%lld,rms_norm_eps=%.17g,residual=%d,x=%s", (long long)rows,
             (long long)m->config->hidden_size, m->config->rms_norm_eps, adds, format_name(m));
}

void id_of_attention(const model_run *m, const char *module, int64_t past, int64_t rows, bool stages, char id[ID])
{
    const dsv3_config *const c = m->config;
    snprintf(
        id, ID,
        "mla@v3:batch=1,n_tokens=%lld,kv_len=%lld,hidden_size=%lld,num_attention_heads=%lld,q_lora_rank=%lld,"
        "kv_lora_rank=%lld,qk_nope_head_dim=%lld,qk_rope_head_dim=%lld,v_head_dim=%lld,rope_theta=%.17g,factor=%.17g,"
        "original_max_position_embeddings=%lld,beta_fast=%.17g,beta_slow=%.17g,mscale=%.17g,mscale_all_dim=%.17g,"
        "stages=%d,hidden_states=%s,weights=%s",
        (long long)rows, (long long)(past + rows), (long long)c->hidden_size, (long long)c->num_attention_heads,
        (long long)c->q_lora_rank, (long long)c->kv_lora_rank, (long long)c->qk_nope_head_dim,
        (long long)c->qk_rope_head_dim, (long long)c->v_head_dim, c->rope_theta, c->factor,
        (long long)c->original_max_position_embeddings, c->beta_fast, c->beta_slow, c->mscale, c->mscale_all_dim,
        stages, format_name(m), weights_format(m, module, "kv_a_proj_with_mqa.weight"));
}

void id_of_moe(const model_run *m, const char *module, int64_t rows, bool stages, char id[ID])
{
    const dsv3_config *const c = m->config;
    snprintf(
        id, ID,
        "moe@v3:n_tokens=%lld,hidden_size=%lld,moe_intermediate_size=%lld,n_routed_experts=%lld,n_shared_experts=%lld,"
        "n_group=%lld,topk_group=%lld,num_experts_per_tok=%lld,routed_scaling_factor=%.17g,norm_topk_prob=%d,"
        "scoring_func=%d,topk_method=%d,stages=%d,hidden_states=%s,weights=%s",
        (long long)rows, (long long)c->hidden_size, (long long)c->moe_intermediate_size, (long long)c->n_routed_experts,
        (long long)c->n_shared_experts, (long long)c->n_group, (long long)c->topk_group,
        (long long)c->num_experts_per_tok, c->routed_scaling_factor, c->norm_topk_prob, c->scoring_func, c->topk_method,
        stages, format_name(m), weights_format(m, module, "experts.0.gate_proj.weight"));
}

void id_of_linear(const model_run *m, const char *module, int64_t rows, int64_t in_features, int64_t out_features,
                  char id[ID])
{
    snprintf(id, ID, "linear@v3:n_tokens=%lld,in_features=%lld,out_features=%lld,x=%s,weight=%s,y=%s", (long long)rows,
             (long long)in_features, (long long)out_features, format_name(m), weights_format(m, module, "weight"),
             format_name(m));
}

void id_of_swiglu(const model_run *m, int64_t rows, char id[ID])
{
    snprintf(id, ID, "swiglu@v3:n_tokens=%lld,intermediate_size=%lld,gate=%s", (long long)rows,
             (long long)m->config->intermediate_size, format_name(m));
}
