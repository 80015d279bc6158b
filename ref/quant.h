/* A tile of numbers to FP8 codes and their scale: what quant does with activations, and W8A8 between two products. */
#ifndef QUANT_H
#define QUANT_H

#include "reading.h"

enum { TILE = 128 }; /* numbers that share a scale, at most */

typedef struct {
    const ref_reading *rd;
    double amax_floor; /* 0: none */
    int32_t scale_fmt; /* 1: ue8m0 */
    int scale, q;      /* points */
} quantiser;

/* Returns the scale of n <= TILE numbers; q, unless NULL, receives their codes, in an exact reading x / scale within +-448. own: the
 * scale that the codes follow from, because the port wrote it; NULL: the one returned. (Raise, Code) */
ball quantise(const quantiser *z, const ball *x, int64_t n, const double *own, ball *q);

#endif
