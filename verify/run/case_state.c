/* See case_state.h. */
#include "case_state.h"

#include "ask.h"

#include <stdlib.h>
#include <string.h>

void case_close(case_state *c)
{
    if (!c) return;
    tensors_close(c->p, c->filled);
    enclosures_free(&c->truth);
    enclosures_free(&c->legal);
    enclosures_free(&c->alone);
    nulls_forget(&c->nulls);
    free(c);
}

case_state *case_open(const problem *p, void *const given[])
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

/* Evaluates the reference unless that was done. */
static bool enclose_once(const case_state *c, const ref_reading *rd, enclosures *e, bool *has)
{
    if (!*has) *has = enclose(c->p, rd, &ref_dd, c->data, e);
    return *has;
}

/* The same of the reference's own decisions alone. */
static bool decide_once(case_state *c)
{
    ref_reading const alone = {.teacher_forced = false};
    const tensor_info *const choice = problem_tensor(c->p, c->p->op->choice);
    bool *const wanted = calloc((size_t)c->p->tensors, sizeof *wanted);
    if (wanted && !c->has_alone) {
        wanted[choice - c->p->tensor] = true;
        c->has_alone = enclose_some(c->p, &alone, &ref_dd, c->data, wanted, &c->alone);
    }
    free(wanted);
    return c->has_alone;
}

static void drop(enclosures *e, bool *has)
{
    if (*has) enclosures_free(e);
    *has = false;
}

bool enclose_results(case_state *c, const ref_numerics *n, result *r)
{
    bool const staged = c->p->op->staged;
    ref_reading const exact = {.teacher_forced = staged}, conforming = {.declared = n, .teacher_forced = staged};
    char forced[FINGERPRINT_TEXT];
    forced_outputs(c->p, c->data, forced);
    bool const same = !strcmp(forced, c->forced);
    if (!same) drop(&c->truth, &c->has_truth);
    if (!same || strcmp(c->declared, r->declared)) drop(&c->legal, &c->has_legal);
    memcpy(c->declared, r->declared, sizeof c->declared);
    memcpy(c->forced, forced, sizeof c->forced);
    c->own = staged ? &c->alone : &c->truth;
    bool const good = enclose_once(c, &exact, &c->truth, &c->has_truth) &&
                      enclose_once(c, &conforming, &c->legal, &c->has_legal) &&
                      (!staged || !c->p->op->choice || decide_once(c));
    if (!good) case_unjudged(r, "no memory for the reference");
    return good;
}
