/* Values of projection matrices, for the fills of ops that have several. */
#ifndef WEIGHT_VALUES_H
#define WEIGHT_VALUES_H

#include "problem.h"

/* Does the name of a tensor end so? */
bool ends_with(const char *name, const char *end);

/* An element of a matrix with so many inputs, or of its weight_scale_inv: outputs are near 1 for inputs near 1.
 * Values of FP8 weights are codes; their scales are log-uniform over 2^8, no two alike. */
double weight_value(const char *name, bool fp8, int64_t inputs, uint64_t bits);

#endif
