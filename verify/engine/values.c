/* See values.h. A recording is somebody else's: nothing in it is believed before it is checked. */
#include "values.h"

#include "ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Elements of t, whatever its shape; -1: more than there can be. */
static int64_t count_of(const safetensor *t)
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

/* Rows of `columns`: leading axes may be cut in any way. */
static bool check_shape(const safetensor *t, int64_t rows, int64_t columns, complaint *why)
{
    char shape[120];
    int64_t wanted;
    if (!__builtin_mul_overflow(rows, columns, &wanted) && count_of(t) == wanted) return true;
    print_shape(t, shape, sizeof shape);
    return refuse(why, "%s has the shape %s, and (%lld, %lld) is wanted", t->name, shape, (long long)rows,
                  (long long)columns);
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

/* All numbers of an F32 tensor are of a narrower format. */
static bool is_upcast(const safetensor *t, dsv3_dtype format)
{
    bool narrow = t->dtype == DSV3_F32;
    int64_t const count = count_of(t);
    for (int64_t i = 0; narrow && i < count; i++) narrow = is_number_of(number_at(t, i), format);
    return narrow;
}

bool values_are_f16(const safetensor *t)
{
    return t->dtype == DSV3_F16 || (is_upcast(t, DSV3_F16) && !is_upcast(t, DSV3_BF16));
}

void values_look(const safetensor *t, formats_seen *seen)
{
    bool const narrow = is_upcast(t, DSV3_BF16), half = values_are_f16(t);
    seen->upcast |= narrow;
    seen->f16 |= half;
    seen->f32 |= t->dtype == DSV3_F32 && !narrow && !half;
    seen->f64 |= t->dtype == DSV3_F64;
    seen->bf16 |= t->dtype == DSV3_BF16;
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
    if (!check_shape(t, w->before + w->rows + w->more, w->columns, why) || !check_format(t, w->format, why))
        return false;
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
