/* See scratch.h. A piece is an allocation of its own, so that a sanitizer sees where each ends. */
#include "scratch.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNED = 64 }; /* a vector register, a line of the cache */

struct scratch_piece {
    scratch_piece *before;
    char unused[ALIGNED - sizeof(scratch_piece *)]; /* where a piece is aligned its data are */
    _Alignas(max_align_t) char data[];
};

/* Large pieces lie on huge pages, where the system has them: they are written once and given back. */
static void *fresh(size_t bytes)
{
    size_t const huge = (size_t)1 << 21;
    bool const large = bytes >= 2 * huge && bytes <= SIZE_MAX - huge;
    void *piece;
    if (posix_memalign(&piece, large ? huge : ALIGNED, bytes)) return NULL;
    if (large) madvise(piece, bytes, MADV_HUGEPAGE);
    return piece;
}

static void *allocate(const scratch *s, void *piece, size_t bytes)
{
    if (s->allocate) return s->allocate(s->user, piece, bytes);
    if (bytes) return fresh(bytes);
    free(piece);
    return NULL;
}

/* Ends scratch_run unless good. */
static void need(scratch *s, bool good)
{
    if (!good) longjmp(s->out, 1);
}

void *scratch_take(scratch *s, int64_t count, size_t size)
{
    size_t bytes;
    need(s, !__builtin_mul_overflow((size_t)count, size, &bytes));
    need(s, !__builtin_add_overflow(bytes, sizeof(scratch_piece), &bytes));
    scratch_piece *const piece = allocate(s, NULL, bytes);
    need(s, piece != NULL);
    piece->before = s->last;
    s->last = piece;
    return piece->data;
}

void *scratch_zeros(scratch *s, int64_t count, size_t size)
{
    return memset(scratch_take(s, count, size), 0, (size_t)count * size);
}

scratch_piece *scratch_mark(const scratch *s)
{
    return s->last;
}

void scratch_back(scratch *s, scratch_piece *mark)
{
    while (s->last != mark) {
        scratch_piece *const piece = s->last;
        s->last = piece->before;
        allocate(s, piece, 0);
    }
}

bool scratch_run(scratch *s, void (*work)(void *context), void *context)
{
    s->last = NULL;
    bool const began = !setjmp(s->out);
    if (began) work(context);
    scratch_back(s, NULL);
    return began;
}
