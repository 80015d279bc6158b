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
    weight_law l = {fp8 ? WEIGHT_CODES : WEIGHT_MATRIX, ldexpf(1, -(ilogb((double)inputs) / 2))};
    if (ends_with(name, "norm.weight")) l.kind = WEIGHT_GAIN;
    if (ends_with(name, "weight_scale_inv")) l.kind = WEIGHT_SCALES;
    return l;
}

double weight_value(const problem *p, const tensor_row *row, uint64_t bits)
{
    const weight_law *const l = &p->law[row - p->op->tensors];
    double const unit = (double)l->unit;
    switch (l->kind) {
    case WEIGHT_SCALES: return unit * ldexp(1 + (double)(bits >> 44) * 0x1p-20, (int)rng_whole(bits << 20, -10, -3));
    case WEIGHT_GAIN: return 1 + rng_gaussian(bits) / 8;
    case WEIGHT_CODES: return 64 * rng_gaussian(bits);
    case WEIGHT_MATRIX: return unit * rng_gaussian(bits);
    }
    return 0;
}
