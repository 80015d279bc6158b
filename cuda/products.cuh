/* Products with a checkpoint's matrices, as linear, experts and mla need them. */
#ifndef PRODUCTS_CUH
#define PRODUCTS_CUH

#include "device.cuh"

/* scale: NULL unless FP8. */
struct matrix {
    const dsv3_tensor *weight, *scale;
};

/* Rows of f32 or bf16. Row t is index[t], or t without an index; index lies on the device. */
struct row_list {
    void *data;
    dsv3_dtype dtype;
    int64_t stride;
    const int64_t *index;
};

row_list rows_of(const dsv3_tensor *x);
row_list floats_of(float *data, int64_t width); /* rows side by side */
bool is_float(const dsv3_tensor *t);            /* is it present, and f32 or bf16? */
bool usable(const matrix *m);

/*
 * y[t][o] = sum over k of x[t][k] W[o][k] for t < rows. A row of y depends on its own row of x alone.
 *
 * BF16 rows and BF16 or E4M3 weights: sums of 128 products by the matrix unit, scaled where there are scales, then added in
 * binary32: acc UNIT splits=1 promote=128 bits2=24. Else acc 24 rn fused splits=1, codes times scale rounded first.
 */
dsv3_status multiply(dsv3_ctx *ctx, const matrix *m, row_list x, int64_t rows, row_list y);

/* Both in FP8, whose scales are m's and (rows, ceil(columns / 128)), f32 or u8: sums of a block's codes by a unit, times x's scale,
 * rounded, then times W's and added in binary32. */
dsv3_status multiply_codes(dsv3_ctx *ctx, const matrix *m, row_list x, const dsv3_tensor *x_scale, int64_t rows,
                           row_list y);

/* The same of each head h: rows from first + h * step on of W, so many; x and y h times so many entries on. */
struct head_rows {
    int64_t heads, first, step, rows, x_step, y_step;
};

dsv3_status multiply_heads(dsv3_ctx *ctx, const matrix *m, const head_rows *h, row_list x, int64_t rows, row_list y);

/* Matrices of experts and the rows of x and y that are theirs: y's from first[e] to first[e + 1] - 1; x's likewise, or those rows of
 * its index. */
struct expert_rows {
    int64_t experts, rows; /* rows: at most, of one expert */
    const int64_t *first;  /* (experts + 1), on the device */
};

/* A matrix on the device. */
struct weight_at {
    const void *data;
    const float *scale;
    int64_t stride, scale_stride;
};

/* Where matrices lie, on the device; taken from the context. NULL: no memory. whole: may sixteen bytes of each be read at once? */
const weight_at *place_matrices(dsv3_ctx *ctx, const matrix *m, int64_t n, bool *whole);

/* m: (experts), alike in format and shape. */
dsv3_status multiply_experts(dsv3_ctx *ctx, const matrix *m, const expert_rows *r, row_list x, row_list y);

matrix find_matrix(const dsv3_weights *weights, const char *name); /* `name`.weight and `name`.weight_scale_inv */

/* Does it go by the matrix unit? */
bool by_units(dsv3_dtype x, dsv3_dtype weight);

/* A declaration with the name of this device's matrix unit for BF16 in place of %s. The text is there until the next call. */
const char *of_unit(const char *declaration);

/* Likewise with the accumulator of multiply_codes for so many rows: a unit for FP8 where the PTX has it, else that for BF16, which takes
 * codes exactly. */
const char *of_code_unit(const char *declaration, int64_t rows);

#endif
