/* Rows to FP8 codes: what quant is, and what experts do between two products with codes. */
#ifndef QUANT_H
#define QUANT_H

#include "dsv3.h"

/* n entries of x from element `from` on: scales, one for each 128, and codes. quotient div, div ieee */
void quantise(double amax_floor, int scale_fmt, const dsv3_tensor *x, int64_t from, int64_t n, float *scale,
              uint8_t *q);

#endif
