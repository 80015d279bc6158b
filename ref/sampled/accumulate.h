/* What rounding makes of a sum, in a port that is drawn. */
#ifndef ACCUMULATE_H
#define ACCUMULATE_H

#include "moments.h"

#include "../reading.h"

/* The order of summation that the port's error in a sum of n terms asks for; acc: its accumulator. */
int order_of(const ref_sample *port, const ref_accumulator *acc, int64_t n);

/* The total and the port's error. */
double accumulated(const ref_sample *port, const ref_accumulator *acc, const moments *of);

#endif
