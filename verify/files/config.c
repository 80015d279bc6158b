/* See config.h. Everything a key may be is a row. */
#include "config.h"

#include "dsv3.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { SIZE, REAL, FLAG } kind; /* int64_t, double, int32_t in dsv3_config */

typedef struct {
    const char *key;
    size_t offset;
    kind kind;
    double least, most; /* legal range, both included */
    double absent;      /* what a missing key means; NAN: it must be there */
    double null;        /* what null means; NAN: it may not be null */
    const char *alias;  /* another name of the key, or NULL */
} row;

/* A key whose value decides the formula: one value is supported, as JSON text. */
typedef struct {
    const char *key, *value;
} fixed;

/* A gate that models have. */
typedef struct {
    const char *words[3]; /* of gate_keys */
    dsv3_scoring_func scoring_func;
    dsv3_topk_method topk_method;
} gate;

#define AT(key) #key, offsetof(dsv3_config, key)
#define MUST    NAN, NAN, NULL

static const row model_rows[] = {
    {AT(vocab_size), SIZE, 1, 1 << 20, MUST},
    {AT(hidden_size), SIZE, 1, 65536, MUST},
    {AT(intermediate_size), SIZE, 1, 262144, MUST},
    {AT(moe_intermediate_size), SIZE, 1, 65536, MUST},
    {AT(num_hidden_layers), SIZE, 1, 1024, MUST},
    {AT(first_k_dense_replace), SIZE, 0, 1024, MUST},
    {AT(num_attention_heads), SIZE, 1, 1024, MUST},
    {AT(q_lora_rank), SIZE, 1, 65536, NAN, 0, NULL},
    {AT(kv_lora_rank), SIZE, 1, 8192, MUST},
    {AT(qk_nope_head_dim), SIZE, 1, 1024, MUST},
    {AT(qk_rope_head_dim), SIZE, 2, 1024, MUST},
    {AT(v_head_dim), SIZE, 1, 1024, MUST},
    {AT(n_routed_experts), SIZE, 1, 1024, NAN, NAN, "num_local_experts"},
    {AT(n_shared_experts), SIZE, 1, 64, MUST},
    {AT(num_experts_per_tok), SIZE, 1, 64, MUST},
    {AT(n_group), SIZE, 1, 16, NAN, 1, NULL},
    {AT(topk_group), SIZE, 1, 16, NAN, 1, NULL},
    {AT(routed_scaling_factor), REAL, 0, 1e6, MUST},
    {AT(rms_norm_eps), REAL, 0, 1, MUST},
    {AT(max_position_embeddings), SIZE, 1, 1e9, MUST},
    {AT(num_nextn_predict_layers), SIZE, 0, 64, 0, 0, "num_mtp_layers"},
    {AT(norm_topk_prob), FLAG, 0, 1, 1, NAN, NULL},
    {AT(rope_interleave), FLAG, 0, 1, 1, NAN, NULL},
    {AT(tie_word_embeddings), FLAG, 0, 1, 0, NAN, NULL},
};
static const fixed model_fixed[] = {{"hidden_act", "\"silu\""}, {"attention_bias", "false"}, {"moe_layer_freq", "1"}};

static const char *const gate_keys[] = {"model_type", "scoring_func", "topk_method"};
static const gate gates[] = {
    {{"deepseek_v3", "sigmoid", "noaux_tc"}, DSV3_SIGMOID, DSV3_NOAUX_TC},
    {{"kimi_k2", "sigmoid", "noaux_tc"}, DSV3_SIGMOID, DSV3_NOAUX_TC},
    {{"deepseek_v2", "softmax", "greedy"}, DSV3_SOFTMAX, DSV3_GREEDY},
    {{"deepseek_v2", "softmax", "group_limited_greedy"}, DSV3_SOFTMAX, DSV3_GROUP_LIMITED_GREEDY},
};

/* Where it is true DeepSeek's own V2 doesn't scale by routed_scaling_factor, and transformers' doesn't divide. */
static const fixed v2_fixed[] = {{"norm_topk_prob", "false"}};

static const row theta_row = {AT(rope_theta), REAL, 1.5, 1e9, 10000, NAN, NULL};
static const row yarn_rows[] = {
    {AT(factor), REAL, 1, 1e4, NAN, 0, NULL},       {AT(original_max_position_embeddings), SIZE, 1, 1e9, 0, NAN, NULL},
    {AT(beta_fast), REAL, 1e-3, 1e6, 32, 32, NULL}, {AT(beta_slow), REAL, 1e-3, 1e6, 1, 1, NULL},
    {AT(mscale), REAL, 0, 100, 0, 0, NULL},         {AT(mscale_all_dim), REAL, 0, 100, 0, 0, NULL},
};
static const fixed yarn_fixed[] = {
    {"attention_factor", "null"}, {"truncate", "true"}, {"partial_rotary_factor", "1.0"}};

static const fixed fp8_fixed[] = {{"quant_method", "\"fp8\""},
                                  {"fmt", "\"e4m3\""},
                                  {"activation_scheme", "\"dynamic\""},
                                  {"weight_block_size", "[128,128]"}};

/* One object of the file, and where its values go. */
typedef struct {
    about_file to;
    const json_t *object;
    const char *prefix; /* of its keys in sentences: "rope_scaling." */
    dsv3_config *config;
} section;

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

/* ---- one key ---- */

/* A value as JSON text, its beginning at least. */
static const char *json_text(const json_t *value, char *text, size_t cap)
{
    size_t const n = json_dumpb(value, text, cap - 1, JSON_ENCODE_ANY | JSON_COMPACT);
    text[n < cap - 1 ? n : 0] = 0;
    return text[0] ? text : "a long value";
}

static bool refuse_value(const section *s, const row *r, const char *key, const json_t *value)
{
    char text[60], range[100];
    static const char *const kinds[] = {[SIZE] = "a whole number", [REAL] = "a number"};
    if (r->kind == FLAG)
        snprintf(range, sizeof range, "true or false");
    else
        snprintf(range, sizeof range, "%s from %.10g to %.10g", kinds[r->kind], r->least, r->most);
    if (!value) return refuse_file(&s->to, "key %s%s is missing; %s is expected", s->prefix, key, range);
    return refuse_file(&s->to, "key %s%s is %s; %s is expected", s->prefix, key, json_text(value, text, sizeof text),
                       range);
}

/* A value of the kind and in the range? */
static bool read_value(const row *r, const json_t *value, double *number)
{
    if (r->kind == FLAG) {
        *number = json_is_true(value);
        return json_is_boolean(value);
    }
    if (!(r->kind == SIZE ? json_is_integer(value) : json_is_number(value))) return false;
    *number = json_number_value(value); /* whole numbers in range are exact */
    return *number >= r->least && *number <= r->most;
}

static void store(const row *r, dsv3_config *config, double number)
{
    char *const at = (char *)config + r->offset;
    if (r->kind == SIZE) memcpy(at, &(int64_t){(int64_t)number}, sizeof(int64_t));
    if (r->kind == REAL) memcpy(at, &number, sizeof number);
    if (r->kind == FLAG) memcpy(at, &(int32_t){number != 0}, sizeof(int32_t));
}

/* The value of the key under its one name or the other. False: both are there and differ. */
static bool find_value(const section *s, const row *r, const char **key, const json_t **value)
{
    const json_t *const first = json_object_get(s->object, r->key);
    const json_t *const second = r->alias ? json_object_get(s->object, r->alias) : NULL;
    *key = first || !second ? r->key : r->alias;
    *value = first ? first : second;
    if (!first || !second || json_equal(first, second)) return true;
    return refuse_file(&s->to, "keys %s and %s mean the same and differ; leave one of them out", r->key, r->alias);
}

static bool read_row(const section *s, const row *r)
{
    const char *key;
    const json_t *value;
    if (!find_value(s, r, &key, &value)) return false;
    double number = !value ? r->absent : r->null;
    bool const good = value && !json_is_null(value) ? read_value(r, value, &number) : !isnan(number);
    if (!good) return refuse_value(s, r, key, value);
    store(r, s->config, number);
    return true;
}

static bool read_rows(const section *s, const row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!read_row(s, &rows[i])) return false;
    return true;
}

static bool check_fixed(const section *s, const fixed *rows, size_t count)
{
    char text[60];
    for (size_t i = 0; i < count; i++) {
        const json_t *const value = json_object_get(s->object, rows[i].key);
        if (!value || !strcmp(json_text(value, text, sizeof text), rows[i].value)) continue;
        return refuse_file(&s->to, "key %s%s: %s is unsupported; %s is expected", s->prefix, rows[i].key,
                           json_text(value, text, sizeof text), rows[i].value);
    }
    return true;
}

/* ---- the gate ---- */

/* Do the file's words agree with a gate in the first `keys` of them? A missing model_type is V3's, another word the gate's. */
static bool is_gate(const section *s, const gate *g, size_t keys)
{
    for (size_t k = 0; k < keys; k++) {
        const json_t *const value = json_object_get(s->object, gate_keys[k]);
        const char *const missing = (k ? g : gates)->words[k], *const word = value ? json_string_value(value) : missing;
        if (!word || strcmp(word, g->words[k]) != 0) return false;
    }
    return true;
}

/* The words that key k may have in gates that agree in those before, each once: "a", "b" or "c". */
static void list_words(const section *s, size_t k, char *text, size_t cap)
{
    const char *words[COUNT(gates)];
    size_t count = 0;
    for (size_t i = 0; i < COUNT(gates); i++) {
        bool const again = count && !strcmp(words[count - 1], gates[i].words[k]);
        if (is_gate(s, &gates[i], k) && !again) words[count++] = gates[i].words[k];
    }
    for (size_t i = 0, at = 0; i < count; i++)
        at += (size_t)snprintf(text + at, cap - at, "%s\"%s\"", !i ? "" : i + 1 < count ? ", " : " or ", words[i]);
}

static bool refuse_gate(const section *s)
{
    char text[60], words[200];
    size_t k = 0;
    for (size_t i = 0; i < COUNT(gates); i++)
        while (is_gate(s, &gates[i], k + 1)) k++;
    list_words(s, k, words, sizeof words);
    return refuse_file(&s->to, "key %s: %s is unsupported; %s is expected", gate_keys[k],
                       json_text(json_object_get(s->object, gate_keys[k]), text, sizeof text), words);
}

static bool read_gate(const section *s)
{
    dsv3_config *const c = s->config;
    const gate *g = gates, *const end = gates + COUNT(gates);
    while (g < end && !is_gate(s, g, COUNT(gate_keys))) g++;
    if (g == end) return refuse_gate(s);
    c->scoring_func = g->scoring_func;
    c->topk_method = g->topk_method;
    if (g->topk_method == DSV3_NOAUX_TC) return true;
    c->norm_topk_prob = 0;
    if (g->topk_method == DSV3_GREEDY) c->n_group = c->topk_group = 1; /* it has none, whatever the file says */
    return check_fixed(s, v2_fixed, COUNT(v2_fixed));
}

/* ---- RoPE ---- */

/* rope_parameters or rope_scaling, whichever is there: its object stays NULL for neither. */
static bool find_rope(const section *s, section *rope)
{
    static const char *const keys[] = {"rope_parameters", "rope_scaling"};
    static const char *const prefixes[] = {"rope_parameters.", "rope_scaling."};
    *rope = (section){s->to, NULL, "", s->config};
    for (int i = 0; i < 2; i++) {
        const json_t *const value = json_object_get(s->object, keys[i]);
        if (!value || json_is_null(value)) continue;
        if (!json_is_object(value)) return refuse_file(&s->to, "key %s is no object", keys[i]);
        if (rope->object)
            return refuse_file(&s->to, "keys %s and %s are both there; leave one of them out", keys[0], keys[1]);
        rope->object = value;
        rope->prefix = prefixes[i];
    }
    return true;
}

/* The base may be in either place. */
static bool read_theta(const section *s, const section *rope)
{
    const json_t *const inner = json_object_get(rope->object, "rope_theta");
    const json_t *const outer = json_object_get(s->object, "rope_theta");
    if (inner && outer && json_number_value(inner) != json_number_value(outer))
        return refuse_file(&s->to, "keys rope_theta and %srope_theta differ; leave one of them out", rope->prefix);
    return read_row(inner ? rope : s, &theta_row);
}

/* transformers: the amplitude is g(mscale) / g(mscale_all_dim) when both are there and not 0, else g(1); attention takes
 * g(mscale_all_dim)^2 where that is there. */
static bool choose_mscale(const section *rope)
{
    dsv3_config *const c = rope->config;
    if (c->mscale > 0 && c->mscale_all_dim > 0) return true;
    if (c->mscale_all_dim > 0)
        return refuse_file(&rope->to, "key %smscale_all_dim without mscale is unsupported; give mscale a value above 0",
                           rope->prefix);
    c->mscale = 1;
    return true;
}

static bool read_yarn(const section *rope)
{
    dsv3_config *const c = rope->config;
    if (!check_fixed(rope, yarn_fixed, COUNT(yarn_fixed)) || !read_rows(rope, yarn_rows, COUNT(yarn_rows)))
        return false;
    if (c->original_max_position_embeddings == 0) c->original_max_position_embeddings = c->max_position_embeddings;
    if (c->factor == 0) c->factor = (double)c->max_position_embeddings / (double)c->original_max_position_embeddings;
    if (!(c->factor >= 1))
        return refuse_file(
            &rope->to,
            "key %sfactor is null and max_position_embeddings is less than %soriginal_max_position_embeddings; "
            "give a factor of at least 1",
            rope->prefix, rope->prefix);
    if (c->beta_slow > c->beta_fast)
        return refuse_file(&rope->to, "key %sbeta_slow is %g; at most beta_fast, %g, is expected", rope->prefix,
                           c->beta_slow, c->beta_fast);
    return choose_mscale(rope);
}

static bool read_rope(const section *s)
{
    section rope;
    char text[60];
    dsv3_config *const c = s->config;
    if (!find_rope(s, &rope) || !read_theta(s, &rope)) return false;
    const json_t *type = json_object_get(rope.object, "rope_type");
    if (!type) type = json_object_get(rope.object, "type");
    const char *const name = type ? json_string_value(type) : "default";
    if (name && !strcmp(name, "yarn")) return read_yarn(&rope);
    if (!name || strcmp(name, "default") != 0)
        return refuse_file(&s->to, "key %stype: %s is unsupported; \"yarn\" or \"default\" is expected", rope.prefix,
                           json_text(type, text, sizeof text));
    c->factor = c->mscale = c->mscale_all_dim = 1; /* plain RoPE */
    c->original_max_position_embeddings = c->max_position_embeddings;
    c->beta_fast = 32;
    c->beta_slow = 1;
    return true;
}

/* ---- quantisation and relations ---- */

static bool read_quantisation(const section *s)
{
    char text[60];
    const json_t *const object = json_object_get(s->object, "quantization_config");
    if (!object || json_is_null(object)) return true;
    if (!json_is_object(object)) return refuse_file(&s->to, "key quantization_config is no object");
    section const fp8 = {s->to, object, "quantization_config.", s->config};
    if (!check_fixed(&fp8, fp8_fixed, COUNT(fp8_fixed))) return false;
    if (!json_object_get(object, "weight_block_size"))
        return refuse_file(&s->to, "key quantization_config.weight_block_size is missing; [128,128] is expected");
    s->config->weight_block_size[0] = s->config->weight_block_size[1] = 128;
    const json_t *const scale = json_object_get(object, "scale_fmt");
    if (!scale || json_is_null(scale)) return true;
    const char *const name = json_string_value(scale);
    s->config->scale_ue8m0 = name && !strcmp(name, "ue8m0");
    if (name && (s->config->scale_ue8m0 || !strcmp(name, "float"))) return true;
    return refuse_file(&s->to,
                       "key quantization_config.scale_fmt: %s is unsupported; \"ue8m0\" or \"float\" is expected",
                       json_text(scale, text, sizeof text));
}

static bool check_relations(const section *s)
{
    const dsv3_config *const c = s->config;
    const about_file *const to = &s->to;
    const json_t *const kv_heads = json_object_get(s->object, "num_key_value_heads");
    int64_t const candidates = c->topk_group * (c->n_routed_experts / c->n_group);
    if (c->qk_rope_head_dim % 2)
        return refuse_file(to, "key qk_rope_head_dim is %lld; an even number is expected",
                           (long long)c->qk_rope_head_dim);
    if (c->first_k_dense_replace > c->num_hidden_layers)
        return refuse_file(to, "key first_k_dense_replace is %lld; at most num_hidden_layers, %lld, is expected",
                           (long long)c->first_k_dense_replace, (long long)c->num_hidden_layers);
    if (c->n_routed_experts % c->n_group)
        return refuse_file(to, "key n_group is %lld; a divisor of n_routed_experts, %lld, is expected",
                           (long long)c->n_group, (long long)c->n_routed_experts);
    if (c->topk_group > c->n_group)
        return refuse_file(to, "key topk_group is %lld; at most n_group, %lld, is expected", (long long)c->topk_group,
                           (long long)c->n_group);
    if (c->num_experts_per_tok > candidates)
        return refuse_file(
            to, "key num_experts_per_tok is %lld; at most the experts of topk_group groups, %lld, is expected",
            (long long)c->num_experts_per_tok, (long long)candidates);
    if (kv_heads && !json_is_null(kv_heads) && json_integer_value(kv_heads) != c->num_attention_heads)
        return refuse_file(to, "key num_key_value_heads is %lld; num_attention_heads, %lld, is expected",
                           (long long)json_integer_value(kv_heads), (long long)c->num_attention_heads);
    return true;
}

/* ---- the file ---- */

bool config_parse(const char *path, const char *text, size_t length, dsv3_config *out, complaint *why)
{
    json_error_t error;
    about_file const to = {path, why};
    *out = (dsv3_config){0};
    if (length > CONFIG_MAX_SIZE)
        return refuse_file(&to, "has %zu bytes; at most %d are expected", length, CONFIG_MAX_SIZE);
    json_t *const root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    section const s = {to, root, "", out};
    bool const good = json_is_object(root)
                          ? check_fixed(&s, model_fixed, COUNT(model_fixed)) &&
                                read_rows(&s, model_rows, COUNT(model_rows)) && read_gate(&s) && read_rope(&s) &&
                                read_quantisation(&s) && check_relations(&s)
                          : refuse_file(&to, "is no JSON object: %s", root ? "it is something else" : error.text);
    json_decref(root);
    return good;
}

bool config_read(const char *path, dsv3_config *out, complaint *why)
{
    about_file const to = {path, why};
    size_t size = 0;
    char *const text = file_read(&to, CONFIG_MAX_SIZE, &size);
    bool const good = text && config_parse(path, text, size, out, why);
    free(text);
    return good;
}

bool config_open(const char *dir, dsv3_config *out, complaint *why)
{
    char path[4096];
    file_map text;
    about_file const to = {path, why};
    int const n = snprintf(path, sizeof path, "%s/config.json", dir);
    if (n < 0 || (size_t)n >= sizeof path) return refuse_file(&(about_file){dir, why}, "is too long a name");
    if (!file_map_open(&text, &to)) return false;
    bool const good = config_parse(path, text.data, text.size, out, why);
    file_map_close(&text);
    return good;
}
