/* See draw.h. */
#include "draw.h"

#include <math.h>

double leaning(const ref_sample *port, int clause, uint64_t key)
{
    static const double pi = 0x1.921fb54442d18p+1;
    double const always =
        way_of(port, MATTER_LEANS + clause, 3) ? sin(pi * (habit(port, MATTER_LEANING + clause) - 0.5)) : 0;
    double const own = draw(port, key);
    if (!way_of(port, MATTER_EDGE, 4)) return copysign(1, own);
    return always + (1 - fabs(always)) * own;
}
