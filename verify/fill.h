/* Data of a problem: every element from (seed, tensor name, index) alone. */
#ifndef FILL_H
#define FILL_H

#include "problem.h"

/* Fills the inputs and weights; data[i] belongs to tensor[i], outputs are left alone. */
void fill_inputs(const problem *p, void *const data[]);

#endif
