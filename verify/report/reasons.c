/* See reasons.h. */
#include "reasons.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool reasons_add(reasons *s, const char *why, int count)
{
    int i = 0;
    while (i < s->items && strcmp(s->item[i].why, why)) i++;
    if (i == s->items) {
        reason *const item = realloc(s->item, (size_t)(i + 1) * sizeof *item);
        if (!item) return false;
        s->item = item;
        s->items++;
        item[i].count = 0;
        snprintf(item[i].why, sizeof item[i].why, "%s", why);
    }
    s->item[i].count += count;
    s->skipped += count;
    return true;
}

bool reasons_join(reasons *to, const reasons *from)
{
    bool good = true;
    for (int i = 0; i < from->items && good; i++) good = reasons_add(to, from->item[i].why, from->item[i].count);
    return good;
}

void reasons_free(reasons *s)
{
    free(s->item);
    *s = (reasons){NULL, 0, 0};
}

/* The next one after `last` by falling count, the first of equals first; NULL: there is none. */
static const reason *next_common(const reasons *s, const reason *last)
{
    const reason *next = NULL;
    for (const reason *r = s->item; r < s->item + s->items; r++) {
        bool const follows = !last || r->count < last->count || (r->count == last->count && r > last);
        if (follows && (!next || r->count > next->count)) next = r;
    }
    return next;
}

void reasons_describe(const reasons *s, char *text, size_t cap)
{
    *text = 0;
    if (!s->skipped) return;
    const reason *const most = next_common(s, NULL);
    if (most->count == s->skipped)
        snprintf(text, cap, "%d skipped: %s", s->skipped, most->why);
    else
        snprintf(text, cap, "%d skipped, %d of them: %s", s->skipped, most->count, most->why);
}

void reasons_list(const reasons *s, int most, char *text, size_t cap)
{
    if (s->items < 2) {
        reasons_describe(s, text, cap);
        return;
    }
    int listed = 0, cases = 0;
    size_t used = (size_t)snprintf(text, cap, "%d skipped:", s->skipped);
    const reason *r = NULL;
    while (used < cap && listed < most && (r = next_common(s, r))) {
        used += (size_t)snprintf(text + used, cap - used, "%s %d %s", listed ? ";" : "", r->count, r->why);
        cases += r->count;
        listed++;
    }
    if (used < cap && listed < s->items)
        snprintf(text + used, cap - used, "; %d for other reasons", s->skipped - cases);
}

void reasons_without(const reasons *s, char *text, size_t cap)
{
    *text = 0;
    if (!s->items) return;
    const reason *const most = next_common(s, NULL);
    if (s->items == 1)
        snprintf(text, cap, "%d without %.240s", s->skipped, most->why);
    else
        snprintf(text, cap, "%d without an output, %d of them %.240s", s->skipped, most->count, most->why);
}
