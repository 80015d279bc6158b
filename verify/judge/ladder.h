/*
 * The arithmetic of a port that declares none, or not all of it. A rung settles what is left open: how sums are cut, and which
 * intermediates are rounded to their format. The rung that explains an answer is what the port looks like.
 */
#ifndef LADDER_H
#define LADDER_H

#include "ref.h"

#include <stddef.h>

typedef struct {
    int sums;        /* 0: as declared, or to nearest; else cut, after ever fewer products */
    ref_set rounded; /* of the open points, those that are rounded */
} rung;

enum { MOST_SUMS = 4 };

/* How many ways of summing are open: 1 if that is declared. */
int ladder_sums(const ref_numerics *n);

/* Points that an op or its parts may round, as far as nothing says whether they do. */
ref_set ladder_points(const char *op, const ref_numerics *n);

/* The declaration n with the rest settled by the rung; and the rung in words. */
ref_numerics ladder_numerics(const char *op, const ref_numerics *n, const rung *r);
void ladder_describe(const char *op, const ref_numerics *n, const rung *r, char *text, size_t cap);

#endif
