/* See known_fits.h. A table with open addresses, at most half full. */
#include "known_fits.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Where the key is, or a free row. */
static known_fit *row_of(const known_fits *all, const fit_key *key)
{
    size_t at = (size_t)XXH3_64bits(key, sizeof *key) & (all->rows - 1);
    while (all->row[at].taken && memcmp(&all->row[at].key, key, sizeof *key)) at = (at + 1) & (all->rows - 1);
    return &all->row[at];
}

const fit *known_fits_find(const known_fits *all, const fit_key *key)
{
    if (!all->rows) return NULL;
    const known_fit *const row = row_of(all, key);
    return row->taken ? &row->of : NULL;
}

/* False: no memory. */
static bool grow(known_fits *all)
{
    enum { FIRST = 1024 };
    known_fits more = {.rows = all->rows ? 2 * all->rows : FIRST, .count = all->count};
    more.row = calloc(more.rows, sizeof *more.row);
    if (!more.row) return false;
    for (size_t i = 0; i < all->rows; i++)
        if (all->row[i].taken) *row_of(&more, &all->row[i].key) = all->row[i];
    free(all->row);
    *all = more;
    return true;
}

void known_fits_keep(known_fits *all, const fit_key *key, const fit *of)
{
    if (2 * all->count >= all->rows && !grow(all)) return;
    known_fit *const row = row_of(all, key);
    all->count += !row->taken;
    *row = (known_fit){*key, *of, true};
}

void known_fits_forget(known_fits *all)
{
    free(all->row);
    *all = (known_fits){.rows = 0};
}
