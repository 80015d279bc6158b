/* See model.h. */
#include "model.h"

#include "case/rng.h"
#include "ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool model_check(const dsv3_config *c, complaint *why)
{
    if (c->vocab_size < 256)
        return refuse(why, "vocab_size is %lld: the tokens are the 256 bytes", (long long)c->vocab_size);
    if (c->tie_word_embeddings) return refuse(why, "tie_word_embeddings is true: training has an lm_head of its own");
    if (!c->q_lora_rank) return refuse(why, "q_lora_rank is null: training wants a query latent");
    if (c->n_shared_experts < 1) return refuse(why, "n_shared_experts is 0: training wants at least 1");
    if (c->first_k_dense_replace >= c->num_hidden_layers)
        return refuse(why, "no layer has experts: first_k_dense_replace is %lld of %lld layers",
                      (long long)c->first_k_dense_replace, (long long)c->num_hidden_layers);
    return true;
}

/* ---- the list of parameters ---- */

enum { OF_LAYER = 16, OF_MODULE = OF_LAYER + 4 };

static parameter *add(model *m, const char *prefix, const char *leaf, int64_t rows, int64_t columns)
{
    parameter *const p = &m->parameter[m->parameters++];
    snprintf(p->name, sizeof p->name, "%s%s", prefix, leaf);
    p->ndim = columns ? 2 : 1;
    p->shape[0] = rows, p->shape[1] = columns;
    p->count = rows * (columns ? columns : 1);
    p->deviation = columns ? 0.5 / sqrt((double)columns) : 0;
    return p;
}

static parameter *add_stacked(model *m, const char *prefix, const char *leaf, int64_t rows, int64_t columns)
{
    parameter *const p = add(m, prefix, leaf, rows, columns);
    p->experts = m->config.n_routed_experts;
    p->count *= p->experts;
    return p;
}

static mlp_weights add_mlp(model *m, const char *prefix, int64_t width)
{
    int64_t const hidden = m->config.hidden_size;
    return (mlp_weights){add(m, prefix, "gate_proj", width, hidden), add(m, prefix, "up_proj", width, hidden),
                         add(m, prefix, "down_proj", hidden, width)};
}

static void add_experts(model *m, const char *prefix, layer *l)
{
    const dsv3_config *const c = &m->config;
    int64_t const width = c->moe_intermediate_size, hidden = c->hidden_size;
    char shared[64], experts[64];
    snprintf(shared, sizeof shared, "%smlp.shared_experts.", prefix);
    snprintf(experts, sizeof experts, "%smlp.experts.*.", prefix);
    snprintf(l->bias_name, sizeof l->bias_name, "%smlp.gate.e_score_correction_bias", prefix);
    l->mlp = add_mlp(m, shared, c->n_shared_experts * width);
    l->gate = add(m, prefix, "mlp.gate", c->n_routed_experts, hidden);
    l->gate->deviation = 0.02;
    l->experts = (mlp_weights){add_stacked(m, experts, "gate_proj", width, hidden),
                               add_stacked(m, experts, "up_proj", width, hidden),
                               add_stacked(m, experts, "down_proj", hidden, width)};
    l->bias = room_take(&m->memory, c->n_routed_experts, sizeof *l->bias);
    l->load = room_take(&m->memory, c->n_routed_experts, sizeof *l->load);
}

static layer add_layer(model *m, const char *prefix, bool has_experts)
{
    const dsv3_config *const c = &m->config;
    int64_t const heads = c->num_attention_heads, hidden = c->hidden_size;
    int64_t const qk = c->qk_nope_head_dim + c->qk_rope_head_dim;
    char attn[64], mlp[64];
    layer l = {0};
    snprintf(attn, sizeof attn, "%sself_attn.", prefix);
    snprintf(mlp, sizeof mlp, "%smlp.", prefix);
    l.input_layernorm = add(m, prefix, "input_layernorm", hidden, 0);
    l.self_attn =
        (attention_weights){add(m, attn, "q_a_proj", c->q_lora_rank, hidden),
                            add(m, attn, "q_a_layernorm", c->q_lora_rank, 0),
                            add(m, attn, "q_b_proj", heads * qk, c->q_lora_rank),
                            add(m, attn, "kv_a_proj_with_mqa", c->kv_lora_rank + c->qk_rope_head_dim, hidden),
                            add(m, attn, "kv_a_layernorm", c->kv_lora_rank, 0),
                            add(m, attn, "kv_b_proj", heads * (c->qk_nope_head_dim + c->v_head_dim), c->kv_lora_rank),
                            add(m, attn, "o_proj", hidden, heads * c->v_head_dim)};
    l.post_attention_layernorm = add(m, prefix, "post_attention_layernorm", hidden, 0);
    if (has_experts)
        add_experts(m, prefix, &l);
    else
        l.mlp = add_mlp(m, mlp, c->intermediate_size);
    return l;
}

static void add_all(model *m)
{
    const dsv3_config *const c = &m->config;
    char prefix[40];
    m->embed_tokens = add(m, "model.", "embed_tokens", c->vocab_size, c->hidden_size);
    m->embed_tokens->deviation = 0.5;
    for (int64_t n = 0; n < c->num_hidden_layers; n++) {
        snprintf(prefix, sizeof prefix, "model.layers.%lld.", (long long)n);
        m->layers[n] = add_layer(m, prefix, n >= c->first_k_dense_replace);
    }
    m->norm = add(m, "model.", "norm", c->hidden_size, 0);
    m->lm_head = add(m, "", "lm_head", c->vocab_size, c->hidden_size);
    for (int64_t k = 0; k < c->num_nextn_predict_layers; k++) {
        mtp_module *const module = &m->modules[k];
        snprintf(prefix, sizeof prefix, "model.layers.%lld.", (long long)(c->num_hidden_layers + k));
        module->enorm = add(m, prefix, "enorm", c->hidden_size, 0);
        module->hnorm = add(m, prefix, "hnorm", c->hidden_size, 0);
        module->eh_proj = add(m, prefix, "eh_proj", c->hidden_size, 2 * c->hidden_size);
        module->block = add_layer(m, prefix, true);
        module->norm = add(m, prefix, "shared_head.norm", c->hidden_size, 0);
    }
}

/* ---- memory and the start ---- */

static int64_t gap_after(int64_t count)
{
    return (count + 15) / 16 * 16;
}

static bool take_numbers(model *m)
{
    float **const each[] = {&m->value, &m->grad, &m->first, &m->second};
    for (int i = 0; i < m->parameters; i++) m->count += gap_after(m->parameter[i].count);
    for (int i = 0; i < 4; i++) *each[i] = room_take(&m->memory, m->count, sizeof(float));
    if (m->memory.short_of) return false;
    int64_t at = 0;
    for (int i = 0; i < m->parameters; i++) {
        parameter *const p = &m->parameter[i];
        p->value = m->value + at, p->grad = m->grad + at;
        at += gap_after(p->count);
        p->weights = 1;
        p->weight[0] = (dsv3_weight){"weight", rows_at(p->value, p->shape[0], p->shape[1])};
        if (p->ndim == 1) p->weight[0].tensor = (dsv3_tensor){p->value, DSV3_F32, 1, {p->count}, {1}};
    }
    return true;
}

/* The experts as the op finds them: experts.E.gate_proj.weight and so on. */
static bool list_experts(model *m, layer *l)
{
    static const char *const leaves[] = {"gate_proj", "up_proj", "down_proj"};
    const parameter *const of_leaf[] = {l->experts.gate_proj, l->experts.up_proj, l->experts.down_proj};
    int64_t const each = of_leaf[0]->weights, experts = m->config.n_routed_experts;
    char(*const name)[64] = room_take(&m->memory, 3 * each * experts, sizeof *name);
    l->expert_weight = room_take(&m->memory, 3 * each * experts, sizeof *l->expert_weight);
    l->expert_weights = 3 * each * experts;
    for (int64_t i = 0; l->expert_weight && name && i < l->expert_weights; i++) {
        int64_t const leaf = i / each % 3, expert = i / each / 3;
        dsv3_weight const first = of_leaf[leaf]->weight[i % each];
        dsv3_tensor t = first.tensor;
        snprintf(name[i], sizeof *name, "experts.%lld.%s.%s", (long long)expert, leaves[leaf], first.name);
        t.data = (char *)t.data + expert * t.shape[0] * t.shape[1] * (int64_t)ref_dtype_size(t.dtype);
        l->expert_weight[i] = (dsv3_weight){name[i], t};
    }
    return l->expert_weight && name;
}

bool model_list_experts(model *m)
{
    bool good = true;
    for (int i = 0; good && i < model_moe_layers(m); i++) good = list_experts(m, model_moe_layer(m, i));
    return good;
}

static void start(model *m, uint64_t seed)
{
    for (int i = 0; i < m->parameters; i++) {
        const parameter *const p = &m->parameter[i];
        uint64_t const key = rng_key(seed, p->name);
        double const scale = p->deviation * sqrt(0.75); /* rng_gaussian has the variance 4/3 */
        for (int64_t j = 0; j < p->count; j++)
            p->value[j] = p->deviation > 0 ? (float)(scale * rng_gaussian(rng_bits(key, (uint64_t)j))) : 1;
    }
}

bool model_open(model *m, const dsv3_config *config, uint64_t seed, complaint *why)
{
    int64_t const layers = config->num_hidden_layers, modules = config->num_nextn_predict_layers;
    *m = (model){.config = *config, .format = DSV3_F32};
    m->parameter = room_take(&m->memory, 3 + layers * OF_LAYER + modules * OF_MODULE, sizeof *m->parameter);
    m->layers = room_take(&m->memory, layers, sizeof *m->layers);
    m->modules = room_take(&m->memory, modules, sizeof *m->modules);
    if (m->memory.short_of) return refuse(why, "no memory for the model");
    add_all(m);
    if (!take_numbers(m) || !model_list_experts(m)) return refuse(why, "no memory for the model");
    start(m, seed);
    return true;
}

void model_close(model *m)
{
    room_close(&m->memory);
}

int model_moe_layers(const model *m)
{
    const dsv3_config *const c = &m->config;
    return (int)(c->num_hidden_layers - c->first_k_dense_replace + c->num_nextn_predict_layers);
}

layer *model_moe_layer(const model *m, int i)
{
    int64_t const of_main = m->config.num_hidden_layers - m->config.first_k_dense_replace;
    return i < of_main ? &m->layers[m->config.first_k_dense_replace + i] : &m->modules[i - of_main].block;
}
