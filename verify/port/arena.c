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

static bool open_region(region *r, const tensor_info *t, guard_side side, size_t align)
{
    size_t const page = page_size();
    size_t const step = align ? align : ref_dtype_size(t->dtype);
    size_t const need = (t->bytes + step - 1) / step * step;
    size_t const room = (need + page - 1) / page * page;
    *r = (region){.mapped = room + 2 * page, .bytes = t->bytes, .name = t->name};
    r->map = mmap(NULL, r->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->map == MAP_FAILED) return false;
    char *const first = r->map + page;
    r->data = side == GUARD_BEHIND ? first + room - need : first;
    memset(first, CANARY, (size_t)(r->data - first));
    memset(r->data + t->bytes, CANARY, (size_t)(first + room - r->data) - t->bytes);
    mprotect(r->map, page, PROT_NONE);
    mprotect(first + room, page, PROT_NONE);
    return true;
}

bool arena_open(arena *a, const problem *p, guard_side side, size_t align)
{
    *a = (arena){.item = calloc((size_t)p->tensors + 1, sizeof *a->item)};
    if (!a->item) return false;
    for (int i = 0; i < p->tensors; i++) {
        if (!open_region(&a->item[i], &p->tensor[i], side, align)) {
            arena_close(a);
            return false;
        }
        a->count++;
    }
    return true;
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
