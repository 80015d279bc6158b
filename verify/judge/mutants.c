/* See mutants.h. */
#include "mutants.h"

#include "element.h"

#include <math.h>

enum { MUTANT_ZERO, MUTANT_SIGN, MUTANT_ROW, MUTANT_SCALE, MUTANT_ROTATE, MUTANTS };

/* Element i of a mutant. */
static double mutant(int kind, const ref_value *truth, int64_t i, int64_t count, int64_t width)
{
    switch (kind) {
    case MUTANT_ZERO: return 0;
    case MUTANT_SIGN: return -truth[i].hi;
    case MUTANT_ROW: return truth[(i + width) % count].hi;
    case MUTANT_SCALE: return 1.125 * truth[i].hi;
    default: return truth[i / width * width + (i % width + 1) % width].hi;
    }
}

/* A mutant counts if it differs from the truth somewhere by more than the truth's radius; it survives if all of it,
 * rounded to the tensor's format, is legal. */
static void try_mutant(int kind, const tensor_info *t, const ref_value *truth, const ref_value *legal, output_stats *s)
{
    bool counts = false, survives = true;
    for (int64_t i = 0; i < t->count && (survives || !counts); i++) {
        double const m = mutant(kind, truth, i, t->count, row_width(t));
        if (fabs(m - truth[i].hi) > truth[i].radius + fabs(truth[i].lo)) counts = true;
        element const e = element_of(truth, legal, i);
        if (!is_legal(&e, ref_round(t->dtype, m))) survives = false;
    }
    s->mutants += counts;
    s->survivors += counts && survives;
}

void try_mutants(const tensor_info *t, const ref_value *truth, const ref_value *legal, output_stats *s)
{
    for (int kind = 0; kind < MUTANTS && t->dtype != DSV3_I32; kind++) try_mutant(kind, t, truth, legal, s);
}
