/* See name_map.h. */
#include "name_map.h"

#include "files/embed.h"
#include "files/plain_text.h"
#include "files/unknown_word.h"
#include "stage_rows.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

EMBED(map_transformers, "verify/engine/maps/transformers.txt");
EMBED(map_mlx, "verify/engine/maps/mlx.txt");

enum { MOST_TEXT = 65536 };

const char *const name_map_names[] = {"transformers", "mlx", NULL};
static const char *const texts[] = {map_transformers, map_mlx};

/* Operations as a map writes them. */
typedef struct {
    const char *word;
    reshape_kind kind;
    bool range, name; /* what follows the word */
} operation_word;

static const operation_word operation_words[] = {
    {"rows", RESHAPE_ROWS, true, false},  {"cols", RESHAPE_COLS, true, false},     {"half", RESHAPE_HALF, false, false},
    {"turn", RESHAPE_TURN, false, false}, {"beside", RESHAPE_BESIDE, false, true}, {NULL}};

/* ---- patterns ---- */

typedef struct {
    int64_t layer, module; /* -1: not said */
} numbers;

/* Reads a number as names have it. */
static bool read_number(const char **text, int64_t *number)
{
    char *end;
    if (!isdigit((unsigned char)**text)) return false;
    *number = strtoll(*text, &end, 10);
    *text = end;
    return true;
}

static bool matches(const char *pattern, const char *text, numbers *n)
{
    *n = (numbers){-1, -1};
    while (*pattern && *text) {
        bool const layer = !strncmp(pattern, "{N}", 3), module = !strncmp(pattern, "{K}", 3);
        if (layer || module) {
            if (!read_number(&text, layer ? &n->layer : &n->module)) return false;
            pattern += 3;
        } else if (*pattern++ != *text++) {
            return false;
        }
    }
    return !*pattern && !*text;
}

/* Are the braces of a name ones that have a meaning? */
static bool check_braces(const char *name, complaint *why)
{
    static const char *const known[] = {"{N}", "{K}", "{N+1}", "{N-1}", NULL};
    for (const char *s = strchr(name, '{'); s; s = strchr(s + 1, '{')) {
        bool good = false;
        for (int i = 0; known[i]; i++) good |= !strncmp(s, known[i], strlen(known[i]));
        if (!good) return refuse(why, "'%.20s' has no meaning: in braces stand N, K, N+1 or N-1", s);
    }
    return true;
}

static void fill_in(const char *pattern, const numbers *n, char name[MAP_NAME])
{
    size_t used = 0;
    *name = 0;
    while (*pattern && used < MAP_NAME - 1) {
        if (*pattern != '{') {
            name[used++] = *pattern++;
            name[used] = 0;
            continue;
        }
        int64_t const more = pattern[2] == '+' ? 1 : pattern[2] == '-' ? -1 : 0;
        int64_t const number = pattern[1] == 'K' ? n->module : n->layer + more;
        used += (size_t)snprintf(name + used, MAP_NAME - used, "%lld", (long long)number);
        pattern = strchr(pattern, '}') + 1;
    }
}

/* ---- reading ---- */

/* Where the reader is. */
typedef struct {
    const char *from;
    int line;
    complaint *why;
} map_reader;

static bool refuse_line(const map_reader *r, const complaint *cause)
{
    return refuse(r->why, "%s, line %d: %s", r->from, r->line, cause->text);
}

static char *trimmed(char *s)
{
    while (isspace((unsigned char)*s)) s++;
    size_t length = strlen(s);
    while (length && isspace((unsigned char)s[length - 1])) s[--length] = 0;
    return s;
}

static bool read_name(const map_reader *r, const char *text, char name[MAP_NAME])
{
    complaint cause;
    if (!*text || strlen(text) >= MAP_NAME || strpbrk(text, " \t")) {
        refuse(&cause, "'%.40s' is no name: a rule is STAGE = NAME, and a name has 1 to %d characters and no blank",
               text, MAP_NAME - 1);
        return refuse_line(r, &cause);
    }
    snprintf(name, MAP_NAME, "%s", text);
    return check_braces(name, &cause) || refuse_line(r, &cause);
}

static bool read_range(const map_reader *r, const char *text, map_operation *o)
{
    complaint cause;
    const char *s = text;
    bool const good = read_number(&s, &o->from) && *s++ == ':' && read_number(&s, &o->to) && !*s && o->from < o->to &&
                      o->to <= 1LL << 40;
    return good || (refuse(&cause, "'%.40s' is no range: it is written A:B, from A up to B, as in 0:1536", text),
                    refuse_line(r, &cause));
}

static bool refuse_operation(const map_reader *r, const char *word)
{
    complaint cause;
    unknown_word u = {.word = word};
    for (const operation_word *w = operation_words; w->word; w++) unknown_word_offer(&u, w->word);
    refuse(&cause, "'%.40s' is no operation", word);
    unknown_word_refuse(&u, "known", &cause);
    return refuse_line(r, &cause);
}

static bool read_operation(const map_reader *r, char *text, map_operation *o)
{
    complaint cause;
    const operation_word *w = operation_words;
    char *const space = strpbrk(text, " \t"), *const rest = space ? trimmed(space) : text + strlen(text);
    if (space) *space = 0;
    while (w->word && strcmp(w->word, text) != 0) w++;
    if (!w->word) return refuse_operation(r, text);
    *o = (map_operation){.kind = w->kind};
    if (w->range) return read_range(r, rest, o);
    if (w->name) return read_name(r, rest, o->other);
    return !*rest ||
           (refuse(&cause, "'%s' stands alone, and '%.40s' follows it", w->word, rest), refuse_line(r, &cause));
}

static bool read_operations(const map_reader *r, char *text, map_rule *rule)
{
    complaint cause;
    char *rest = NULL;
    for (char *piece = strtok_r(text, ";", &rest); piece; piece = strtok_r(NULL, ";", &rest)) {
        if (rule->count == MOST_RESHAPES) {
            refuse(&cause, "has more than %d operations", MOST_RESHAPES);
            return refuse_line(r, &cause);
        }
        if (!read_operation(r, trimmed(piece), &rule->operation[rule->count++])) return false;
    }
    return true;
}

static bool read_rule(const map_reader *r, char *line, name_map *m)
{
    complaint cause;
    char *const equals = strchr(line, '='), *const semicolon = strchr(line, ';');
    if (!equals || (semicolon && semicolon < equals)) {
        refuse(&cause, "'%.40s' is no rule: it is written STAGE = NAME, and ; OPERATION behind", line);
        return refuse_line(r, &cause);
    }
    if (m->count == MOST_RULES) {
        refuse(&cause, "is one more than %d rules", MOST_RULES);
        return refuse_line(r, &cause);
    }
    map_rule *const rule = &m->rule[m->count++];
    *equals = 0;
    if (semicolon) *semicolon = 0;
    if (!read_name(r, trimmed(line), rule->stage) || !read_name(r, trimmed(equals + 1), rule->name)) return false;
    if (!is_stage(rule->stage)) {
        refuse(&cause, "%s is no stage of a model: docs/formats.md, \"Dumps of a model\", has their names",
               rule->stage);
        return refuse_line(r, &cause);
    }
    return !semicolon || read_operations(r, semicolon + 1, rule);
}

bool name_map_parse(const char *from, const char *text, name_map *m, complaint *why)
{
    map_reader r = {from, 0, why};
    char *const copy = strdup(text);
    m->rule = calloc(MOST_RULES, sizeof *m->rule);
    bool good = (copy && m->rule) || refuse(why, "no memory for %s", from);
    for (char *line = copy, *next; good && line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        r.line++;
        line[strcspn(line, "#")] = 0;
        line = trimmed(line);
        good = !*line || read_rule(&r, line, m);
    }
    free(copy);
    return good;
}

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

/* ---- finding ---- */

static bool shape(const map_rule *rule, const recording *r, const numbers *n, int64_t rotated, shaped *out,
                  complaint *fault)
{
    char name[MAP_NAME];
    for (int i = 0; i < rule->count; i++) {
        const map_operation *const o = &rule->operation[i];
        reshape op = {o->kind, o->from, o->to, NULL};
        fill_in(o->other, n, name);
        if (o->kind == RESHAPE_BESIDE) op.other = recording_find(r, name);
        if (o->kind == RESHAPE_BESIDE && !op.other)
            return refuse(fault, "needs %s, which isn't recorded, beside %s", name, out->t.name);
        if (!shaped_change(out, &op, rotated, fault)) return false;
    }
    return true;
}

bool name_map_find(const name_map *m, const recording *r, const char *stage, int64_t rotated, shaped *out,
                   complaint *fault)
{
    char name[MAP_NAME];
    numbers n;
    bool ruled = false;
    *out = (shaped){.owned = NULL};
    for (int i = 0; i < m->count; i++) {
        if (!matches(m->rule[i].stage, stage, &n)) continue;
        ruled = true;
        fill_in(m->rule[i].name, &n, name);
        const safetensor *const t = recording_find(r, name);
        if (!t) continue;
        out->t = *t;
        if (shape(&m->rule[i], r, &n, rotated, out, fault)) return true;
        return shaped_free(out), false;
    }
    const safetensor *const own = ruled ? NULL : recording_find(r, stage);
    if (own) out->t = *own;
    return own != NULL;
}
