/*
 * Fits that were measured: a search for a declaration asks for many a second time.
 */
#ifndef KNOWN_FITS_H
#define KNOWN_FITS_H

#include "candidates.h"
#include "fit.h"

/* Of one answer, under a declaration that takes these ways of the candidates. */
typedef struct {
    int answer;
    uint8_t way[MOST_CANDIDATES];
} fit_key;

typedef struct {
    fit_key key;
    fit of;
    bool taken;
} known_fit;

/* All zeros: none is known yet. */
typedef struct {
    known_fit *row;
    size_t rows, count; /* rows: 0, or a power of two */
} known_fits;

/* The fit; NULL: it isn't known. */
const fit *known_fits_find(const known_fits *all, const fit_key *key);

/* Without memory nothing is kept: that is only slower. */
void known_fits_keep(known_fits *all, const fit_key *key, const fit *of);
void known_fits_forget(known_fits *all);

#endif
