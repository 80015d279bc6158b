/*
 * Two mistakes at once. What they change together is no sum of what each does: the formula is read with both.
 */
#ifndef PAIRS_H
#define PAIRS_H

#include "ref.h"

typedef struct {
    int first, second; /* quirks; -1: no pair comes nearer than one alone */
    double misfit;
    double alone; /* the misfit of the nearest one alone, or of none */
} pair;

/* How far what the formula gives with these mistakes is from an answer, squared; infinite: no memory. */
typedef double misfit_of(void *context, ref_set quirks);

/* Which may be paired, and what the search is to be content with: one mistake alone that is no farther off than `enough`; with more
 * pairs than `most`, those that have one of the mistakes that come nearest alone. */
typedef struct {
    int quirk[REF_QUIRKS], count;
    double enough;
    int most;
} pairing;

/* The nearest pair. */
pair nearest_pair(const pairing *of, misfit_of *misfit, void *context);

/* How many readings of that much work a search may take. */
int affordable_pairs(double work);

/* "first and second" */
void pair_name(int first, int second, char *text, size_t cap);

#endif
