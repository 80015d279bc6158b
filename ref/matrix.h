/*
 * The weight matrices of a checkpoint, and their product with vectors of balls: what linear is, and what every projection of
 * a composition is. FP8 weights:  W_oi = weight_oi * weight_scale_inv[o/128][i/128].
 */
#ifndef MATRIX_H
#define MATRIX_H

#include "reading.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_tensor *weight;
    const dsv3_tensor *scale; /* NULL unless FP8 */
    int64_t rows, columns;
    int point;         /* where the dequantised weight is rounded */
    dsv3_dtype output; /* in this format, unless declared otherwise */
    double largest_scale;
} matrix;

/* The matrix `name`.weight, or `weight` itself when name is "". */
matrix matrix_of(const ref_reading *rd, const dsv3_weights *weights, const char *name, int point, dsv3_dtype output);

/* Rows [first, last): their values and, of rows that have any, radii, both (last - first, columns). False: out of memory. */
bool matrix_rows(const matrix *m, int64_t first, int64_t last, double *value, double *radius, row *rows);

/* What a sum of products with W is worth to a port that scales after summing. (Lemma Scale) */
ball scaled_sum(const matrix *m, const row *x, const terms *sum);

/* The first n rows of a tensor of so many columns; values: room for (n, columns) doubles, which the rows keep. */
void rows_of(const dsv3_tensor *x, int64_t n, int64_t columns, double *values, row *rows);

/* y[t * rows + o] = sum_i W_oi x[t]_i, rounded at `point` to `format`, for t < n. False: out of memory. */
bool matrix_times(const matrix *m, const row *x, int64_t n, int point, dsv3_dtype format, ball *y);

#endif
