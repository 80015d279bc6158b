/* See smaller.h. */
#include "smaller.h"

#include "id.h"
#include "id_words.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    problem p; /* the best so far */
    smaller_question *ask;
    void *context;
    char (*tried)[ID_SIZE]; /* ids of which it holds no more */
    int count, kept;
    bool ended;
} search;

typedef enum { ILLEGAL, KEPT, DROPPED } outcome;

/* ---- which is smaller ---- */

int64_t elements_of(const problem *p, unsigned kinds)
{
    int64_t n = 0;
    for (int i = 0; i < p->tensors; i++)
        if (kinds >> p->tensor[i].row->kind & 1) n += p->tensor[i].count;
    return n;
}

static double sizes_of(const problem *p)
{
    double sum = 0;
    for (const field_row *f = p->op->fields; f->name; f++)
        if (f->kind == FIELD_SIZE) sum += problem_field(p, f);
    for (int l = 0; l < MAX_LISTS; l++)
        for (int i = 0; i < p->lists[l]; i++) sum += (double)p->list[l][i];
    return sum;
}

/* Of a view; those before it count twice, as one of these may become one behind it. */
static double columns_beside(const tensor_info *t)
{
    return t->wide ? (double)(t->wide - t->shape[t->ndim - 1] + t->first) : 0;
}

static double sizes_of_all(const problem *p)
{
    double sum = 0;
    for (int s = 0; s < problem_calls(p); s++) sum += sizes_of(problem_step(p, s));
    for (int i = 0; i < p->tensors; i++) sum += columns_beside(&p->tensor[i]);
    return sum;
}

static bool is_smaller(const problem *a, const problem *b)
{
    double const sizes = sizes_of_all(a) - sizes_of_all(b);
    int64_t const elements = elements_of(a, ~0u) - elements_of(b, ~0u);
    int const keys = id_keys(a->id) - id_keys(b->id);
    if (elements) return elements < 0;
    if (sizes < 0 || sizes > 0) return sizes < 0;
    return keys ? keys < 0 : strlen(a->id) < strlen(b->id);
}

/* ---- views, which are as wide as their tensors ---- */

static bool is_view(const char *key)
{
    return !strncmp(key, "view.", 5);
}

/* "3:67/80" of a tensor that has other columns now: as many before it and behind. "": there is no such tensor. */
static void fit_view(const problem *p, const char *tensor, const char *value, char *fitted, size_t cap)
{
    long long from = 0, to = 0, wide = 0;
    const tensor_info *const t = problem_tensor(p, tensor);
    long long const columns = t ? (long long)t->shape[t->ndim - 1] : 0;
    *fitted = 0;
    if (!t || sscanf(value, "%lld:%lld/%lld", &from, &to, &wide) != 3) return;
    snprintf(fitted, cap, "%lld:%lld/%lld", from, from + columns, from + columns + wide - to);
}

/* The id with views that fit its sizes. False: it is illegal, whatever they are. */
static bool fit_views(const char *id, char fitted[ID_SIZE])
{
    id_words w, plain;
    problem p;
    complaint why;
    char text[MAX_VIEWS][80];
    int views = 0;
    id_split(id, &w);
    id_split(id, &plain);
    for (int i = 0; i < plain.pairs; i++)
        if (is_view(plain.key[i])) plain.value[i] = NULL;
    if (!id_join(&plain, NULL, NULL, fitted) || !problem_parse(fitted, &p, &why)) return false;
    for (int i = 0; i < w.pairs && views < MAX_VIEWS; i++) {
        if (!is_view(w.key[i])) continue;
        fit_view(&p, w.key[i] + 5, w.value[i], text[views], sizeof *text);
        w.value[i] = *text[views] ? text[views] : NULL;
        views++;
    }
    problem_close(&p);
    return id_join(&w, NULL, NULL, fitted);
}

static bool parse_fitted(const char *id, problem *p)
{
    complaint why;
    char fitted[ID_SIZE];
    if (problem_parse(id, p, &why)) return true;
    return strstr(id, "view.") && fit_views(id, fitted) && problem_parse(fitted, p, &why);
}

/* ---- one id ---- */

static bool was_tried(const search *s, const char *id)
{
    for (int i = 0; i < s->count; i++)
        if (!strcmp(s->tried[i], id)) return true;
    return false;
}

/* Without memory it may be tried again. */
static void note_tried(search *s, const char *id)
{
    char(*const more)[ID_SIZE] = realloc(s->tried, ((size_t)s->count + 1) * sizeof *more);
    if (!more) return;
    s->tried = more;
    snprintf(s->tried[s->count++], ID_SIZE, "%s", id);
}

static void take(search *s, const problem *p)
{
    problem_close(&s->p);
    s->p = *p;
    s->kept++;
}

/* Of a legal problem, which it owns. */
static outcome decide(search *s, problem *p)
{
    bool const open = !s->ended && is_smaller(p, &s->p) && !was_tried(s, p->id);
    smaller_answer const answer = open ? s->ask(p, s->context) : HOLDS_NO_MORE;
    s->ended |= answer == NOBODY_ASKED;
    if (answer == STILL_HOLDS) return take(s, p), KEPT;
    if (open) note_tried(s, p->id);
    problem_close(p);
    return DROPPED;
}

static outcome try_id(search *s, const char *id)
{
    problem p;
    if (s->ended) return ILLEGAL;
    return parse_fitted(id, &p) ? decide(s, &p) : ILLEGAL;
}

/* ---- presets ---- */

/* Fields that a list sets are left to it; one that changes from step to step stays as it is, too. */
static bool is_free(const id_words *w, const problem *p, const field_row *f)
{
    int const at = id_words_find(w, f->name);
    return !id_field_is_listed(p, f) && !(at >= 0 && strchr(w->value[at], '/'));
}

typedef enum { SAME_CASE, ITS_SIZES, ITS_CONVENTIONS } adoption;

/* What of a preset is taken: nothing, so that the case stays the same; its sizes; or its constants and flags. */
static bool is_adopted(const field_row *f, adoption what)
{
    return what != SAME_CASE && (f->kind == FIELD_SIZE) == (what == ITS_SIZES);
}

/* The id under another preset. False: it is too long. */
static bool under_preset(const problem *p, int preset, adoption what, char id[ID_SIZE])
{
    id_words w;
    char number[40];
    id_split(p->id, &w);
    snprintf(w.head, sizeof w.head, "%s@%s", p->op->name, preset_names[preset]);
    bool good = id_join(&w, NULL, NULL, id);
    for (const field_row *f = p->op->fields; f->name && good; f++) {
        if (!is_free(&w, p, f)) continue;
        snprintf(number, sizeof number, "%.17g", is_adopted(f, what) ? f->preset[preset] : problem_field(p, f));
        good = id_with(id, f->name, number, id);
    }
    return good;
}

static void try_presets(search *s, adoption what)
{
    static const int smallest_first[PRESETS] = {PRESET_EDGE, PRESET_TINY, PRESET_ODD, PRESET_V3};
    char id[ID_SIZE];
    for (int i = 0; i < PRESETS; i++)
        if (under_preset(&s->p, smallest_first[i], what, id)) try_id(s, id);
}

/* The same case, said more shortly: nobody is asked. */
static void restate(search *s)
{
    char id[ID_SIZE];
    problem p;
    for (int preset = 0; preset < PRESETS; preset++) {
        if (!under_preset(&s->p, preset, SAME_CASE, id) || !parse_fitted(id, &p)) continue;
        if (is_smaller(&p, &s->p))
            take(s, &p);
        else
            problem_close(&p);
    }
}

/* ---- keys that are left out, so that they have their defaults ---- */

/* Two at once: the format of a tensor, and the field that it is there by. */
static void drop_keys(search *s)
{
    char id[ID_SIZE];
    id_words w;
    id_split(s->p.id, &w);
    int const pairs = w.pairs;
    for (int i = 0; i < pairs; i++)
        for (int j = i; j < pairs; j++) {
            id_split(s->p.id, &w);
            if (j >= w.pairs) continue;
            w.value[i] = w.value[j] = NULL;
            if (id_join(&w, NULL, NULL, id)) try_id(s, id);
        }
}

static void drop_from_tail(search *s, const char *key)
{
    char id[ID_SIZE], tail[ID_SIZE];
    id_words w;
    id_split(s->p.id, &w);
    char *const at = strstr(w.tail, key);
    if (!at) return;
    size_t const length = strcspn(at, ";");
    snprintf(tail, sizeof tail, "%.*s%s", (int)(at - w.tail), w.tail, at + length + (at[length] == ';'));
    size_t const left = strlen(tail);
    if (left && tail[left - 1] == ';') tail[left - 1] = 0;
    w.tail = tail;
    if (id_join(&w, NULL, NULL, id)) try_id(s, id);
}

/* ---- sequences of calls ---- */

static void drop_step(search *s, int step)
{
    char id[ID_SIZE];
    id_words w;
    id_split(s->p.id, &w);
    for (int i = 0; i < w.pairs; i++)
        if (!is_view(w.key[i])) id_value_without(w.value[i], step, "/");
    if (id_join(&w, NULL, NULL, id)) try_id(s, id);
}

/* ---- numbers ---- */

/* The value of a key as the id has it or as it is by default: numbers with '+' or '/' between them. */
static void value_of(const problem *p, const char *key, char *value, size_t cap)
{
    id_words w;
    id_split(p->id, &w);
    int const at = id_words_find(&w, key);
    const field_row *const f = op_field(p->op, key);
    if (at >= 0)
        snprintf(value, cap, "%s", w.value[at]);
    else
        snprintf(value, cap, "%.0f", f ? problem_field(p, f) : 0);
}

/* A number that may be made smaller: which one of the value of a key. */
typedef struct {
    const char *key;
    int index;
    int64_t least;
} place;

static int64_t number_at(const problem *p, const place *at)
{
    char value[ID_SIZE];
    value_of(p, at->key, value, sizeof value);
    const char *number = value;
    for (int i = at->index; i > 0 && number; i--) number = id_value_next(number);
    return number ? strtoll(number, NULL, 10) : at->least;
}

static outcome try_number(search *s, const place *at, int64_t v)
{
    char value[ID_SIZE], changed[2 * ID_SIZE], id[ID_SIZE];
    value_of(&s->p, at->key, value, sizeof value);
    const char *number = value;
    for (int i = at->index; i > 0 && number; i--) number = id_value_next(number);
    if (!number) return ILLEGAL;
    snprintf(changed, sizeof changed, "%.*s%lld%s", (int)(number - value), value, (long long)v,
             number + strcspn(number, "+/"));
    return id_with(s->p.id, at->key, changed, id) ? try_id(s, id) : ILLEGAL;
}

/* The least it may be, else halves. */
static void shrink_fast(search *s, const place *at)
{
    int64_t const from = number_at(&s->p, at);
    if (from <= at->least || try_number(s, at, at->least) == KEPT) return;
    for (int64_t v = from / 2; v > at->least && try_number(s, at, v) == KEPT;) v /= 2;
}

/* Of numbers that are multiples of `stride` below the present one: the legal one that is nearest to the middle between it and
 * `low`, of which it doesn't hold. */
static outcome try_middle(search *s, const place *at, int64_t low, int64_t high, int stride, int64_t *middle)
{
    enum { NEAR = 64 };
    int64_t const steps = (high - low) / stride;
    for (int64_t k = 0; k < 2 * NEAR; k++) {
        int64_t const step = steps / 2 + (k % 2 ? -(k + 1) / 2 : k / 2);
        *middle = high - step * stride;
        if (step < 1 || *middle <= low) continue;
        outcome const o = try_number(s, at, *middle);
        if (o != ILLEGAL || s->ended) return o;
    }
    return ILLEGAL;
}

static void bisect(search *s, const place *at, int stride)
{
    int64_t low = at->least, high = number_at(&s->p, at), middle;
    while (high - low > stride && !s->ended) {
        outcome const o = try_middle(s, at, low, high, stride, &middle);
        if (o == ILLEGAL) return;
        *(o == KEPT ? &high : &low) = middle;
    }
}

/* Neighbours first, then those of the same kind: what fails at odd sizes alone. */
static void shrink_finely(search *s, const place *at)
{
    bisect(s, at, 1);
    bisect(s, at, 2);
}

typedef void shrinking(search *s, const place *at);

static void shrink_key(search *s, const char *key, int64_t least, shrinking *how)
{
    char value[ID_SIZE];
    value_of(&s->p, key, value, sizeof value);
    for (int i = 0; i < id_value_numbers(value); i++) how(s, &(place){key, i, least});
}

static void shrink_numbers(search *s, shrinking *how)
{
    const op *const o = s->p.op;
    for (const field_row *f = o->fields; f->name; f++)
        if (f->kind == FIELD_SIZE && !id_field_is_listed(&s->p, f)) shrink_key(s, f->name, (int64_t)f->least, how);
    for (int l = 0; o->lists && o->lists[l].name; l++)
        if (s->p.lists[l]) shrink_key(s, o->lists[l].name, 0, how);
}

/* One sequence less, in all lists. */
static void drop_sequence(search *s, int index)
{
    char id[ID_SIZE];
    id_words w;
    id_split(s->p.id, &w);
    const list_row *const lists = s->p.op->lists;
    for (int l = 0; lists && lists[l].name; l++) {
        int const at = id_words_find(&w, lists[l].name);
        if (at >= 0 && !id_value_without(w.value[at], index, "+")) return;
    }
    if (id_join(&w, NULL, NULL, id)) try_id(s, id);
}

/* ---- the search ---- */

/* Columns from..to of rows so wide. */
static outcome try_view(search *s, const char *key, long long from, long long to, long long wide)
{
    char id[ID_SIZE], value[80];
    snprintf(value, sizeof value, "%lld:%lld/%lld", from, to, wide);
    return id_with(s->p.id, key, value, id) ? try_id(s, id) : ILLEGAL;
}

/* One column behind it, or before it, or what there is on one side. */
static void shrink_views(search *s)
{
    id_words w;
    id_split(s->p.id, &w);
    for (int i = 0; i < w.pairs; i++) {
        long long from, to, wide;
        if (!is_view(w.key[i]) || sscanf(w.value[i], "%lld:%lld/%lld", &from, &to, &wide) != 3) continue;
        long long const n = to - from;
        if (try_view(s, w.key[i], 0, n, n + 1) == KEPT || try_view(s, w.key[i], 1, n + 1, n + 1) == KEPT) continue;
        if (try_view(s, w.key[i], 0, n, wide - from) == KEPT) continue;
        try_view(s, w.key[i], from, to, to);
    }
}

/* One change after another, each once. */
static void go_over(search *s)
{
    try_presets(s, ITS_SIZES);
    try_presets(s, ITS_CONVENTIONS);
    for (int k = 0; k < s->p.steps; k++) drop_step(s, k);
    drop_keys(s);
    drop_from_tail(s, "fill=");
    drop_from_tail(s, "seed=");
    for (int i = 0; i < s->p.lists[0] || i < s->p.lists[1]; i++) drop_sequence(s, i);
    shrink_numbers(s, shrink_fast);
    shrink_views(s);
    restate(s);
}

bool smaller_search(problem *p, smaller_question *ask, void *context)
{
    search s = {.p = *p, .ask = ask, .context = context};
    for (int before = -1; before < s.kept && !s.ended;) {
        before = s.kept;
        go_over(&s);
        if (before == s.kept) shrink_numbers(&s, shrink_finely);
    }
    *p = s.p;
    free(s.tried);
    return !s.ended;
}
