/* A tile of numbers to FP8 codes and their scale: what quant does with activations, W8A8 between two products, and cache_store with keys. */
#ifndef QUANT_H
#define QUANT_H

#include "reading.h"

enum { QUANT_TILE = 128 }; /* numbers that share a scale, at most */

typedef struct {
    const ref_reading *rd;
    double amax_floor, scale_floor; /* 0: none */
    int32_t scale_fmt;              /* 1: ue8m0 */
    int scale, q;                   /* points */
} quantiser;

/* What the scale may be; what the codes are made with; how far the reciprocal in use may be from 1 / s, relative, where a port divides
 * by amax instead. */
typedef struct {
    ball s, used;
    double apart;
} quant_scale;

/* Of n numbers. own: the scale that the codes follow from, because the port wrote it; NULL: the one returned. (Raise) */
quant_scale quant_scale_of(const quantiser *z, const ball *x, int64_t n, const double *own);

/* E4M3(x / s), saturating; in an exact reading x / s within +-448. (Code) */
ball quant_code(const quantiser *z, ball x, const quant_scale *scale);

/* Both: returns the scale; q, unless NULL, receives the codes. */
ball quantise(const quantiser *z, const ball *x, int64_t n, const double *own, ball *q);

#endif
