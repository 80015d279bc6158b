/* Values of projection matrices and their like, for the fills of ops that have several. */
#ifndef WEIGHT_VALUES_H
#define WEIGHT_VALUES_H

#include "problem.h"

/* That of a matrix with so many inputs, or of its weight_scale_inv: outputs are near 1 for inputs near 1. Values of FP8 weights are
 * codes; their scales are log-uniform over 2^8, no two alike. The gain of a norm is near 1. */
weight_law weight_law_of(const char *name, bool fp8, int64_t inputs);

/* An element of a weight by the law of its row. */
double weight_value(const problem *p, const tensor_row *row, uint64_t bits);

#endif
