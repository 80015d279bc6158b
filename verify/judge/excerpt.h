/*
 * An excerpt of a problem: some rows of its outputs, with what they are computed from. What an op gives in one row doesn't depend on
 * the others, for the ops that excerpt.c lists; so an excerpt is a problem of the same op, and its results are those of the whole.
 */
#ifndef EXCERPT_H
#define EXCERPT_H

#include "enclose.h"

typedef struct {
    problem p;
    void **data;      /* by tensor; the whole problem's own where nothing is left out */
    enclosures legal; /* of the whole, in the rows of the excerpt */
    bool *copied;     /* by tensor: data and legal are its own */
    double share;     /* of the whole's output elements, below 1 */
} excerpt;

/* The excerpt that holds a few of the elements in data that are not legal, about 1 / fraction of the whole. False: there
 * is none, as no excerpt is smaller than the whole, or no memory; and nothing to close. */
bool excerpt_failing(const problem *p, const enclosures *legal, void *const data[], int fraction, excerpt *out);
void excerpt_close(excerpt *s);

/* The same: the excerpt that holds element k of tensor t. */
bool excerpt_at(const problem *p, const enclosures *legal, void *const data[], int t, int64_t k, excerpt *out);

/* The same: about that share of the whole, from first to last. */
bool excerpt_spread(const problem *p, const enclosures *legal, void *const data[], double share, excerpt *out);

/* Does the quirk mix rows, so that an excerpt doesn't show it? */
bool excerpt_misleads(int quirk);

#endif
