/* See glance.h. */
#include "glance.h"

#include "case_state.h"
#include "judge/seen.h"

#include <string.h>

/* Multiply-adds of a case that is looked at: a fixed number, so that a run says the same on every machine. */
enum { MOST_WORK = 700000 };

static bool is_cheap(const problem *p)
{
    return !p->steps && p->op->work(p->prob.bytes) <= MOST_WORK;
}

static bool is_sought(const problem *p, int quirk, ref_set seen)
{
    return !strcmp(ref_quirk(quirk)->op, p->op->name) && !ref_has(seen, quirk);
}

static bool any_sought(const problem *p, ref_set seen)
{
    for (int q = 0; ref_quirk(q); q++)
        if (is_sought(p, q, seen)) return true;
    return false;
}

/* The declaration was read before: it can be read. */
static void glance_at(const case_state *c, ref_set seen, result *r)
{
    ref_numerics n;
    char why[200];
    seeing s;
    if (!ref_numerics_parse(c->p->op->name, r->declared, &n, why, sizeof why)) return;
    if (!seeing_open(c->p, &n, c->data, &s)) return;
    r->glanced = true;
    for (int q = 0; r->glanced && ref_quirk(q); q++) {
        if (!is_sought(c->p, q, seen)) continue;
        int64_t const apart = seen_with(&s, q);
        r->glanced = apart >= 0;
        if (apart > 0) ref_add(&r->quirks_seen, q);
    }
    seeing_close(&s);
}

void glance(const problem *p, const ref_set seen[], int ports, result results[])
{
    case_state *c = NULL;
    for (int b = 0; b < ports && is_cheap(p); b++) {
        result *const r = &results[b];
        if (r->v != PASS || *r->not_made) continue;
        bool const sought = any_sought(p, seen[b]);
        r->glanced = !sought;
        if (sought && !c) c = case_open(p, NULL);
        if (sought && c) glance_at(c, seen[b], r);
    }
    case_close(c);
}
