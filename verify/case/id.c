/* See id.h. */
#include "id.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A parse in progress: the problem, which keys were given, and where an error goes. */
typedef struct {
    problem *p;
    dsv3_dtype *format_given; /* by row of the op; DSV3_NONE: not given */
    bool field_given[MAX_FIELDS];
    complaint *why;
} parser;

static void *field_at(problem *p, const field_row *f)
{
    return p->prob.bytes + f->offset;
}

static void set_field(problem *p, const field_row *f, double v)
{
    int64_t const size = (int64_t)v;
    int32_t const flag = (int32_t)v;
    switch (f->kind) {
    case FIELD_SIZE: memcpy(field_at(p, f), &size, sizeof size); return;
    case FIELD_FLAG: memcpy(field_at(p, f), &flag, sizeof flag); return;
    case FIELD_REAL: memcpy(field_at(p, f), &v, sizeof v); return;
    }
}

/* ---- keys ---- */

/* Is `word` one of the space-separated words of `list`? */
static bool has_word(const char *list, const char *word)
{
    size_t const n = strlen(word);
    for (const char *s = list; s; s = strchr(s, ' ') ? strchr(s, ' ') + 1 : NULL)
        if (!strncmp(s, word, n) && (s[n] == ' ' || !s[n])) return true;
    return false;
}

/* A number: decimal, 0x..., or 2^k. */
static bool read_number(const char *text, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return *text && !*end && !errno && isfinite(*out) && !isspace((unsigned char)*text);
}

static const char *key_of(const tensor_row *row)
{
    return row->key ? row->key : row->name;
}

static bool set_field_key(parser *ps, const field_row *f, const char *text)
{
    double v;
    int const index = (int)(f - ps->p->op->fields);
    if (ps->field_given[index]) return refuse(ps->why, "%s: key %s is given twice", ps->p->op->name, f->name);
    ps->field_given[index] = true;
    if (!read_number(text, &v)) return refuse(ps->why, "%s: %s=%s is no number", ps->p->op->name, f->name, text);
    bool const whole = f->kind == FIELD_REAL || v == floor(v);
    if (!whole || !(v >= f->least && v <= f->most))
        return refuse(ps->why, "%s: %s=%s is out of range: it takes %s from %g to %.10g", ps->p->op->name, f->name,
                      text, f->kind == FIELD_REAL ? "numbers" : "whole numbers", f->least, f->most);
    set_field(ps->p, f, v);
    return true;
}

static bool set_tensor_key(parser *ps, int r, const char *text)
{
    const op *const o = ps->p->op;
    const tensor_row *const row = &o->tensors[r];
    if (ps->format_given[r]) return refuse(ps->why, "%s: key %s is given twice", o->name, row->name);
    const char *const choices = row->dtypes[0] == '=' ? strchr(row->dtypes, ' ') : row->dtypes;
    if (!choices)
        return refuse(ps->why, "%s: the format of %s is always that of %s", o->name, row->name, row->dtypes + 1);
    if (!*text || strchr(text, ' ') || !has_word(choices + (*choices == ' '), text))
        return refuse(ps->why, "%s: %s=%s is no format of this tensor: it takes %s", o->name, row->name, text,
                      choices + (*choices == ' '));
    ps->format_given[r] = ref_dtype_of(text);
    return true;
}

/* What a list says of a field: its largest number, or their sum. */
static bool set_listed(parser *ps, const list_row *row, const char *name, int64_t v)
{
    if (!name) return true;
    const field_row *const f = op_field(ps->p->op, name);
    if (ps->field_given[f - ps->p->op->fields])
        return refuse(ps->why, "%s: %s sets %s: leave that out", ps->p->op->name, row->name, name);
    if ((double)v < f->least || (double)v > f->most)
        return refuse(ps->why, "%s: %s makes %s %lld, out of range: it takes %.0f to %.0f", ps->p->op->name, row->name,
                      name, (long long)v, f->least, f->most);
    ps->field_given[f - ps->p->op->fields] = true;
    set_field(ps->p, f, (double)v);
    return true;
}

/* The lists given have their length in common; it was not given besides. */
static bool set_length(parser *ps, int which)
{
    problem *const p = ps->p;
    const list_row *const row = &p->op->lists[which];
    for (int l = 0; l < MAX_LISTS && p->op->lists[l].name; l++) {
        const list_row *const other = &p->op->lists[l];
        if (l == which || !p->lists[l] || strcmp(other->count, row->count)) continue;
        return p->lists[l] == p->lists[which] ||
               refuse(ps->why, "%s: %s has %d numbers and %s has %d: give both as many, one for each of %s",
                      p->op->name, other->name, p->lists[l], row->name, p->lists[which], row->count);
    }
    return set_listed(ps, row, row->count, p->lists[which]);
}

/* "0+37+64" */
static bool set_list_key(parser *ps, int which, const char *text)
{
    problem *const p = ps->p;
    const list_row *const row = &p->op->lists[which];
    double const most = op_field(p->op, row->most ? row->most : row->total)->most;
    int64_t largest = 0, total = 0;
    if (p->lists[which]) return refuse(ps->why, "%s: key %s is given twice", p->op->name, row->name);
    for (const char *s = text; s; s = strchr(s, '+') ? strchr(s, '+') + 1 : NULL) {
        char *end;
        long long const v = isdigit((unsigned char)*s) ? strtoll(s, &end, 10) : -1;
        if (v < 0 || (*end && *end != '+') || (double)v > most || p->lists[which] == MAX_LIST)
            return refuse(ps->why, "%s: %s=%s is no list: it takes 1 to %d whole numbers up to %.0f, as in 0+37+64",
                          p->op->name, row->name, text, MAX_LIST, most);
        p->list[which][p->lists[which]++] = v;
        if (v > largest) largest = v;
        total += v;
    }
    return set_length(ps, which) && set_listed(ps, row, row->most, largest) && set_listed(ps, row, row->total, total);
}

/* The number of the list of that name, or -1. */
static int find_list(const op *o, const char *name)
{
    for (int l = 0; o->lists && o->lists[l].name; l++)
        if (!strcmp(o->lists[l].name, name)) return l;
    return -1;
}

static bool unknown_key(const parser *ps, const char *key)
{
    const op *const o = ps->p->op;
    refuse(ps->why, "%s: unknown key '%s'; known:", o->name, key);
    for (const field_row *f = o->fields; f->name; f++) refuse_more(ps->why, " %s", f->name);
    for (const list_row *l = o->lists; l && l->name; l++) refuse_more(ps->why, " %s", l->name);
    for (const tensor_row *t = o->tensors; t->name; t++)
        if (t->dtypes[0] != '=' || strchr(t->dtypes, ' ')) refuse_more(ps->why, " %s", key_of(t));
    return false;
}

static bool set_key(parser *ps, char *pair)
{
    char *const equals = strchr(pair, '=');
    if (!equals) return refuse(ps->why, "%s: '%s' is not key=value", ps->p->op->name, pair);
    *equals = 0;
    const field_row *const f = op_field(ps->p->op, pair);
    if (f) return set_field_key(ps, f, equals + 1);
    int const which = find_list(ps->p->op, pair);
    if (which >= 0) return set_list_key(ps, which, equals + 1);
    for (int r = 0; ps->p->op->tensors[r].name; r++)
        if (!strcmp(key_of(&ps->p->op->tensors[r]), pair)) return set_tensor_key(ps, r, equals + 1);
    return unknown_key(ps, pair);
}

/* ---- the parts of an id ---- */

static bool set_op(parser *ps, const char *name)
{
    ps->p->op = op_find(name);
    if (ps->p->op) return true;
    refuse(ps->why, "unknown op '%s'; known:", name);
    for (int i = 0; ops[i]; i++) refuse_more(ps->why, " %s", ops[i]->name);
    return false;
}

static bool set_preset(parser *ps, const char *name)
{
    int preset = 0;
    while (preset < PRESETS && strcmp(preset_names[preset], name)) preset++;
    if (preset == PRESETS) return refuse(ps->why, "unknown preset '%s'; known: v3 tiny odd edge", name);
    ps->p->preset = preset;
    for (const field_row *f = ps->p->op->fields; f->name; f++) set_field(ps->p, f, f->preset[preset]);
    return true;
}

static bool set_fill(parser *ps, const char *name)
{
    for (const fill_row *f = ps->p->op->fills; f->name; f++)
        if (!strcmp(f->name, name)) {
            ps->p->fill = f;
            return true;
        }
    refuse(ps->why, "%s: unknown fill '%s'; known:", ps->p->op->name, name);
    for (const fill_row *f = ps->p->op->fills; f->name; f++) refuse_more(ps->why, " %s", f->name);
    return false;
}

static bool set_seed(parser *ps, const char *text)
{
    char *end;
    errno = 0;
    ps->p->seed = strtoull(text, &end, 0);
    bool const good = isdigit((unsigned char)*text) && !*end && !errno;
    return good || refuse(ps->why, "seed=%s is not a whole number below 2^64", text);
}

/* ";fill=…;seed=…" */
static bool set_tail(parser *ps, char *text)
{
    char *rest = NULL;
    bool fill = false, seed = false;
    for (char *part = strtok_r(text, ";", &rest); part; part = strtok_r(NULL, ";", &rest)) {
        bool *const given = !strncmp(part, "fill=", 5) ? &fill : !strncmp(part, "seed=", 5) ? &seed : NULL;
        if (!given) return refuse(ps->why, "'%s' is neither fill=NAME nor seed=N", part);
        if (*given) return refuse(ps->why, "key %.4s is given twice", part);
        *given = true;
        if (given == &fill ? !set_fill(ps, part + 5) : !set_seed(ps, part + 5)) return false;
    }
    return true;
}

bool id_read(const char *id, problem *p, dsv3_dtype format_given[], complaint *why)
{
    char copy[512];
    parser ps = {.p = p, .format_given = format_given, .why = why};
    p->seed = 1;
    if (strlen(id) >= sizeof copy) return refuse(why, "case id is longer than %zu characters", sizeof copy - 1);
    strcpy(copy, id);
    size_t const body = strcspn(copy, ";");
    char *const tail = copy[body] ? copy + body + 1 : copy + body;
    copy[body] = 0;
    char *const keys = strchr(copy, ':');
    if (keys) *keys = 0;
    char *const preset = strchr(copy, '@');
    if (preset) *preset = 0;
    if (!set_op(&ps, copy) || !set_preset(&ps, preset ? preset + 1 : "v3")) return false;
    p->fill = p->op->fills;
    char *rest = NULL;
    for (char *pair = keys ? strtok_r(keys + 1, ",", &rest) : NULL; pair; pair = strtok_r(NULL, ",", &rest))
        if (!set_key(&ps, pair)) return false;
    return set_tail(&ps, tail);
}

/* ---- printing ---- */

/* The shortest decimal that reads back as v. */
static void print_number(double v, char *text, size_t cap)
{
    if (v == floor(v) && fabs(v) < 1e15) {
        snprintf(text, cap, "%.0f", v);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, cap, "%.*g", digits, v);
        if (strtod(text, NULL) == v) return;
    }
}

static bool set_by_list(const problem *p, const field_row *f)
{
    for (int l = 0; p->op->lists && p->op->lists[l].name; l++) {
        const list_row *const row = &p->op->lists[l];
        const char *const set[] = {row->count, row->most, row->total};
        for (size_t i = 0; p->lists[l] && i < sizeof set / sizeof *set; i++)
            if (set[i] && !strcmp(f->name, set[i])) return true;
    }
    return false;
}

/* "0+37+64" */
static void print_list(const problem *p, int which, char *text, size_t cap)
{
    size_t used = 0;
    for (int i = 0; i < p->lists[which] && used < cap; i++)
        used += (size_t)snprintf(text + used, cap - used, "%s%lld", i ? "+" : "", (long long)p->list[which][i]);
}

void id_print(problem *p)
{
    char *const id = p->id;
    size_t const cap = sizeof p->id;
    size_t used = (size_t)snprintf(id, cap, "%s@%s", p->op->name, preset_names[p->preset]);
    char mark = ':', number[40];
    for (const field_row *f = p->op->fields; f->name; f++) {
        double const v = problem_field(p, f);
        if (v == f->preset[p->preset] || set_by_list(p, f)) continue;
        print_number(v, number, sizeof number);
        if (f->kind != FIELD_REAL) snprintf(number, sizeof number, "%.0f", v);
        used += (size_t)snprintf(id + used, cap - used, "%c%s=%s", mark, f->name, number);
        mark = ',';
    }
    for (int l = 0; p->op->lists && p->op->lists[l].name; l++) {
        char list[256];
        if (!p->lists[l]) continue;
        print_list(p, l, list, sizeof list);
        used += (size_t)snprintf(id + used, cap - used, "%c%s=%s", mark, p->op->lists[l].name, list);
        mark = ',';
    }
    for (int i = 0; i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        bool const again = i > 0 && t->row == p->tensor[i - 1].row;
        if (again || t->dtype == problem_default_format(p, t->row)) continue;
        used += (size_t)snprintf(id + used, cap - used, "%c%s=%s", mark, key_of(t->row), ref_dtype_name(t->dtype));
        mark = ',';
    }
    if (p->fill != p->op->fills) used += (size_t)snprintf(id + used, cap - used, ";fill=%s", p->fill->name);
    if (p->seed != 1) snprintf(id + used, cap - used, ";seed=%llu", (unsigned long long)p->seed);
}
