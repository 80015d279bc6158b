/*
 * The weight matrices of a checkpoint, and their product with vectors of balls: what linear is, and what every projection of
 * a composition is. FP8 weights:  W_oi = weight_oi * weight_scale_inv[o/128][i/128].
 */
#ifndef MATRIX_H
#define MATRIX_H

#include "reading.h"
#include "scratch.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_tensor *weight;
    const dsv3_tensor *scale; /* NULL unless FP8 */
    int64_t rows, columns;
    int point;         /* where the dequantised weight is rounded */
    dsv3_dtype output; /* in this format, unless declared otherwise */
    double largest_scale;

    /* (rows of x) where x is codes with scales too: of each row >= max(1, |x_scale|) max(1, |weight_scale_inv|), whatever the
     * block; NULL: x is no codes. (Lemma Two-scales) */
    const double *early;
} matrix;

/* The matrix `name`.weight, or `weight` itself when name is "". */
matrix matrix_of(const ref_reading *rd, const dsv3_weights *weights, const char *name, int point, dsv3_dtype output);

/* The scale at an index of its tensor: a number of binary32, or u8, the exponent byte b of 2^(b - 127); 255 is NaN. */
double scale_value(const dsv3_tensor *scale, int64_t at);

/* The largest |scale| of all rows in block `across`. */
double largest_of_blocks(const matrix *m, int64_t across);

/* Rows [first, first + n), in the reading's scratch. */
operand *matrix_rows(const matrix *m, int64_t first, int64_t n);

/* Enclosure of sum_i W_oi x_i for a port that sums FP8 codes first and multiplies by the block scale afterwards; `sum` is the
 * sum with W dequantised. (Lemma Scale) */
ball scaled_sum(const matrix *m, const operand *x, const sum_record *sum);

/* y[t * rows + o] = sum_i W_oi x[t]_i, rounded at `point` to `format`, for t < n. */
void matrix_times(const matrix *m, const operand *x, int64_t n, int point, dsv3_dtype format, ball *y);

#endif
