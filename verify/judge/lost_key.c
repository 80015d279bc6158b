/* See lost_key.h. */
#include "lost_key.h"

#include <math.h>
#include <stdlib.h>

/* Readings take as long as so many rungs: of more keys every second one is tried, every third ... */
enum { MOST_KEYS = 8 * NULL_PORTS };

/* What the answer is off along d, squared, in the metric of the null. */
static double squared_along(const null_ports *null, const double *d, const double *off)
{
    double y = 0, dd = 0;
    for (int64_t i = 0; i < null->n; i++) {
        if (!isfinite(d[i])) continue;
        y += off[i] * d[i] * null->weight[i];
        dd += d[i] * d[i] * null->weight[i];
    }
    return dd > 0 ? y * y / dd : 0;
}

/* Into d: what it changes that this key is left out. False: no memory. */
static bool change_of_key(const nulls *kept, const null_ports *beside, int64_t key, direction *of)
{
    alteration a;
    if (!alteration_of_key(kept->all.p, kept->all.data, key, &a)) return false;
    bool const good = direction_alter(&kept->all, beside, &a, of->d);
    strcpy(of->name, a.name);
    alteration_close(&a);
    return good;
}

/* other: room for another, that it may be exchanged for. */
static bool try_keys(const nulls *kept, const null_ports *beside, int64_t keys, direction *found, direction *other)
{
    double most = 0;
    for (int64_t key = 0; key < keys; key += (keys + MOST_KEYS - 1) / MOST_KEYS) {
        if (!change_of_key(kept, beside, key, other)) return false;
        double const here = squared_along(beside, other->d, kept->off);
        if (here <= most) continue;
        direction const better = *other;
        *other = *found, *found = better;
        most = here;
    }
    return true;
}

static direction open_direction(const null_ports *null)
{
    return (direction){LEFT_OUT, "", -1, -1, calloc((size_t)null->n + 1, sizeof(double))};
}

bool lost_key(const nulls *kept, const null_ports *beside, direction *found)
{
    int64_t const keys = alteration_keys(kept->all.p, kept->all.data);
    *found = (direction){LEFT_OUT, "", -1, -1, NULL};
    if (!keys) return true;
    direction other = open_direction(beside);
    *found = open_direction(beside);
    bool const good = found->d && other.d && try_keys(kept, beside, keys, found, &other);
    free(other.d);
    return good;
}
