/* See by_convention.h. */
#include "by_convention.h"

#include "ask.h"
#include "judge/finding.h"
#include "judge/judge_with.h"

#include <stdio.h>
#include <stdlib.h>

/* "as vllm does (2026-07): M5_first_zeroed, M4_no_head_norm: ...; by our formulas 4 of 4 elements are no legal result" */
static void describe(const profile *followed, ref_set quirks, result *r)
{
    char names[200] = "", why[sizeof r->why];
    int count = 0, last = 0;
    size_t used = 0;
    for (int q = 0; ref_quirk(q); q++) {
        if (!ref_has(quirks, q) || used >= sizeof names) continue;
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", count++ ? ", " : "", ref_quirk(q)->name);
        last = q;
    }
    snprintf(why, sizeof why, "as %s does (%s): %s%s%.120s; by the contract: %.200s", followed->name, followed->as_of,
             names, count == 1 ? ": " : "", count == 1 ? ref_quirk(last)->summary : "", r->why);
    memcpy(r->why, why, sizeof r->why);
}

/* Does it pass by these formulas? Then it is as the reference has it. */
static bool passes_with(const case_state *c, const ref_numerics *n, const profile *followed, ref_set quirks, result *r)
{
    result *const tried = calloc(1, sizeof *tried);
    bool const judged = tried && judge_with(c->p, n, quirks, c->data, tried);
    bool const passes = judged && tried->v == PASS;
    if (!judged) case_unjudged(r, "no memory for the reference of the profile");
    if (passes) {
        r->v = CONVENTION;
        memcpy(r->output, tried->output, sizeof r->output);
        memcpy(r->choice, tried->choice, sizeof r->choice);
        r->choice_illegal = tried->choice_illegal;
        r->flips = tried->flips;
        *r->would_pass = 0;
        describe(followed, quirks, r);
    }
    free(tried);
    return passes;
}

/* One departure at a time, then all of them. */
static void seek_illegal(const case_state *c, const ref_numerics *n, const profile *followed, result *r)
{
    ref_set const listed = profile_quirks(followed);
    ref_set all = ref_none();
    int count = 0;
    for (int q = 0; ref_quirk(q) && r->v == FAIL; q++) {
        if (!ref_has(listed, q) || !ref_has(c->legal.asked, q)) continue;
        ref_add(&all, q);
        count++;
        passes_with(c, n, followed, ref_only(q), r);
    }
    if (count > 1 && r->v == FAIL) passes_with(c, n, followed, all, r);
}

/* What filters find is one of the departures, as large as it is, and nothing else. */
static void seek_along(const profile *followed, result *r)
{
    const senses *const s = &r->sensed;
    if (s->quirk < 0 || !ref_has(profile_quirks(followed), s->quirk) || !s->alone || !is_once(s)) return;
    r->v = CONVENTION;
    describe(followed, ref_only(s->quirk), r);
}

/* The keys that the reference has with another value. */
static void note_keys(const problem *p, const profile *followed, result *r)
{
    size_t used = strlen(r->why);
    for (const convention *v = followed->conventions; v->source; v++) {
        const field_row *const f = v->key && !strcmp(v->op, p->op->name) ? op_field(p->op, v->key) : NULL;
        double const here = f ? problem_field(p, f) : v->value;
        if ((here <= v->value && here >= v->value) || used >= sizeof r->why) continue;
        used += (size_t)snprintf(r->why + used, sizeof r->why - used, "; the case has %s=%.10g, and %s %.10g (%s)",
                                 v->key, here, followed->name, v->value, followed->as_of);
    }
}

void seek_convention(const case_state *c, const ref_numerics *declared, const profile *followed, result *r)
{
    if (r->v != FAIL && r->v != SUSPECT) return;
    if (r->statistical)
        seek_along(followed, r);
    else
        seek_illegal(c, declared, followed, r);
    if (r->v == FAIL) note_keys(c->p, followed, r);
}
