/* See allocations.h. */
#include "allocations.h"

#include <stdatomic.h>
#include <stdlib.h> /* says whether this is glibc */

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static _Atomic long asked;

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);
void *malloc(size_t bytes);
void *calloc(size_t n, size_t size);
void *realloc(void *old, size_t bytes);
void *aligned_alloc(size_t align, size_t bytes);

void *malloc(size_t bytes)
{
    atomic_fetch_add(&asked, 1);
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t size)
{
    atomic_fetch_add(&asked, 1);
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t bytes)
{
    atomic_fetch_add(&asked, 1);
    return __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    atomic_fetch_add(&asked, 1);
    return __libc_memalign(align, bytes);
}

long allocations_so_far(void)
{
    return atomic_load(&asked);
}
#else
long allocations_so_far(void)
{
    return -1;
}
#endif
