/*
 * Memory of one evaluation. What is taken is never given back singly and taking never fails: when there is no memory left,
 * scratch_run ends and returns false. So a formula has neither a path for that nor a piece to free.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include "ref.h"

#include <setjmp.h>

typedef struct scratch_piece scratch_piece;

typedef struct scratch {
    ref_allocator *allocate; /* NULL: malloc and free */
    void *user;
    scratch_piece *last;
    jmp_buf out;
} scratch;

/* work(context). False: it ran out of memory. All that it took is freed, either way. */
bool scratch_run(scratch *s, void (*work)(void *context), void *context);

/* `count` objects of `size` bytes, aligned to 64 bytes, or as the reading's allocator does; unset, or all bits 0. Never
 * NULL, not even for none. */
void *scratch_take(scratch *s, int64_t count, size_t size);
void *scratch_zeros(scratch *s, int64_t count, size_t size);

/* Frees what was taken after the mark. */
scratch_piece *scratch_mark(const scratch *s);
void scratch_back(scratch *s, scratch_piece *mark);

#endif
