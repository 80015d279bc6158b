/* See gather.h. */
#include "gather.h"

#include "ref.h"
#include "values.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_alike(const safetensor *a, const safetensor *b, complaint *why)
{
    if (a->bytes == b->bytes && !strcmp(safetensor_format(a), safetensor_format(b))) return true;
    return refuse(why, "%s and %s are ranks of one tensor, and have other sizes or formats", a->name, b->name);
}

/* A tensor of real numbers, and its rows. */
static bool real_rows(const safetensor *t, int64_t *rows, int64_t *columns, size_t *size, complaint *why)
{
    bool const real = t->dtype == DSV3_F32 || t->dtype == DSV3_BF16 || t->dtype == DSV3_F64;
    if (!real) return refuse(why, "%s is %s, and F32, BF16 or F64 is wanted", t->name, safetensor_format(t));
    return shaped_rows(t, rows, columns, size, why);
}

/* ---- ranks ---- */

bool gather_same(shaped *s, const safetensor *rank, complaint *why)
{
    if (!is_alike(&s->t, rank, why)) return false;
    s->unlike = memcmp(s->t.data, rank->data, rank->bytes) != 0;
    return !s->unlike || refuse(why, "%s and %s differ, and ranks should hold the same", s->t.name, rank->name);
}

static void set_format(safetensor *t, dsv3_dtype dtype)
{
    t->dtype = dtype;
    t->format = NULL;
}

static bool change_format(shaped *s, dsv3_dtype dtype, complaint *why)
{
    int64_t rows, columns;
    size_t size;
    shaped old;
    if (!real_rows(&s->t, &rows, &columns, &size, why)) return false;
    void *const out = shaped_begin(s, rows, columns, ref_dtype_size(dtype), &old, why);
    if (!out) return false;
    for (int64_t i = 0; i < rows * columns; i++) ref_encode(dtype, out, i, ref_decode(old.t.dtype, old.t.data, i));
    set_format(&s->t, dtype);
    shaped_free(&old);
    return true;
}

bool gather_sum(shaped *s, const safetensor *rank, complaint *why)
{
    dsv3_dtype const kept = values_format(rank);
    if (kept == DSV3_BF16 || kept == DSV3_F16 || (rank->dtype != DSV3_F32 && rank->dtype != DSV3_F64))
        return refuse(why,
                      "%s is %s: partial sums are judged in F32 alone, for each was rounded; record what is behind the "
                      "all-reduce",
                      rank->name, ref_dtype_name(kept));
    if (rank->dtype == DSV3_F32 && !s->owned && !change_format(s, DSV3_F64, why)) return false;
    size_t const count = s->t.bytes / sizeof(double);
    if (rank->bytes / ref_dtype_size(rank->dtype) != count)
        return refuse(why, "%s and %s are ranks of one tensor, and have other sizes", s->t.name, rank->name);
    double *const sum = s->owned;
    for (size_t i = 0; i < count; i++) sum[i] += ref_decode(rank->dtype, rank->data, (int64_t)i);
    return true;
}

bool gather_round(shaped *s, complaint *why)
{
    return change_format(s, DSV3_F32, why);
}

/* ---- a norm and a sum ---- */

/* How far the mean square of t / weight is from 1, as a logarithm. */
static double distance(const safetensor *t, const safetensor *weight, int64_t rows, int64_t columns)
{
    double squares = 0, count = 0;
    for (int64_t i = 0; i < rows * columns; i++) {
        double const w = ref_decode(weight->dtype, weight->data, i % columns), v = ref_decode(t->dtype, t->data, i);
        if (w == 0 || !isfinite(v)) continue;
        squares += v / w * (v / w);
        count++;
    }
    return count > 0 ? fabs(log(squares / count)) : HUGE_VAL;
}

bool gather_is_normed(const safetensor *s, const safetensor *other, const safetensor *weight, bool *normed,
                      complaint *why)
{
    int64_t rows, columns;
    size_t size;
    if (!real_rows(s, &rows, &columns, &size, why) || !is_alike(s, other, why)) return false;
    bool const fits =
        (weight->dtype == DSV3_F32 || weight->dtype == DSV3_BF16) && weight->ndim == 1 && weight->shape[0] == columns;
    if (!fits) return refuse(why, "%s is no weight of a norm for %s", weight->name, s->name);
    *normed = distance(s, weight, rows, columns) <= distance(other, weight, rows, columns);
    return true;
}

/* ---- tables with a column for every expert ---- */

bool gather_chosen(shaped *s, int64_t k, bool values, complaint *why)
{
    int64_t rows, columns;
    size_t size;
    shaped old;
    if (!real_rows(&s->t, &rows, &columns, &size, why)) return false;
    dsv3_dtype const from = s->t.dtype, to = values ? from : DSV3_I32;
    void *const out = shaped_begin(s, rows, k, ref_dtype_size(to), &old, why);
    if (!out) return false;
    bool good = true;
    for (int64_t r = 0; good && r < rows; r++) {
        int64_t n = 0;
        for (int64_t c = 0; c < columns; c++) {
            double const v = ref_decode(from, old.t.data, r * columns + c);
            if (v != 0 && n++ < k) ref_encode(to, out, r * k + n - 1, values ? v : (double)c);
        }
        good = n == k || refuse(why, "%s, row %lld has %lld columns that aren't 0, and %lld experts are chosen",
                                s->t.name, (long long)r, (long long)n, (long long)k);
    }
    set_format(&s->t, to);
    shaped_free(&old);
    return good;
}

bool gather_times(shaped *s, double factor, complaint *why)
{
    int64_t rows, columns;
    size_t size;
    shaped old;
    if (!real_rows(&s->t, &rows, &columns, &size, why)) return false;
    void *const out = shaped_begin(s, rows, columns, size, &old, why);
    if (!out) return false;
    dsv3_dtype const d = s->t.dtype;
    for (int64_t i = 0; i < rows * columns; i++)
        ref_encode(d, out, i, ref_round(d, ref_decode(d, old.t.data, i) * factor));
    shaped_free(&old);
    return true;
}
