/*
 * Products by the matrix unit AMX: squares of sixteen rows of W times sixteen rows of x, thirty-two columns at a time. A
 * thread opens its unit before it works on a part, and releases it after that.
 */
#ifndef AMX_H
#define AMX_H

#include "matrix.h"

/* As multiply(), of rows of BF16 with BF16 or E4M3 weights: acc amx.bf16, a block's codes are summed and then scaled. */
int multiply_squares(dsv3_ctx *ctx, const matrix *m, row_list x, int64_t rows, row_list y);

/* What the unit does otherwise than its model, by name; NULL: nothing was found. Called where tiles may be used. */
const char *unit_fault(void);

#endif
