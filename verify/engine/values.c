/* See values.h. A recording is somebody else's: nothing in it is believed before it is checked. */
#include "values.h"

#include "ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t values_count(const safetensor *t)
{
    int64_t count = 1;
    for (int d = 0; d < t->ndim; d++)
        if (__builtin_mul_overflow(count, t->shape[d], &count)) return -1;
    return count;
}

static void print_shape(const safetensor *t, char *text, size_t cap)
{
    size_t used = (size_t)snprintf(text, cap, "(");
    for (int d = 0; d < t->ndim && used < cap; d++)
        used += (size_t)snprintf(text + used, cap - used, "%s%lld", d ? ", " : "", (long long)t->shape[d]);
    if (used < cap) snprintf(text + used, cap - used, ")");
}

/* The first of the last axes that together have so many columns; -1: none do. */
static int split_at(const safetensor *t, int64_t columns)
{
    int64_t together = 1;
    int d = t->ndim;
    while (d > 0 && together < columns)
        if (__builtin_mul_overflow(together, t->shape[--d], &together)) return -1;
    return together == columns ? d : -1;
}

/* Leading axes may be cut in any way; the last are one axis of `columns`, or end in one of `inner`. */
static bool has_shape(const safetensor *t, int64_t rows, int64_t columns, int64_t inner)
{
    int const d = split_at(t, columns);
    int64_t wanted;
    if (d < 0 || __builtin_mul_overflow(rows, columns, &wanted) || values_count(t) != wanted) return false;
    return !inner || d >= t->ndim - 1 || t->shape[t->ndim - 1] == inner;
}

static bool check_shape(const safetensor *t, const values_wanted *w, complaint *why)
{
    char shape[120], columns[60];
    int64_t const rows = w->before + w->rows + w->more;
    if (has_shape(t, rows, w->columns, w->inner)) return true;
    print_shape(t, shape, sizeof shape);
    snprintf(columns, sizeof columns, w->inner ? "%lld, %lld" : "%lld",
             (long long)(w->inner ? w->columns / w->inner : w->columns), (long long)w->inner);
    return refuse(why, "%s has the shape %s, and (%lld, %s) is wanted", t->name, shape, (long long)rows, columns);
}

static bool is_i64(const safetensor *t)
{
    return !strcmp(safetensor_format(t), "I64");
}

/* Number i of a tensor of real numbers or of indices. */
static double number_at(const safetensor *t, int64_t i)
{
    int64_t wide;
    if (!is_i64(t)) return ref_decode(t->dtype, t->data, i);
    memcpy(&wide, (const char *)t->data + (size_t)i * sizeof wide, sizeof wide);
    return wide == (int32_t)wide ? (double)wide : (double)NAN;
}

static bool is_number_of(double v, dsv3_dtype format)
{
    return isnan(v) || ref_round(format, v) == v;
}

/* 0, infinities and NaN are of every format, and say of which one none is. */
static bool says_format(double v)
{
    return v != 0 && isfinite(v);
}

dsv3_dtype values_format(const safetensor *t)
{
    bool bf16 = true, f16 = true, f32 = true, some = false;
    if (t->dtype != DSV3_F32 && t->dtype != DSV3_F16 && t->dtype != DSV3_F64) return t->dtype;
    int64_t const count = values_count(t);
    for (int64_t i = 0; (bf16 || f16 || f32) && i < count; i++) {
        double const v = number_at(t, i);
        some = some || says_format(v);
        bf16 = bf16 && is_number_of(v, DSV3_BF16);
        f16 = f16 && is_number_of(v, DSV3_F16);
        f32 = f32 && is_number_of(v, DSV3_F32);
    }
    if (!some && bf16) return DSV3_NONE;
    return bf16 ? DSV3_BF16 : f16 ? DSV3_F16 : f32 ? DSV3_F32 : DSV3_F64;
}

void values_look(const safetensor *t, bool wide, formats_seen *seen)
{
    dsv3_dtype const d = wide && t->dtype == DSV3_F64 ? DSV3_F64 : values_format(t);
    seen->f16 |= d == DSV3_F16;
    seen->f32 |= d == DSV3_F32;
    seen->f64 |= d == DSV3_F64;
    seen->bf16 |= d == DSV3_BF16;
}

static bool check_format(const safetensor *t, dsv3_dtype format, complaint *why)
{
    bool const index = t->dtype == DSV3_I32 || is_i64(t);
    bool const real = t->dtype == DSV3_F32 || t->dtype == DSV3_BF16 || t->dtype == DSV3_F16 || t->dtype == DSV3_F64;
    if (format == DSV3_I32 ? index : real) return true;
    return refuse(why, "%s is %s, and %s is wanted", t->name, safetensor_format(t),
                  format == DSV3_I32 ? "I32 or I64" : "F32, BF16, F16 or F64");
}

static bool check_value(const safetensor *t, int64_t i, double v, const values_wanted *w, complaint *why)
{
    if (w->format == DSV3_I32)
        return !isnan(v) || refuse(why, "%s, element %lld is an index beyond 32 bits", t->name, (long long)i);
    if (w->finite && !isfinite(v))
        return refuse(why, "%s, element %lld is %s, and nothing follows from that", t->name, (long long)i,
                      isnan(v) ? "nan" : "infinite");
    return is_number_of(v, w->format) ||
           refuse(why, "%s is %s, and its element %lld is no number of %s, the stage's format", t->name,
                  safetensor_format(t), (long long)i, ref_dtype_name(w->format));
}

/* Columns `from` on of rows that are `stride` wide. */
static bool read_into(const safetensor *t, const values_wanted *w, int64_t from, int64_t stride, void *out,
                      complaint *why)
{
    if (!check_shape(t, w, why) || !check_format(t, w->format, why)) return false;
    int64_t const first = w->before * w->columns;
    for (int64_t i = 0; i < w->rows * w->columns; i++) {
        double const v = number_at(t, first + i);
        if (!check_value(t, first + i, v, w, why)) return false;
        ref_encode(w->format, out, i / w->columns * stride + from + i % w->columns, v);
    }
    return true;
}

bool values_read(const safetensor *t, const values_wanted *w, void *out, complaint *why)
{
    return read_into(t, w, 0, w->columns, out, why);
}

bool values_read_both(const safetensor *a, const safetensor *b, const values_wanted *w, void *out, complaint *why)
{
    values_wanted half = *w;
    half.columns /= 2;
    return read_into(a, &half, 0, w->columns, out, why) && read_into(b, &half, half.columns, w->columns, out, why);
}
