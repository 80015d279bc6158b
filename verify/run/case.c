/* See case.h. */
#include "case.h"

#include "ask.h"
#include "case_state.h"
#include "explain.h"
#include "judge_answer.h"
#include "sequence.h"

#include <stdio.h>

/* An answer that isn't whole may still be that of a known mistake. */
static void diagnose_unjudged(case_state *c, unsigned wanted, result *r)
{
    if (r->v == UNWRITTEN && !(wanted & WANT_PROOFS)) name_incomplete(c, r);
    if (!r->sensed.filters) note_undiagnosed(r);
}

static void run_call(const problem *p, void *const given[], port *const ports[], int count, unsigned wanted,
                     result results[])
{
    case_state *const c = case_open(p, given); /* 1: fill */
    for (int b = 0; b < count; b++) {
        result *const r = &results[b];
        answer a;
        if (ask(p, c ? c->data : NULL, given != NULL, ports[b], &a, r)) /* 2: ask */
            judge_answer(c, a.left_out[0], wanted, r);                  /* 3 to 7 */
        else if (wanted & WANT_DIAGNOSIS)
            diagnose_unjudged(c, wanted, r);
    }
    case_close(c);
}

void run_case(const problem *p, void *const given[], port *const ports[], int count, unsigned wanted, result results[])
{
    if (p->steps)
        run_sequence(p, ports, count, wanted, results);
    else
        run_call(p, given, ports, count, wanted, results);
}

void run_answered(const problem *p, void *const given[], const char *declared, unsigned wanted, result *r)
{
    case_state *const c = case_open(p, given);
    *r = (result){.v = ERROR};
    snprintf(r->declared, sizeof r->declared, "%s", declared);
    if (c)
        judge_answer(c, 0, wanted, r);
    else
        case_unjudged(r, "no memory for the tensors");
    case_close(c);
}
