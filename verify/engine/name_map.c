/* See name_map.h. */
#include "name_map.h"

#include "files/embed.h"
#include "files/plain_text.h"
#include "gather.h"
#include "map_pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

EMBED(map_transformers, "verify/engine/maps/transformers.txt");
EMBED(map_transformers_v2, "verify/engine/maps/transformers-v2.txt");
EMBED(map_mlx, "verify/engine/maps/mlx.txt");
EMBED(map_sglang_leaf, "verify/engine/maps/sglang-leaf.txt");
EMBED(map_sglang, "verify/engine/maps/sglang.txt");
EMBED(map_vllm, "verify/engine/maps/vllm.txt");
EMBED(map_llama_cpp, "verify/engine/maps/llama.cpp.txt");
EMBED(map_megatron, "verify/engine/maps/megatron.txt");

enum { MOST_TEXT = 65536 };

const char *const name_map_names[] = {"transformers", "transformers-v2", "mlx",      "sglang-leaf", "sglang",
                                      "vllm",         "llama.cpp",       "megatron", NULL};
static const char *const texts[] = {map_transformers, map_transformers_v2, map_mlx,     map_sglang_leaf, map_sglang,
                                    map_vllm,         map_llama_cpp,       map_megatron};

static bool parse_file(const char *path, name_map *m, complaint *why)
{
    complaint cause;
    size_t size;
    char *const content = file_read(&(about_file){path, why}, MOST_TEXT, &size);
    if (!content) {
        refuse_more(why, "; maps that need no file:");
        for (int i = 0; name_map_names[i]; i++) refuse_more(why, " %s", name_map_names[i]);
        return false;
    }
    char *const text = strndup(content, size);
    bool good = is_plain_text(content, size, &cause) || refuse(why, "%s: it %s", path, cause.text);
    good = good && (text || refuse(why, "no memory for %s", path)) && name_map_parse(path, text, m, why);
    free(content);
    free(text);
    return good;
}

bool name_map_open(const char *value, name_map *m, complaint *why)
{
    *m = (name_map){.count = 0};
    if (!value) return true;
    for (int i = 0; name_map_names[i]; i++)
        if (!strcmp(name_map_names[i], value)) return name_map_parse(value, texts[i], m, why);
    return parse_file(value, m, why);
}

void name_map_close(name_map *m)
{
    free(m->rule);
    *m = (name_map){.count = 0};
}

bool name_map_is_whole(const name_map *m, complaint *why)
{
    static const char words[] = "for stages given their own values: a whole model is one sequence, of all tokens";
    if (m->each)
        return refuse(why, "input_ids are a batch, of %lld tokens each, which is %s", (long long)m->each, words);
    if (!m->end_token && !*m->seqlens) return true;
    return refuse(why, "set %s is %s", m->end_token ? "rows" : "seqlens", words);
}

/* ---- finding ---- */

void name_map_count_ranks(name_map *m, const recording *r)
{
    map_numbers n;
    if (m->ranks) return;
    for (int k = 0; k < m->count; k++) {
        if (!strstr(m->rule[k].name, "{R}")) continue;
        for (int64_t i = 0; i < r->count; i++)
            if (map_matches(m->rule[k].name, r->item[i]->name, &n) && n.rank >= m->ranks && n.rank < MOST_RANKS)
                m->ranks = n.rank + 1;
    }
}

/* A rule at work. */
typedef struct {
    const name_map *m;
    const map_scene *at;
    const map_rule *rule;
    const char *stage;
    map_numbers n;
    complaint *fault;
} finding;

static int64_t end_of(const map_end *e, const dsv3_config *c, int64_t size)
{
    int64_t value = e->number;
    if (e->kind == END_SIZE) memcpy(&value, (const char *)c + e->number, sizeof value);
    return e->kind == END_HALF ? size / 2 : e->kind == END_ALL ? size : value;
}

static const safetensor *named(const finding *f, const char *pattern, const char *of)
{
    char name[MAP_NAME];
    map_fill_in(pattern, &f->n, name);
    const safetensor *const t = recording_find(f->at->recorded, name);
    if (!t) refuse(f->fault, "needs %s, which isn't recorded, beside %s", name, of);
    return t;
}

/* An operation that moves elements. */
static bool move(const finding *f, const map_operation *o, reshape_kind kind, shaped *out)
{
    int64_t rows, columns;
    size_t size;
    if (!shaped_rows(&out->t, &rows, &columns, &size, f->fault)) return false;
    int64_t const all = kind == RESHAPE_ROWS ? rows : columns;
    reshape op = {kind, end_of(&o->from, f->at->config, all), end_of(&o->to, f->at->config, all), NULL};
    if (kind == RESHAPE_BESIDE && !(op.other = named(f, o->other, out->t.name))) return false;
    return shaped_change(out, &op, f->at->config->qk_rope_head_dim, f->fault);
}

/* The weight of the norm whose output or sum the stage is: a sum that a norm hands on is named after what comes in, or the layer. */
static const safetensor *weight_beside(const finding *f)
{
    char name[2 * MAP_NAME];
    map_numbers n;
    if (map_matches("model.layers.{N}.hidden_states", f->stage, &n)) {
        snprintf(name, sizeof name, "model.layers.%lld.input_layernorm.weight", (long long)n.layer + 1);
        if (!checkpoint_find(f->at->weights, name) || n.layer + 1 == f->at->config->num_hidden_layers)
            snprintf(name, sizeof name, "model.norm.weight");
    } else {
        const char *const dot = strrchr(f->stage, '.');
        snprintf(name, sizeof name, "%.*s.weight", dot ? (int)(dot - f->stage) : 0, f->stage);
    }
    const safetensor *const w = checkpoint_find(f->at->weights, name);
    if (!w) refuse(f->fault, "needs the weight %s to be told from its sum, and the checkpoint has none", name);
    return w;
}

/* Takes the one of two that is wanted. */
static bool pick(const finding *f, const map_operation *o, shaped *out)
{
    bool normed;
    const safetensor *const other = named(f, o->other, out->t.name);
    const safetensor *const weight = other ? weight_beside(f) : NULL;
    if (!weight || !gather_is_normed(&out->t, other, weight, &normed, f->fault)) return false;
    if (normed == (o->word == MAP_NORMED)) return true;
    shaped_free(out);
    out->t = *other;
    return true;
}

static bool operate(const finding *f, const map_operation *o, shaped *out)
{
    const dsv3_config *const c = f->at->config;
    switch (o->word) {
    case MAP_ROWS: return move(f, o, RESHAPE_ROWS, out);
    case MAP_COLS: return move(f, o, RESHAPE_COLS, out);
    case MAP_HALF: return move(f, o, RESHAPE_HALF, out);
    case MAP_TURN: return move(f, o, RESHAPE_TURN, out);
    case MAP_FLAT: return move(f, o, RESHAPE_FLAT, out);
    case MAP_BESIDE: return move(f, o, RESHAPE_BESIDE, out);
    case MAP_NORMED:
    case MAP_STREAM: return pick(f, o, out);
    case MAP_CHOSEN:
    case MAP_KEPT: return gather_chosen(out, c->num_experts_per_tok, o->word == MAP_KEPT, f->fault);
    case MAP_TIMES: return gather_times(out, c->routed_scaling_factor, f->fault);
    case MAP_RANKS_CAT:
    case MAP_RANKS_SAME:
    case MAP_RANKS_SUM: break; /* done */
    }
    return true;
}

/* Operations from..to of the rule, on what is in out. */
static bool operate_all(const finding *f, int from, int to, shaped *out)
{
    for (int i = from; i < to; i++)
        if (!operate(f, &f->rule->operation[i], out)) return false;
    return true;
}

static bool join(const finding *f, map_word how, const safetensor *rank, shaped *out)
{
    reshape const beside = {RESHAPE_BESIDE, 0, 0, rank};
    if (how == MAP_RANKS_SAME) return gather_same(out, rank, f->fault);
    if (how == MAP_RANKS_SUM) return gather_sum(out, rank, f->fault);
    return shaped_change(out, &beside, 0, f->fault);
}

/* Ranks 1 and on, each made as rank 0 was by the operations before `at`. */
static bool join_ranks(const finding *of_first, int at, shaped *out)
{
    map_word const how = of_first->rule->operation[at].word;
    finding f = *of_first;
    bool good = true;
    for (f.n.rank = 1; good && f.n.rank < f.m->ranks; f.n.rank++) {
        const safetensor *const t = named(&f, f.rule->name, out->t.name);
        shaped rank = {.owned = NULL};
        if (!t) return false;
        rank.t = *t;
        good = operate_all(&f, 0, at, &rank) && join(&f, how, &rank.t, out);
        shaped_free(&rank);
    }
    return good && (how != MAP_RANKS_SUM || f.m->ranks == 1 || gather_round(out, f.fault));
}

static bool shape(const finding *f, shaped *out)
{
    const map_rule *const rule = f->rule;
    int at = 0;
    while (at < rule->count && (rule->operation[at].word < MAP_RANKS_CAT || rule->operation[at].word > MAP_RANKS_SUM))
        at++;
    return operate_all(f, 0, at, out) && (at == rule->count || join_ranks(f, at, out)) &&
           operate_all(f, at, rule->count, out);
}

/* The first of n axes that isn't 1. */
static int64_t first_of(const safetensor *t, int n)
{
    for (int d = 0; d < n; d++)
        if (t->shape[d] != 1) return t->shape[d];
    return 1;
}

/* Rows of all tokens, and what each row has: leading axes become one. */
static bool lead_with_tokens(const name_map *m, safetensor *t, complaint *fault)
{
    int64_t rows = 1;
    int d = 0;
    while (d < t->ndim && (m->tokens ? rows < m->tokens || t->shape[d] == 1 : rows == 1)) rows *= t->shape[d++];
    int64_t const first = first_of(t, d);
    if (m->each && first != 1 && first != rows && first != rows / m->each)
        return refuse(fault, "%s begins with %lld rows, and input_ids are a batch of %lld sequences", t->name,
                      (long long)first, (long long)(m->tokens / m->each));
    if ((m->tokens && rows != m->tokens) || t->ndim - d == SAFETENSOR_AXES)
        return refuse(fault, "%s has leading axes of no %lld tokens", t->name, (long long)m->tokens);
    memmove(t->shape + 1, t->shape + d, (size_t)(t->ndim - d) * sizeof *t->shape);
    t->shape[0] = rows;
    t->ndim -= d - 1;
    return true;
}

/* Of all tokens those of the sequence that is judged. */
static bool take_tokens(const name_map *m, shaped *out, complaint *fault)
{
    int64_t rows, columns;
    size_t size;
    if (!m->end_token) return true;
    if (!shaped_rows(&out->t, &rows, &columns, &size, fault) || !lead_with_tokens(m, &out->t, fault)) return false;
    safetensor const whole = out->t;
    columns = 1;
    for (int d = 1; d < whole.ndim; d++) columns *= whole.shape[d];
    out->t.ndim = 2, out->t.shape[1] = columns;
    if (!shaped_change(out, &(reshape){RESHAPE_ROWS, m->first_token, m->end_token, NULL}, 0, fault)) return false;
    out->t.ndim = whole.ndim;
    memcpy(out->t.shape + 1, whole.shape + 1, sizeof whole.shape - sizeof *whole.shape);
    return true;
}

/* The first rule of the stage whose name is recorded; its tensor, else NULL. ruled: it has one. */
static const safetensor *find_rule(finding *f, bool *ruled)
{
    char name[MAP_NAME];
    *ruled = false;
    for (f->rule = f->m->rule; f->rule < f->m->rule + f->m->count; f->rule++) {
        if (f->rule->weight || !map_matches(f->rule->stage, f->stage, &f->n)) continue;
        if (strstr(f->rule->stage, "{L}") && f->n.layer != f->at->config->num_hidden_layers - 1) continue;
        *ruled = true;
        f->n.rank = 0;
        map_fill_in(f->rule->name, &f->n, name);
        const safetensor *const t = recording_find(f->at->recorded, name);
        if (t) return t;
    }
    return NULL;
}

bool name_map_weight(const name_map *m, const char *name, char ours[MAP_NAME])
{
    map_numbers n;
    for (const char *at = name; at; at = strchr(at, '.') ? strchr(at, '.') + 1 : NULL)
        for (int i = 0; i < m->count; i++) {
            if (!m->rule[i].weight || !map_matches(m->rule[i].name, at, &n)) continue;
            map_fill_in(m->rule[i].stage, &n, ours);
            return true;
        }
    return false;
}

bool name_map_find_whole(const name_map *m, const map_scene *at, const char *stage, shaped *out, complaint *fault)
{
    bool ruled;
    finding f = {.m = m, .at = at, .stage = stage, .fault = fault};
    const safetensor *const by_rule = find_rule(&f, &ruled);
    const safetensor *const t = ruled ? by_rule : recording_find(at->recorded, stage);
    *out = (shaped){.owned = NULL};
    if (!t) return false;
    out->t = *t;
    if (!ruled || shape(&f, out)) return true;
    bool const unlike = out->unlike;
    shaped_free(out);
    out->unlike = unlike;
    return false;
}

bool name_map_find(const name_map *m, const map_scene *at, const char *stage, shaped *out, complaint *fault)
{
    if (!name_map_find_whole(m, at, stage, out, fault)) return false;
    return take_tokens(m, out, fault) || (shaped_free(out), false);
}
