/* See explain.h. */
#include "explain.h"

#include "judge/diagnose.h"
#include "judge/seen.h"
#include "judge/way_out.h"
#include "judge/would_pass.h"
#include "port/process.h"
#include "terminal_line.h"

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

enum { QUIET_SECONDS = 10 };

/* A diagnosis that somebody may be waiting for. */
typedef struct {
    const char *id;
    double from;
    bool told;
} wait_state;

static void tell_progress(void *context, int done, int quirks)
{
    wait_state *const w = context;
    if (now() - w->from < QUIET_SECONDS || !terminal_line_here()) return;
    terminal_line_show("%.60s: known mistakes, %d of %d tried", w->id, done < quirks ? done : quirks, quirks);
    w->told = true;
}

void seek_quirks(const case_state *c, const ref_numerics *n, result *r)
{
    wait_state w = {c->p->id, now(), false};
    watcher const watched = {tell_progress, &w};
    if (!diagnose(c->p, n, &c->legal, c->data, r, &watched, NULL))
        snprintf(r->undiagnosed, sizeof r->undiagnosed, "not sought: no memory");
    if (w.told) terminal_line_clear();
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
