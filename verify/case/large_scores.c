/* See large_scores.h. */
#include "large_scores.h"

#include "rng.h"

double large_score(uint64_t seed, int64_t r)
{
    static const double near[] = {120, -120, 720, -760}; /* e^88.8, e^-104, e^709.8 and e^-745.2 are too far */
    return near[(r + (int64_t)(seed % 4)) % 4];
}

bool large_scores_fit(const key_numbers *n)
{
    return n->bits + 1 <= n->width;
}

static double sign_of_bit(int64_t j, int64_t bit)
{
    return j >> bit & 1 ? 1 : -1;
}

double large_key(const key_numbers *n, int64_t j, int64_t c, double other)
{
    int64_t const from_end = n->width - 1 - c;
    if (from_end == 0) return 1;
    return from_end <= n->bits ? sign_of_bit(j, from_end - 1) : other;
}

double large_query(const key_numbers *n, uint64_t seed, int64_t r, uint64_t draw, int64_t c, int64_t seen)
{
    static const double near[] = {94, -106, 98, -112};
    int64_t const from_end = n->width - 1 - c;
    double const bit = 4; /* a wrong one costs twice that */
    if (seen <= 0 || from_end > n->bits) return 0;
    double const score = near[(r + r / 4 + (int64_t)(seed % 4)) % 4] - (double)(r % 5); /* no two neighbours alike */
    if (from_end == 0) return score - bit * (double)n->bits;
    return bit * sign_of_bit(rng_whole(draw, 0, seen - 1), from_end - 1);
}
