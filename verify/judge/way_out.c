/* See way_out.h. */
#include "way_out.h"

#include "candidates.h"
#include "case/fill.h"
#include "judge.h"
#include "judge_under.h"

#include <stdio.h>
#include <stdlib.h>

/* The search: multiply-adds of all tries together are bounded, so that it costs seconds, and the same in every run. */
static const double MOST_WORK = 4e8;
enum { LEAST_TRIES = 4 };

typedef struct {
    const problem *p;
    const enclosures *truth, *own;
    void *const *got;
    int tries;   /* left */
    bool memory; /* there was enough */
} search;

/* ---- clauses ---- */

/* The declaration, with `clause` in place of what it says of that. */
static void exchange(const char *declared, const char *clause, char *text, size_t cap)
{
    size_t const word = strcspn(clause, " ");
    size_t used = (size_t)snprintf(text, cap, "%s", clause);
    for (const char *at = declared; *at && used < cap;) {
        at += strspn(at, "; \n");
        size_t const length = strcspn(at, ";\n");
        bool const same = !strncmp(at, clause, word) && strchr(" ;\n", at[word]);
        if (length && !same) used += (size_t)snprintf(text + used, cap - used, "; %.*s", (int)length, at);
        at += length;
    }
}

/* Is the answer PASS if the port declares this instead? */
static bool passes_under(search *s, const char *declared)
{
    ref_numerics n;
    char why[200];
    if (!ref_numerics_parse(s->p->op->name, declared, &n, why, sizeof why)) return false; /* not of this op */
    result *const r = s->tries > 0 ? calloc(1, sizeof *r) : NULL;
    if (s->tries-- <= 0) return false;
    s->memory = r && judge_under(s->p, &n, s->truth, s->own, s->got, r);
    bool const good = s->memory && r->v == PASS;
    free(r);
    return good;
}

static bool clause_helps(search *s, const char *clause, result *r)
{
    char declared[2 * REF_NUMERICS_CAP];
    exchange(r->declared, clause, declared, sizeof declared);
    if (!passes_under(s, declared)) return false;
    snprintf(r->way_out, sizeof r->way_out, "PASS, if it is true of the port and declared: %s", clause);
    return true;
}

static bool some_clause_helps(search *s, result *r)
{
    char clause[100];
    for (int i = 0; candidate_usual(i) && s->memory; i++)
        if (clause_helps(s, candidate_usual(i), r)) return true;
    for (int i = 0; ref_point(i) && s->memory; i++) {
        const char *const prefix = ref_point_prefix(s->p->op->name, i);
        if (!prefix || ref_point(i)->output) continue;
        snprintf(clause, sizeof clause, "%s%s f32 must", prefix, ref_point(i)->name);
        if (clause_helps(s, clause, r)) return true;
    }
    return false;
}

/* ---- other cases ---- */

/* The verdict on the truth of a case, rounded to its formats. False: no memory. */
static bool judge_truth_of(const problem *p, const ref_numerics *n, verdict *v)
{
    void **data;
    readings read;
    if (!tensors_open(p, &data)) return false;
    result *const r = calloc(1, sizeof *r);
    bool const good = r && decide_own(p, ref_none(), data) && readings_open(p, n, data, &read);
    if (good) {
        write_results(p, &read.truth, data);
        judge(p, &read.truth, &read.legal, &read.own, data, r);
        readings_free(&read);
        *v = r->v;
    }
    free(r);
    tensors_close(p, data);
    return good;
}

/* id: of another case of the op; false: it is none, or judges no better. */
static bool case_helps(search *s, const char *id, const char *what, result *r)
{
    problem p;
    ref_numerics n;
    complaint why;
    verdict v = ERROR;
    if (s->tries <= 0 || !s->memory || !problem_parse(id, &p, &why)) return false;
    bool const other = strcmp(p.id, s->p->id) && p.op->work(p.prob.bytes) <= 2 * s->p->op->work(s->p->prob.bytes) + 1 &&
                       ref_numerics_parse(p.op->name, r->declared, &n, why.text, sizeof why.text);
    s->tries -= 3 * other;
    if (other) s->memory = judge_truth_of(&p, &n, &v);
    problem_close(&p);
    if (v != PASS) return false;
    snprintf(r->way_out, sizeof r->way_out, "%s", what);
    return true;
}

static bool some_case_helps(search *s, result *r)
{
    char id[sizeof s->p->id + 20];
    const char *const own = s->p->id, *const fill = strstr(own, ";fill=");
    size_t const head = strcspn(own, ":;");
    bool const keys = own[head] == ':';
    snprintf(id, sizeof id, "%.*s:stages=1%s%s", (int)head, own, keys ? "," : "", own + head + keys);
    if (!strstr(own, "stages=") && case_helps(s, id, "the case with stages=1 judges the parts", r)) return true;
    if (!fill) return false;
    size_t const length = 1 + strcspn(fill + 1, ";");
    snprintf(id, sizeof id, "%.*s%s", (int)(fill - own), own, fill + length);
    return case_helps(s, id, "these values say little: the case without ;fill= judges more", r);
}

bool find_way_out(const problem *p, const enclosures *truth, const enclosures *own, void *const got[], bool other_cases,
                  result *r)
{
    double const work = p->op->work(p->prob.bytes) + 1;
    search s = {p, truth, own, got, 1 << 20, true};
    if (MOST_WORK / work < s.tries) s.tries = LEAST_TRIES + (int)(MOST_WORK / work);
    *r->way_out = 0;
    if (some_clause_helps(&s, r) || (other_cases && some_case_helps(&s, r))) return s.memory;
    snprintf(r->way_out, sizeof r->way_out,
             s.tries > 0 ? "no one clause makes it PASS%s" : "none was found in the time that this case is given%s",
             s.tries > 0 && other_cases ? ", nor stages=1, nor another fill" : "");
    return s.memory;
}
