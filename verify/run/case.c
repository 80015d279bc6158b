/* See case.h. */
#include "case.h"

#include "ask.h"
#include "case_state.h"
#include "explain.h"
#include "judge_answer.h"
#include "sequence.h"

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
            note_undiagnosed(r);
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
