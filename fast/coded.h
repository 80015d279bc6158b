/* Rows of FP8 codes with a scale for each 1x128 block (W8A8), as rows of binary32. */
#ifndef CODED_H
#define CODED_H

#include "ctx.h"
#include "matrix.h"

/* Scales as binary32: themselves, or in the context's memory, where they are exponents. data NULL: there is none. */
dsv3_tensor float_scales(dsv3_ctx *ctx, const dsv3_tensor *scale);

/* Codes times scales, which are f32, each product rounded; in the context's memory. data NULL: there is none. */
dsv3_tensor dequantised(dsv3_ctx *ctx, const dsv3_tensor *code, const dsv3_tensor *scale);

#endif
