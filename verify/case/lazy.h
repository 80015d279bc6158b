/*
 * Memory that is filled when it is first touched: weights that nobody reads take addresses alone. Who reads them finds what
 * would have lain there from the start, so that no mistake is hidden, and no port takes another way.
 */
#ifndef LAZY_H
#define LAZY_H

#include <stdbool.h>
#include <stddef.h>

/* Writes all bytes of range `index` to `to`. It runs in a signal handler: no locks, memory by mmap alone. False: no memory. */
typedef bool lazy_fill(void *context, int index, void *to);

typedef struct {
    lazy_fill *fill;
    void *context;
    int index;
    int protection; /* of the pages, once they are filled */
} lazy_source;

/* Addresses for so many bytes, nothing in them; NULL: no memory. */
void *lazy_open(size_t bytes, const lazy_source *source);

/* The same of whole pages that are there and can't be read. False: no memory. */
bool lazy_cover(void *pages, size_t bytes, const lazy_source *source);

/* Of addresses that either gave: they are gone, or are as they are and will not be filled. NULL: nothing to do. */
void lazy_close(void *at);

/* Has what begins there been filled? */
bool lazy_is_filled(const void *at);

typedef enum { LAZY_ELSEWHERE, LAZY_FILLED, LAZY_NO_MEMORY } lazy_answer;

/* Fills the range that the address lies in. Safe in a signal handler, by many threads at once: none sees it half filled. ELSEWHERE:
 * there is none, or it was filled long ago. */
lazy_answer lazy_touch(const void *address);

/* From now on SIGSEGV of this process fills what was touched; what else it means happens as before. */
void lazy_catch(void);

#endif
