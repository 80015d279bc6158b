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

/* Where a product goes: rows of a tensor, or of binary32 numbers. */
typedef struct {
    void *data;
    dsv3_dtype dtype;
    int64_t stride;
} target;

/* The rows of a two-dimensional tensor as binary32 numbers one after the other: its own memory or, converted, the context's;
 * NULL: no memory. */
const float *rows_of(dsv3_ctx *ctx, const dsv3_tensor *x, int64_t rows, int64_t columns, int64_t *stride);

/* y[t][o] = sum over k of x[t][k] W[o][k] for t < rows. */
void multiply(dsv3_ctx *ctx, const matrix *m, const float *x, int64_t stride, int64_t rows, target y);

#endif
