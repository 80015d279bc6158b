/* See sum_read.h. */
#include "sum_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TERMS = 256, ROWS = 64 };

bool sum_clause(const sum_order *o, const sum_accumulator *acc, char *text, size_t cap)
{
    *text = 0;
    if (!acc->bits || acc->bits > 53 || !strcmp(acc->rounding, "ru")) return false;
    size_t used = (size_t)snprintf(text, cap, "%d %s%s", acc->bits, acc->rounding, acc->fused ? " fused" : "");
    if (o->step > 1) used += (size_t)snprintf(text + used, cap - used, " block=%d", o->step);
    if (o->step > 1 && acc->guard >= 0) used += (size_t)snprintf(text + used, cap - used, " guard=%d", acc->guard);
    if (*o->keys) snprintf(text + used, cap - used, " %s", o->keys);
    return true;
}

/* "": the order has no name. False: the port doesn't take the formats. */
static bool read_format(port *asked, const char *x, const char *weight, char *text, size_t cap)
{
    sum_probe s;
    sum_order o;
    sum_accumulator acc;
    complaint why;
    int *const under = calloc(TERMS * TERMS, sizeof *under);
    bool const read =
        sum_probe_open(&s, asked, x, weight, TERMS, ROWS, 1, &why) && under && sum_probe_pairs(&s, under, &why);
    bool const known = read && sum_tree_is_one(under, TERMS) && sum_tree_describe(under, TERMS, &o) &&
                       sum_probe_accumulator(&s, under, &acc, &why);
    *text = 0;
    acc.fused = false;
    if (known) sum_clause(&o, &acc, text, cap);
    sum_probe_close(&s);
    free(under);
    return read || s.skip == SKIP_NOT;
}

void sum_read(port *asked, char *text, size_t cap)
{
    static const char *const formats[][2] = {{"f32", "f32"}, {"bf16", "bf16"}, {"bf16", "f8_e4m3"}};
    bool any = false, same = true;
    *text = 0;
    for (size_t i = 0; i < sizeof formats / sizeof *formats && same; i++) {
        char one[80];
        if (!read_format(asked, formats[i][0], formats[i][1], one, sizeof one)) continue;
        same = *one && (!any || !strcmp(one, text));
        snprintf(text, cap, "%s", one);
        any = true;
    }
    if (!same) *text = 0;
}
