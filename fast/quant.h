/*
 * Tiles to FP8, of quant and of the caches that cache_store writes: fast/quant.c. `from` is where the n entries begin in x.
 */
#ifndef FAST_QUANT_H
#define FAST_QUANT_H

#include "dsv3.h"

float largest_size(const dsv3_tensor *x, int64_t from, int64_t n);

/* The least power of two that is not below it. */
float power_above(float scale);

/* E4M3(x / scale), to nearest, saturating. */
void put_codes(uint8_t *to, const dsv3_tensor *x, int64_t from, int64_t n, float scale);

#endif
