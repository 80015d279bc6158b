/* See judge_answer.h. */
#include "judge_answer.h"

#include "ask.h"
#include "by_convention.h"
#include "case/without.h"
#include "explain.h"
#include "judge/sense.h"
#include "patience.h"
#include "port/process.h"

#include <stdio.h>
#include <stdlib.h>

/* False: it can't be read. */
static bool read_declaration(const problem *p, ref_numerics *n, result *r)
{
    complaint why;
    if (ref_numerics_parse(p->op->name, r->declared, n, why.text, sizeof why.text)) {
        ref_numerics_print(p->op->name, n, true, r->assumed, sizeof r->assumed);
        return true;
    }
    r->v = REJECTED;
    snprintf(r->why, sizeof r->why, "its declaration can't be read: %.470s", why.text);
    return false;
}

static bool is_illegal(const result *r)
{
    return r->v == FAIL || r->v == NOT_A_NUMBER || r->v == CORRUPT;
}

/* Beside ports that are drawn. */
static void sense_answer(case_state *c, const ref_numerics *declared, result *r)
{
    double const from = now();
    patience waiting = patience_begin(c->p->id, "ways to round");
    watcher const watched = patience_watcher(&waiting);
    if (!sense(&c->nulls, c->p, declared, &c->legal, c->data, &watched, r))
        case_unjudged(r, "no memory for the ports that are drawn");
    patience_end(&waiting);
    r->sensed.seconds = now() - from;
}

/* Judges the outputs under a declaration. */
static void judge_outputs(case_state *c, const ref_numerics *declared, unsigned wanted, result *r)
{
    const problem *const p = c->p;
    double const from = now();
    if (!enclose_results(c, declared, r)) return;       /* 4: enclose */
    judge(p, &c->truth, &c->legal, c->own, c->data, r); /* 5: judge */
    hint(c, declared, r);                               /* 6: diagnose */
    if ((wanted & WANT_DIAGNOSIS) && is_illegal(r)) seek_quirks(c, declared, r);
    r->reference_seconds = now() - from;
    int const followed = (int)(wanted / WANT_PROFILE) - 1;
    if (followed >= 0 && !r->statistical) seek_convention(c, declared, profile_at(followed), r);
    bool const names = is_illegal(r) && (wanted & WANT_DIAGNOSIS);
    bool const open = !(wanted & WANT_PROOFS) && (r->v == PASS || r->v == VACUOUS || names);
    if (open) sense_answer(c, declared, r); /* 7: sense */
    if (followed >= 0 && r->statistical) seek_convention(c, declared, profile_at(followed), r);
    seek_way_out(c, r);
    if ((wanted & WANT_SIGHT) && r->v == PASS && !c->given) look_if_cheap(c, declared, r); /* 8: look */
}

/* The same of a port that is without some of them: what it made is judged as the case without the others. */
static void judge_without(const case_state *c, unsigned without, const ref_numerics *declared, unsigned wanted,
                          result *r)
{
    problem rest = {.tensors = 0};
    void **const kept = calloc((size_t)c->p->tensors + 1, sizeof *kept);
    case_state *const narrow = calloc(1, sizeof *narrow);
    if (kept && narrow && problem_without(c->p, without, c->data, &rest, kept)) {
        *narrow = (case_state){.p = &rest, .given = c->given, .data = kept};
        judge_outputs(narrow, declared, wanted, r);
    } else {
        case_unjudged(r, "no memory for the outputs that are there");
    }
    case_close(narrow);
    problem_close(&rest);
    free(kept);
}

/* False: the port left out what it doesn't declare to be without. */
static bool read_left_out(const problem *p, unsigned left_out, const ref_numerics *declared, unsigned *without,
                          result *r)
{
    complaint why;
    if (without_read(p, left_out, declared->without, without, &why)) {
        without_print(p, *without, r->not_made, sizeof r->not_made);
        return true;
    }
    r->v = UNWRITTEN;
    snprintf(r->why, sizeof r->why, "%.500s", why.text);
    return false;
}

void judge_answer(case_state *c, unsigned left_out, unsigned wanted, result *r)
{
    ref_numerics declared;
    unsigned without = 0;
    bool const whole = read_declaration(c->p, &declared, r) && /* 3: read the declaration */
                       read_left_out(c->p, left_out, &declared, &without, r);
    if (whole && without)
        judge_without(c, without, &declared, wanted, r);
    else if (whole)
        judge_outputs(c, &declared, wanted, r);
    if (wanted & WANT_DIAGNOSIS && !r->outputs) note_undiagnosed(r);
}

void name_incomplete(case_state *c, result *r)
{
    ref_numerics declared;
    if (read_declaration(c->p, &declared, r) && enclose_results(c, &declared, r)) sense_answer(c, &declared, r);
}
