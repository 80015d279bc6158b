/* Faults that a formula has when its inputs are other ones: a key, a feature or a block is left out, the weight of an expert is off. */
#ifndef ALTERATION_H
#define ALTERATION_H

#include "case/problem.h"

typedef struct {
    char name[64];
    int changed;   /* so many tensors hold other numbers */
    int tensor[2]; /* which */
    void *data[2]; /* those numbers */
    double share;  /* how much of the fault that it names it is: of an expert's weight a 1024th, else all */
} alteration;

/* The i-th of a problem with these inputs, to be closed. False: there is none, or no memory. */
bool alteration_of(const problem *p, void *const data[], int i, alteration *out);

/* Of attention with a cache: so many keys may be left out that all queries see, 0 .. n - 1 in each sequence that has as many; and
 * one of them. False: no memory. */
int64_t alteration_keys(const problem *p, void *const data[]);
bool alteration_of_key(const problem *p, void *const data[], int64_t key, alteration *out);

void alteration_close(alteration *a);

#endif
