/* See weight_source.h. */
#include "weight_source.h"

#include <stdio.h>
#include <stdlib.h>

enum { BLOCK = 128, NAME_SIZE = 256 };

typedef enum { PLAIN, EXPERTS, KEYS_OF_HEADS, VALUES_OF_HEADS } rule_kind;

/* A weight whose name ends so is made of those below the same module; {E} is an expert. */
typedef struct {
    const char *end;
    rule_kind kind;
    const char *part[MOST_PARTS];
} rule;

#define EXPERT "experts.{E}."
static const rule rules[] = {
    {"experts.gate_up_proj", EXPERTS, {EXPERT "gate_proj.weight", EXPERT "up_proj.weight"}},
    {"experts.w13_weight", EXPERTS, {EXPERT "gate_proj.weight", EXPERT "up_proj.weight"}},
    {"experts.down_proj", EXPERTS, {EXPERT "down_proj.weight"}},
    {"experts.w2_weight", EXPERTS, {EXPERT "down_proj.weight"}},
    {"switch_mlp.gate_proj.weight", EXPERTS, {EXPERT "gate_proj.weight"}},
    {"switch_mlp.up_proj.weight", EXPERTS, {EXPERT "up_proj.weight"}},
    {"switch_mlp.down_proj.weight", EXPERTS, {EXPERT "down_proj.weight"}},
    {"gate_up_proj.weight", PLAIN, {"gate_proj.weight", "up_proj.weight"}},
    {"fused_qkv_a_proj_with_mqa.weight", PLAIN, {"q_a_proj.weight", "kv_a_proj_with_mqa.weight"}},
    {"fused_qkv_a_proj.weight", PLAIN, {"q_a_proj.weight", "kv_a_proj_with_mqa.weight"}},
    {"w_kc", KEYS_OF_HEADS, {"kv_b_proj.weight"}},
    {"W_UK_T", KEYS_OF_HEADS, {"kv_b_proj.weight"}},
    {"embed_q.weight", KEYS_OF_HEADS, {"kv_b_proj.weight"}},
    {"w_vc", VALUES_OF_HEADS, {"kv_b_proj.weight"}},
    {"W_UV", VALUES_OF_HEADS, {"kv_b_proj.weight"}},
    {"unembed_out.weight", VALUES_OF_HEADS, {"kv_b_proj.weight"}},
};

/* ---- one part ---- */

static bool open_part(const checkpoint *c, const char *name, weight_part *part)
{
    char scale[NAME_SIZE + 20];
    const safetensor *const t = checkpoint_find(c, name);
    if (!t || t->dtype == DSV3_NONE || t->dtype == DSV3_I64 || t->ndim < 1 || t->ndim > 2) return false;
    snprintf(scale, sizeof scale, "%s_scale_inv", name);
    *part = (weight_part){t, checkpoint_find(c, scale), 0, t->shape[0], t->ndim == 2 ? t->shape[1] : 1};
    const safetensor *const s = part->scale;
    int64_t const high = (part->rows + BLOCK - 1) / BLOCK, wide = (part->columns + BLOCK - 1) / BLOCK;
    bool const fits = s && s->dtype == DSV3_F32 && s->ndim == 2 && s->shape[0] == high && s->shape[1] == wide;
    if (!fits || t->dtype != DSV3_F8_E4M3) part->scale = NULL;
    return true;
}

static bool open_stack(weight_source *s, int64_t stack, int parts, complaint *why)
{
    *s = (weight_source){.stack = stack, .parts = parts, .fused = parts > 1};
    s->part = calloc((size_t)stack * (size_t)parts, sizeof *s->part);
    return s->part || refuse(why, "no memory for a list of weights");
}

void weight_source_close(weight_source *s)
{
    free(s->part);
    *s = (weight_source){.stack = 0};
}

/* All matrices are alike, and their parts as wide. */
static bool count_rows(weight_source *s)
{
    s->columns = s->part[0].columns;
    for (int p = 0; p < s->parts; p++) s->rows += s->part[p].rows;
    for (int64_t i = 0; i < s->stack * s->parts; i++)
        if (s->part[i].columns != s->columns || s->part[i].rows != s->part[i % s->parts].rows) return false;
    return true;
}

/* ---- rules ---- */

/* "MODULE.experts.5.up_proj.weight" */
static void name_part(const char *name, size_t module, const char *pattern, int64_t expert, const char *behind,
                      char out[NAME_SIZE])
{
    const char *const brace = strstr(pattern, "{E}");
    if (brace)
        snprintf(out, NAME_SIZE, "%.*s%.*s%lld%s%s", (int)module, name, (int)(brace - pattern), pattern,
                 (long long)expert, brace + 3, behind);
    else
        snprintf(out, NAME_SIZE, "%.*s%s%s", (int)module, name, pattern, behind);
}

/* Of each head some rows of kv_b_proj: those of its keys, or of its values behind them. */
static bool cut_heads(const dsv3_config *c, const weight_part *whole, bool keys, weight_source *s, complaint *why)
{
    int64_t const nope = c->qk_nope_head_dim, each = nope + c->v_head_dim;
    if (whole->scale || whole->rows != c->num_attention_heads * each) return false;
    if (!open_stack(s, c->num_attention_heads, 1, why)) return false;
    for (int64_t h = 0; h < s->stack; h++) {
        s->part[h] = *whole;
        s->part[h].first = h * each + (keys ? 0 : nope);
        s->part[h].rows = keys ? nope : c->v_head_dim;
    }
    s->heads = true;
    return count_rows(s);
}

static bool apply(const checkpoint *c, const dsv3_config *config, const rule *r, const char *name, size_t module,
                  const char *behind, weight_source *s, complaint *why)
{
    char part[NAME_SIZE];
    weight_part whole;
    if (r->kind == KEYS_OF_HEADS || r->kind == VALUES_OF_HEADS) {
        name_part(name, module, r->part[0], 0, behind, part);
        return open_part(c, part, &whole) && cut_heads(config, &whole, r->kind == KEYS_OF_HEADS, s, why);
    }
    int const parts = r->part[1] ? 2 : 1;
    int64_t const stack = r->kind == EXPERTS ? config->n_routed_experts : 1;
    if (!open_stack(s, stack, parts, why)) return false;
    for (int64_t i = 0; i < stack * parts; i++) {
        name_part(name, module, r->part[i % parts], i / parts, behind, part);
        if (!open_part(c, part, &s->part[i])) return false;
    }
    return count_rows(s);
}

/* Where the end of the name begins, if it is this one and a module stands before it; 0: it isn't. */
static size_t begin_of_end(const char *name, size_t length, const char *end)
{
    size_t const tail = strlen(end);
    if (length <= tail || strncmp(name + length - tail, end, tail) != 0) return 0;
    return name[length - tail - 1] == '.' ? length - tail : 0;
}

static bool find_by_rule(const checkpoint *c, const dsv3_config *config, const char *name, weight_source *s,
                         complaint *why)
{
    static const char scale[] = "_scale_inv";
    size_t const all = strlen(name), tail = sizeof scale - 1;
    bool const scales = all > tail && !strcmp(name + all - tail, scale);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        size_t const module = begin_of_end(name, scales ? all - tail : all, rules[i].end);
        if (module) return apply(c, config, &rules[i], name, module, scales ? scale : "", s, why);
    }
    return false;
}

bool weight_source_find(const checkpoint *c, const dsv3_config *config, const char *name, weight_source *out,
                        complaint *why)
{
    weight_part same;
    *out = (weight_source){.stack = 0};
    if (strlen(name) + 40 > NAME_SIZE) return false;
    bool const tied = config->tie_word_embeddings && !strcmp(name, "lm_head.weight");
    if (!open_part(c, tied ? "model.embed_tokens.weight" : name, &same)) return find_by_rule(c, config, name, out, why);
    if (!open_stack(out, 1, 1, why)) return false;
    out->part[0] = same;
    return count_rows(out);
}

/* ---- elements ---- */

double weight_source_value(const weight_source *s, int64_t at, int64_t row, int64_t column, bool once)
{
    const weight_part *p = &s->part[at * s->parts];
    while (row >= p->rows) row -= p++->rows;
    row += p->first;
    double const v = ref_decode(p->t->dtype, p->t->data, row * p->columns + column);
    if (!p->scale) return v;
    int64_t const wide = (p->columns + BLOCK - 1) / BLOCK;
    double const scaled = v * ref_decode(DSV3_F32, p->scale->data, row / BLOCK * wide + column / BLOCK);
    return once ? ref_round(DSV3_F32, scaled) : scaled;
}
