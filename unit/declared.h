/* What tests of declared arithmetic share: a declaration read, and whether an element is legal. */
#ifndef DECLARED_H
#define DECLARED_H

#include "ref.h"

#include <criterion/criterion.h>
#include <math.h>

static inline ref_numerics numerics(const char *op, const char *text)
{
    ref_numerics n;
    char why[300];
    cr_assert(ref_numerics_parse(op, text, &n, why, sizeof why), "%s: %s", text, why);
    return n;
}

static inline bool inside(const ref_value *v, double got)
{
    return isinf(v->radius) || (ref_lower(*v) <= got && got <= ref_upper(*v));
}

#endif
