/*
 * Indices that others wrote: a port's decisions and a case's ids. Nothing else turns one of those into an index, so that none
 * can point out of the memory that it is meant for.
 */
#ifndef INDEX_H
#define INDEX_H

#include "ref.h"

/* Element `at` of a tensor; -1: it is none of 0 .. count - 1. */
int64_t read_index(const dsv3_tensor *t, int64_t at, int64_t count);

/* n different ones of 0 .. count - 1, from element `first` on. False: one is out of range or there twice; all are -1 then. */
bool read_choice(const dsv3_tensor *t, int64_t first, int64_t n, int64_t count, int64_t *chosen);

#endif
