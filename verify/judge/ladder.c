/* See ladder.h. */
#include "ladder.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int block; /* products, after which a sum is cut; 0: it isn't */
} sums[] = {{"to nearest", 0}, {"sums of 16 toward 0", 16}, {"sums of 4 toward 0", 4}, {"sums toward 0", 1}};
enum { SUMS = sizeof sums / sizeof *sums };
_Static_assert((int)SUMS <= (int)MOST_SUMS, "callers have room for all");

int ladder_sums(const ref_numerics *n)
{
    return ref_declares_acc(n) ? 1 : SUMS;
}

static bool is_open(const char *op, const ref_numerics *n, int point)
{
    bool const idle = n->scaled == REF_SCALED_SCORES && !strcmp(ref_point(point)->name, "scale");
    if (idle) return false;
    return ref_point_prefix(op, point) && !ref_point(point)->output && !n->point[point].must &&
           !ref_has(n->declared, point);
}

ref_set ladder_points(const char *op, const ref_numerics *n)
{
    ref_set open = ref_none();
    for (int i = 0; ref_point(i); i++)
        if (is_open(op, n, i)) ref_add(&open, i);
    return open;
}

ref_numerics ladder_numerics(const char *op, const ref_numerics *n, const rung *r)
{
    ref_numerics settled = *n;
    for (int i = 0; ref_point(i); i++) {
        if (!is_open(op, n, i)) continue;
        settled.point[i].must = true;
        if (!ref_has(r->rounded, i)) settled.point[i].format = DSV3_F32;
        if (!strcmp(ref_point(i)->name, "scale") && settled.scaled == REF_SCALED_ANY)
            settled.scaled = ref_has(r->rounded, i) ? REF_SCALED_Q : REF_SCALED_SCORES;
    }
    if (ref_declares_acc(n)) return settled;
    settled.acc.rounding = sums[r->sums].block ? REF_RZ : REF_RN;
    settled.acc.block = sums[r->sums].block ? sums[r->sums].block : 1;
    settled.acc.guard = 255;
    return settled;
}

void ladder_describe(const char *op, const ref_numerics *n, const rung *r, char *text, size_t cap)
{
    size_t used = (size_t)snprintf(text, cap, "%s", ref_declares_acc(n) ? "as declared" : sums[r->sums].name);
    for (int i = 0, first = 1; ref_point(i) && used < cap; i++) {
        if (!is_open(op, n, i) || !ref_has(r->rounded, i)) continue;
        used += (size_t)snprintf(text + used, cap - used, "%s %s", first ? ", and" : "", ref_point(i)->name);
        first = 0;
    }
}
