/* See own_locale.h. */
#include "own_locale.h"

#include <locale.h>

void own_locale(void)
{
    static locale_t c;
    if (!c) c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c) uselocale(c);
}
