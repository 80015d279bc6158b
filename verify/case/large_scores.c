/* See large_scores.h. */
#include "large_scores.h"

double large_score(uint64_t seed, int64_t r)
{
    static const double near[] = {120, -120, 720, -760}; /* e^88.8, e^-104, e^709.8 and e^-745.2 are too far */
    return near[(r + (int64_t)(seed % 4)) % 4];
}

double large_query_entry(uint64_t seed, int64_t r, int64_t from_end)
{
    if (from_end == 0) return large_score(seed, r);
    return from_end == 1 ? 4 : 0;
}
