/*
 * The tensors of one case in guarded memory. Each has pages of its own with a page on both sides that faults on any
 * access; the data end right before the guard behind, or start right behind the guard before. What is left of the page
 * holds canaries.
 */
#ifndef ARENA_H
#define ARENA_H

#include "case/problem.h"

typedef enum { GUARD_BEHIND, GUARD_BEFORE } guard_side;

typedef struct {
    char *map; /* guard page, room, guard page */
    size_t mapped;
    char *data;
    size_t bytes; /* of the tensor's room */
    size_t most;  /* of the largest that lies here, of any step */
    const char *name;
} region;

typedef struct {
    int count;
    region *item; /* item[i] belongs to tensor[i] of a step */
} arena;

/* align: bytes the data must be aligned to; 0: the element size. The steps of a sequence share the memory, which is that
 * of the largest: arena_place comes before each call. False: no memory. */
bool arena_open(arena *a, const problem *p, guard_side side, size_t align);
void arena_close(arena *a);

/* Makes room for the tensors of one call: each begins where those of other steps do, and canaries fill the rest. */
void arena_place(arena *a, const problem *step);

/* The tensor whose canaries were overwritten, or NULL. */
const char *arena_damage(const arena *a);

/* Says which tensor an address belongs to: "4 bytes behind the end of x". False: none. Safe in a signal handler. */
bool arena_locate(const arena *a, const void *address, char *text, size_t cap);

#endif
