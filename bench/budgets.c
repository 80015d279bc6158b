/* See budgets.h. */
#include "budgets.h"

#include "json_lines.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a line says ---- */

/* The op of an id: what stands before its preset, its values or its fill. */
static bool read_op(const json_t *line, char op[32])
{
    const char *const id = json_string_value(json_object_get(line, "id"));
    if (!id) return json_text(line, "op", op, 32);
    size_t const length = strcspn(id, "@:;");
    if (!length || length >= 32) return false;
    memcpy(op, id, length);
    op[length] = 0;
    return true;
}

/* A port is called as its file is, without folder and .so. */
static bool read_port(const json_t *line, char port[64])
{
    char whole[1024];
    if (!json_text(line, "backend", whole, sizeof whole)) return false;
    const char *const slash = strncmp(whole, "exec:", 5) ? strrchr(whole, '/') : NULL;
    snprintf(port, 64, "%.63s", slash ? slash + 1 : whole);
    char *const end = strstr(port, ".so");
    if (end && end > port && !end[3]) *end = 0;
    return true;
}

/* JSON lacks infinity and NaN: they are words. */
static bool read_budget(const json_t *j, double *budget)
{
    const char *const word = json_string_value(j);
    *budget = word ? (double)INFINITY : json_number_value(j);
    return word ? !strcmp(word, "inf") || !strcmp(word, "nan") : json_is_number(j) && *budget >= 0;
}

/* ---- groups ---- */

static budget_group *group_of(budgets *b, const budget_group *key)
{
    for (int i = 0; i < b->count; i++) {
        budget_group *const g = &b->group[i];
        if (g->v == key->v && !strcmp(g->op, key->op) && !strcmp(g->port, key->port) && !strcmp(g->dtype, key->dtype))
            return g;
    }
    budget_group *const more = realloc(b->group, ((size_t)b->count + 1) * sizeof *more);
    if (!more) return NULL;
    b->group = more;
    b->group[b->count] = *key;
    return &b->group[b->count++];
}

static bool add_budget(budget_group *g, const json_t *j)
{
    double *const more = realloc(g->budget, ((size_t)g->count + 1) * sizeof *more);
    if (!more) return false;
    g->budget = more;
    return read_budget(j, &g->budget[g->count]) && ++g->count;
}

/* A line of verify run has a list of outputs. */
static bool add_outputs(budgets *b, budget_group *key, const json_t *outputs, const char **lacks)
{
    *lacks = "outputs";
    if (!json_is_array(outputs)) return false;
    if (!json_array_size(outputs)) return group_of(b, key) != NULL;
    for (size_t i = 0; i < json_array_size(outputs); i++) {
        const json_t *const output = json_array_get(outputs, i);
        if (!json_text(output, "dtype", key->dtype, sizeof key->dtype)) return *lacks = "outputs' dtype", false;
        budget_group *const g = group_of(b, key);
        if (!g || !add_budget(g, json_object_get(output, "budget"))) return *lacks = "outputs' budget", false;
    }
    return true;
}

/* A line of bench/budget.py has the budgets of a whole group. */
static bool add_list(budgets *b, budget_group *key, const json_t *line, const char **lacks)
{
    const json_t *const list = json_object_get(line, "budget"), *const dtype = json_object_get(line, "dtype");
    if (!json_is_string(dtype) || json_string_length(dtype) >= sizeof key->dtype) return *lacks = "dtype", false;
    strcpy(key->dtype, json_string_value(dtype));
    *lacks = "budget";
    budget_group *const g = json_is_array(list) ? group_of(b, key) : NULL;
    bool good = g && !json_array_size(list) == !*key->dtype;
    for (size_t i = 0; good && i < json_array_size(list); i++) good = add_budget(g, json_array_get(list, i));
    return good;
}

static bool take_line(void *own, const json_t *line, const char **lacks)
{
    budgets *const b = own;
    budget_group key = {.count = 0};
    char word[16];
    if (json_object_get(line, "run") || json_object_get(line, "end")) return true;
    if (!read_op(line, key.op)) return *lacks = json_object_get(line, "id") ? "id" : "id or op", false;
    if (!read_port(line, key.port)) return *lacks = "backend", false;
    if (!json_text(line, "verdict", word, sizeof word) || !verdict_of_name(word, &key.v))
        return *lacks = "verdict", false;
    const json_t *const outputs = json_object_get(line, "outputs");
    return outputs ? add_outputs(b, &key, outputs, lacks) : add_list(b, &key, line, lacks);
}

static int by_size(const void *a, const void *b)
{
    double const x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bool budgets_read(budgets *b, const char *file, complaint *why)
{
    *b = (budgets){.file = file};
    if (!json_lines_read(file, "verify run --format=jsonl", take_line, b, why)) return false;
    for (int i = 0; i < b->count; i++)
        if (b->group[i].count)
            qsort(b->group[i].budget, (size_t)b->group[i].count, sizeof *b->group[i].budget, by_size);
    return true;
}

void budgets_close(budgets *b)
{
    for (int i = 0; i < b->count; i++) free(b->group[i].budget);
    free(b->group);
}

bool is_mistake(const char *port)
{
    return !strncmp(port, "mistake_", 8);
}

double budget_quantile(const budget_group *g, double part)
{
    return g->budget[(int)round(part * (g->count - 1))];
}
