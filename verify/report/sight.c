/* See sight.h. */
#include "sight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sight_row *find(const sights *s, const char *op)
{
    for (int i = 0; i < s->ops; i++)
        if (!strcmp(s->op[i].op, op)) return &s->op[i];
    return NULL;
}

const sight_row *sights_find(const sights *s, const char *op)
{
    return find(s, op);
}

static sight_row *add_row(sights *s, const char *op)
{
    sight_row *const all = realloc(s->op, (size_t)(s->ops + 1) * sizeof *all);
    if (!all) return NULL;
    s->op = all;
    all[s->ops] = (sight_row){{0}};
    snprintf(all[s->ops].op, sizeof all->op, "%s", op);
    return &all[s->ops++];
}

bool sights_add(sights *s, const char *op, int port, const sight *more)
{
    sight_row *const there = find(s, op), *const row = there ? there : add_row(s, op);
    if (!row) return false;
    sight *const to = &row->of[port];
    to->looked |= more->looked;
    to->unlooked |= more->unlooked;
    for (int q = 0; ref_quirk(q); q++)
        if (ref_has(more->seen, q)) ref_add(&to->seen, q);
    return true;
}

bool sights_join(sights *s, const sights *more)
{
    for (int i = 0; i < more->ops; i++)
        for (int b = 0; b < MAX_BACKENDS; b++)
            if (!sights_add(s, more->op[i].op, b, &more->op[i].of[b])) return false;
    return true;
}

void sights_free(sights *s)
{
    free(s->op);
    *s = (sights){0};
}
