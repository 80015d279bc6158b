/* See saved.h. */
#include "saved.h"

#include "files/output_file.h"
#include "files/safetensors.h"
#include "ref.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <xxhash.h>

enum { PATH = 1000 };

/* ---- config.json ---- */

static json_t *config_json(const dsv3_config *c)
{
    json_t *const j = json_object();
    const struct {
        const char *key;
        int64_t value;
    } whole[] = {{"vocab_size", c->vocab_size},
                 {"hidden_size", c->hidden_size},
                 {"intermediate_size", c->intermediate_size},
                 {"moe_intermediate_size", c->moe_intermediate_size},
                 {"num_hidden_layers", c->num_hidden_layers},
                 {"first_k_dense_replace", c->first_k_dense_replace},
                 {"num_attention_heads", c->num_attention_heads},
                 {"num_key_value_heads", c->num_attention_heads},
                 {"q_lora_rank", c->q_lora_rank},
                 {"kv_lora_rank", c->kv_lora_rank},
                 {"qk_nope_head_dim", c->qk_nope_head_dim},
                 {"qk_rope_head_dim", c->qk_rope_head_dim},
                 {"v_head_dim", c->v_head_dim},
                 {"n_routed_experts", c->n_routed_experts},
                 {"n_shared_experts", c->n_shared_experts},
                 {"num_experts_per_tok", c->num_experts_per_tok},
                 {"n_group", c->n_group},
                 {"topk_group", c->topk_group},
                 {"max_position_embeddings", c->max_position_embeddings},
                 {"num_nextn_predict_layers", c->num_nextn_predict_layers}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        json_object_set_new(j, whole[i].key, json_integer(whole[i].value));
    json_object_set_new(j, "routed_scaling_factor", json_real(c->routed_scaling_factor));
    json_object_set_new(j, "rms_norm_eps", json_real(c->rms_norm_eps));
    json_object_set_new(j, "rope_theta", json_real(c->rope_theta));
    json_object_set_new(j, "norm_topk_prob", json_boolean(c->norm_topk_prob));
    json_object_set_new(j, "rope_interleave", json_boolean(c->rope_interleave));
    json_object_set_new(j, "tie_word_embeddings", json_false());
    json_object_set_new(j, "architectures", json_pack("[s]", "DeepseekV3ForCausalLM"));
    json_object_set_new(j, "model_type", json_string("deepseek_v3"));
    json_object_set_new(j, "hidden_act", json_string("silu"));
    json_object_set_new(j, "scoring_func", json_string("sigmoid"));
    json_object_set_new(j, "topk_method", json_string("noaux_tc"));
    if (c->factor > 1)
        json_object_set_new(j, "rope_scaling",
                            json_pack("{s:s, s:f, s:I, s:f, s:f, s:f, s:f}", "type", "yarn", "factor", c->factor,
                                      "original_max_position_embeddings",
                                      (json_int_t)c->original_max_position_embeddings, "beta_fast", c->beta_fast,
                                      "beta_slow", c->beta_slow, "mscale", c->mscale, "mscale_all_dim",
                                      c->mscale_all_dim));
    return j;
}

static bool write_config(const dsv3_config *c, const char *dir, complaint *why)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_t *const j = config_json(c);
    bool const good = j && !json_dump_file(j, path, JSON_INDENT(2));
    json_decref(j);
    return good || refuse(why, "%s: it can't be written: %s", path, strerror(errno));
}

/* ---- model.safetensors ---- */

typedef struct {
    int64_t count;
    safetensor *item;
    void **owned;     /* converted data of each, or NULL */
    dsv3_dtype dtype; /* of all but e_score_correction_bias, as in DeepSeek-V3's */
    bool good;
} tensor_list;

static void put(tensor_list *l, const char *name, const char *leaf, int ndim, const int64_t *shape, const float *data)
{
    if (!l->good) return;
    safetensor *const t = &l->item[l->count];
    int64_t const n = shape[0] * (ndim > 1 ? shape[1] : 1);
    bool const narrow = l->dtype == DSV3_BF16 && !strstr(name, "e_score_correction_bias");
    *t = (safetensor){.dtype = narrow ? DSV3_BF16 : DSV3_F32, .ndim = ndim, .data = data};
    t->shape[0] = shape[0], t->shape[1] = ndim > 1 ? shape[1] : 0;
    t->bytes = (size_t)n * (narrow ? 2 : 4);
    snprintf(t->name, sizeof t->name, "%s%s", name, leaf);
    if (narrow) {
        uint16_t *const to = malloc(t->bytes);
        for (int64_t i = 0; to && i < n; i++) ref_encode(DSV3_BF16, to, i, (double)data[i]);
        t->data = l->owned[l->count] = to;
        l->good = to;
    }
    l->count++;
}

/* The tensors of a parameter: one, or one for each expert. */
static void put_parameter(tensor_list *l, const parameter *p)
{
    const char *const star = strchr(p->name, '*');
    int64_t const one = p->count / (p->experts ? p->experts : 1);
    if (!star) put(l, p->name, ".weight", p->ndim, p->shape, p->value);
    for (int64_t e = 0; star && e < p->experts; e++) {
        char name[120];
        snprintf(name, sizeof name, "%.*s%lld%s", (int)(star - p->name), p->name, (long long)e, star + 1);
        put(l, name, ".weight", p->ndim, p->shape, p->value + e * one);
    }
}

/* A module has the embedding and the head of the model. */
static void put_shared(tensor_list *l, const model *m, int64_t k)
{
    char name[80];
    long long const number = (long long)(m->config.num_hidden_layers + k);
    snprintf(name, sizeof name, "model.layers.%lld.embed_tokens", number);
    put(l, name, ".weight", 2, m->embed_tokens->shape, m->embed_tokens->value);
    snprintf(name, sizeof name, "model.layers.%lld.shared_head.head", number);
    put(l, name, ".weight", 2, m->lm_head->shape, m->lm_head->value);
}

static void put_all(tensor_list *l, const model *m)
{
    for (int i = 0; i < m->parameters; i++) put_parameter(l, &m->parameter[i]);
    for (int i = 0; i < model_moe_layers(m); i++)
        put(l, model_moe_layer(m, i)->bias_name, "", 1, &m->config.n_routed_experts, model_moe_layer(m, i)->bias);
    for (int64_t k = 0; k < m->config.num_nextn_predict_layers; k++) put_shared(l, m, k);
}

bool saved_checkpoint(const training *g, const char *dir, dsv3_dtype dtype, complaint *why)
{
    const model *const m = &g->m;
    char path[PATH];
    int64_t most = m->parameters + model_moe_layers(m) + 2 * m->config.num_nextn_predict_layers;
    most += model_moe_layers(m) * 3 * m->config.n_routed_experts;
    tensor_list l = {.item = calloc((size_t)most, sizeof *l.item),
                     .owned = calloc((size_t)most, sizeof *l.owned),
                     .dtype = dtype,
                     .good = true};
    l.good = l.item && l.owned;
    put_all(&l, m);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    bool const good = l.good || refuse(why, "no memory for %s", path);
    bool const written = good && output_folder(dir, why) && write_config(&m->config, dir, why) &&
                         safetensors_write(path, l.item, l.count, why);
    for (int64_t i = 0; l.owned && i < l.count; i++) free(l.owned[i]);
    free(l.item), free(l.owned);
    return written;
}

/* ---- training.safetensors ---- */

/* What the state belongs to: nothing of it may differ when a training goes on. */
static uint64_t plan_hash(const training *g)
{
    const training_plan *const p = &g->plan;
    const double number[] = {p->learning_rate,          p->last_share,        p->mtp_loss_weight, p->bias_update_speed,
                             p->aux_loss_alpha,         p->optimizer.beta1,   p->optimizer.beta2, p->optimizer.eps,
                             p->optimizer.weight_decay, p->optimizer.max_norm};
    const int64_t whole[] = {(int64_t)p->seed,    p->steps,           p->batch,  p->length, p->warmup_steps,
                             (int64_t)p->balance, (int64_t)g->t.hash, g->m.count};
    json_t *const j = config_json(&g->m.config);
    char *const config = json_dumps(j, JSON_SORT_KEYS);
    uint64_t hash = XXH3_64bits_withSeed(number, sizeof number, XXH3_64bits(whole, sizeof whole));
    hash = XXH3_64bits_withSeed(config, config ? strlen(config) : 0, hash);
    free(config);
    json_decref(j);
    return hash;
}

/* step, log_bytes, plan_hash, data_hash: each in two halves */
enum { HEAD = 8, DATA_HASH = 6, TENSORS = 5 };

static void halves(int32_t *to, uint64_t v)
{
    to[0] = (int32_t)(uint32_t)v, to[1] = (int32_t)(uint32_t)(v >> 32);
}

static uint64_t joined(const int32_t *from)
{
    return (uint64_t)(uint32_t)from[0] | (uint64_t)(uint32_t)from[1] << 32;
}

static int64_t bias_count(const model *m)
{
    return model_moe_layers(m) * m->config.n_routed_experts;
}

/* Of the head but for itself, and of all that follows: a byte that changed on the disk is not trained on. */
static uint64_t data_hash(const model *m, const int32_t *head, const void *const part[3], const void *bias)
{
    uint64_t hash = XXH3_64bits(head, DATA_HASH * sizeof *head);
    for (int i = 0; i < 3; i++) hash = XXH3_64bits_withSeed(part[i], (size_t)m->count * sizeof(float), hash);
    return XXH3_64bits_withSeed(bias, (size_t)bias_count(m) * sizeof(float), hash);
}

static safetensor numbers(const char *name, const float *data, int64_t n)
{
    safetensor t = {.dtype = DSV3_F32, .ndim = 1, .shape = {n}, .data = data, .bytes = (size_t)n * sizeof *data};
    snprintf(t.name, sizeof t.name, "%s", name);
    return t;
}

/* All biases in one row, from the layers. */
static void join_biases(const model *m, float *row)
{
    int64_t const experts = m->config.n_routed_experts;
    for (int i = 0; i < model_moe_layers(m); i++)
        memcpy(row + i * experts, model_moe_layer(m, i)->bias, (size_t)experts * sizeof *row);
}

/* And to them. */
static void part_biases(const model *m, const void *row)
{
    size_t const bytes = (size_t)m->config.n_routed_experts * sizeof(float);
    for (int i = 0; i < model_moe_layers(m); i++)
        memcpy(model_moe_layer(m, i)->bias, (const char *)row + (size_t)i * bytes, bytes);
}

bool saved_write(const training *g, const char *dir, int64_t log_bytes, complaint *why)
{
    const model *const m = &g->m;
    char path[PATH];
    int32_t head[HEAD];
    float *const bias = calloc((size_t)bias_count(m), sizeof *bias);
    if (!bias) return refuse(why, "no memory to save a training");
    halves(head, (uint64_t)g->step), halves(head + 2, (uint64_t)log_bytes), halves(head + 4, plan_hash(g));
    join_biases(m, bias);
    halves(head + DATA_HASH, data_hash(m, head, (const void *[]){m->value, m->first, m->second}, bias));
    safetensor const item[TENSORS] = {
        {.name = "head", .dtype = DSV3_I32, .ndim = 1, .shape = {HEAD}, .data = head, .bytes = sizeof head},
        numbers("value", m->value, m->count),
        numbers("first", m->first, m->count),
        numbers("second", m->second, m->count),
        numbers("bias", bias, bias_count(m))};
    snprintf(path, sizeof path, "%s/training.safetensors", dir);
    bool const good = output_folder(dir, why) && safetensors_write(path, item, TENSORS, why);
    free(bias);
    return good;
}

static const void *data_of(const safetensors *s, const char *name, dsv3_dtype dtype, int64_t n)
{
    const safetensor *const t = safetensors_find(s, name);
    return t && t->dtype == dtype && t->ndim == 1 && t->shape[0] == n ? t->data : NULL;
}

/* What the file holds: rows as they lie in it, at any byte. */
typedef struct {
    int32_t head[HEAD];
    const void *part[3], *bias; /* value, first, second */
} saved_rows;

static bool find_rows(const training *g, const safetensors *s, const char *path, saved_rows *r, complaint *why)
{
    static const char *const names[] = {"value", "first", "second"};
    const model *const m = &g->m;
    const void *const head = data_of(s, "head", DSV3_I32, HEAD);
    if (!head) return refuse(why, "%s: it is no saved training: take another folder, or move it", path);
    memcpy(r->head, head, sizeof r->head);
    bool there = (r->bias = data_of(s, "bias", DSV3_F32, bias_count(m)));
    for (int i = 0; i < 3; i++) there = (r->part[i] = data_of(s, names[i], DSV3_F32, m->count)) && there;
    if (!there || joined(r->head + 4) != plan_hash(g))
        return refuse(why, "%s: it was begun with another plan, config or text: take another folder, or remove it",
                      path);
    if (joined(r->head + DATA_HASH) == data_hash(m, r->head, r->part, r->bias)) return true;
    return refuse(why, "%s: its bytes are not those that were saved: take another folder, or remove it", path);
}

/* Takes over what the file holds. */
static bool take_over(training *g, const safetensors *s, const char *path, int64_t *log_bytes, complaint *why)
{
    model *const m = &g->m;
    saved_rows r;
    if (!find_rows(g, s, path, &r, why)) return false;
    float *const to[] = {m->value, m->first, m->second};
    for (int i = 0; i < 3; i++) memcpy(to[i], r.part[i], (size_t)m->count * sizeof *to[i]);
    part_biases(m, r.bias);
    g->step = (int64_t)joined(r.head), *log_bytes = (int64_t)joined(r.head + 2);
    return true;
}

/* A folder without a saved training: nothing in it may be lost. */
static bool check_folder(const char *dir, complaint *why)
{
    static const char *const names[] = {"model.safetensors", "config.json"};
    for (int i = 0; i < 2; i++) {
        char path[PATH];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        if (!lstat(path, &st))
            return refuse(why, "%s: it is there, and no training to go on with: take another folder, or move it", path);
    }
    return true;
}

bool saved_read(training *g, const char *dir, int64_t *log_bytes, bool *found, complaint *why)
{
    char path[PATH];
    safetensors s;
    struct stat st;
    snprintf(path, sizeof path, "%s/training.safetensors", dir);
    *found = false;
    if (stat(path, &st) && (errno == ENOENT || errno == ENOTDIR)) return check_folder(dir, why);
    if (!safetensors_open(path, &s, why)) return false;
    *found = take_over(g, &s, path, log_bytes, why);
    safetensors_close(&s);
    return *found;
}
