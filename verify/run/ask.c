/* See ask.h. */
#include "ask.h"

#include "printable.h"

#include <stdio.h>
#include <string.h>

void case_unjudged(result *r, const char *why)
{
    r->v = ERROR;
    snprintf(r->why, sizeof r->why, "%s", why);
}

/* What is left of an answer before the judge has spoken: only he says PASS. */
static verdict verdict_of(port_outcome o)
{
    switch (o) {
    case PORT_NOT_ASKED: return ERROR;
    case PORT_RAN: return ERROR; /* until it is judged */
    case PORT_SKIPPED: return SKIP;
    case PORT_REJECTED: return REJECTED;
    case PORT_UNWRITTEN: return UNWRITTEN;
    case PORT_CORRUPT: return CORRUPT;
    case PORT_FPENV: return FPENV;
    case PORT_NONDET: return NONDET;
    case PORT_CRASHED: return CRASH;
    case PORT_LATE: return TIMEOUT;
    }
    return ERROR;
}

static void keep_output(const port *asked, result *r)
{
    const heard *const h = port_heard(asked);
    if (!h) return;
    r->printed = h->bytes;
    printable(r->port_output, sizeof r->port_output, h->text, h->kept, true);
}

bool ask(const problem *p, void *const data[], bool given, port *asked, answer *a, result *r)
{
    memset(r, 0, sizeof *r);
    if (!data) return case_unjudged(r, "no memory for the tensors"), false;
    port_answer(asked, p, data, given, a);
    keep_output(asked, r);
    r->v = verdict_of(a->outcome);
    r->skip = a->skip;
    r->port_seconds = a->seconds;
    memcpy(r->why, a->why, sizeof r->why);
    memcpy(r->declared, a->declared, sizeof r->declared);
    return a->outcome == PORT_RAN;
}
