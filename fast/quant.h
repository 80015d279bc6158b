/* Numbers to FP8: what quant does, experts between two products with codes, and cache_store. `from` is where n entries begin in x. */
#ifndef QUANT_H
#define QUANT_H

#include "dsv3.h"

float largest_size(const dsv3_tensor *x, int64_t from, int64_t n);

/* Of a tile: amax / 448, neither below its floor; scale_fmt 1: raised to a power of two. */
float tile_scale(double amax_floor, double scale_floor, int scale_fmt, float amax);

/* E4M3(x / scale), to nearest, saturating. quotient div, div ieee */
void put_codes(uint8_t *to, const dsv3_tensor *x, int64_t from, int64_t n, float scale);

/* Scales, one for each 128, and codes. */
void quantise(double amax_floor, int scale_fmt, const dsv3_tensor *x, int64_t from, int64_t n, float *scale,
              uint8_t *q);

#endif
