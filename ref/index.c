/* See index.h. */
#include "index.h"

#include <math.h>

int64_t read_index(const dsv3_tensor *t, int64_t at, int64_t count)
{
    double const v = ref_decode(t->dtype, t->data, at);
    return v >= 0 && v < (double)count && v == floor(v) ? (int64_t)v : -1;
}

static bool contains(const int64_t *v, int64_t n, int64_t wanted)
{
    for (int64_t i = 0; i < n; i++)
        if (v[i] == wanted) return true;
    return false;
}

bool read_choice(const dsv3_tensor *t, int64_t first, int64_t n, int64_t count, int64_t *chosen)
{
    bool valid = true;
    for (int64_t k = 0; k < n; k++) {
        chosen[k] = read_index(t, first + k, count);
        valid = valid && chosen[k] >= 0 && !contains(chosen, k, chosen[k]);
    }
    for (int64_t k = 0; !valid && k < n; k++) chosen[k] = -1;
    return valid;
}
