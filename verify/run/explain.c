/* See explain.h. */
#include "explain.h"

#include "judge/diagnose.h"
#include "judge/seen.h"
#include "judge/way_out.h"
#include "judge/would_pass.h"
#include "patience.h"
#include "port/process.h"

#include <stdio.h>

void hint(const case_state *c, const ref_numerics *n, result *r)
{
    if (r->v == FAIL && ref_is_empty(n->declared) && !find_passing(c->p, &c->truth, c->own, c->data, r))
        *r->would_pass = 0;
}

void seek_way_out(const case_state *c, result *r)
{
    double const from = now();
    if (r->v != VACUOUS) return;
    if (!find_way_out(c->p, &c->truth, c->own, c->data, !c->given && !*r->not_made, r)) *r->way_out = 0;
    r->reference_seconds += now() - from;
}

void seek_quirks(const case_state *c, const ref_numerics *n, result *r)
{
    patience waiting = patience_begin(c->p->id, "known mistakes");
    watcher const watched = patience_watcher(&waiting);
    if (!diagnose(c->p, n, &c->legal, c->data, r, &watched, NULL))
        snprintf(r->undiagnosed, sizeof r->undiagnosed, "not sought: no memory");
    patience_end(&waiting);
}

/* Why there is nothing that a quirk could explain. */
static const char *why_undiagnosed(verdict v)
{
    switch (v) {
    case UNWRITTEN: return "an answer with holes can't be compared with that of a known mistake";
    case CORRUPT:
    case FPENV: return "what it did beside its answer is no matter of arithmetic";
    case NONDET: return "known mistakes give the same answer twice";
    case CRASH:
    case TIMEOUT: return "there is no answer to compare with that of a known mistake";
    case REJECTED: return "an answer that can't be read can't be compared with that of a known mistake";
    default: return NULL;
    }
}

void note_undiagnosed(result *r)
{
    const char *const why = why_undiagnosed(r->v);
    if (why) snprintf(r->undiagnosed, sizeof r->undiagnosed, "not sought: %s", why);
}

enum { LOOK_SECONDS = 10 };

void look_if_cheap(const case_state *c, const ref_numerics *n, result *r)
{
    double const seconds = quirks_of(c->p->op) * r->reference_seconds; /* two readings a quirk, as for the verdict */
    if (seconds > LOOK_SECONDS)
        r->quirks_seconds = seconds;
    else if (!look_for_quirks(c->p, n, c->data, r))
        r->quirks_tried = 0;
}
