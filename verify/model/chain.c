/* See chain.h. */
#include "chain.h"

#include "judge/judge.h"
#include "run/case.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { ID = 512, NAME = 160 };

/* A stage in work. */
typedef struct {
    const model_run *m;
    char module[NAME]; /* path of the module whose weights it has */
    problem p;
    void **data;
    bool *owned;
    complaint *why;
} stage;

static bool is_real(dsv3_dtype d)
{
    return d == DSV3_F32 || d == DSV3_BF16;
}

static void set_format(tensor_info *t, dsv3_dtype d)
{
    t->dtype = d;
    t->bytes = (size_t)t->count * ref_dtype_size(d);
}

/* ---- opening: tensors of a case become those of the checkpoint ---- */

/* One weight, as the checkpoint has it. */
static bool take_weight(stage *s, int i)
{
    tensor_info *const t = &s->p.tensor[i];
    const model_run *const m = s->m;
    const safetensor *found;
    char name[NAME + 64];
    bool const scale = strstr(t->name, "weight_scale_inv") != NULL, bias = strstr(t->name, "bias") != NULL;
    unsigned const formats = scale || bias              ? DTYPE_BIT(DSV3_F32)
                             : t->dtype == DSV3_F8_E4M3 ? DTYPE_BIT(DSV3_F8_E4M3)
                             : m->judged                ? DTYPE_BIT(t->dtype)
                                                        : DTYPE_BIT(DSV3_F32) | DTYPE_BIT(DSV3_BF16);
    snprintf(name, sizeof name, "%s%s%s", s->module, *s->module ? "." : "", t->name);
    if (!checkpoint_expect(m->weights, name, formats, t->ndim, t->shape, &found, s->why)) return false;
    if (scale && !checkpoint_check_scales(m->weights, found, s->why)) return false;
    set_format(t, found->dtype);
    s->data[i] = (void *)(uintptr_t)found->data;
    return true;
}

/* Reads the id and finds the weights; inputs are given with give(), outputs get memory. */
static bool open_stage(stage *s, const model_run *m, const char *module, const char *id, complaint *why)
{
    memset(s, 0, sizeof *s);
    s->m = m, s->why = why;
    snprintf(s->module, sizeof s->module, "%s", module);
    if (!problem_parse(id, &s->p, why)) return false;
    s->data = calloc((size_t)s->p.tensors, sizeof *s->data);
    s->owned = calloc((size_t)s->p.tensors, sizeof *s->owned);
    if (!s->data || !s->owned) return refuse(s->why, "no memory for %s", module);
    for (int i = 0; i < s->p.tensors; i++) {
        tensor_info *const t = &s->p.tensor[i];
        if (t->row->kind == TENSOR_WEIGHT) {
            if (!take_weight(s, i)) return false;
            continue;
        }
        if (!m->judged && is_real(t->dtype)) set_format(t, DSV3_F64);
        if (t->row->kind != TENSOR_OUT) continue;
        s->data[i] = calloc(1, t->bytes + 1);
        s->owned[i] = true;
        if (!s->data[i]) return refuse(s->why, "no memory for %s of %s", t->name, module);
    }
    return true;
}

static void close_stage(stage *s)
{
    for (int i = 0; s->data && s->owned && i < s->p.tensors; i++) {
        if (s->owned[i]) free(s->data[i]);
        if (s->p.tensor[i].row->kind == TENSOR_WEIGHT && s->data[i])
            checkpoint_release(s->data[i], s->p.tensor[i].bytes);
    }
    free(s->data);
    free(s->owned);
    problem_close(&s->p);
}

static int index_of(const stage *s, const char *name)
{
    return (int)(problem_tensor(&s->p, name) - s->p.tensor);
}

static void give(stage *s, const char *name, const void *data)
{
    s->data[index_of(s, name)] = (void *)(uintptr_t)data;
}

/* The output of that name, which the caller frees. */
static void *take(stage *s, const char *name)
{
    int const i = index_of(s, name);
    s->owned[i] = false;
    return s->data[i];
}

/* ---- running ---- */

/* An output under the name that dumps have for it; NULL: it is not kept. */
typedef struct {
    const char *tensor;
    char name[NAME];
} kept;

static bool keep(const stage *s, const kept *k, const double *radius)
{
    char name[NAME + 8];
    const tensor_info *const t = problem_tensor(&s->p, k->tensor);
    snprintf(name, sizeof name, "%s.radius", k->name);
    if (!dump_add(s->m->kept, k->name, t->dtype, t->ndim, t->shape, s->data[t - s->p.tensor])) return false;
    return !radius || dump_add(s->m->kept, name, DSV3_F64, t->ndim, t->shape, radius);
}

/* An earlier run finished this stage. */
static bool known(stage *s, const kept *names)
{
    for (const kept *k = names; k->tensor; k++)
        if (!dump_find(s->m->kept, k->name)) return false;
    for (const kept *k = names; k->tensor; k++) {
        int const i = index_of(s, k->tensor);
        memcpy(s->data[i], dump_find(s->m->kept, k->name)->data, s->p.tensor[i].bytes);
    }
    return true;
}

static void let_go(void *user, const void *data, size_t bytes)
{
    (void)user;
    checkpoint_release(data, bytes);
}

/* The output as binary64 (or indices), and a radius that covers what that leaves out. */
static double *split_truth(const stage *s, int i, const ref_value *v)
{
    const tensor_info *const t = &s->p.tensor[i];
    double *const radius = malloc((size_t)t->count * sizeof *radius + 1);
    for (int64_t k = 0; radius && k < t->count; k++) {
        ref_encode(t->dtype, s->data[i], k, v[k].hi);
        radius[k] = v[k].lo == 0 ? v[k].radius : nextafter(v[k].radius + fabs(v[k].lo), HUGE_VAL);
    }
    return radius;
}

static bool run_truth(stage *s, const kept *names)
{
    ref_reading const rd = {.used = let_go};
    enclosures truth;
    if (!enclose(&s->p, &rd, &ref_dd, s->data, &truth))
        return refuse(s->why, "no memory for the reference of %s", s->module);
    bool good = true;
    for (int i = 0; good && i < s->p.tensors; i++) {
        if (!truth.value[i]) continue;
        double *const radius = split_truth(s, i, truth.value[i]);
        good = radius != NULL;
        for (const kept *k = names; good && k->tensor; k++)
            if (!strcmp(k->tensor, s->p.tensor[i].name))
                good = keep(s, k, s->p.tensor[i].dtype == DSV3_F64 ? radius : NULL);
        free(radius);
    }
    enclosures_free(&truth);
    if (good && s->m->report) s->m->report(s->m->context, s->module, &s->p, NULL);
    return good || refuse(s->why, "no memory for the outputs of %s", s->module);
}

static bool run_port(stage *s, const kept *names)
{
    result *const r = malloc(sizeof *r);
    bool good = r != NULL;
    if (!good) return refuse(s->why, "no memory to judge %s", s->module);
    run_case(&s->p, s->data, &s->m->judged, 1, s->m->diagnose, r);
    if (s->m->report) s->m->report(s->m->context, s->module, &s->p, r);
    bool const answered = r->v == PASS || r->v == FAIL || r->v == VACUOUS || r->v == SUSPECT;
    if (!answered) good = refuse(s->why, "the port gave no result for %s: %s", s->module, r->why);
    free(r);
    for (const kept *k = names; good && k->tensor; k++)
        if (!keep(s, k, NULL)) good = refuse(s->why, "no memory for the outputs of %s", s->module);
    return good;
}

/* names end with a row whose tensor is NULL. */
static bool run_stage(stage *s, const kept *names)
{
    if (known(s, names)) return true;
    return s->m->judged ? run_port(s, names) : run_truth(s, names);
}

/* A stage on its weights; NULL: one sentence in why, and nothing to close. */
static stage *start_stage(const model_run *m, const char *module, const char *id, complaint *why)
{
    stage *const s = malloc(sizeof *s);
    if (!s) refuse(why, "no memory for %s", module);
    if (!s || open_stage(s, m, module, id, why)) return s;
    close_stage(s);
    free(s);
    return NULL;
}

/* Closes it; its output y is the caller's if all went well. Returns good. */
static bool end_stage(stage *s, bool good, void **y)
{
    if (good) *y = take(s, "y");
    close_stage(s);
    free(s);
    return good;
}

/* ---- the stages ---- */

/* The residual stream, and what is still to be added to it. Memory is owned. */
typedef struct {
    int64_t rows;
    void *stream;  /* (rows, hidden_size) */
    void *pending; /* NULL: nothing */
} state;

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

/* y = norm of stream + pending; the stream moves on to that sum, which is kept as `sum_name`. */
static bool run_norm(const model_run *m, const char *module, const char *sum_name, state *st, void **y, complaint *why)
{
    char id[ID];
    bool const adds = st->pending != NULL;
    kept names[3] = {{.tensor = "y"}, {.tensor = adds ? "residual_out" : NULL}};
    snprintf(names[0].name, NAME, "%.120s.output", module);
    snprintf(names[1].name, NAME, "%s", sum_name);
    snprintf(id, sizeof id, "rmsnorm@v3:n_tokens=%lld,hidden_size=%lld,rms_norm_eps=%.17g,residual=%d,x=%s",
             (long long)st->rows, (long long)m->config->hidden_size, m->config->rms_norm_eps, adds, format_name(m));
    stage *const s = start_stage(m, module, id, why);
    if (!s) return false;
    give(s, "x", adds ? st->pending : st->stream);
    if (adds) give(s, "residual", st->stream);
    bool const good = run_stage(s, names);
    if (good && adds) {
        free(st->stream), free(st->pending);
        st->stream = take(s, "residual_out");
        st->pending = NULL;
    }
    return end_stage(s, good, y);
}

static bool run_attention(const model_run *m, const char *module, int64_t rows, const void *x, void **y, complaint *why)
{
    const dsv3_config *const c = m->config;
    char id[ID];
    int32_t const starts[2] = {0, (int32_t)rows}, length = (int32_t)rows;
    kept names[3] = {{.tensor = "kv"}, {.tensor = "y"}};
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
    stage *const s = start_stage(m, module, id, why);
    if (!s) return false;
    void *const cache = calloc(1, problem_tensor(&s->p, "kv_cache")->bytes + 1);
    void *const table = calloc(1, problem_tensor(&s->p, "block_table")->bytes + 1);
    bool good = (cache && table) || refuse(s->why, "no memory for the cache of %s", module);
    if (good) {
        give(s, "hidden_states", x);
        give(s, "cu_seqlens", starts);
        give(s, "cache_seqlens", &length);
        give(s, "kv_cache", cache);
        give(s, "block_table", table);
        good = run_stage(s, names);
    }
    good = end_stage(s, good, y);
    free(cache);
    free(table);
    return good;
}

static bool run_moe(const model_run *m, const char *module, int64_t rows, const void *x, void **y, complaint *why)
{
    const dsv3_config *const c = m->config;
    char id[ID];
    kept names[4] = {{.tensor = "topk_idx"}, {.tensor = "topk_weight"}, {.tensor = "y"}};
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
    stage *const s = start_stage(m, module, id, why);
    if (!s) return false;
    give(s, "hidden_states", x);
    return end_stage(s, run_stage(s, names), y);
}

/* y = x weight^T, kept as `name`. */
static bool run_linear(const model_run *m, const char *module, const char *name, int64_t rows, int64_t in, int64_t out,
                       const void *x, void **y, complaint *why)
{
    char id[ID];
    kept names[2] = {{.tensor = "y"}};
    snprintf(names[0].name, NAME, "%s", name);
    snprintf(id, sizeof id, "linear@v3:n_tokens=%lld,in_features=%lld,out_features=%lld,x=%s,weight=%s,y=%s",
             (long long)rows, (long long)in, (long long)out, format_name(m), weights_format(m, module, "weight"),
             format_name(m));
    stage *const s = start_stage(m, module, id, why);
    if (!s) return false;
    give(s, "x", x);
    return end_stage(s, run_stage(s, names), y);
}

static bool run_swiglu(const model_run *m, const char *module, int64_t rows, const void *gate, const void *up, void **y,
                       complaint *why)
{
    char id[ID];
    kept names[2] = {{.tensor = "y"}};
    snprintf(names[0].name, NAME, "%.120s.act_fn.output", module);
    snprintf(id, sizeof id, "swiglu@v3:n_tokens=%lld,intermediate_size=%lld,gate=%s", (long long)rows,
             (long long)m->config->intermediate_size, format_name(m));
    stage *const s = start_stage(m, module, id, why);
    if (!s) return false;
    give(s, "gate", gate);
    give(s, "up", up);
    return end_stage(s, run_stage(s, names), y);
}

/* The feed-forward of the leading layers. */
static bool run_dense(const model_run *m, const char *module, int64_t rows, const void *x, void **y, complaint *why)
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

static bool run_embed(const model_run *m, const char *module, const char *name, int64_t first, int64_t rows, void **y,
                      complaint *why)
{
    char id[ID];
    kept names[2] = {{.tensor = "y"}};
    snprintf(names[0].name, NAME, "%s", name);
    snprintf(id, sizeof id, "embed@v3:n_tokens=%lld,vocab_size=%lld,hidden_size=%lld,weight=%s", (long long)rows,
             (long long)m->config->vocab_size, (long long)m->config->hidden_size, format_name(m));
    stage *const s = start_stage(m, module, id, why);
    if (!s) return false;
    give(s, "input_ids", m->tokens + first);
    return end_stage(s, run_stage(s, names), y);
}

/* ---- the chain ---- */

/* Layer n on the state; the output of its feed-forward is left pending. before: the name of the stream that comes in. */
static bool run_layer(const model_run *m, int64_t n, const char *before, bool dense, state *st, complaint *why)
{
    char norm[NAME], attention[NAME], second[NAME], mlp[NAME], between[NAME];
    void *x = NULL;
    snprintf(norm, NAME, "model.layers.%lld.input_layernorm", (long long)n);
    snprintf(attention, NAME, "model.layers.%lld.self_attn", (long long)n);
    snprintf(second, NAME, "model.layers.%lld.post_attention_layernorm", (long long)n);
    snprintf(between, NAME, "model.layers.%lld.post_attention_layernorm.input", (long long)n);
    snprintf(mlp, NAME, "model.layers.%lld.mlp", (long long)n);
    bool good = run_norm(m, norm, before, st, &x, why) && run_attention(m, attention, st->rows, x, &st->pending, why);
    free(x), x = NULL;
    good = good && run_norm(m, second, between, st, &x, why);
    good = good && (dense ? run_dense(m, mlp, st->rows, x, &st->pending, why)
                          : run_moe(m, mlp, st->rows, x, &st->pending, why));
    free(x);
    return good && dump_finish_part(m->kept, why);
}

static void stream_name(char *name, int64_t layer)
{
    if (layer < 0)
        snprintf(name, NAME, "model.embed_tokens.output");
    else
        snprintf(name, NAME, "model.layers.%lld.hidden_states", (long long)layer);
}

/* The main model; hidden: its states after model.norm. */
static bool run_main(const model_run *m, void **hidden, complaint *why)
{
    const dsv3_config *const c = m->config;
    state st = {.rows = m->n_tokens};
    char name[NAME];
    void *logits = NULL;
    const char *const head = c->tie_word_embeddings ? "model.embed_tokens" : "lm_head";
    bool good = dump_find(m->kept, "input_ids") || dump_add(m->kept, "input_ids", DSV3_I32, 1, &m->n_tokens, m->tokens);
    if (!good) refuse(why, "no memory for the tokens");
    good = good && run_embed(m, "model.embed_tokens", "model.embed_tokens.output", 0, m->n_tokens, &st.stream, why);
    for (int64_t n = 0; good && n < c->num_hidden_layers; n++) {
        stream_name(name, n - 1);
        good = run_layer(m, n, name, n < c->first_k_dense_replace, &st, why);
    }
    stream_name(name, c->num_hidden_layers - 1);
    good = good && run_norm(m, "model.norm", name, &st, hidden, why) &&
           run_linear(m, head, "logits", m->n_tokens, c->hidden_size, c->vocab_size, *hidden, &logits, why);
    free(st.stream), free(st.pending), free(logits);
    return good && dump_finish_part(m->kept, why);
}

/* The rows of [e | g]. */
static void *side_by_side(const model_run *m, int64_t rows, const void *e, const void *g)
{
    size_t const width = (size_t)m->config->hidden_size * ref_dtype_size(m->judged ? m->format : DSV3_F64);
    char *const both = malloc(2 * (size_t)rows * width + 1);
    for (int64_t t = 0; both && t < rows; t++) {
        memcpy(both + 2 * (size_t)t * width, (const char *)e + (size_t)t * width, width);
        memcpy(both + (2 * (size_t)t + 1) * width, (const char *)g + (size_t)t * width, width);
    }
    return both;
}

static bool norm_of(const model_run *m, const char *module, int64_t rows, const void *x, void **y, complaint *why)
{
    state st = {.rows = rows, .stream = (void *)(uintptr_t)x};
    return run_norm(m, module, "", &st, y, why);
}

/* What module k makes its block's input of. */
static bool run_mtp_input(const model_run *m, int64_t k, int64_t rows, const void *hidden, void **u, complaint *why)
{
    int64_t const layer = m->config->num_hidden_layers + k, width = m->config->hidden_size;
    char module[4][NAME], name[NAME], out[NAME];
    static const char *const leaves[4] = {"embed_tokens", "enorm", "hnorm", "eh_proj"};
    void *tokens = NULL, *e = NULL, *g = NULL, *both = NULL;
    for (int i = 0; i < 4; i++) snprintf(module[i], NAME, "model.layers.%lld.%s", (long long)layer, leaves[i]);
    snprintf(name, NAME, "mtp.%lld.embed_tokens.output", (long long)k);
    snprintf(out, NAME, "mtp.%lld.eh_proj.output", (long long)k);
    bool good = run_embed(m, module[0], name, k + 1, rows, &tokens, why) &&
                norm_of(m, module[1], rows, tokens, &e, why) && norm_of(m, module[2], rows, hidden, &g, why);
    if (good) {
        both = side_by_side(m, rows, e, g);
        good = both || refuse(why, "no memory for %s", module[3]);
    }
    good = good && run_linear(m, module[3], out, rows, 2 * width, width, both, u, why);
    free(tokens), free(e), free(g), free(both);
    return good;
}

/* Module k on *hidden, which becomes its own state after shared_head.norm. */
static bool run_mtp(const model_run *m, int64_t k, void **hidden, complaint *why)
{
    const dsv3_config *const c = m->config;
    int64_t const rows = m->n_tokens - k - 1, layer = c->num_hidden_layers + k;
    char before[NAME], name[NAME], norm[NAME], head[NAME], logits_name[NAME];
    state st = {.rows = rows};
    void *next = NULL, *logits = NULL;
    snprintf(before, NAME, "mtp.%lld.eh_proj.output", (long long)k);
    snprintf(name, NAME, "mtp.%lld.hidden_states", (long long)k);
    snprintf(norm, NAME, "model.layers.%lld.shared_head.norm", (long long)layer);
    snprintf(head, NAME, "model.layers.%lld.shared_head.head", (long long)layer);
    snprintf(logits_name, NAME, "mtp.%lld.logits", (long long)k);
    bool const good = run_mtp_input(m, k, rows, *hidden, &st.stream, why) &&
                      run_layer(m, layer, before, false, &st, why) && run_norm(m, norm, name, &st, &next, why) &&
                      run_linear(m, head, logits_name, rows, c->hidden_size, c->vocab_size, next, &logits, why);
    free(st.stream), free(st.pending), free(logits), free(*hidden);
    *hidden = next;
    return good && dump_finish_part(m->kept, why);
}

bool model_run_all(const model_run *m, complaint *why)
{
    void *hidden = NULL;
    bool good = run_main(m, &hidden, why);
    for (int64_t k = 0; good && k < m->config->num_nextn_predict_layers && m->n_tokens - k - 1 > 0; k++)
        good = run_mtp(m, k, &hidden, why);
    free(hidden);
    return good;
}

void model_work(const model_run *m, double *terms, double *bytes)
{
    const dsv3_config *const c = m->config;
    double const h = (double)c->hidden_size, t = (double)m->n_tokens, heads = (double)c->num_attention_heads;
    double const qk = heads * (double)(c->qk_nope_head_dim + c->qk_rope_head_dim), r = (double)c->kv_lora_rank;
    double const q = c->q_lora_rank ? (double)c->q_lora_rank * (h + qk) : h * qk;
    double const attention = q + h * (r + (double)c->qk_rope_head_dim) +
                             heads * (double)(c->qk_nope_head_dim + c->v_head_dim) * r +
                             heads * (double)c->v_head_dim * h;
    double const keys = t * heads * (2 * r + (double)c->qk_rope_head_dim) / 2; /* a query meets half of the keys */
    double const expert = 3 * h * (double)c->moe_intermediate_size, routed = (double)c->num_experts_per_tok;
    double const touched = fmin((double)c->n_routed_experts, routed * t), gate = h * (double)c->n_routed_experts;
    double const dense_layers = (double)c->first_k_dense_replace, mtp = (double)c->num_nextn_predict_layers;
    double const moe_layers = (double)c->num_hidden_layers - dense_layers + mtp, head = h * (double)c->vocab_size;
    double const dense = 3 * h * (double)c->intermediate_size;
    double const shared = (double)c->n_shared_experts * expert;
    *terms = t * ((moe_layers + dense_layers) * (attention + keys) + dense_layers * dense +
                  moe_layers * (routed * expert + shared + gate) + (1 + mtp) * head + mtp * 2 * h * h);
    *bytes = (moe_layers + dense_layers) * attention + dense_layers * dense +
             moe_layers * (touched * expert + shared + 2 * gate) + 2 * (1 + mtp) * head;
}
