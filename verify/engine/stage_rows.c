/* See stage_rows.h. */
#include "stage_rows.h"

#include <stdio.h>
#include <string.h>

#define NORM_ADDS(module, a, b, out, sum)                                                                              \
    {                                                                                                                  \
        CASE_NORM_ADDS, module,                                                                                        \
        {                                                                                                              \
            {"x", a}, {"residual", b}, {"y", out, "x residual"},                                                       \
            {                                                                                                          \
                "residual_out", sum, "x residual"                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }
#define NORM(module, in, out)                                                                                          \
    {                                                                                                                  \
        CASE_NORM, module,                                                                                             \
        {                                                                                                              \
            {"x", in},                                                                                                 \
            {                                                                                                          \
                "y", out, "x"                                                                                          \
            }                                                                                                          \
        }                                                                                                              \
    }
#define LINEAR(module, in, out)                                                                                        \
    {                                                                                                                  \
        CASE_LINEAR, module,                                                                                           \
        {                                                                                                              \
            {"x", in},                                                                                                 \
            {                                                                                                          \
                "y", out, "x"                                                                                          \
            }                                                                                                          \
        }                                                                                                              \
    }

static const stage_row embedding[] = {
    {CASE_EMBED, "model.embed_tokens", {{"input_ids", "input_ids"}, {"y", "model.embed_tokens.output", "input_ids"}}},
};

/* The norm in front of a layer whose stream is a sum of the layer before. */
static const stage_row behind_a_layer[] = {
    NORM_ADDS("{L}.input_layernorm", "{P}.mlp.output", "{P}.post_attention_layernorm.input",
              "{L}.input_layernorm.output", "{S}"),
};

static const stage_row attention[] = {
    NORM("{L}.input_layernorm", "{S}", "{L}.input_layernorm.output"),
    LINEAR("{L}.self_attn.q_a_proj", "{L}.input_layernorm.output", "{L}.self_attn.q_a_proj.output"),
    LINEAR("{L}.self_attn.q_proj", "{L}.input_layernorm.output", "{L}.self_attn.q_proj.output"),
    LINEAR("{L}.self_attn.kv_a_proj_with_mqa", "{L}.input_layernorm.output", "{L}.self_attn.kv_a_proj_with_mqa.output"),
    LINEAR("{L}.self_attn.q_b_proj", "{L}.self_attn.q_a_layernorm.output", "{L}.self_attn.q_b_proj.output"),
    {CASE_ATTENTION,
     "{L}.self_attn",
     {{"hidden_states", "{L}.input_layernorm.output"},
      {"q_a_layernorm", "{L}.self_attn.q_a_layernorm.output", "hidden_states"},
      {"q", "{L}.self_attn.q", "q_a_layernorm"},
      {"kv", "{L}.self_attn.kv", "hidden_states"},
      {"attn_output", "{L}.self_attn.attn_output", "q kv"},
      {"y", "{L}.self_attn.output", "attn_output"}}},
    NORM_ADDS("{L}.post_attention_layernorm", "{L}.self_attn.output", "{S}", "{L}.post_attention_layernorm.output",
              "{L}.post_attention_layernorm.input"),
    NORM("{L}.post_attention_layernorm", "{L}.post_attention_layernorm.input", "{L}.post_attention_layernorm.output"),
};

static const stage_row dense[] = {
    LINEAR("{L}.mlp.gate_proj", "{L}.post_attention_layernorm.output", "{L}.mlp.gate_proj.output"),
    LINEAR("{L}.mlp.up_proj", "{L}.post_attention_layernorm.output", "{L}.mlp.up_proj.output"),
    {CASE_SWIGLU,
     "{L}.mlp",
     {{"gate", "{L}.mlp.gate_proj.output"},
      {"up", "{L}.mlp.up_proj.output"},
      {"y", "{L}.mlp.act_fn.output", "gate up"}}},
    LINEAR("{L}.mlp.down_proj", "{L}.mlp.act_fn.output", "{L}.mlp.output"),
};

static const stage_row sparse[] = {
    {CASE_MOE,
     "{L}.mlp",
     {{"hidden_states", "{L}.post_attention_layernorm.output"},
      {"router_logits", "{L}.mlp.router_logits", "hidden_states"},
      {"topk_idx", "{L}.mlp.gate.topk_idx", "router_logits"},
      {"topk_weight", "{L}.mlp.gate.topk_weight", "router_logits topk_idx"},
      {"act", "{L}.mlp.act", "hidden_states topk_idx"},
      {"shared_act", "{L}.mlp.shared_act", "hidden_states"},
      {"y", "{L}.mlp.output", "topk_idx act shared_act topk_weight"}}},
};

static const stage_row head[] = {
    NORM_ADDS("model.norm", "{L}.mlp.output", "{L}.post_attention_layernorm.input", "model.norm.output", "{T}"),
    NORM("model.norm", "{T}", "model.norm.output"),
    LINEAR("{HEAD}", "model.norm.output", "logits"),
};

static const stage_row module_input[] = {
    {CASE_EMBED, "{L}.embed_tokens", {{"input_ids", "input_ids"}, {"y", "{K}.embed_tokens.output", "input_ids"}}},
    NORM("{L}.enorm", "{K}.embed_tokens.output", "{L}.enorm.output"),
    NORM("{L}.hnorm", "{H}", "{L}.hnorm.output"),
    LINEAR("{L}.eh_proj", "{L}.enorm.output | {L}.hnorm.output", "{K}.eh_proj.output"),
};

static const stage_row module_head[] = {
    NORM_ADDS("{L}.shared_head.norm", "{L}.mlp.output", "{L}.post_attention_layernorm.input",
              "{L}.shared_head.norm.output", "{T}"),
    NORM("{L}.shared_head.norm", "{T}", "{L}.shared_head.norm.output"),
    LINEAR("{L}.shared_head.head", "{L}.shared_head.norm.output", "{K}.logits"),
};

/* ---- walking ---- */

typedef struct {
    on_row *call;
    void *context;
} visitor;

#define VISIT(v, at, rows) visit(v, at, rows, (int)(sizeof(rows) / sizeof *(rows)))

/* A model has either a query latent or one projection. */
static bool row_exists(const dsv3_config *c, const stage_row *row)
{
    bool const latent = strstr(row->module, ".q_a_proj") || strstr(row->module, ".q_b_proj");
    bool const direct = strstr(row->module, ".q_proj") != NULL;
    return c->q_lora_rank > 0 ? !direct : !latent;
}

static void visit(const visitor *v, const place *at, const stage_row *rows, int count)
{
    for (int i = 0; i < count; i++)
        if (row_exists(at->config, &rows[i])) v->call(v->context, at, &rows[i]);
}

static void visit_layer(const visitor *v, const place *at)
{
    if (at->layer > 0 && at->module < 0) VISIT(v, at, behind_a_layer);
    VISIT(v, at, attention);
    if (at->layer < at->config->first_k_dense_replace)
        VISIT(v, at, dense);
    else
        VISIT(v, at, sparse);
}

void for_each_row(const dsv3_config *c, int64_t n_tokens, on_row *call, void *context)
{
    visitor const v = {call, context};
    place at = {.config = c, .module = -1};
    VISIT(&v, &at, embedding);
    for (; at.layer < c->num_hidden_layers; at.layer++) visit_layer(&v, &at);
    at.layer--;
    VISIT(&v, &at, head);
    for (int64_t k = 0; k < c->num_nextn_predict_layers && n_tokens - k - 1 > 0; k++) {
        at = (place){c, c->num_hidden_layers + k, k};
        VISIT(&v, &at, module_input);
        visit_layer(&v, &at);
        VISIT(&v, &at, module_head);
    }
}

int slots_in(const stage_row *row)
{
    int n = 0;
    while (n < MOST_SLOTS && row->slots[n].tensor) n++;
    return n;
}

bool slot_exists(const dsv3_config *c, const slot *s)
{
    if (!strcmp(s->tensor, "q_a_layernorm")) return c->q_lora_rank > 0;
    return strcmp(s->tensor, "shared_act") || c->n_shared_experts > 0;
}

int64_t rows_at(const place *at, int64_t n_tokens)
{
    return n_tokens - at->module - 1;
}

/* ---- names ---- */

static void name_stream(const place *at, bool out, char name[STAGE_NAME])
{
    if (at->module >= 0)
        snprintf(name, STAGE_NAME, "mtp.%lld.%s", (long long)at->module, out ? "hidden_states" : "eh_proj.output");
    else if (at->layer == 0 && !out)
        snprintf(name, STAGE_NAME, "model.embed_tokens.output");
    else
        snprintf(name, STAGE_NAME, "model.layers.%lld.hidden_states", (long long)at->layer - !out);
}

static void name_state(const place *at, char name[STAGE_NAME])
{
    if (at->module == 0)
        snprintf(name, STAGE_NAME, "model.norm.output");
    else
        snprintf(name, STAGE_NAME, "model.layers.%lld.shared_head.norm.output", (long long)at->layer - 1);
}

void stage_name_before(const place *at, char name[STAGE_NAME])
{
    if (at->module > 0)
        snprintf(name, STAGE_NAME, "mtp.%lld.hidden_states", (long long)at->module - 1);
    else
        snprintf(name, STAGE_NAME, "model.layers.%lld.hidden_states", (long long)at->layer - 1);
}

/* What the word in braces at `word` means. */
static void meaning(const place *at, const char *word, char text[STAGE_NAME])
{
    if (!strncmp(word, "HEAD}", 5))
        snprintf(text, STAGE_NAME, at->config->tie_word_embeddings ? "model.embed_tokens" : "lm_head");
    else if (*word == 'L' || *word == 'P')
        snprintf(text, STAGE_NAME, "model.layers.%lld", (long long)at->layer - (*word == 'P'));
    else if (*word == 'K')
        snprintf(text, STAGE_NAME, "mtp.%lld", (long long)at->module);
    else if (*word == 'H')
        name_state(at, text);
    else
        name_stream(at, *word == 'T', text);
}

void stage_name(const place *at, const char *pattern, char name[STAGE_NAME])
{
    char text[STAGE_NAME];
    size_t used = 0;
    for (const char *s = pattern; *s && used < STAGE_NAME - 1;) {
        size_t const plain = strcspn(s, "{");
        used += (size_t)snprintf(name + used, STAGE_NAME - used, "%.*s", (int)plain, s);
        s += plain;
        if (*s != '{') continue;
        meaning(at, s + 1, text);
        if (used < STAGE_NAME) used += (size_t)snprintf(name + used, STAGE_NAME - used, "%s", text);
        s += strcspn(s, "}") + 1;
    }
}

const char *name_parts(const char *pattern, char first[STAGE_NAME])
{
    const char *const bar = strstr(pattern, " | ");
    snprintf(first, STAGE_NAME, "%.*s", bar ? (int)(bar - pattern) : (int)strlen(pattern), pattern);
    return bar ? bar + 3 : NULL;
}

/* ---- names without a place ---- */

/* Does `name` begin with `word`, or with a number where the word ends in {N} or {K}? What is behind, or NULL. */
static const char *behind(const char *name, const char *word)
{
    size_t const plain = strcspn(word, "{");
    if (strncmp(name, word, plain) != 0) return NULL;
    name += plain;
    if (!word[plain]) return name;
    if (!strncmp(name, word + plain, 3)) return name + 3;
    size_t const digits = strspn(name, "0123456789");
    bool const number = digits && digits < 10 && (digits == 1 || *name != '0');
    return number ? name + digits : NULL;
}

/* A pattern of a row, whose words in braces stand in front. */
static bool is_name_of(const char *name, const char *pattern)
{
    const char *rest = NULL;
    if (*pattern != '{') return !strcmp(name, pattern);
    if (pattern[1] == 'L') rest = behind(name, "model.layers.{N}");
    if (pattern[1] == 'K') rest = behind(name, "mtp.{K}");
    if (pattern[1] == 'T') {
        const char *const layer = behind(name, "model.layers.{N}"), *const module = behind(name, "mtp.{K}");
        return !strcmp(layer ? layer : module ? module : "", ".hidden_states");
    }
    return rest && !strcmp(rest, strchr(pattern, '}') + 1);
}

/* An output of a row has this name. */
static bool is_output_among(const char *name, const stage_row *rows, int count)
{
    for (int i = 0; i < count; i++)
        for (const slot *s = rows[i].slots; s < rows[i].slots + MOST_SLOTS && s->tensor; s++)
            if (s->of && is_name_of(name, s->name)) return true;
    return false;
}

#define AMONG(name, rows) is_output_among(name, rows, (int)(sizeof(rows) / sizeof *(rows)))

bool is_stage(const char *name)
{
    return !strcmp(name, "input_ids") || AMONG(name, embedding) || AMONG(name, attention) || AMONG(name, dense) ||
           AMONG(name, sparse) || AMONG(name, head) || AMONG(name, module_input) || AMONG(name, module_head);
}
