/* quantiser: tiles of numbers to FP8 codes, for quant and experts. */
#ifndef LEGAL_QUANTISER_H
#define LEGAL_QUANTISER_H

#include "legal.h"

/* Draws and declares how a quotient is formed: the number of a way. */
int legal_quotient_config(legal *c);

/* max(amax, floor) / 448 of n numbers, or the power of two above; of a tile of zeros 1. */
double legal_tile_scale(legal const *c, double floor, bool ue8m0, int64_t n, double const *x);
void legal_tile_codes(legal const *c, int quotient, double scale, int64_t n, double const *x, uint8_t *code);

#endif
