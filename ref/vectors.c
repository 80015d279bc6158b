/* See vectors.h. */
#include "vectors.h"

vectors vectors_take(scratch *s, int64_t n, int64_t width)
{
    return (vectors){n, width, scratch_take(s, n * width, sizeof(ball)), NULL, NULL};
}

void vectors_room(scratch *s, vectors *v)
{
    if (v->row) return;
    v->row = scratch_take(s, v->n, sizeof *v->row);
    v->parts = scratch_take(s, 3 * v->n * v->width, sizeof *v->parts);
}

void vectors_prepare(scratch *s, vectors *v)
{
    vectors_room(s, v);
    for (int64_t i = 0; i < v->n; i++)
        v->row[i] = operand_of_balls(v->ball + i * v->width, v->width, v->parts + 3 * i * v->width);
}

vectors vectors_strided(scratch *s, const ball *first, int64_t n, int64_t stride, int64_t width)
{
    vectors v = {.n = n, .width = width};
    vectors_room(s, &v);
    for (int64_t i = 0; i < n; i++) v.row[i] = operand_of_balls(first + i * stride, width, v.parts + 3 * i * width);
    return v;
}

vectors vectors_read(scratch *s, const dsv3_tensor *x, int64_t n, int64_t width)
{
    operand *const rows = scratch_take(s, n, sizeof *rows);
    double *const values = scratch_take(s, n * width, sizeof *values);
    for (int64_t i = 0; i < n; i++) {
        ref_decode_all(x->dtype, x->data, i * x->stride[0], width, values + i * width);
        rows[i] = operand_of(values + i * width, NULL, width);
    }
    return (vectors){n, width, NULL, rows, values};
}

vectors vectors_slice(vectors v, int64_t first, int64_t n)
{
    vectors part = {.n = n, .width = v.width};
    if (v.ball) part.ball = v.ball + first * v.width;
    if (v.row) part.row = v.row + first;
    if (v.ball && v.row) part.parts = v.parts + 3 * first * v.width;
    return part;
}

vectors vectors_columns(scratch *s, const dsv3_tensor *x, int64_t n, int64_t width)
{
    operand *const columns = scratch_take(s, width, sizeof *columns);
    double *const values = scratch_take(s, n * width, sizeof *values), *const row = scratch_take(s, width, sizeof *row);
    for (int64_t i = 0; i < n; i++) {
        ref_decode_all(x->dtype, x->data, i * x->stride[0], width, row);
        for (int64_t c = 0; c < width; c++) values[c * n + i] = row[c];
    }
    for (int64_t c = 0; c < width; c++) columns[c] = operand_of(values + c * n, NULL, n);
    return (vectors){width, n, NULL, columns, values};
}
