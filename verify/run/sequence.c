/* See sequence.h. */
#include "sequence.h"

#include "add_step.h"
#include "ask.h"
#include "case_state.h"
#include "explain.h"
#include "judge_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Its steps as cases of their own, and their tensors in one list. */
typedef struct {
    const problem *p;
    case_state *step[MAX_STEPS];
    void **data; /* NULL: no memory */
} sequence_state;

static sequence_state sequence_open(const problem *p)
{
    sequence_state q = {.p = p, .data = calloc((size_t)p->tensors + 1, sizeof *q.data)};
    bool good = q.data != NULL;
    for (int s = 0; s < p->steps; s++) {
        int const each = p->step[s].tensors;
        q.step[s] = case_open(&p->step[s], NULL);
        good = good && q.step[s];
        if (good) memcpy(q.data + s * each, q.step[s]->data, (size_t)each * sizeof *q.data);
    }
    if (good) return q;
    free(q.data);
    q.data = NULL;
    return q;
}

static void sequence_close(sequence_state *q)
{
    for (int s = 0; s < q->p->steps; s++) case_close(q->step[s]);
    free(q->data);
}

/* Puts in front of what is wrong with a step which one it is. */
static void name_step(const problem *p, int step, result *r)
{
    char why[sizeof r->why];
    if (r->v == PASS) return;
    snprintf(why, sizeof why, "step %d of %d, %.200s: %.280s", step + 1, p->steps, p->step[step].id, r->why);
    memcpy(r->why, why, sizeof r->why);
}

/* What a step says more than another: that it fails, then that it decides nothing. */
static int weight_of(const result *r)
{
    return r->v == PASS ? 0 : verdict_counts_as(r->v, false) == COUNT_FAILED ? 2 : 1;
}

/* The result becomes that of the first step that fails; else of the first that isn't a PASS; else of all. What would make one step
 * pass needn't do so for the others: there is no hint. */
static void judge_steps(sequence_state *q, answer *a, unsigned wanted, result *r)
{
    result *const one = malloc(sizeof *one), *const asked = malloc(sizeof *asked);
    double seconds = 0;
    if (!one || !asked) return free(one), free(asked), case_unjudged(r, "no memory for the results of the steps");
    *asked = *r;
    for (int s = 0; s < q->p->steps; s++) {
        bool const last = s + 1 == q->p->steps;
        *one = *asked;
        memcpy(one->declared, answer_declared(a, s), sizeof one->declared);
        judge_answer(q->step[s], a->left_out[s], last ? wanted : wanted & ~(unsigned)WANT_SIGHT, one);
        name_step(q->p, s, one);
        seconds += one->reference_seconds;
        if (s == 0 || weight_of(one) > weight_of(r))
            *r = *one;
        else if (weight_of(r) == 0)
            add_step(r, one);
        if (weight_of(r) == 2) break;
    }
    r->reference_seconds = seconds;
    *r->would_pass = *r->way_out = 0;
    free(one);
    free(asked);
}

void run_sequence(const problem *p, port *const ports[], int count, unsigned wanted, result results[])
{
    sequence_state q = sequence_open(p); /* 1: fill */
    for (int b = 0; b < count; b++) {
        answer a;
        if (ask(p, q.data, false, ports[b], &a, &results[b])) /* 2: ask */
            judge_steps(&q, &a, wanted, &results[b]);         /* 3 to 7, step by step */
        else if (wanted & WANT_DIAGNOSIS)
            note_undiagnosed(&results[b]);
    }
    sequence_close(&q);
}
