/* See compare_weights.h. */
#include "compare_weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The engine's tensor as (stack, rows, columns). */
typedef struct {
    const safetensor *t;
    int64_t stack, rows, columns;
} held;

/* Where its elements are in the source. */
typedef struct {
    const char *rule;
    bool transposed;
    int64_t ranks, rank;    /* it has one of so many equal pieces of the rows of each part, or of the columns */
    bool of_columns;        /* the latter */
    int64_t first_of_stack; /* it has matrices from this one on */
} fit;

/* ---- elements ---- */

/* Row i of the engine in the source; its pieces of the parts lie one above the other. -1: it is padding. */
static int64_t row_of(const weight_source *s, const fit *f, int64_t i)
{
    int64_t before = 0;
    for (int p = 0; p < s->parts; p++) {
        int64_t const own = s->part[p].rows / (f->of_columns ? 1 : f->ranks);
        if (i < own) return before + (f->of_columns ? 0 : f->rank * own) + i;
        i -= own;
        before += s->part[p].rows;
    }
    return -1;
}

static int64_t column_of(const weight_source *s, const fit *f, int64_t j)
{
    int64_t const own = s->columns / (f->of_columns ? f->ranks : 1);
    return j < own ? (f->of_columns ? f->rank * own : 0) + j : -1;
}

static bool same_number(double a, double b)
{
    return (a == b && signbit(a) == signbit(b)) || (isnan(a) && isnan(b));
}

/* In the engine's format a number of the checkpoint is rounded once, or by way of binary32. */
static bool is_equal(const weight_source *s, dsv3_dtype format, int64_t at, int64_t row, int64_t column, double got,
                     double *want)
{
    *want = row < 0 || column < 0 ? 0 : ref_round(format, weight_source_value(s, at, row, column, false));
    if (row < 0 || column < 0 || same_number(got, *want)) return same_number(got, *want);
    return same_number(got, ref_round(format, weight_source_value(s, at, row, column, true)));
}

static bool refuse_element(const held *h, int64_t at, int64_t i, int64_t j, double got, double want, complaint *why)
{
    char place[80] = "";
    if (h->stack > 1) snprintf(place, sizeof place, "%lld, ", (long long)at);
    return refuse(why, "[%s%lld, %lld] is %.9g, and the checkpoint's is %.9g", place, (long long)i, (long long)j, got,
                  want);
}

static bool compare_matrix(const weight_source *s, const held *h, const fit *f, int64_t at, complaint *why)
{
    for (int64_t i = 0; i < h->rows; i++)
        for (int64_t j = 0; j < h->columns; j++) {
            int64_t const row = row_of(s, f, f->transposed ? j : i), column = column_of(s, f, f->transposed ? i : j);
            double const got = ref_decode(h->t->dtype, h->t->data, (at * h->rows + i) * h->columns + j);
            double want;
            if (!is_equal(s, h->t->dtype, f->first_of_stack + at, row, column, got, &want))
                return refuse_element(h, at, i, j, got, want, why);
        }
    return true;
}

static bool compare_as(const weight_source *s, const held *h, const fit *f, complaint *why)
{
    for (int64_t at = 0; at < h->stack; at++)
        if (!compare_matrix(s, h, f, at, why)) return false;
    return true;
}

/* ---- ways to fit ---- */

/* Each part has so many equal pieces. */
static bool is_cut(const weight_source *s, int64_t ranks)
{
    for (int p = 0; p < s->parts; p++)
        if (s->part[p].rows % ranks) return false;
    return true;
}

/* One fit, for every rank that it may be, and every place in a stack. */
static bool try_fit(const weight_source *s, const held *h, fit f, complaint *first)
{
    complaint other;
    for (f.first_of_stack = 0; f.first_of_stack < s->stack; f.first_of_stack += h->stack)
        for (f.rank = 0; f.rank < f.ranks; f.rank++)
            if (compare_as(s, h, &f, *first->text ? &other : first)) return true;
    return false;
}

/* The rule by which it is equal, of those that its sizes allow; NULL: none, and why is of the first of them. */
static const char *find_fit(const weight_source *s, const held *h, complaint *why)
{
    int64_t const r = h->rows, c = h->columns, R = s->rows, C = s->columns;
    struct {
        bool fits;
        fit f;
    } const ways[] = {
        {r == R && c == C, {"", false, 1}},
        {r == C && c == R, {"transposed", true, 1}},
        {r < R && c == C && R % r == 0 && is_cut(s, R / r), {"a rank's rows", false, R / r}},
        {r == R && c < C && C % c == 0, {"a rank's columns", false, C / c, .of_columns = true}},
        {c < R && r == C && R % c == 0 && is_cut(s, R / c), {"transposed; a rank's columns", true, R / c}},
        {c == R && r < C && C % r == 0, {"transposed; a rank's rows", true, C / r, .of_columns = true}},
        {r >= R && c >= C && (r > R || c > C), {"padded with 0", false, 1}},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (ways[i].fits && try_fit(s, h, ways[i].f, why)) return ways[i].f.rule;
    if (!*why->text)
        refuse(why, "(%lld, %lld, %lld), and the checkpoint's is (%lld, %lld, %lld)", (long long)h->stack, (long long)r,
               (long long)c, (long long)s->stack, (long long)R, (long long)C);
    return NULL;
}

/* The engine's tensor beside a source of so many matrices; a vector is a column. False: it has no such shape. */
static bool hold(const safetensor *t, const weight_source *s, held *h)
{
    int64_t const last = t->ndim ? t->shape[t->ndim - 1] : 1;
    *h = (held){t, 1, 1, last};
    if (t->dtype == DSV3_NONE || t->dtype == DSV3_I64 || t->ndim == 0 || t->bytes == 0) return false;
    if (s->columns == 1) *h = (held){t, 1, (int64_t)(t->bytes / ref_dtype_size(t->dtype)), 1};
    if (s->columns > 1 && t->ndim >= 2) h->rows = t->shape[t->ndim - 2];
    for (int d = 0; s->columns > 1 && d < t->ndim - 2; d++) h->stack *= t->shape[d];
    return h->stack <= s->stack && s->stack % h->stack == 0;
}

/* ---- words ---- */

static void add_word(char *text, size_t cap, const char *word)
{
    size_t const used = strlen(text);
    if (*word) snprintf(text + used, cap - used, "%s%s", used ? "; " : "", word);
}

static void name_rule(const weight_source *s, const held *h, const char *moved, compared_weight *w)
{
    add_word(w->rule, sizeof w->rule, s->stack > 1 && !s->heads ? "experts stacked" : "");
    add_word(w->rule, sizeof w->rule, s->heads ? "cut by heads" : "");
    add_word(w->rule, sizeof w->rule, s->fused ? "fused" : "");
    add_word(w->rule, sizeof w->rule, h->stack < s->stack ? "a rank's share of the stack" : "");
    add_word(w->rule, sizeof w->rule, moved);
    bool const quantised = s->part[0].scale && h->t->dtype != DSV3_F8_E4M3;
    bool const other = s->part[0].t->dtype != h->t->dtype;
    char to[40];
    snprintf(to, sizeof to, "%s %s", quantised ? "dequantised to" : "in", safetensor_format(h->t));
    add_word(w->rule, sizeof w->rule, quantised || other ? to : "");
}

/* ---- all ---- */

static void note_seen(const checkpoint *c, const safetensor *t, bool seen[])
{
    for (int64_t from = 0, to = c->count; t && from < to;) {
        int64_t const middle = from + (to - from) / 2;
        int const order = strcmp(t->name, c->entry[middle].tensor->name);
        if (order == 0) seen[middle] = true;
        if (order == 0) return;
        *(order < 0 ? &to : &from) = order < 0 ? middle : middle + 1;
    }
}

/* The name without what wrappers put in front. */
static const char *plain_name(const char *name)
{
    static const char *const begins[] = {"weight:", "model.layers.", "model.embed_tokens.", "model.norm.", "lm_head."};
    if (!strncmp(name, begins[0], strlen(begins[0]))) name += strlen(begins[0]);
    for (size_t i = 1; i < sizeof begins / sizeof *begins; i++) {
        const char *const inner = strstr(name, begins[i]);
        if (inner) return inner;
    }
    return name;
}

/* Codes in FP8 stay codes. */
static void forget_scales(const safetensor *t, weight_source *s)
{
    for (int64_t i = 0; t->dtype == DSV3_F8_E4M3 && i < s->stack * s->parts; i++) s->part[i].scale = NULL;
}

static void judge_weight(const safetensor *t, weight_source *s, compared_weight *w)
{
    held h;
    complaint why = {""};
    forget_scales(t, s);
    bool const fits =
        hold(t, s, &h) || refuse(&why, "is %s of another shape, or of a format that isn't read", safetensor_format(t));
    const char *const moved = fits ? find_fit(s, &h, &why) : NULL;
    w->verdict = moved ? WEIGHT_EQUAL : WEIGHT_DIFFERENT;
    if (moved) name_rule(s, &h, moved, w);
    snprintf(w->why, sizeof w->why, "%.290s", moved ? "" : why.text);
}

static bool compare_one(const checkpoint *c, const dsv3_config *config, const safetensor *t, const name_map *names,
                        bool seen[], compared_weight *w, complaint *why)
{
    char ours[MAP_NAME];
    weight_source s;
    *w = (compared_weight){.name = t->name, .verdict = WEIGHT_UNKNOWN};
    why->text[0] = 0;
    bool const ruled = name_map_weight(names, t->name, ours);
    if (weight_source_find(c, config, ruled ? ours : plain_name(t->name), &s, why)) {
        for (int64_t i = 0; i < s.stack * s.parts; i++)
            note_seen(c, s.part[i].t, seen), note_seen(c, s.part[i].scale, seen);
        judge_weight(t, &s, w);
        for (int64_t i = 0; i < s.stack * s.parts; i++) checkpoint_release(s.part[i].t->data, s.part[i].t->bytes);
    }
    weight_source_close(&s);
    return !*why->text;
}

bool compare_weights(const checkpoint *c, const dsv3_config *config, const recording *r, const name_map *names,
                     bool seen[], on_weight *call, void *context, complaint *why)
{
    bool marked = false;
    compared_weight w;
    for (int64_t i = 0; i < r->count; i++) marked |= !strncmp(r->item[i]->name, "weight:", 7);
    for (int64_t i = 0; i < r->count; i++) {
        if (marked && strncmp(r->item[i]->name, "weight:", 7) != 0) continue;
        if (!compare_one(c, config, r->item[i], names, seen, &w, why)) return false;
        call(context, &w);
    }
    return checkpoint_check_unchanged(c, why);
}
