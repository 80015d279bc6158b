/* Matrices of a checkpoint, and products with them. */
#ifndef MATRIX_H
#define MATRIX_H

#include "ctx.h"
#include "rows.h"

/* scale: NULL unless FP8. */
typedef struct {
    const dsv3_tensor *weight, *scale;
} matrix;

matrix find_matrix(const dsv3_weights *weights, const char *name); /* `name`.weight and `name`.weight_scale_inv */
int usable(const matrix *m);
int is_float(const dsv3_tensor *t); /* is it present, and f32 or bf16? */
stored_row matrix_row(const matrix *m, int64_t o);
int is_matrix(const dsv3_weight *w); /* no norm, bias or scale */

/* (rows, columns) in the context's memory; data NULL: there is none. */
dsv3_tensor tensor_in(dsv3_ctx *ctx, dsv3_dtype dtype, int64_t rows, int64_t columns);

/* Rows of f32 or bf16: of a tensor, or of numbers in memory. Row t is index[t], or t without an index. */
typedef struct {
    void *data;
    dsv3_dtype dtype;
    int64_t stride;
    const int64_t *index;
} row_list;

row_list rows_of(const dsv3_tensor *x);

/*
 * y[t][o] = sum over k of x[t][k] W[o][k] for t < rows; 0: no memory. A row of y depends on its own row of x alone, but that one
 * row with codes may have other bits than beside others: lies_in_squares.
 *
 * BF16 rows and BF16 or E4M3 weights: a block's codes are summed and then scaled. Where the context's path is pairs, as
 * lanes.h says; where it is amx, acc amx.bf16. Else acc 24 rn fused splits=16 in binary32, codes times scale rounded first.
 */
int multiply(dsv3_ctx *ctx, const matrix *m, row_list x, int64_t rows, row_list y);

/* Do so many rows go by AMX? Then matrices are packed for it. One row with codes goes by pairs, which was faster, unless
 * DSV3_FAST_INVARIANT=1. */
int lies_in_squares(const dsv3_ctx *ctx, dsv3_dtype x, dsv3_dtype weight, int64_t rows);

/* Where they don't go by AMX: by pairs? Then matrices are packed for that. */
int lies_in_lanes(const dsv3_ctx *ctx, dsv3_dtype x, dsv3_dtype weight);

/* May products with rows of this format go by pairs, or by AMX, here? What declarations say. */
int by_pairs(dsv3_dtype x);
int by_amx(dsv3_dtype x);

/* By pairs, all of them: is no matrix binary32? */
int all_by_pairs(dsv3_dtype x, const dsv3_weights *weights);

/* By AMX, all of them, for `rows` rows or more: is no matrix binary32, and does none have one row alone that goes by pairs? */
int all_by_amx(dsv3_dtype x, int64_t rows, const dsv3_weights *weights);

#endif
