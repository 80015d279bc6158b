/* See cost.h. */
#include "cost.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static int find(const problem *p, const char *name)
{
    for (int i = 0; i < p->tensors; i++)
        if (!strcmp(p->tensor[i].name, name)) return i;
    return -1;
}

/* The sum of a tensor of whole numbers. */
static double sum_of(const problem *p, void *const data[], const char *name)
{
    int const i = find(p, name);
    double sum = 0;
    for (int64_t k = 0; i >= 0 && k < p->tensor[i].count; k++) sum += ref_decode(DSV3_I32, data[i], k);
    return sum;
}

/* Did any token choose the expert that the tensor belongs to? Tensors of no expert are used. */
static bool used(const problem *p, void *const data[], const tensor_info *t)
{
    const char *const at = strstr(t->name, "experts.");
    int const chosen = find(p, "topk_idx");
    if (!at || chosen < 0 || strstr(t->name, "shared_experts.")) return true;
    for (int64_t k = 0; k < p->tensor[chosen].count; k++)
        if (ref_decode(DSV3_I32, data[chosen], k) == (double)atoi(at + 8)) return true;
    return false;
}

static double bytes_of(const problem *p, void *const data[], const tensor_info *t)
{
    if (!strcmp(t->name, "kv_cache"))
        return sum_of(p, data, "cache_seqlens") * (double)t->bytes / (double)(t->shape[0] * t->shape[1]);
    if (!strcmp(p->op->name, "embed") && t->row->kind == TENSOR_WEIGHT)
        return (double)t->bytes / (double)t->shape[0] * (double)problem_size(p, "n_tokens");
    return used(p, data, t) ? (double)t->bytes : 0;
}

/* Of weights and caches: activations may be converted. */
static bool is_bf16(const problem *p)
{
    for (int i = 0; i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        bool const large =
            t->ndim >= 2 && (t->row->kind == TENSOR_WEIGHT || !strcmp(t->name, "kv_cache") || !strcmp(t->name, "k"));
        if (large && t->dtype == DSV3_F32 && !strstr(t->name, "scale")) return false;
    }
    return true;
}

/* Multiply-adds of mla in the absorbed form: queries are brought to the latent, which keys and values stay in. */
static double absorbed_work(const problem *p)
{
    double const tokens = (double)problem_size(p, "n_tokens"), heads = (double)problem_size(p, "num_attention_heads");
    double const hidden = (double)problem_size(p, "hidden_size"), latent = (double)problem_size(p, "kv_lora_rank");
    double const nope = (double)problem_size(p, "qk_nope_head_dim"), rope = (double)problem_size(p, "qk_rope_head_dim");
    double const v = (double)problem_size(p, "v_head_dim"), rank = (double)problem_size(p, "q_lora_rank");
    double const wide = heads * (nope + rope), q = rank > 0 ? rank * (hidden + wide) : hidden * wide;
    double const keys = (double)problem_size(p, "kv_len") * heads * (2 * latent + rope);
    return tokens * (q + hidden * (latent + rope) + heads * latent * (nope + v) + keys + heads * v * hidden);
}

/* Of the form that takes least. */
static double work_of(const problem *p)
{
    double const work = p->op->work ? p->op->work(p->prob.bytes) : 0;
    return strcmp(p->op->name, "mla") ? work : fmin(work, absorbed_work(p));
}

cost cost_of(const problem *p, void *const data[])
{
    cost c = {.operations = 2 * work_of(p), .bf16 = is_bf16(p)};
    for (int i = 0; i < p->tensors; i++) c.bytes += bytes_of(p, data, &p->tensor[i]);
    return c;
}

double floor_of(const cost *c, const anchor *limits)
{
    double const peak = c->bf16 ? limits->bf16 : limits->f32;
    double const arithmetic = peak > 0 ? c->operations / peak : 0;
    return fmax(arithmetic, c->bytes / limits->memory);
}

const char *unit_of(const cost *c, const anchor *limits)
{
    if (c->bf16) return limits->unit;
    return limits->f32 > 0 ? "fma" : "none";
}

bool beats_floor(double seconds, double floor, complaint *why)
{
    if (!(seconds < floor)) return false; /* NaN: there is no time */
    refuse(why, "in %.2f of the time that its limit allows: the limit is measured too low, or its data lay in a cache",
           seconds / floor);
    return true;
}

/* ---- of whole models ---- */

static double attention_work(const dsv3_config *c)
{
    double const heads = (double)c->num_attention_heads, hidden = (double)c->hidden_size;
    double const query = heads * (double)(c->qk_nope_head_dim + c->qk_rope_head_dim);
    double const key_value = heads * (double)(c->qk_nope_head_dim + c->v_head_dim);
    double const of_queries = c->q_lora_rank ? (double)c->q_lora_rank * (hidden + query) : hidden * query;
    return of_queries + hidden * (double)(c->kv_lora_rank + c->qk_rope_head_dim) + (double)c->kv_lora_rank * key_value +
           heads * (double)c->v_head_dim * hidden;
}

static double experts_work(const dsv3_config *c)
{
    double const used = (double)(c->num_experts_per_tok + c->n_shared_experts), hidden = (double)c->hidden_size;
    return used * 3 * hidden * (double)c->moe_intermediate_size + hidden * (double)c->n_routed_experts;
}

double module_share(const dsv3_config *c)
{
    double const hidden = (double)c->hidden_size, head = hidden * (double)c->vocab_size;
    double const dense = 3 * hidden * (double)c->intermediate_size, layers = (double)c->num_hidden_layers;
    double const attention = attention_work(c), experts = experts_work(c), first = (double)c->first_k_dense_replace;
    return (attention + experts + 2 * hidden * hidden + head) /
           (layers * attention + first * dense + (layers - first) * experts + head);
}
