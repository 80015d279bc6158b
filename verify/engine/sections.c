/* See sections.h. */
#include "sections.h"

#include "stage_rows.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Those of a model's stages. */
static const char *const ops_of_models[] = {"embed", "rmsnorm", "linear", "swiglu", "mla", "moe", NULL};

static bool op_knows(const char *op, const char *clause, complaint *why)
{
    ref_numerics n;
    return ref_numerics_parse(op, clause, &n, why->text, sizeof why->text);
}

static bool is_op_of_models(const char *name, size_t length)
{
    for (int i = 0; ops_of_models[i]; i++)
        if (strlen(ops_of_models[i]) == length && !strncmp(ops_of_models[i], name, length)) return true;
    return false;
}

/* A clause of `[*]` is one that some op knows; of another section one that its op knows. */
static bool check_clause(const section *s, const char *clause, complaint *why)
{
    char op[40];
    if (strcmp(s->of, "*")) {
        snprintf(op, sizeof op, "%.*s", (int)strcspn(s->of, " "), s->of);
        return op_knows(op, clause, why);
    }
    for (int i = 0; ops_of_models[i]; i++)
        if (op_knows(ops_of_models[i], clause, why)) return true;
    return false;
}

static bool add_clause(section *s, const char *clause, complaint *why)
{
    size_t const used = strlen(s->clauses), length = strlen(clause);
    if (!check_clause(s, clause, why)) return false;
    if (used + length + 3 > sizeof s->clauses)
        return refuse(why, "numerics: section [%s] has more than %zu characters", s->of, sizeof s->clauses - 3);
    snprintf(s->clauses + used, sizeof s->clauses - used, "%s%s", used ? "; " : "", clause);
    return true;
}

static bool begin_section(sections *s, const char *head, complaint *why)
{
    const char *const end = strchr(head, ']');
    size_t const length = end ? (size_t)(end - head) - 1 : 0, op = strcspn(head + 1, " ]");
    if (!end || end[1] || length == 0 || length >= sizeof s->item->of)
        return refuse(why,
                      "numerics: '%.60s' is no section: write it as in [*], [linear] or [mla model.layers.3.self_attn]",
                      head);
    if (!is_op_of_models(head + 1, op) && strncmp(head, "[*]", 3) != 0)
        return refuse(why, "numerics: section '%.60s' is of no op: known are * embed rmsnorm linear swiglu mla moe",
                      head);
    if (s->count == MOST_SECTIONS) return refuse(why, "numerics: more than %d sections", MOST_SECTIONS);
    for (int i = 1; i < s->count; i++)
        if (strlen(s->item[i].of) == length && !strncmp(s->item[i].of, head + 1, length))
            return refuse(why, "numerics: section %.60s stands twice", head);
    snprintf(s->item[s->count++].of, sizeof s->item->of, "%.*s", (int)length, head + 1);
    return true;
}

static char *trimmed(char *s)
{
    while (isspace((unsigned char)*s)) s++;
    size_t length = strlen(s);
    while (length && isspace((unsigned char)s[length - 1])) s[--length] = 0;
    return s;
}

/* "[linear] acc 24 rn": a clause may stand behind a head. */
static bool read_piece(sections *s, char *piece, complaint *why)
{
    char *const end = *piece == '[' ? strchr(piece, ']') : NULL;
    char head[220] = "";
    if (end) snprintf(head, sizeof head, "%.*s", (int)(end - piece) + 1, piece);
    if (*piece == '[' && !begin_section(s, end ? head : piece, why)) return false;
    char *const clause = trimmed(end ? end + 1 : piece);
    return !*clause || add_clause(&s->item[s->count - 1], clause, why);
}

bool sections_read(const char *text, sections *s, complaint *why)
{
    char copy[REF_NUMERICS_CAP], *rest = NULL;
    *s = (sections){.count = 1, .item = {{.of = "*"}}};
    if (strlen(text) >= sizeof copy) return refuse(why, "numerics: longer than %zu characters", sizeof copy - 1);
    strcpy(copy, text);
    for (char *piece = strtok_r(copy, ";", &rest); piece; piece = strtok_r(NULL, ";", &rest))
        if (!read_piece(s, trimmed(piece), why)) return false;
    return true;
}

/* A section that names a module, and whether a stage is of it. */
typedef struct {
    const char *of; /* "op module" */
    bool found;
} sought;

static void seek_module(void *context, const place *at, const stage_row *row)
{
    static const char *const op_of[] = {
        [CASE_EMBED] = "embed",   [CASE_NORM] = "rmsnorm",  [CASE_NORM_ADDS] = "rmsnorm",
        [CASE_LINEAR] = "linear", [CASE_SWIGLU] = "swiglu", [CASE_ATTENTION] = "mla",
        [CASE_MOE] = "moe"};
    sought *const s = context;
    char module[STAGE_NAME], of[STAGE_NAME + 20];
    stage_name(at, row->module, module);
    snprintf(of, sizeof of, "%s %s", op_of[row->kind], module);
    s->found |= !strcmp(of, s->of);
}

bool sections_check(const sections *s, const dsv3_config *c, complaint *why)
{
    for (int i = 0; i < s->count; i++) {
        sought one = {s->item[i].of, !strchr(s->item[i].of, ' ')};
        if (!one.found) for_each_row(c, c->num_nextn_predict_layers + 1, seek_module, &one);
        if (!one.found)
            return refuse(
                why,
                "numerics: section [%.60s] is of no module that has this op; modules are as reports name them, "
                "such as model.layers.0.self_attn",
                s->item[i].of);
    }
    return true;
}

/* Is the section for this op, and for this module? */
static bool concerns(const section *s, const char *op, const char *module)
{
    size_t const length = strlen(op);
    if (!strcmp(s->of, "*") || !strcmp(s->of, op)) return true;
    return !strncmp(s->of, op, length) && s->of[length] == ' ' && !strcmp(s->of + length + 1, module);
}

/* The clauses that the op knows. */
static bool append_known(const section *s, const char *op, char declared[REF_NUMERICS_CAP], complaint *why)
{
    char copy[REF_NUMERICS_CAP], *rest = NULL;
    complaint unknown;
    strcpy(copy, s->clauses);
    for (char *clause = strtok_r(copy, ";", &rest); clause; clause = strtok_r(NULL, ";", &rest)) {
        size_t const used = strlen(declared);
        if (!op_knows(op, clause, &unknown)) continue;
        if (used + strlen(clause) + 3 > REF_NUMERICS_CAP)
            return refuse(why, "numerics: the sections for %s have more than %d characters together", op,
                          REF_NUMERICS_CAP - 3);
        snprintf(declared + used, REF_NUMERICS_CAP - used, "%s%s", used ? "; " : "", trimmed(clause));
    }
    return true;
}

bool sections_of(const sections *s, const char *op, const char *module, char declared[REF_NUMERICS_CAP], complaint *why)
{
    *declared = 0;
    for (int i = 0; i < s->count; i++)
        if (concerns(&s->item[i], op, module) && !append_known(&s->item[i], op, declared, why)) return false;
    return true;
}
