/* What rounding makes of a sum, in a port that is drawn. */
#ifndef ACCUMULATE_H
#define ACCUMULATE_H

#include "moments.h"

#include "../reading.h"

/* The total and the port's error; acc: its accumulator. */
double accumulated(const ref_sample *port, const ref_accumulator *acc, const moments *of);

#endif
