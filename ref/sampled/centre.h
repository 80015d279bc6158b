/*
 * The centre of a ball in the sampled tier: a binary64 number, and no error is told: a ball here is one number that a port may
 * have, or the number of the formula, as near as binary64 has it. Its radius is 0, or infinite: it may be any number.
 */
#ifndef CENTRE_H
#define CENTRE_H

#include "../binary64.h"

#include <math.h>
#include <stdbool.h>

typedef struct {
    double hi;
} centre;

#define CENTRE_TIER "sampled"

enum { CENTRE_BITS = 53 };

static inline centre centre_of(double v)
{
    return (centre){v};
}

static inline void centre_split(centre a, double *hi, double *lo, double *rest)
{
    *hi = a.hi;
    *lo = *rest = 0;
}

static inline double centre_up(centre a)
{
    return a.hi;
}

static inline int centre_lsb(centre a)
{
    return double_lsb(a.hi);
}

#endif
