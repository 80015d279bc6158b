/* See element.h. */
#include "element.h"

#include <math.h>

element element_of(const ref_value *truth, const ref_value *legal, int64_t i)
{
    return (element){truth[i].hi, ref_lower(legal[i]), ref_upper(legal[i])};
}

bool any_is_legal(const element *e)
{
    return e->lower == -HUGE_VAL && e->upper == HUGE_VAL;
}

bool is_legal(const element *e, double got)
{
    return any_is_legal(e) || (e->lower <= got && got <= e->upper);
}

double budget_used(const element *e, double got)
{
    if (any_is_legal(e) || (got == e->truth && is_legal(e, got))) return 0;
    if (!isfinite(got)) return HUGE_VAL;
    double const error = fabs(got - e->truth);
    double const legal_error = got < e->truth ? e->truth - e->lower : e->upper - e->truth;
    bool const legal = is_legal(e, got), single = e->lower == e->upper;
    if (error == 0 || (legal && (single || !(legal_error > 0)))) return legal ? 0 : HUGE_VAL;
    double const used = legal_error > 0 ? error / legal_error : HUGE_VAL;
    return legal ? fmin(used, 1) : fmax(used, nextafter(1, 2));
}

int64_t row_width(const tensor_info *t)
{
    return t->ndim > 0 ? t->shape[t->ndim - 1] : 1;
}
