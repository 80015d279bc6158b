/*
 * The tensors of one case in guarded memory. Each has pages of its own with a zone on both sides that faults on any
 * access; the data end right before the guard behind, or start right behind the guard before. What is left of the page
 * holds canaries. While the port works its inputs fault when it writes to them, and once it has returned all tensors do.
 */
#ifndef ARENA_H
#define ARENA_H

#include "case/problem.h"

typedef enum { GUARD_BEHIND, GUARD_BEFORE } guard_side;

typedef struct {
    char *map; /* guard zone, room, guard zone */
    size_t zone, room;
    char *data;
    bool input;
    size_t bytes; /* of the tensor's room */
    size_t most;  /* of the largest that lies here, of any step */
    const char *name;
    bool lazy; /* filled when it is touched */
} region;

/* Fills the room of tensor[i]: see lazy_fill. fill NULL: no tensor is lazy here. */
typedef struct {
    bool (*fill)(void *context, int i, void *room);
    void *context;
} arena_filler;

typedef struct {
    int count;
    region *item; /* item[i] belongs to tensor[i] of a step */
    int state;    /* an arena_state */
    arena_filler filler;
} arena;

/* align: bytes the data must be aligned to; 0: the element size. The steps of a sequence share the memory, which is that
 * of the largest: arena_place comes before each call. Lazy tensors are the filler's, while the arena stays where it is. False:
 * no memory. */
bool arena_open(arena *a, const problem *p, guard_side side, size_t align, arena_filler filler);
void arena_close(arena *a);

/* Who may do what. */
typedef enum {
    ARENA_OURS,  /* it is being filled */
    ARENA_GIVEN, /* the port works: it may write to outputs alone */
    ARENA_BACK,  /* the port has returned: nobody writes */
    ARENA_GONE   /* what was in it is lost, and any access faults */
} arena_state;

void arena_set(arena *a, arena_state state);

/* Is anything in it? Not where it is lazy and nobody has touched it. */
bool region_is_there(const region *r);

/* Makes room for the tensors of one call: each begins where those of other steps do, and canaries fill the rest. The arena is
 * ours then. */
void arena_place(arena *a, const problem *step);

/* The tensor whose canaries were overwritten, or NULL. */
const char *arena_damage(const arena *a);

/* What an access that faulted was: to nothing of this arena; beside a tensor, or in a way that says nothing against the port's
 * hands; a write that isn't the port's to make. */
typedef enum { ACCESS_ELSEWHERE, ACCESS_BAD, ACCESS_CORRUPTING } arena_access;

/* Says which tensor the address belongs to: "access 4 bytes behind the end of x". Safe in a signal handler. */
arena_access arena_locate(const arena *a, const void *address, bool writes, char *text, size_t cap);

#endif
