/*
 * How an answer fits a declaration: how far outside of what is legal it is, and how much is resolved.
 */
#ifndef FIT_H
#define FIT_H

#include "enclose.h"

/* What a port made of a problem, and what doesn't depend on its declaration. */
typedef struct {
    const problem *p;
    void *const *data;
    enclosures truth, own;
} answered;

/* False: no memory, and nothing to free. */
bool answered_open(const problem *p, void *const data[], answered *out);
void answered_free(answered *a);

/* outside: over all elements that are no legal result, the sum of log2(1 + distance / half an ulp of the output).
 * bits: over all elements of numbers, the mean of log2(1 + rms of the tensor / (half width + half an ulp of the rms)); 0 for one
 * that may be anything. elements: how many it is a mean of. */
typedef struct {
    double outside, bits, elements;
} fit;

/* Under n. False: no memory. */
bool fit_of(const answered *a, const ref_numerics *n, fit *f);

#endif
