/* See arena.h. */
#include "arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CANARY = 0xc5 };

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Bytes from the start of a tensor's room to its first element. */
static size_t lead_of(const tensor_info *t)
{
    return (size_t)t->first * ref_dtype_size(t->dtype);
}

static bool open_region(region *r, const tensor_info *t, size_t most, guard_side side, size_t align)
{
    size_t const page = page_size(), step = align ? align : ref_dtype_size(t->dtype);
    size_t const lead = lead_of(t) % step, start = lead ? step - lead : 0; /* the first element is the aligned one */
    size_t const need = start + (most + step - 1) / step * step, room = (need + page - 1) / page * page;
    size_t const last = (room - most - start) / step * step + start;
    *r = (region){.mapped = room + 2 * page, .most = most, .name = t->name};
    r->map = mmap(NULL, r->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->map == MAP_FAILED) return false;
    r->data = r->map + page + (side == GUARD_BEHIND ? last : start);
    mprotect(r->map, page, PROT_NONE);
    mprotect(r->map + page + room, page, PROT_NONE);
    return true;
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

bool arena_open(arena *a, const problem *p, guard_side side, size_t align)
{
    const problem *const first = problem_step(p, 0);
    *a = (arena){.item = calloc((size_t)first->tensors + 1, sizeof *a->item)};
    if (!a->item) return false;
    for (int i = 0; i < first->tensors; i++) {
        if (!open_region(&a->item[i], &first->tensor[i], largest_room(p, i), side, align)) {
            arena_close(a);
            return false;
        }
        a->count++;
    }
    return true;
}

void arena_place(arena *a, const problem *step)
{
    size_t const page = page_size();
    for (int i = 0; i < a->count; i++) {
        region *const r = &a->item[i];
        r->bytes = tensor_room(&step->tensor[i]);
        char *const end = r->data + r->bytes;
        memset(r->map + page, CANARY, (size_t)(r->data - r->map) - page);
        memset(end, CANARY, (size_t)(r->map + r->mapped - page - end));
    }
}

void arena_close(arena *a)
{
    for (int i = 0; i < a->count; i++) munmap(a->item[i].map, a->item[i].mapped);
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
    size_t const page = page_size();
    for (int i = 0; i < a->count; i++) {
        const region *const r = &a->item[i];
        bool const before = all_canaries(r->map + page, r->data);
        if (!before || !all_canaries(r->data + r->bytes, r->map + r->mapped - page)) return r->name;
    }
    return NULL;
}

bool arena_locate(const arena *a, const void *address, char *text, size_t cap)
{
    const char *const at = address;
    for (int i = 0; i < a->count; i++) {
        const region *const r = &a->item[i];
        if (at < r->map || at >= r->map + r->mapped) continue;
        if (at >= r->data + r->bytes)
            snprintf(text, cap, "access %td bytes behind the end of %s", at - (r->data + r->bytes), r->name);
        else if (at < r->data)
            snprintf(text, cap, "access %td bytes before the start of %s", r->data - at, r->name);
        else
            snprintf(text, cap, "access inside %s, at byte %td", r->name, at - r->data);
        return true;
    }
    return false;
}
