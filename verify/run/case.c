/* See case.h. */
#include "case.h"

#include "add_step.h"
#include "case/fill.h"
#include "case/without.h"
#include "judge/diagnose.h"
#include "judge/judge.h"
#include "judge/would_pass.h"
#include "port/process.h"
#include "printable.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A case while its ports are judged, one after another. What doesn't depend on the port is made once. */
typedef struct {
    const problem *p;
    bool given;        /* the tensors are the caller's */
    void *const *data; /* the outputs are those of the port in work */
    void **filled;     /* the same, owned; NULL if given */
    enclosures truth, legal, alone;
    bool has_truth, has_legal, has_alone;
    char declared[REF_NUMERICS_CAP]; /* by a port: legal is what is legal under it */
    const enclosures *own;           /* the reference's own decisions, if the op has a choice */
} case_state;

/* ---- 1: fill ---- */

static void case_close(case_state *c)
{
    if (!c) return;
    tensors_close(c->p, c->filled);
    enclosures_free(&c->truth);
    enclosures_free(&c->legal);
    enclosures_free(&c->alone);
    free(c);
}

/* NULL: no memory. */
static case_state *case_open(const problem *p, void *const given[])
{
    case_state *const c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->p = p;
    c->given = given != NULL;
    c->data = given;
    if (given) return c;
    bool const good = tensors_open(p, &c->filled);
    c->data = c->filled;
    if (good) return c;
    case_close(c);
    return NULL;
}

/* ---- 2: ask ---- */

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

void case_unjudged(result *r, const char *why)
{
    r->v = ERROR;
    snprintf(r->why, sizeof r->why, "%s", why);
}

static void keep_output(const port *asked, result *r)
{
    const heard *const h = port_heard(asked);
    if (!h) return;
    r->printed = h->bytes;
    printable(r->port_output, sizeof r->port_output, h->text, h->kept, true);
}

/* data[i] belongs to tensor[i] of p. False: there is nothing to judge. */
static bool ask(const problem *p, void *const data[], bool given, port *asked, answer *a, result *r)
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

/* ---- 3: read the declaration ---- */

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

/* ---- 4: enclose ---- */

/* Evaluates the reference unless that was done. */
static bool enclose_once(const case_state *c, const ref_reading *rd, enclosures *e, bool *has)
{
    if (!*has) *has = enclose(c->p, rd, &ref_dd, c->data, e);
    return *has;
}

static void drop(enclosures *e, bool *has)
{
    if (*has) enclosures_free(e);
    *has = false;
}

/* The truth, what is legal under the declaration, and the reference's own decisions. Where outputs follow from one another, truth
 * and legal results are those given the port's own earlier outputs; else the exact results hold the own decisions. */
static bool enclose_results(case_state *c, const ref_numerics *n, result *r)
{
    bool const staged = c->p->op->staged;
    ref_reading const exact = {.teacher_forced = staged}, conforming = {.declared = n, .teacher_forced = staged},
                      alone = {.teacher_forced = false};
    if (staged) drop(&c->truth, &c->has_truth);
    if (staged || strcmp(c->declared, r->declared)) drop(&c->legal, &c->has_legal);
    memcpy(c->declared, r->declared, sizeof c->declared);
    c->own = staged ? &c->alone : &c->truth;
    bool const good = enclose_once(c, &exact, &c->truth, &c->has_truth) &&
                      enclose_once(c, &conforming, &c->legal, &c->has_legal) &&
                      (!staged || !c->p->op->choice || enclose_once(c, &alone, &c->alone, &c->has_alone));
    if (!good) case_unjudged(r, "no memory for the reference");
    return good;
}

/* ---- 6: diagnose ---- */

/* Of a FAIL that declares no arithmetic: what it could have declared. Without memory there is no hint. */
static void hint(const case_state *c, const ref_numerics *n, result *r)
{
    if (r->v == FAIL && !n->declared && !find_passing(c->p, &c->truth, c->own, c->data, r)) *r->would_pass = 0;
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
    if (now() - w->from < QUIET_SECONDS || !isatty(STDERR_FILENO)) return;
    fprintf(stderr, "\r\033[K%.60s: known mistakes, %d of %d tried", w->id, done < quirks ? done : quirks, quirks);
    w->told = true;
}

static void seek_quirks(const case_state *c, const ref_numerics *n, result *r)
{
    wait_state w = {c->p->id, now(), false};
    watcher const watched = {tell_progress, &w};
    if (!diagnose(c->p, n, &c->legal, c->data, r, &watched, NULL))
        snprintf(r->undiagnosed, sizeof r->undiagnosed, "not sought: no memory");
    if (w.told) fprintf(stderr, "\r\033[K");
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

/* Says of an answer that fails and wasn't judged why it has no diagnosis. */
static void note_undiagnosed(result *r)
{
    const char *const why = why_undiagnosed(r->v);
    if (why) snprintf(r->undiagnosed, sizeof r->undiagnosed, "not sought: %s", why);
}

/* ---- 7: look for what the case can't see ---- */

enum { LOOK_SECONDS = 10 };

/* The outputs in c->data are the reference's then. */
static void look_if_cheap(const case_state *c, const ref_numerics *n, result *r)
{
    double const seconds = quirks_of(c->p->op) * r->reference_seconds; /* two readings a quirk, as for the verdict */
    if (seconds > LOOK_SECONDS)
        r->quirks_seconds = seconds;
    else if (!look_for_quirks(c->p, n, c->data, r))
        r->quirks_tried = 0;
}

/* ---- the case ---- */

static bool is_illegal(const result *r)
{
    return r->v == FAIL || r->v == NOT_A_NUMBER;
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
    if ((wanted & WANT_SIGHT) && r->v == PASS && !c->given) look_if_cheap(c, declared, r); /* 7: look */
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

/* Judges what a port answered to one call. */
static void judge_answer(case_state *c, unsigned left_out, unsigned wanted, result *r)
{
    ref_numerics declared;
    unsigned without = 0;
    bool const whole = read_declaration(c->p, &declared, r) && /* 3: read the declaration */
                       read_left_out(c->p, left_out, &declared, &without, r);
    if (whole && without)
        judge_without(c, without, &declared, wanted, r);
    else if (whole)
        judge_outputs(c, &declared, wanted, r);
    if (wanted & WANT_DIAGNOSIS) note_undiagnosed(r);
}

static void run_call(const problem *p, void *const given[], port *const ports[], int count, unsigned wanted,
                     result results[])
{
    case_state *const c = case_open(p, given); /* 1: fill */
    for (int b = 0; b < count; b++) {
        result *const r = &results[b];
        answer a;
        if (ask(p, c ? c->data : NULL, given != NULL, ports[b], &a, r)) /* 2: ask */
            judge_answer(c, a.left_out[0], wanted, r);
        else if (wanted & WANT_DIAGNOSIS)
            note_undiagnosed(r);
    }
    case_close(c);
}

/* ---- a sequence ---- */

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
    *r->would_pass = 0;
    free(one);
    free(asked);
}

static void run_sequence(const problem *p, port *const ports[], int count, unsigned wanted, result results[])
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

void run_case(const problem *p, void *const given[], port *const ports[], int count, unsigned wanted, result results[])
{
    if (p->steps)
        run_sequence(p, ports, count, wanted, results);
    else
        run_call(p, given, ports, count, wanted, results);
}
