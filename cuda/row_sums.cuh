/* Sums of rows, each times a factor: the gradients of products. */
#ifndef ROW_SUMS_CUH
#define ROW_SUMS_CUH

#include "products.cuh"

/*
 * y[r][c] = sum over k < n of left[r][k] right[k][c]; turned: of left[k][r] right[k][c]. left and right are alike in format.
 *
 * Of BF16: sums of 128 products by the matrix unit, then added in binary32: acc UNIT splits=1 promote=128 bits2=24. Of f32: acc 24
 * rn fused splits=1.
 */
struct row_sum {
    row_list left, right, y; /* right is listed only if turned; y of left of f32 is BF16 only then */
    int64_t rows, n, columns;
    bool turned;

    /* A sum of each expert; NULL: just one. Not turned, right is of `matrices` (experts), and rows of left, or of its index, and of y
     * are an expert's; turned, rows of left and right are, and y lies y_step entries on. */
    const expert_rows *experts;
    const matrix *matrices;
    int64_t y_step;
    bool add; /* to what y, of f32, has; not turned */
};

dsv3_status sum_rows(dsv3_ctx *ctx, const row_sum *s);

#endif
