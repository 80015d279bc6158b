/* See id.h. */
#include "id.h"

#include "files/unknown_word.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* A parse in progress: the problem, which keys were given, and where an error goes. */
typedef struct {
    problem *p;
    id_tensors *said;
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
    if (ps->said->format[r]) return refuse(ps->why, "%s: key %s is given twice", o->name, row->name);
    const char *const choices = row->dtypes[0] == '=' ? strchr(row->dtypes, ' ') : row->dtypes;
    if (!choices)
        return refuse(ps->why, "%s: the format of %s is always that of %s", o->name, row->name, row->dtypes + 1);
    if (!*text || strchr(text, ' ') || !has_word(choices + (*choices == ' '), text))
        return refuse(ps->why, "%s: %s=%s is no format of this tensor: it takes %s", o->name, row->name, text,
                      choices + (*choices == ' '));
    ps->said->format[r] = ref_dtype_of(text);
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

/* A whole number, and what comes behind it. False: none is here. */
static bool read_whole(const char **text, int64_t *v)
{
    char *end;
    enum { MOST_DIGITS = 8 };
    if (!isdigit((unsigned char)**text)) return false;
    *v = strtoll(*text, &end, 10);
    bool const small = end - *text <= MOST_DIGITS;
    *text = end;
    return small;
}

/* "0:64/80" */
static bool read_view(const char *text, id_view *v)
{
    return read_whole(&text, &v->from) && *text++ == ':' && read_whole(&text, &v->to) && *text++ == '/' &&
           read_whole(&text, &v->wide) && !*text;
}

static bool set_view_key(parser *ps, const char *tensor, const char *text)
{
    const char *const name = ps->p->op->name;
    id_tensors *const said = ps->said;
    for (int i = 0; i < said->views; i++)
        if (!strcmp(said->view[i].tensor, tensor))
            return refuse(ps->why, "%s: key view.%s is given twice", name, tensor);
    if (said->views == MAX_VIEWS) return refuse(ps->why, "%s: more than %d views: leave some out", name, MAX_VIEWS);
    id_view *const v = &said->view[said->views++];
    int const length = snprintf(v->tensor, sizeof v->tensor, "%s", tensor);
    if (length >= (int)sizeof v->tensor) return refuse(ps->why, "%s: view.%s: no tensor has that name", name, tensor);
    if (!read_view(text, v))
        return refuse(ps->why,
                      "%s: view.%s=%s is no view: it is written A:B/W, columns A to B of rows W wide, as in 0:64/80",
                      name, tensor, text);
    if (v->from >= v->to)
        return refuse(ps->why, "%s: view.%s=%s has no columns: in A:B/W, A is less than B", name, tensor, text);
    if (v->to > v->wide)
        return refuse(ps->why, "%s: view.%s=%s leaves its rows: in A:B/W, B is at most W", name, tensor, text);
    return true;
}

static bool unknown_key(const parser *ps, const char *key)
{
    const op *const o = ps->p->op;
    unknown_word u = {.word = key};
    refuse(ps->why, "%s: unknown key '%s'", o->name, key);
    for (const field_row *f = o->fields; f->name; f++) unknown_word_offer(&u, f->name);
    for (const list_row *l = o->lists; l && l->name; l++) unknown_word_offer(&u, l->name);
    for (const tensor_row *t = o->tensors; t->name; t++)
        if (t->dtypes[0] != '=' || strchr(t->dtypes, ' ')) unknown_word_offer(&u, key_of(t));
    unknown_word_offer(&u, "view.TENSOR");
    return unknown_word_refuse(&u, "known:", ps->why);
}

static bool set_key(parser *ps, char *pair)
{
    char *const equals = strchr(pair, '=');
    if (!equals) return refuse(ps->why, "%s: '%s' is not key=value", ps->p->op->name, pair);
    *equals = 0;
    if (!strncmp(pair, "view.", 5)) return set_view_key(ps, pair + 5, equals + 1);
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
    return op_refuse(name, ps->why);
}

bool op_refuse(const char *name, complaint *why)
{
    unknown_word u = {.word = name};
    refuse(why, "unknown op '%.300s'", name);
    for (int i = 0; ops[i]; i++) unknown_word_offer(&u, ops[i]->name);
    return unknown_word_refuse(&u, "known:", why);
}

static bool refuse_preset(const char *name, complaint *why)
{
    unknown_word u = {.word = name};
    refuse(why, "unknown preset '%s'", name);
    for (int i = 0; i < PRESETS; i++) unknown_word_offer(&u, preset_names[i]);
    unknown_word_refuse(&u, "known:", why);
    return strpbrk(name, ",=") ? refuse_more(why, "; keys stand behind a colon, as in tiny:n_tokens=3") : false;
}

static bool set_preset(parser *ps, const char *name)
{
    int preset = 0;
    while (preset < PRESETS && strcmp(preset_names[preset], name)) preset++;
    if (preset == PRESETS) return refuse_preset(name, ps->why);
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
    unknown_word u = {.word = name};
    refuse(ps->why, "%s: unknown fill '%s'", ps->p->op->name, name);
    for (const fill_row *f = ps->p->op->fills; f->name; f++) unknown_word_offer(&u, f->name);
    return unknown_word_refuse(&u, "known:", ps->why);
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

bool id_read(const char *id, problem *p, id_tensors *said, complaint *why)
{
    char copy[512];
    parser ps = {.p = p, .said = said, .why = why};
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
    if (!*copy) return refuse(why, "'%.300s' begins with no op: a case is written OP@PRESET, as in rmsnorm@v3", id);
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

bool id_field_is_listed(const problem *p, const field_row *f)
{
    for (int l = 0; p->op->lists && p->op->lists[l].name; l++) {
        const list_row *const row = &p->op->lists[l];
        const char *const set[] = {row->count, row->most, row->total};
        for (size_t i = 0; p->lists[l] && i < sizeof set / sizeof *set; i++)
            if (set[i] && !strcmp(f->name, set[i])) return true;
    }
    return false;
}

/* An id as it is written. */
typedef struct {
    char *text;
    size_t cap, used; /* used >= cap: it did not fit */
    char mark;        /* before the next key */
} printer;

__attribute__((format(printf, 2, 3))) static void print(printer *out, const char *format, ...)
{
    va_list arguments;
    size_t const room = out->used < out->cap ? out->cap - out->used : 0;
    va_start(arguments, format);
    out->used += (size_t)vsnprintf(room ? out->text + out->used : NULL, room, format, arguments);
    va_end(arguments);
}

static void print_key(printer *out, const char *prefix, const char *name)
{
    print(out, "%c%s%s=", out->mark, prefix, name);
    out->mark = ',';
}

static void print_field_value(printer *out, const problem *p, const field_row *f)
{
    char number[40];
    double const v = problem_field(p, f);
    print_number(v, number, sizeof number);
    if (f->kind != FIELD_REAL) snprintf(number, sizeof number, "%.0f", v);
    print(out, "%s", number);
}

static bool fields_differ(const problem *p, const field_row *f)
{
    for (int s = 1; s < p->steps; s++)
        if (problem_field(&p->step[s], f) != problem_field(p, f)) return true;
    return false;
}

static void print_field(printer *out, const problem *p, const field_row *f)
{
    bool const differ = fields_differ(p, f);
    if (id_field_is_listed(p, f) || (!differ && problem_field(p, f) == f->preset[p->preset])) return;
    print_key(out, "", f->name);
    for (int s = 0; s < (differ ? p->steps : 1); s++) {
        if (s) print(out, "/");
        print_field_value(out, problem_step(p, s), f);
    }
}

/* "0+37+64" */
static void print_list_value(printer *out, const problem *p, int which)
{
    for (int i = 0; i < p->lists[which]; i++) print(out, "%s%lld", i ? "+" : "", (long long)p->list[which][i]);
}

static bool lists_differ(const problem *p, int which)
{
    for (int s = 1; s < p->steps; s++) {
        const problem *const other = &p->step[s];
        if (other->lists[which] != p->lists[which]) return true;
        if (memcmp(other->list[which], p->list[which], sizeof p->list[which])) return true;
    }
    return false;
}

static void print_list(printer *out, const problem *p, int which)
{
    if (!p->lists[which]) return;
    print_key(out, "", p->op->lists[which].name);
    for (int s = 0; s < (lists_differ(p, which) ? p->steps : 1); s++) {
        if (s) print(out, "/");
        print_list_value(out, problem_step(p, s), which);
    }
}

/* Of the first step: the others have the same. */
static void print_tensors(printer *out, const problem *p)
{
    for (int i = 0; i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        bool const again = i > 0 && t->row == p->tensor[i - 1].row;
        if (again || t->dtype == problem_default_format(p, t->row)) continue;
        print_key(out, "", key_of(t->row));
        print(out, "%s", ref_dtype_name(t->dtype));
    }
    for (int i = 0; i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        if (!t->wide) continue;
        print_key(out, "view.", t->name);
        print(out, "%lld:%lld/%lld", (long long)t->first, (long long)(t->first + t->shape[t->ndim - 1]),
              (long long)t->wide);
    }
}

bool id_steps_differ(const problem *p, complaint *why)
{
    bool differ = false;
    for (const field_row *f = p->op->fields; f->name; f++) differ |= fields_differ(p, f);
    for (int l = 0; p->op->lists && p->op->lists[l].name; l++) differ |= lists_differ(p, l);
    return differ ||
           refuse(why, "%s: all steps are the same call: write it once, a case is called twice anyway", p->op->name);
}

bool id_print(problem *p, complaint *why)
{
    printer out = {p->id, sizeof p->id, 0, ':'};
    print(&out, "%s@%s", p->op->name, preset_names[p->preset]);
    for (const field_row *f = p->op->fields; f->name; f++) print_field(&out, p, f);
    for (int l = 0; p->op->lists && p->op->lists[l].name; l++) print_list(&out, p, l);
    print_tensors(&out, problem_step(p, 0));
    if (p->fill != p->op->fills) print(&out, ";fill=%s", p->fill->name);
    if (p->seed != 1) print(&out, ";seed=%llu", (unsigned long long)p->seed);
    return out.used < out.cap ||
           refuse(why, "case id is longer than %zu characters when all is written out", out.cap - 1);
}
