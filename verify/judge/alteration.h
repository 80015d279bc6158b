/* Faults that a formula has when its inputs are other ones: a key, a feature or a block is left out, the weight of an expert is off. */
#ifndef ALTERATION_H
#define ALTERATION_H

#include "case/problem.h"

typedef struct {
    char name[64];
    int tensor;   /* whose numbers are others */
    void *data;   /* those; whoever asked frees them */
    double share; /* how much of the fault that it names it is: of an expert's weight a 1024th, else all */
} alteration;

/* The i-th of a problem with these inputs. False: there is none, or no memory. */
bool alteration_of(const problem *p, void *const data[], int i, alteration *out);

#endif
