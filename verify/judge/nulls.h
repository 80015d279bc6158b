/*
 * What statistics know of a case whichever port answers: its directions, and the nulls that were asked for, with the filters along
 * them. A second port with the same arithmetic, or a rung that another port tried, costs no more drawing. All of it depends on what
 * readings take from the port (forced.h): a port that decides otherwise takes the place of those before it.
 */
#ifndef NULLS_H
#define NULLS_H

#include "direction.h"
#include "forced.h"

/* The ports of one arithmetic and seed, and what is made of them; they themselves are gone. */
typedef struct {
    char numerics[REF_NUMERICS_CAP];
    ref_set declared;
    uint64_t seed, asked; /* asked: when, for the last time; 0: it has no elements where one answer has no numbers */
    null_ports null;
    filter *filter; /* by direction */
    scatter output[MAX_OUTPUTS];
    double most; /* see filter_most */
} known_null;

/* All together hold so many numbers, 128 MB, or are but one. */
enum { MOST_NULLS = 48, MOST_NUMBERS = 1 << 24 };

/* All zeros: nothing is known yet. */
typedef struct {
    directions all;
    char forced[FINGERPRINT_TEXT];
    known_null *null[MOST_NULLS];
    int count;
    uint64_t asked;           /* how often */
    double *got, *off, *room; /* (n): what the port wrote; (n), (2, n): for whoever computes. Behind one another */
} nulls;

/* From now on the answer is the one in data. p: always the same problem, or the same excerpt of it. */
void nulls_look_at(nulls *s, const problem *p, void *const data[], bool excerpt);
void nulls_forget(nulls *s);

/* What ports with this arithmetic are like, drawn from a seed, beside this answer; until the next is asked for. NULL: no memory. */
const known_null *nulls_beside(nulls *s, const ref_numerics *n, uint64_t seed);

#endif
