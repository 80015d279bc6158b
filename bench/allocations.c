/* See allocations.h. */
#include "allocations.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h> /* says whether this is glibc */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static _Atomic long times, sum;

static void note(size_t bytes)
{
    atomic_fetch_add(&times, 1);
    atomic_fetch_add(&sum, (long)bytes);
}

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);
void *malloc(size_t bytes);
void *calloc(size_t n, size_t size);
void *realloc(void *old, size_t bytes);
void *memalign(size_t align, size_t bytes);
void *aligned_alloc(size_t align, size_t bytes);
int posix_memalign(void **where, size_t align, size_t bytes);

void *malloc(size_t bytes)
{
    note(bytes);
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t size)
{
    note(n * size);
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t bytes)
{
    note(bytes);
    return __libc_realloc(old, bytes);
}

void *memalign(size_t align, size_t bytes)
{
    note(bytes);
    return __libc_memalign(align, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    return memalign(align, bytes);
}

int posix_memalign(void **where, size_t align, size_t bytes)
{
    void *const got = memalign(align, bytes);
    return got ? (*where = got, 0) : ENOMEM;
}

void *mmap(void *at, size_t bytes, int protection, int flags, int file, off_t from)
{
    note(bytes);
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, file, from);
}

bool allocations_so_far(allocations *a)
{
    *a = (allocations){atomic_load(&times), atomic_load(&sum)};
    return true;
}
#else
bool allocations_so_far(allocations *a)
{
    *a = (allocations){0};
    return false;
}
#endif
