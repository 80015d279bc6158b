/*
 * How often this program and the ports that it loads have asked for memory, and for how much of it:
 * malloc and its kind, and mmap.
 */
#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H

#include <stdbool.h>

typedef struct {
    long times, bytes;
} allocations;

/* False: they aren't counted, as under a sanitizer. */
bool allocations_so_far(allocations *a);

#endif
