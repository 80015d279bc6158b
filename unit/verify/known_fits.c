/* Fits that are kept: each is found by its own key, however many there are, and no other is. */
#include "judge/known_fits.h"

#include <criterion/criterion.h>

TestSuite(known_fits, .timeout = 60);

enum { MANY = 20000 };

/* The i-th: keys that differ in one answer or in one way. */
static fit_key key_of(int i)
{
    fit_key key = {.answer = i % 7};
    key.way[i / 7 % MOST_CANDIDATES] = (uint8_t)(1 + i / 7 / MOST_CANDIDATES);
    return key;
}

Test(known_fits, each_is_found_by_its_key)
{
    known_fits all = {.rows = 0};
    for (int i = 0; i < MANY; i++) {
        fit_key const key = key_of(i);
        fit const one = {.bits = i};
        cr_assert(!known_fits_find(&all, &key), "%d is known before it is kept", i);
        known_fits_keep(&all, &key, &one);
    }
    for (int i = 0; i < MANY; i++) {
        fit_key const key = key_of(i);
        const fit *const found = known_fits_find(&all, &key);
        cr_assert(found && found->bits == i, "%d is %g", i, found ? found->bits : -1);
    }
    cr_expect(all.count == MANY);
    known_fits_forget(&all);
    fit_key const first = key_of(0);
    cr_expect(!known_fits_find(&all, &first), "it was forgotten");
}
