/*
 * Which quirks (known faults) a case sees: a quirk is seen in an element whose legal results with it and without have nothing in common.
 */
#ifndef SEEN_H
#define SEEN_H

#include "enclose.h"
#include "files/fingerprint.h"
#include "result.h"

/* A case as an honest port answers it: what is read once for all quirks. */
typedef struct {
    const problem *p;
    const ref_numerics *n;
    void *const *data;
    void **decided;                /* by tensor: the outputs of the honest port; NULL where readings take none */
    char forced[FINGERPRINT_TEXT]; /* what readings take from it */
    enclosures own;                /* the exact results that it is of; no values where readings take none */
    enclosures legal;              /* beside it */
    ref_set asked;                 /* quirks that change anything here */
    int64_t count;                 /* elements */
} seeing;

/* The outputs in data become others. False: no memory, and nothing to close. */
bool seeing_open(const problem *p, const ref_numerics *n, void *const data[], seeing *s);
void seeing_close(seeing *s);

/* In how many of the elements the quirk is seen; -1: no memory. */
int64_t seen_with(const seeing *s, int quirk);

/* The same of one quirk alone, and all elements in *count. */
int64_t seen_in(const problem *p, const ref_numerics *n, int quirk, void *const data[], int64_t *count);

/* Counts the elements whose values in a and b have nothing in common, and all in *count; of outputs that one of them lacks none. */
int64_t count_apart(const problem *p, const enclosures *a, const enclosures *b, int64_t *count);

/* Which quirks of the op the case sees under n. Sets quirks_tried and quirks_blind of the result. False: no memory. */
bool look_for_quirks(const problem *p, const ref_numerics *n, void *const data[], result *r);

/* Quirks of the op. */
int quirks_of(const op *o);

#endif
