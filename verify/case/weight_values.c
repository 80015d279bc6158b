/* See weight_values.h. */
#include "weight_values.h"

#include "rng.h"

#include <math.h>

static bool ends_with(const char *name, const char *end)
{
    size_t const n = strlen(name), m = strlen(end);
    return n >= m && same_name(name + n - m, end);
}

weight_law weight_law_of(const char *name, bool fp8, int64_t inputs)
{
    int const half = ilogb((double)inputs) / 2;
    weight_law const l = {fp8 ? WEIGHT_CODES : WEIGHT_MATRIX, half, ldexp(1, -half)};
    if (ends_with(name, "norm.weight")) return (weight_law){.kind = WEIGHT_GAIN};
    return ends_with(name, "weight_scale_inv") ? (weight_law){WEIGHT_SCALES, half, l.unit} : l;
}

double weight_value(const problem *p, const tensor_row *row, uint64_t bits)
{
    const weight_law *const l = &p->law[row - p->op->tensors];
    switch (l->kind) {
    case WEIGHT_SCALES: return ldexp(1 + (double)(bits >> 44) * 0x1p-20, (int)rng_whole(bits << 20, -10, -3) - l->half);
    case WEIGHT_GAIN: return 1 + rng_gaussian(bits) / 8;
    case WEIGHT_CODES: return 64 * rng_gaussian(bits);
    case WEIGHT_MATRIX: return rng_gaussian(bits) * l->unit;
    }
    return 0;
}
