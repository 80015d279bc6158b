#include "numbers.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 1 << 17 };
static mpfr_t pool[MOST];
static int used, made;

static mpfr_ptr fresh(void)
{
    cr_assert(used < MOST, "a formula of these sizes needs more than %d numbers", MOST);
    if (used == made) mpfr_init2(pool[made++], NUMBER_BITS);
    return pool[used++];
}

int numbers_mark(void)
{
    return used;
}

void numbers_back_to(int mark)
{
    used = mark;
}

void numbers_free(void)
{
    while (made) mpfr_clear(pool[--made]);
    used = 0;
    mpfr_free_cache();
}

mpfr_ptr number(double v)
{
    mpfr_ptr const r = fresh();
    mpfr_set_d(r, v, MPFR_RNDN);
    return r;
}

mpfr_ptr decimal(double v)
{
    char text[32];
    mpfr_ptr const r = fresh();
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, v);
        if (strtod(text, NULL) == v) break;
    }
    mpfr_set_str(r, text, 10, MPFR_RNDN);
    return r;
}

#define OF_ONE(name, f)                                                                                                \
    mpfr_ptr name(mpfr_ptr a)                                                                                          \
    {                                                                                                                  \
        mpfr_ptr const r = fresh();                                                                                    \
        f(r, a, MPFR_RNDN);                                                                                            \
        return r;                                                                                                      \
    }
OF_ONE(e_to, mpfr_exp)
OF_ONE(ln, mpfr_log)
OF_ONE(root, mpfr_sqrt)
OF_ONE(cosine, mpfr_cos)
OF_ONE(sine, mpfr_sin)
OF_ONE(floor_of, mpfr_rint_floor)
OF_ONE(ceiling_of, mpfr_rint_ceil)

#define OF_TWO(name, f)                                                                                                \
    mpfr_ptr name(mpfr_ptr a, mpfr_ptr b)                                                                              \
    {                                                                                                                  \
        mpfr_ptr const r = fresh();                                                                                    \
        f(r, a, b, MPFR_RNDN);                                                                                         \
        return r;                                                                                                      \
    }
OF_TWO(plus, mpfr_add)
OF_TWO(minus, mpfr_sub)
OF_TWO(times, mpfr_mul)
OF_TWO(over, mpfr_div)
OF_TWO(power, mpfr_pow)

mpfr_ptr larger(mpfr_ptr a, mpfr_ptr b)
{
    return mpfr_cmp(a, b) > 0 ? a : b;
}

mpfr_ptr smaller(mpfr_ptr a, mpfr_ptr b)
{
    return mpfr_cmp(a, b) < 0 ? a : b;
}

mpfr_ptr pi(void)
{
    mpfr_ptr const r = fresh();
    mpfr_const_pi(r, MPFR_RNDN);
    return r;
}
