/* Rows of FP8 codes, a scale for each 1x128 block (W8A8): how they enter a product with a matrix. */
#ifndef CODED_H
#define CODED_H

#include "matrix.h"

typedef struct {
    int64_t n, width, blocks;
    ball *scale;  /* (n, blocks) as products take them */
    operand *row; /* (n) codes times scales */
} coded_rows;

/* Room for n rows of that width; none is set. */
coded_rows coded_take(const ref_reading *rd, int64_t n, int64_t width);

/* Sets row t, rounded at `point` to `format` by a port that dequantises. exponents: scales are powers of two by their format. */
void coded_set(const ref_reading *rd, const coded_rows *rows, int64_t t, const ball *code, const ball *scale,
               bool exponents, int point, dsv3_dtype format);

/* The rows of a tensor of codes and a tensor of scales, f32 or u8. */
coded_rows coded_read(const ref_reading *rd, const dsv3_tensor *code, const dsv3_tensor *scale, int point,
                      dsv3_dtype format);

/* matrix.early of n rows whose scales (n, blocks) these are. */
const double *early_factors(const ref_reading *rd, const matrix *w, const ball *scale, int64_t n);

#endif
