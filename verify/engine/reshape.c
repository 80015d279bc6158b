/* See reshape.h. */
#include "reshape.h"

#include <stdlib.h>
#include <string.h>

/* A tensor as rows of its last axis. */
typedef struct {
    int64_t rows, columns;
    size_t size; /* of an element */
} grid;

static bool grid_of(const safetensor *t, grid *g, complaint *why)
{
    int64_t count = 1;
    for (int d = 0; d < t->ndim; d++)
        if (__builtin_mul_overflow(count, t->shape[d], &count)) count = 0;
    if (t->ndim == 0 || count <= 0) return refuse(why, "%s has no elements", t->name);
    *g = (grid){count / t->shape[t->ndim - 1], t->shape[t->ndim - 1], t->bytes / (size_t)count};
    return true;
}

/* The shape of rows and columns: leading axes stay as they are, if they have as many rows. */
static void set_shape(safetensor *t, const grid *g)
{
    int64_t rows = 1;
    for (int d = 0; d < t->ndim - 1; d++) rows *= t->shape[d];
    if (rows != g->rows || t->ndim == 0) t->ndim = 2, t->shape[0] = g->rows;
    t->shape[t->ndim - 1] = g->columns;
}

/* A new tensor of rows and columns in place of the old one; its elements are to be copied from `old`, which is freed then. */
static char *begin_new(shaped *s, const grid *g, shaped *old, complaint *why)
{
    size_t const bytes = (size_t)(g->rows * g->columns) * g->size;
    char *const data = malloc(bytes + 1);
    if (!data) return refuse(why, "no memory for %s", s->t.name), NULL;
    *old = *s;
    s->owned = data;
    s->t.data = data;
    s->t.bytes = bytes;
    set_shape(&s->t, g);
    return data;
}

static bool check_range(const safetensor *t, const reshape *op, int64_t size, const char *what, complaint *why)
{
    return (op->from < op->to && op->to <= size) ||
           refuse(why, "%s has %lld %s, and %lld:%lld are wanted", t->name, (long long)size, what, (long long)op->from,
                  (long long)op->to);
}

static bool take_rows(shaped *s, const grid *g, const reshape *op, complaint *why)
{
    shaped old;
    grid const wanted = {op->to - op->from, g->columns, g->size};
    if (!check_range(&s->t, op, g->rows, "rows", why)) return false;
    char *const out = begin_new(s, &wanted, &old, why);
    if (!out) return false;
    size_t const row = (size_t)g->columns * g->size;
    memcpy(out, (const char *)old.t.data + (size_t)op->from * row, s->t.bytes);
    shaped_free(&old);
    return true;
}

static bool take_columns(shaped *s, const grid *g, const reshape *op, complaint *why)
{
    shaped old;
    grid const wanted = {g->rows, op->to - op->from, g->size};
    if (!check_range(&s->t, op, g->columns, "columns", why)) return false;
    char *const out = begin_new(s, &wanted, &old, why);
    if (!out) return false;
    size_t const width = (size_t)wanted.columns * g->size, row = (size_t)g->columns * g->size;
    for (int64_t r = 0; r < g->rows; r++)
        memcpy(out + (size_t)r * width, (const char *)old.t.data + (size_t)r * row + (size_t)op->from * g->size, width);
    shaped_free(&old);
    return true;
}

/* x0 x1 ... y0 y1 ... becomes x0 y0 x1 y1 ... */
static bool pair_halves(shaped *s, const grid *g, int64_t rotated, complaint *why)
{
    shaped old;
    if (rotated > g->columns)
        return refuse(why, "%s has %lld columns, and %lld are rotated", s->t.name, (long long)g->columns,
                      (long long)rotated);
    char *const out = begin_new(s, g, &old, why);
    if (!out) return false;
    memcpy(out, old.t.data, s->t.bytes);
    for (int64_t i = 0; i < g->rows * rotated; i++) {
        int64_t const begin = (i / rotated + 1) * g->columns - rotated, c = i % rotated;
        int64_t const from = begin + c / 2 + (c % 2 ? rotated / 2 : 0);
        memcpy(out + (size_t)(begin + c) * g->size, (const char *)old.t.data + (size_t)from * g->size, g->size);
    }
    shaped_free(&old);
    return true;
}

/* (..., a, b, c) becomes (..., b, a, c). */
static bool turn(shaped *s, const grid *g, complaint *why)
{
    shaped old;
    int const n = s->t.ndim;
    if (n < 3) return refuse(why, "%s has %d axes, and three are turned", s->t.name, n);
    int64_t const a = s->t.shape[n - 3], b = s->t.shape[n - 2];
    char *const out = begin_new(s, g, &old, why);
    if (!out) return false;
    size_t const row = (size_t)g->columns * g->size;
    for (int64_t r = 0; r < g->rows; r++) {
        int64_t const part = r / (a * b), to = part * a * b + r % b * a + r / b % a;
        memcpy(out + (size_t)to * row, (const char *)old.t.data + (size_t)r * row, row);
    }
    s->t.shape[n - 3] = b, s->t.shape[n - 2] = a;
    shaped_free(&old);
    return true;
}

static bool flatten(shaped *s, complaint *why)
{
    int const n = s->t.ndim;
    if (n < 2) return refuse(why, "%s has one axis, and the last two become one", s->t.name);
    s->t.shape[n - 2] *= s->t.shape[n - 1];
    s->t.ndim--;
    return true;
}

static bool put_beside(shaped *s, const grid *g, const safetensor *other, complaint *why)
{
    shaped old;
    grid more;
    if (!grid_of(other, &more, why)) return false;
    if (more.rows != g->rows || strcmp(safetensor_format(&s->t), safetensor_format(other)) != 0)
        return refuse(why, "%s is %lld rows of %s and %s %lld of %s, so they don't fit side by side", s->t.name,
                      (long long)g->rows, safetensor_format(&s->t), other->name, (long long)more.rows,
                      safetensor_format(other));
    grid const both = {g->rows, g->columns + more.columns, g->size};
    char *const out = begin_new(s, &both, &old, why);
    if (!out) return false;
    size_t const left = (size_t)g->columns * g->size, right = (size_t)more.columns * g->size;
    for (size_t r = 0; r < (size_t)g->rows; r++) {
        memcpy(out + r * (left + right), (const char *)old.t.data + r * left, left);
        memcpy(out + r * (left + right) + left, (const char *)other->data + r * right, right);
    }
    shaped_free(&old);
    return true;
}

bool shaped_change(shaped *s, const reshape *op, int64_t rotated, complaint *why)
{
    grid g;
    reshape range = *op;
    if (!grid_of(&s->t, &g, why)) return false;
    if (range.to < 0) range.to = op->kind == RESHAPE_ROWS ? g.rows : g.columns;
    switch (op->kind) {
    case RESHAPE_ROWS: return take_rows(s, &g, &range, why);
    case RESHAPE_COLS: return take_columns(s, &g, &range, why);
    case RESHAPE_HALF: return pair_halves(s, &g, rotated, why);
    case RESHAPE_TURN: return turn(s, &g, why);
    case RESHAPE_FLAT: return flatten(s, why);
    case RESHAPE_BESIDE: return put_beside(s, &g, op->other, why);
    }
    return false;
}

void *shaped_begin(shaped *s, int64_t rows, int64_t columns, size_t size, shaped *old, complaint *why)
{
    return begin_new(s, &(grid){rows, columns, size}, old, why);
}

bool shaped_rows(const safetensor *t, int64_t *rows, int64_t *columns, size_t *size, complaint *why)
{
    grid g;
    if (!grid_of(t, &g, why)) return false;
    *rows = g.rows, *columns = g.columns, *size = g.size;
    return true;
}

void shaped_free(shaped *s)
{
    free(s->owned);
    *s = (shaped){.owned = NULL};
}
