/*
 * The tightest declaration under which answers of a port are legal, and the widest that resolves nearly as much.
 */
#ifndef TIGHTEN_H
#define TIGHTEN_H

#include "candidates.h"
#include "known_fits.h"

enum { MOST_ANSWERS = 2048, MOST_SAMPLES = 12 };

/* Answers to cases of one op, the cheapest first; and what every declaration of the port says besides: "", "without lse". */
typedef struct {
    const char *op, *besides, *read; /* read: of acc, as candidates_of takes it */
    int count;
    const answered *of[MOST_ANSWERS];
} answers;

/* One way of each candidate. */
typedef struct {
    const candidates *from;
    int way[MOST_CANDIDATES];
} choice;

/* A search, and what it has found so far. */
typedef struct {
    const answers *all;
    candidates from;
    choice tightest, widest;
    int hard[MOST_ANSWERS], hards;     /* answers that refuted something */
    int sample[MOST_SAMPLES], samples; /* those that resolution is measured on */
    double sample_bits[MOST_SAMPLES];  /* of each of these, under the tightest */
    double tightest_bits, widest_bits;
    int last[MOST_CANDIDATES]; /* of each clause, the weakest way that the answers need */
    known_fits known;          /* of these answers */
} tightening;

typedef enum { TIGHTEN_FOUND, TIGHTEN_NONE, TIGHTEN_NO_MEMORY } tightened;

/* Finds both. NONE: *failing is an answer that no way of all candidates allows. *t: all zeros, or of an earlier search. */
tightened tighten(tightening *t, const answers *all, sum_kind sums, int *failing);

void tighten_close(tightening *t);

/* Widens it, by one clause, for what filters find in answer i under it. FOUND: nothing is left there that they object to. */
tightened tighten_for_filters(tightening *t, int i);

/* The declaration, without what is assumed anyway. */
void choice_print(const choice *c, const char *besides, char *text, size_t cap);

/* How many bits the sample resolves under a declaration. False: no memory. */
bool tighten_bits(const tightening *t, const ref_numerics *n, double *bits);

#endif
