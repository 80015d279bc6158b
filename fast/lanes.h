/* Products by vdpbf16ps: sixteen rows of W are the lanes of a sum, and pairs of a row of x meet them one by one. */
#ifndef LANES_H
#define LANES_H

#include "matrix.h"

/*
 * As multiply(), of rows of BF16 with weights in BF16 or E4M3. acc avx512.bf16 promote=128 bits2=24; flush daz: a block's products are
 * one chain from 0, the odd one of a pair first; what comes out is added to the sum, of codes after it is multiplied with their
 * scale, by one fused operation. Only where there are AVX512-BF16 and AVX512-VBMI.
 */
int multiply_lanes(dsv3_ctx *ctx, const matrix *m, row_list x, int64_t rows, row_list y);

#endif
