/* See arena.h. */
#include "arena.h"

#include "case/lazy.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CANARY = 0xc5, WIDEST = 256 << 20 };

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Bytes from the start of a tensor's room to its first element. */
static size_t lead_of(const tensor_info *t)
{
    return (size_t)t->first * ref_dtype_size(t->dtype);
}

static char *room_of(const region *r)
{
    return r->map + r->zone;
}

static char *end_of(const region *r)
{
    return room_of(r) + r->room;
}

static size_t extent_of(const region *r)
{
    return 2 * r->zone + r->room;
}

/* Addresses for it, with zones as wide as the process may have: they are no memory. */
static bool reserve(region *r)
{
    size_t const page = page_size();
    for (size_t zone = WIDEST; zone >= page; zone /= 16) {
        r->zone = zone / page * page;
        r->map = mmap(NULL, extent_of(r), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (r->map != MAP_FAILED) return true;
    }
    return false;
}

static bool open_region(region *r, const tensor_info *t, size_t most, guard_side side, size_t align)
{
    size_t const page = page_size(), step = align ? align : ref_dtype_size(t->dtype);
    size_t const lead = lead_of(t) % step, start = lead ? step - lead : 0; /* the first element is the aligned one */
    size_t const need = start + (most + step - 1) / step * step, room = (need + page - 1) / page * page;
    size_t const last = (room - most - start) / step * step + start;
    *r = (region){.room = room, .most = most, .input = t->row->kind != TENSOR_OUT, .name = t->name};
    if (!reserve(r)) return false;
    r->data = room_of(r) + (side == GUARD_BEHIND ? last : start);
    return mprotect(room_of(r), room, PROT_READ | PROT_WRITE) == 0 || (munmap(r->map, extent_of(r)), false);
}

/* Of tensor i in all steps. */
static size_t largest_room(const problem *p, int i)
{
    size_t most = 0;
    for (int s = 0; s < problem_calls(p); s++) {
        size_t const here = tensor_room(&problem_step(p, s)->tensor[i]);
        if (here > most) most = here;
    }
    return most;
}

static void fill_canaries(const region *r, char *room)
{
    size_t const lead = (size_t)(r->data - room_of(r)), end = lead + r->bytes;
    memset(room, CANARY, lead);
    memset(room + end, CANARY, r->room - end);
}

/* A lazy_fill. */
static bool fill_region(void *context, int i, void *room)
{
    const arena *const a = context;
    const region *const r = &a->item[i];
    fill_canaries(r, room);
    return a->filler.fill(a->filler.context, i, (char *)room + (r->data - room_of(r)));
}

/* Its pages can't be read until they are filled. */
static bool cover(arena *a, int i)
{
    region *const r = &a->item[i];
    r->lazy = true;
    return !mprotect(room_of(r), r->room, PROT_NONE) &&
           lazy_cover(room_of(r), r->room, &(lazy_source){fill_region, a, i, PROT_READ});
}

bool region_is_there(const region *r)
{
    return !r->lazy || lazy_is_filled(room_of(r));
}

bool arena_open(arena *a, const problem *p, guard_side side, size_t align, arena_filler filler)
{
    const problem *const first = problem_step(p, 0);
    *a = (arena){.filler = filler, .item = calloc((size_t)first->tensors + 1, sizeof *a->item)};
    if (!a->item) return false;
    for (int i = 0; i < first->tensors; i++) {
        if (!open_region(&a->item[i], &first->tensor[i], largest_room(p, i), side, align)) {
            arena_close(a);
            return false;
        }
        a->count++;
        if (filler.fill && tensor_is_lazy(p, i) && !cover(a, i)) return arena_close(a), false;
    }
    return true;
}

void arena_place(arena *a, const problem *step)
{
    arena_set(a, ARENA_OURS);
    for (int i = 0; i < a->count; i++) {
        region *const r = &a->item[i];
        r->bytes = tensor_room(&step->tensor[i]);
        if (!r->lazy) fill_canaries(r, room_of(r));
    }
}

static int protection(const region *r, arena_state state)
{
    if (state == ARENA_GONE) return PROT_NONE;
    return state == ARENA_OURS || (state == ARENA_GIVEN && !r->input) ? PROT_READ | PROT_WRITE : PROT_READ;
}

/* Memory that the port has closed or given back faults here, and not behind our back. */
static void read_each_page(const region *r)
{
    size_t const page = page_size();
    for (volatile const char *s = room_of(r); s < end_of(r); s += page) (void)*s;
}

void arena_set(arena *a, arena_state state)
{
    a->state = state; /* first: a thread of the port may fault while the pages change */
    for (int i = 0; i < a->count; i++) {
        region *const r = &a->item[i];
        if (state == ARENA_GONE && r->lazy) lazy_close(room_of(r));
        if (state != ARENA_GONE && !region_is_there(r)) continue;
        if (state == ARENA_BACK) read_each_page(r);
        if (state == ARENA_GONE) madvise(room_of(r), r->room, MADV_DONTNEED);
        mprotect(room_of(r), r->room, protection(r, state));
    }
}

void arena_close(arena *a)
{
    for (int i = 0; i < a->count; i++) {
        if (a->item[i].lazy) lazy_close(room_of(&a->item[i]));
        munmap(a->item[i].map, extent_of(&a->item[i]));
    }
    free(a->item);
    *a = (arena){0};
}

static bool all_canaries(const char *from, const char *to)
{
    for (const char *s = from; s < to; s++)
        if ((unsigned char)*s != CANARY) return false;
    return true;
}

const char *arena_damage(const arena *a)
{
    for (int i = 0; i < a->count; i++) {
        const region *const r = &a->item[i];
        if (!region_is_there(r)) continue;
        bool const before = all_canaries(room_of(r), r->data);
        if (!before || !all_canaries(r->data + r->bytes, end_of(r))) return r->name;
    }
    return NULL;
}

/* An access to the tensor itself. */
static arena_access name_inside(const region *r, int state, ptrdiff_t at, bool writes, char *text, size_t cap)
{
    bool const late = state == ARENA_BACK || state == ARENA_GONE;
    if (writes && late)
        snprintf(text, cap, "wrote to %s, at byte %td, after the op had returned", r->name, at);
    else if (writes && r->input)
        snprintf(text, cap, "wrote to input %s, at byte %td", r->name, at);
    else
        snprintf(text, cap, "access inside %s, at byte %td", r->name, at);
    return writes && (late || r->input) ? ACCESS_CORRUPTING : ACCESS_BAD;
}

static arena_access name_access(const region *r, int state, const char *at, bool writes, char *text, size_t cap)
{
    if (at >= r->data + r->bytes)
        snprintf(text, cap, "access %td bytes behind the end of %s", at - (r->data + r->bytes), r->name);
    else if (at < r->data)
        snprintf(text, cap, "access %td bytes before the start of %s", r->data - at, r->name);
    else
        return name_inside(r, state, at - r->data, writes, text, cap);
    return ACCESS_BAD;
}

arena_access arena_locate(const arena *a, const void *address, bool writes, char *text, size_t cap)
{
    const char *const at = address;
    for (int i = 0; i < a->count; i++) {
        const region *const r = &a->item[i];
        if (at >= r->map && at < r->map + extent_of(r)) return name_access(r, a->state, at, writes, text, cap);
    }
    return ACCESS_ELSEWHERE;
}
