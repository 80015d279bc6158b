/* Is a decimal, to its last printed digit, within the radius of an enclosure? */
#ifndef DECIMAL_H
#define DECIMAL_H

#include "ref.h"

#include <math.h>
#include <mpfr.h>
#include <string.h>

static inline bool agrees(const ref_value *v, const char *decimal)
{
    mpfr_t m, slack;
    const char *const point = strchr(decimal, '.'), *const exponent = strchr(decimal, 'e');
    int const digits = point ? (int)strspn(point + 1, "0123456789") : 0;
    if (isnan(v->hi)) return false;
    mpfr_inits2(400, m, slack, (mpfr_ptr)0);
    mpfr_set_str(m, decimal, 10, MPFR_RNDN);
    mpfr_sub_d(m, m, v->hi, MPFR_RNDN);
    mpfr_sub_d(m, m, v->lo, MPFR_RNDN);
    mpfr_set_si(slack, (exponent ? atoi(exponent + 1) : 0) - digits, MPFR_RNDN);
    mpfr_exp10(slack, slack, MPFR_RNDU); /* one unit of the last digit */
    if (!point && !exponent) mpfr_set_zero(slack, 1);
    mpfr_add_d(slack, slack, v->radius, MPFR_RNDU);
    bool const close = mpfr_cmpabs(m, slack) <= 0;
    mpfr_clears(m, slack, (mpfr_ptr)0);
    return close;
}

#endif
