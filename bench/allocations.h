/* How often this program and the ports that it loads have asked for memory: malloc, calloc, realloc, aligned_alloc. */
#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H

/* -1: not counted, as under a sanitizer. */
long allocations_so_far(void);

#endif
