/* See modules.h. */
#include "modules.h"

#include <stdio.h>
#include <stdlib.h>

enum { ID = 512 };

static const char *format_name(const model_run *m)
{
    return ref_dtype_name(m->judged ? m->format : DSV3_F32);
}

/* Format of a module's projections in the checkpoint, "" when the tensor is missing: opening it says so. */
static const char *weights_format(const model_run *m, const char *module, const char *leaf)
{
    char name[NAME + 64];
    snprintf(name, sizeof name, "%s.%s", module, leaf);
    const safetensor *const t = checkpoint_find(m->weights, name);
    return t && t->dtype ? ref_dtype_name(t->dtype) : format_name(m);
}

bool run_norm(const model_run *m, const char *module, const char *sum_name, residual *st, void **y, complaint *why)
{
    char id[ID];
    bool const adds = st->pending != NULL;
    named_output names[3] = {{.tensor = "y"}, {.tensor = adds ? "residual_out" : NULL}};
    snprintf(names[0].name, NAME, "%.120s.output", module);
    snprintf(names[1].name, NAME, "%s", sum_name);
    snprintf(id, sizeof id, "rmsnorm@v3:n_tokens=%lld,hidden_size=%lld,rms_norm_eps=%.17g,residual=%d,x=%s",
             (long long)st->rows, (long long)m->config->hidden_size, m->config->rms_norm_eps, adds, format_name(m));
    stage *const s = stage_open(m, module, id, why);
    if (!s) return false;
    stage_bind(s, "x", adds ? st->pending : st->stream);
    if (adds) stage_bind(s, "residual", st->stream);
    bool const good = stage_run(s, names);
    if (good && adds) {
        free(st->stream), free(st->pending);
        st->stream = stage_release(s, "residual_out");
        st->pending = NULL;
    }
    return stage_close(s, good, y);
}

bool run_attention(const model_run *m, const char *module, int64_t rows, const void *x, void **y, complaint *why)
{
    const dsv3_config *const c = m->config;
    char id[ID];
    int32_t const starts[2] = {0, (int32_t)rows}, length = (int32_t)rows;
    named_output names[3] = {{.tensor = "kv"}, {.tensor = "y"}};
    snprintf(names[0].name, NAME, "%.120s.kv", module);
    snprintf(names[1].name, NAME, "%.120s.output", module);
    snprintf(
        id, sizeof id,
        "mla@v3:batch=1,n_tokens=%lld,kv_len=%lld,hidden_size=%lld,num_attention_heads=%lld,q_lora_rank=%lld,"
        "kv_lora_rank=%lld,qk_nope_head_dim=%lld,qk_rope_head_dim=%lld,v_head_dim=%lld,rope_theta=%.17g,factor=%.17g,"
        "original_max_position_embeddings=%lld,beta_fast=%.17g,beta_slow=%.17g,mscale=%.17g,mscale_all_dim=%.17g,"
        "stages=%d,hidden_states=%s,weights=%s",
        (long long)rows, (long long)rows, (long long)c->hidden_size, (long long)c->num_attention_heads,
        (long long)c->q_lora_rank, (long long)c->kv_lora_rank, (long long)c->qk_nope_head_dim,
        (long long)c->qk_rope_head_dim, (long long)c->v_head_dim, c->rope_theta, c->factor,
        (long long)c->original_max_position_embeddings, c->beta_fast, c->beta_slow, c->mscale, c->mscale_all_dim,
        m->judged != NULL, format_name(m), weights_format(m, module, "kv_a_proj_with_mqa.weight"));
    stage *const s = stage_open(m, module, id, why);
    if (!s) return false;
    void *const cache = calloc(1, stage_bytes(s, "kv_cache") + 1);
    void *const table = calloc(1, stage_bytes(s, "block_table") + 1);
    bool good = (cache && table) || refuse(why, "no memory for the cache of %s", module);
    if (good) {
        stage_bind(s, "hidden_states", x);
        stage_bind(s, "cu_seqlens", starts);
        stage_bind(s, "cache_seqlens", &length);
        stage_bind(s, "kv_cache", cache);
        stage_bind(s, "block_table", table);
        good = stage_run(s, names);
    }
    good = stage_close(s, good, y);
    free(cache);
    free(table);
    return good;
}

bool run_moe(const model_run *m, const char *module, int64_t rows, const void *x, void **y, complaint *why)
{
    const dsv3_config *const c = m->config;
    char id[ID];
    named_output names[4] = {{.tensor = "topk_idx"}, {.tensor = "topk_weight"}, {.tensor = "y"}};
    snprintf(names[0].name, NAME, "%.120s.gate.topk_idx", module);
    snprintf(names[1].name, NAME, "%.120s.gate.topk_weight", module);
    snprintf(names[2].name, NAME, "%.120s.output", module);
    snprintf(
        id, sizeof id,
        "moe@v3:n_tokens=%lld,hidden_size=%lld,moe_intermediate_size=%lld,n_routed_experts=%lld,n_shared_experts=%lld,"
        "n_group=%lld,topk_group=%lld,num_experts_per_tok=%lld,routed_scaling_factor=%.17g,norm_topk_prob=%d,stages=%d,"
        "hidden_states=%s,weights=%s",
        (long long)rows, (long long)c->hidden_size, (long long)c->moe_intermediate_size, (long long)c->n_routed_experts,
        (long long)c->n_shared_experts, (long long)c->n_group, (long long)c->topk_group,
        (long long)c->num_experts_per_tok, c->routed_scaling_factor, c->norm_topk_prob, m->judged != NULL,
        format_name(m), weights_format(m, module, "experts.0.gate_proj.weight"));
    stage *const s = stage_open(m, module, id, why);
    if (!s) return false;
    stage_bind(s, "hidden_states", x);
    return stage_close(s, stage_run(s, names), y);
}

bool run_linear(const model_run *m, const char *module, const char *output, int64_t rows, int64_t in_features,
                int64_t out_features, const void *x, void **y, complaint *why)
{
    char id[ID];
    named_output names[2] = {{.tensor = "y"}};
    snprintf(names[0].name, NAME, "%s", output);
    snprintf(id, sizeof id, "linear@v3:n_tokens=%lld,in_features=%lld,out_features=%lld,x=%s,weight=%s,y=%s",
             (long long)rows, (long long)in_features, (long long)out_features, format_name(m),
             weights_format(m, module, "weight"), format_name(m));
    stage *const s = stage_open(m, module, id, why);
    if (!s) return false;
    stage_bind(s, "x", x);
    return stage_close(s, stage_run(s, names), y);
}

static bool run_swiglu(const model_run *m, const char *module, int64_t rows, const void *gate, const void *up, void **y,
                       complaint *why)
{
    char id[ID];
    named_output names[2] = {{.tensor = "y"}};
    snprintf(names[0].name, NAME, "%.120s.act_fn.output", module);
    snprintf(id, sizeof id, "swiglu@v3:n_tokens=%lld,intermediate_size=%lld,gate=%s", (long long)rows,
             (long long)m->config->intermediate_size, format_name(m));
    stage *const s = stage_open(m, module, id, why);
    if (!s) return false;
    stage_bind(s, "gate", gate);
    stage_bind(s, "up", up);
    return stage_close(s, stage_run(s, names), y);
}

bool run_dense(const model_run *m, const char *module, int64_t rows, const void *x, void **y, complaint *why)
{
    int64_t const hidden = m->config->hidden_size, width = m->config->intermediate_size;
    char name[3][NAME], out[3][NAME];
    static const char *const leaves[3] = {"gate_proj", "up_proj", "down_proj"};
    void *gate = NULL, *up = NULL, *act = NULL;
    for (int i = 0; i < 3; i++) {
        snprintf(name[i], NAME, "%.120s.%s", module, leaves[i]);
        snprintf(out[i], NAME, "%.120s.%s.output", module, leaves[i]);
    }
    snprintf(out[2], NAME, "%.120s.output", module);
    bool const good = run_linear(m, name[0], out[0], rows, hidden, width, x, &gate, why) &&
                      run_linear(m, name[1], out[1], rows, hidden, width, x, &up, why) &&
                      run_swiglu(m, module, rows, gate, up, &act, why) &&
                      run_linear(m, name[2], out[2], rows, width, hidden, act, y, why);
    free(gate);
    free(up);
    free(act);
    return good;
}

bool run_embed(const model_run *m, const char *module, const char *output, int64_t first, int64_t rows, void **y,
               complaint *why)
{
    char id[ID];
    named_output names[2] = {{.tensor = "y"}};
    snprintf(names[0].name, NAME, "%s", output);
    snprintf(id, sizeof id, "embed@v3:n_tokens=%lld,vocab_size=%lld,hidden_size=%lld,weight=%s", (long long)rows,
             (long long)m->config->vocab_size, (long long)m->config->hidden_size, format_name(m));
    stage *const s = stage_open(m, module, id, why);
    if (!s) return false;
    stage_bind(s, "input_ids", m->tokens + first);
    return stage_close(s, stage_run(s, names), y);
}
