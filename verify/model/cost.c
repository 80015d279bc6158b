/* See cost.h. */
#include "cost.h"

#include <math.h>

/* MTP modules that have a token to predict. */
static int64_t count_modules(const model_run *m)
{
    int64_t const all = m->config->num_nextn_predict_layers;
    return all < m->n_tokens - 1 ? all : m->n_tokens - 1;
}

int count_stages(const model_run *m)
{
    const dsv3_config *const c = m->config;
    int const dense = (int)c->first_k_dense_replace, layers = (int)c->num_hidden_layers;
    return 3 + 4 * layers + 3 * (dense < layers ? dense : layers) + 10 * (int)count_modules(m);
}

int64_t count_parts(const model_run *m)
{
    return m->config->num_hidden_layers + 1 + 2 * count_modules(m);
}

/* Weights of one attention block, as many multiply-adds a token. */
static double attention_weights(const dsv3_config *c)
{
    double const h = (double)c->hidden_size, heads = (double)c->num_attention_heads, r = (double)c->kv_lora_rank;
    double const qk = heads * (double)(c->qk_nope_head_dim + c->qk_rope_head_dim);
    double const q = c->q_lora_rank ? (double)c->q_lora_rank * (h + qk) : h * qk;
    return q + h * (r + (double)c->qk_rope_head_dim) + heads * (double)(c->qk_nope_head_dim + c->v_head_dim) * r +
           heads * (double)c->v_head_dim * h;
}

void model_work(const model_run *m, double *terms, double *bytes)
{
    const dsv3_config *const c = m->config;
    double const h = (double)c->hidden_size, t = (double)m->n_tokens, heads = (double)c->num_attention_heads;
    double const attention = attention_weights(c);
    double const keys = t * heads * (2 * (double)c->kv_lora_rank + (double)c->qk_rope_head_dim) / 2; /* half of them */
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

double model_memory(const model_run *m)
{
    const dsv3_config *const c = m->config;
    double const h = (double)c->hidden_size, o_width = (double)(c->num_attention_heads * c->v_head_dim);
    double const widest = fmax(fmax((double)c->intermediate_size, h), o_width);
    double const panels = 128 * 16 * widest, rows = (double)m->n_tokens * 60 * (o_width + 8 * h);
    return 50e6 + panels + rows + 48 * (double)c->vocab_size;
}
