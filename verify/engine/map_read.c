/* Reads a map: see name_map.h. */
#include "files/unknown_word.h"
#include "map_pattern.h"
#include "stage_rows.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Operations as a map writes them. */
typedef struct {
    const char *text;
    map_word word;
    enum { NOTHING, RANGE, NAME, WORD } behind;
    const char *second; /* WORD: this one */
} operation_word;

static const operation_word operation_words[] = {{"rows", MAP_ROWS, RANGE},
                                                 {"cols", MAP_COLS, RANGE},
                                                 {"half", MAP_HALF, NOTHING},
                                                 {"turn", MAP_TURN, NOTHING},
                                                 {"flat", MAP_FLAT, NOTHING},
                                                 {"beside", MAP_BESIDE, NAME},
                                                 {"normed", MAP_NORMED, NAME},
                                                 {"stream", MAP_STREAM, NAME},
                                                 {"chosen", MAP_CHOSEN, NOTHING},
                                                 {"kept", MAP_KEPT, NOTHING},
                                                 {"ranks", MAP_RANKS_CAT, WORD, "cat"},
                                                 {"ranks", MAP_RANKS_SAME, WORD, "same"},
                                                 {"ranks", MAP_RANKS_SUM, WORD, "sum"},
                                                 {"times", MAP_TIMES, WORD, "routed_scaling_factor"},
                                                 {NULL}};

/* Are the braces of a name ones that have a meaning? */
static bool check_braces(const char *name, complaint *why)
{
    static const char *const known[] = {"{N}", "{K}", "{N+1}", "{N-1}", "{R}", "{L}", "{E}", NULL};
    for (const char *s = strchr(name, '{'); s; s = strchr(s + 1, '{')) {
        bool good = false;
        for (int i = 0; known[i]; i++) good |= !strncmp(s, known[i], strlen(known[i]));
        if (!good) return refuse(why, "'%.20s' has no meaning: in braces stand N, L, K, R, E, N+1 or N-1", s);
    }
    return true;
}

/* Where the reader is. */
typedef struct {
    const char *from;
    int line;
    unsigned set; /* a bit for each setting that was read */
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

/* Sizes of a model that a range may name. */
static const struct {
    const char *name;
    size_t offset;
} sizes[] = {
#define SIZE(field)                                                                                                    \
    {                                                                                                                  \
#field, offsetof(dsv3_config, field)                                                                           \
    }
    SIZE(hidden_size),      SIZE(intermediate_size),  SIZE(moe_intermediate_size), SIZE(q_lora_rank),
    SIZE(kv_lora_rank),     SIZE(qk_nope_head_dim),   SIZE(qk_rope_head_dim),      SIZE(v_head_dim),
    SIZE(n_routed_experts), SIZE(num_experts_per_tok)
#undef SIZE
};

/* One end, which is the text up to its end; `otherwise` if there is none. */
static bool read_end(const char *text, const map_end *otherwise, map_end *end)
{
    const char *s = text;
    *end = *otherwise;
    if (!*text) return true;
    *end = (map_end){END_HALF, 0};
    if (!strcmp(text, "half")) return true;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *end = (map_end){END_SIZE, (int64_t)sizes[i].offset};
        if (!strcmp(text, sizes[i].name)) return true;
    }
    *end = (map_end){END_NUMBER, 0};
    return map_read_number(&s, &end->number) && !*s && end->number <= 1LL << 40;
}

static bool read_range(const map_reader *r, const char *text, map_operation *o)
{
    static const map_end none = {END_NUMBER, 0}, all = {END_ALL, 0};
    complaint cause;
    char first[80];
    const char *const colon = strchr(text, ':');
    snprintf(first, sizeof first, "%.*s", colon ? (int)(colon - text) : 0, text);
    bool const numbers = colon && read_end(first, &none, &o->from) && read_end(colon + 1, &all, &o->to);
    bool const empty =
        numbers && o->from.kind == END_NUMBER && o->to.kind == END_NUMBER && o->from.number >= o->to.number;
    if (numbers && !empty) return true;
    refuse(&cause,
           "'%.40s' is no range: it is written A:B, from A up to B, as in 0:1536, q_lora_rank: (to the last) or :half",
           text);
    return refuse_line(r, &cause);
}

static bool refuse_operation(const map_reader *r, const char *word)
{
    complaint cause;
    unknown_word u = {.word = word};
    for (const operation_word *w = operation_words; w->text; w++)
        if (w == operation_words || strcmp(w->text, w[-1].text)) unknown_word_offer(&u, w->text);
    refuse(&cause, "'%.40s' is no operation", word);
    unknown_word_refuse(&u, "known", &cause);
    return refuse_line(r, &cause);
}

static bool refuse_second(const map_reader *r, const char *word, const char *second)
{
    complaint cause;
    refuse(&cause, "'%s %.40s' is no operation; known:", word, second);
    for (const operation_word *w = operation_words; w->text; w++)
        if (!strcmp(w->text, word)) refuse_more(&cause, " %s %s", word, w->second);
    return refuse_line(r, &cause);
}

static bool read_operation(const map_reader *r, char *text, map_operation *o)
{
    complaint cause;
    const operation_word *w = operation_words;
    char *const space = strpbrk(text, " \t"), *const rest = space ? trimmed(space) : text + strlen(text);
    if (space) *space = 0;
    while (w->text && strcmp(w->text, text) != 0) w++;
    if (!w->text) return refuse_operation(r, text);
    if (w->behind == WORD) {
        while (w->text && (strcmp(w->text, text) || strcmp(w->second, rest))) w++;
        if (!w->text) return refuse_second(r, text, rest);
    }
    *o = (map_operation){.word = w->word};
    if (w->behind == WORD) return true;
    if (w->behind == RANGE) return read_range(r, rest, o);
    if (w->behind == NAME) return read_name(r, rest, o->other);
    return !*rest ||
           (refuse(&cause, "'%s' stands alone, and '%.40s' follows it", w->text, rest), refuse_line(r, &cause));
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

/* ---- what no name says ---- */

static bool set_rows(const char *value, name_map *m)
{
    const char *s = value;
    return map_read_number(&s, &m->first_token) && *s++ == ':' && map_read_number(&s, &m->end_token) && !*s &&
           m->first_token < m->end_token && m->end_token <= 1 << 20;
}

/* Lengths, or a name, which begins with none. */
static bool is_seqlens(const char *value)
{
    int64_t length;
    if (*value != '-' && !isdigit((unsigned char)*value)) return *value && !strpbrk(value, " \t,");
    while (map_read_number(&value, &length) && *value == ',') value++;
    return !*value && isdigit((unsigned char)value[-1]);
}

static bool set_seqlens(const char *value, name_map *m)
{
    return is_seqlens(value) && snprintf(m->seqlens, sizeof m->seqlens, "%s", value) < (int)sizeof m->seqlens;
}

static bool set_ranks(const char *value, name_map *m)
{
    const char *s = value;
    return map_read_number(&s, &m->ranks) && !*s && m->ranks >= 1 && m->ranks <= MOST_RANKS;
}

static bool set_latent_eps(const char *value, name_map *m)
{
    m->latent_eps = !strcmp(value, "config");
    return m->latent_eps || !strcmp(value, "1e-6");
}

static bool set_mtp_input(const char *value, name_map *m)
{
    static const char *const values[] = {"norm", "stream", "norm-then-stream"};
    for (int i = 0; i < 3; i++) {
        m->mtp = (mtp_input)i;
        if (!strcmp(value, values[i])) return true;
    }
    return false;
}

static const struct {
    const char *key, *wanted;
    bool (*set)(const char *value, name_map *m);
} settings[] = {{"rows", "A:B, the tokens from A up to B", set_rows},
                {"seqlens", "lengths, as in 5,7, or the name of a tensor that has them", set_seqlens},
                {"ranks", "how many there are, at most 1024", set_ranks},
                {"latent_eps", "1e-6 or config", set_latent_eps},
                {"mtp_input", "norm, stream or norm-then-stream", set_mtp_input}};

static bool read_setting(map_reader *r, char *text, name_map *m)
{
    complaint cause;
    unknown_word u = {.word = text};
    char *const equals = strchr(text, '='), *const value = equals ? trimmed(equals + 1) : text + strlen(text);
    if (equals) *equals = 0;
    u.word = text = trimmed(text);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        unknown_word_offer(&u, settings[i].key);
        if (strcmp(settings[i].key, text)) continue;
        bool const again = r->set >> i & 1;
        r->set |= 1u << i;
        if (!again && settings[i].set(value, m)) return true;
        if (again) refuse(&cause, "set %s stands twice", text);
        if (!again) refuse(&cause, "set %s = %.40s: wanted is %s", text, value, settings[i].wanted);
        return refuse_line(r, &cause);
    }
    refuse(&cause, "'set %.40s' sets nothing", text);
    unknown_word_refuse(&u, "known", &cause);
    return refuse_line(r, &cause);
}

/* ---- lines ---- */

/* Ranks are put together once, and a name with {R} is of ranks. */
static bool check_ranks(const map_reader *r, const map_rule *rule)
{
    complaint cause;
    int together = 0;
    for (int i = 0; i < rule->count; i++)
        together += rule->operation[i].word >= MAP_RANKS_CAT && rule->operation[i].word <= MAP_RANKS_SUM;
    bool const named = strstr(rule->name, "{R}") != NULL;
    if (together == named) return true;
    refuse(&cause,
           named ? "%s has {R}, so ranks cat, ranks same or ranks sum belongs behind it, once"
                 : "%s has no {R}, and ranks are put together",
           rule->name);
    return refuse_line(r, &cause);
}

/* {L} is the last of {N}. */
static bool is_stage_or_last(const char *name)
{
    char any[MAP_NAME];
    snprintf(any, sizeof any, "%s", name);
    char *const last = strstr(any, "{L}");
    if (last) last[1] = 'N';
    return is_stage(any);
}

/* Does the text end so? */
static bool ends_in(const char *text, const char *end)
{
    size_t const length = strlen(text), tail = strlen(end);
    return length > tail && !strcmp(text + length - tail, end);
}

static bool is_weight(const char *name)
{
    bool const ours = !strncmp(name, "model.", 6) || !strncmp(name, "lm_head.", 8);
    return ours && (ends_in(name, ".weight") || ends_in(name, ".e_score_correction_bias"));
}

/* What an engine calls a weight: --weights finds out itself how it was moved. */
static bool check_weight(const map_reader *r, const map_rule *rule, bool operations)
{
    complaint cause;
    if (!operations && !strstr(rule->name, "{R}")) return true;
    refuse(&cause, "%s is a weight, whose name has no {R} and no operation behind it", rule->stage);
    return refuse_line(r, &cause);
}

static bool check_stage(const map_reader *r, const map_rule *rule)
{
    complaint cause;
    if (is_stage_or_last(rule->stage)) return true;
    refuse(&cause, "%s is no stage of a model: docs/formats.md, \"Dumps of a model\", has their names", rule->stage);
    return refuse_line(r, &cause);
}

/* How often a name has {c}, or a neighbour of it; {L} is a layer, too. */
static int count_braces(const char *name, char c)
{
    int count = 0;
    for (const char *s = strchr(name, '{'); s; s = strchr(s + 1, '{')) count += s[1] == c || (c == 'N' && s[1] == 'L');
    return count;
}

/* A number in a name is one that the stage has, once; and each stage has a name of its own, unless it isn't recorded. */
static bool check_numbers(const map_reader *r, const map_rule *rule, const char *name)
{
    complaint cause;
    bool const own = name == rule->name && strcmp(name, "nothing") != 0 && !strstr(rule->stage, "{L}");
    for (const char *c = "NKE"; *c; c++) {
        int const of_stage = count_braces(rule->stage, *c), of_name = count_braces(name, *c);
        if (of_stage > 1)
            refuse(&cause, "%s has {%c} twice", rule->stage, *c);
        else if (of_name && !of_stage)
            refuse(&cause, "%s has {%c}, and %s has none", name, *c, rule->stage);
        else if (of_stage && !of_name && own)
            refuse(&cause, "%s has no {%c}, so it would be %s for each of them", name, *c, rule->stage);
        else if (of_name > 1 && rule->weight)
            refuse(&cause, "%s has {%c} twice", name, *c);
        else
            continue;
        return refuse_line(r, &cause);
    }
    return true;
}

/* Tokens are no numbers that a norm gives, or a router. */
static bool check_tokens(const map_reader *r, const map_rule *rule)
{
    complaint cause;
    if (strcmp(rule->stage, "input_ids") != 0) return true;
    for (int i = 0; i < rule->count; i++) {
        map_word const word = rule->operation[i].word;
        if (word <= MAP_BESIDE && word != MAP_HALF) continue;
        refuse(&cause, "input_ids are tokens: known for them are rows, cols, turn, flat and beside");
        return refuse_line(r, &cause);
    }
    return true;
}

/* Those of the rule, and of each tensor beside. */
static bool check_all_numbers(const map_reader *r, const map_rule *rule)
{
    complaint cause;
    if (!check_numbers(r, rule, rule->name)) return false;
    for (int i = 0; i < rule->count; i++) {
        const char *const other = rule->operation[i].other;
        if (*other && !check_numbers(r, rule, other)) return false;
        if (!strstr(other, "{R}") || strstr(rule->name, "{R}")) continue;
        refuse(&cause, "%s has {R}, and %s has none", other, rule->name);
        return refuse_line(r, &cause);
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
    rule->weight = is_weight(rule->stage);
    if (rule->weight) return check_weight(r, rule, semicolon) && check_all_numbers(r, rule);
    return check_stage(r, rule) && (!semicolon || read_operations(r, semicolon + 1, rule)) && check_ranks(r, rule) &&
           check_all_numbers(r, rule) && check_tokens(r, rule);
}

bool name_map_parse(const char *from, const char *text, name_map *m, complaint *why)
{
    map_reader r = {from, 0, 0, why};
    char *const copy = strdup(text);
    m->rule = calloc(MOST_RULES, sizeof *m->rule);
    bool good = (copy && m->rule) || refuse(why, "no memory for %s", from);
    for (char *line = copy, *next; good && line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        r.line++;
        line[strcspn(line, "#")] = 0;
        line = trimmed(line);
        bool const set = !strncmp(line, "set ", 4);
        good = !*line || (set ? read_setting(&r, line + 4, m) : read_rule(&r, line, m));
    }
    free(copy);
    if (good && m->end_token && *m->seqlens)
        return refuse(why, "%s: set rows takes one sequence and set seqlens all of them: leave one out", from);
    return good;
}
