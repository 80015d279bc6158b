/* See modules.h. */
#include "modules.h"

#include "case_ids.h"

#include <stdio.h>
#include <stdlib.h>

/* The next output of a list is `tensor`, which dumps call MODULE.LEAF. */
static named_output *name_next(named_output *next, const char *tensor, const char *module, const char *leaf)
{
    next->tensor = tensor;
    snprintf(next->name, NAME, "%.100s.%.50s", module, leaf);
    return next + 1;
}

bool run_norm(const model_run *m, const char *module, const char *sum_name, residual *st, void **y, complaint *why)
{
    char id[ID];
    bool const adds = st->pending != NULL;
    named_output names[3] = {{.tensor = "y"}, {.tensor = adds ? "residual_out" : NULL}};
    snprintf(names[0].name, NAME, "%.120s.output", module);
    snprintf(names[1].name, NAME, "%s", sum_name);
    id_of_norm(m, st->rows, adds, id);
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
    char id[ID];
    bool const stages = m->judged != NULL;
    int32_t const starts[2] = {0, (int32_t)rows}, length = (int32_t)rows;
    named_output names[6] = {{NULL}}, *next = names;
    if (stages && m->config->q_lora_rank) next = name_next(next, "q_a_layernorm", module, "q_a_layernorm.output");
    if (stages) next = name_next(next, "q", module, "q");
    next = name_next(next, "kv", module, "kv");
    if (stages) next = name_next(next, "attn_output", module, "attn_output");
    name_next(next, "y", module, "output");
    id_of_attention(m, module, 0, rows, stages, id);
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
    char id[ID];
    bool const stages = m->judged != NULL;
    named_output names[7] = {{NULL}}, *next = names;
    if (stages) next = name_next(next, "router_logits", module, "router_logits");
    next = name_next(next, "topk_idx", module, "gate.topk_idx");
    next = name_next(next, "topk_weight", module, "gate.topk_weight");
    if (stages) next = name_next(next, "act", module, "act");
    if (stages && m->config->n_shared_experts) next = name_next(next, "shared_act", module, "shared_act");
    name_next(next, "y", module, "output");
    id_of_moe(m, module, rows, stages, id);
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
    id_of_linear(m, module, rows, in_features, out_features, id);
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
    id_of_swiglu(m, rows, id);
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
    id_of_embed(m, rows, id);
    stage *const s = stage_open(m, module, id, why);
    if (!s) return false;
    stage_bind(s, "input_ids", m->tokens + first);
    return stage_close(s, stage_run(s, names), y);
}
