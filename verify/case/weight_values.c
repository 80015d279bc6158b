/* See weight_values.h. */
#include "weight_values.h"

#include "rng.h"

#include <math.h>

bool ends_with(const char *name, const char *end)
{
    size_t const n = strlen(name), m = strlen(end);
    return n >= m && same_name(name + n - m, end);
}

double weight_value(const char *name, bool fp8, int64_t inputs, uint64_t bits)
{
    int const half = ilogb((double)inputs) / 2;
    if (ends_with(name, "weight_scale_inv"))
        return ldexp(1 + (double)(bits >> 44) * 0x1p-20, (int)rng_whole(bits << 20, -10, -3) - half);
    return fp8 ? 64 * rng_gaussian(bits) : ldexp(rng_gaussian(bits), -half);
}
