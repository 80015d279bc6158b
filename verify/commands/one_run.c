/* See one_run.h. */
#include "one_run.h"

#include <string.h>

typedef struct {
    const reader *first, *second;
    complaint *why;
} pair;

/* NULL: it isn't there. */
static bool refuse_pair(const pair *p, const char *what, const char *a, const char *b)
{
    return refuse(p->why,
                  "%.200s and %.200s are of two runs: %.100s is %.200s in the first and %.200s in the second; "
                  "judge one of them again",
                  p->first->path, p->second->path, what, a, b);
}

/* The texts may be NULL: it isn't there. */
static bool same_text(const pair *p, const char *what, const char *a, const char *b)
{
    char quoted[2][200] = {"missing", "missing"};
    if (!a == !b && (!a || !strcmp(a, b))) return true;
    if (a) snprintf(quoted[0], sizeof quoted[0], "'%.190s'", a);
    if (b) snprintf(quoted[1], sizeof quoted[1], "'%.190s'", b);
    return refuse_pair(p, what, quoted[0], quoted[1]);
}

static bool same_number(const pair *p, const char *what, double a, double b)
{
    char text[2][40];
    if (a <= b && a >= b) return true;
    snprintf(text[0], sizeof text[0], "%.10g", a);
    snprintf(text[1], sizeof text[1], "%.10g", b);
    return refuse_pair(p, what, text[0], text[1]);
}

static bool same_flag(const pair *p, const char *what, bool a, bool b)
{
    return a == b || refuse_pair(p, what, a ? "given" : "not given", b ? "given" : "not given");
}

static bool same_program(const pair *p)
{
    const run_about *const a = &p->first->about, *const b = &p->second->about;
    return same_text(p, "the version of verify", a->version, b->version) &&
           same_text(p, "the commit of verify", a->commit, b->commit);
}

static bool same_list(const pair *p)
{
    const run_about *const a = &p->first->about, *const b = &p->second->about;
    return same_number(p, "the number of shards", a->shards, b->shards) &&
           same_number(p, "the number of cases", a->whole, b->whole) &&
           same_text(p, "the hash of the list of cases", a->ids, b->ids);
}

static bool same_requires(const pair *p)
{
    const run_about *const a = &p->first->about, *const b = &p->second->about;
    bool same = true;
    for (int i = 0; (i < a->requires || i < b->requires) && same; i++)
        same =
            same_text(p, "--require", i < a->requires ? a->require[i] : NULL, i < b->requires ? b->require[i] : NULL);
    return same;
}

static bool same_options(const pair *p)
{
    const run_about *const a = &p->first->about, *const b = &p->second->about;
    return same_flag(p, "--strict", a->strict, b->strict) && same_flag(p, "--diagnose", a->diagnose, b->diagnose) &&
           same_flag(p, "--proofs", a->proofs, b->proofs) && same_flag(p, "--verbose", a->verbose, b->verbose) &&
           same_text(p, "--profile", a->profile, b->profile) && same_number(p, "--timeout", a->timeout, b->timeout) &&
           same_requires(p);
}

static bool same_environment(const pair *p)
{
    char what[120];
    const char *a, *b;
    const variable *const v = environment_differs(&p->first->about.environment, &p->second->about.environment, &a, &b);
    if (!v) return true;
    snprintf(what, sizeof what, "%.*s", v->length < 100 ? (int)v->length : 100, v->name);
    return same_text(p, what, a, b);
}

static bool same_port(const pair *p, int i)
{
    const report_run *const a = &p->first->run, *const b = &p->second->run;
    char what[5][40];
    snprintf(what[0], sizeof what[0], "port %d", i + 1);
    snprintf(what[1], sizeof what[1], "the name of port %d", i + 1);
    snprintf(what[2], sizeof what[2], "the hello of port %d", i + 1);
    snprintf(what[4], sizeof what[4], "--start-timeout for port %d", i + 1);
    snprintf(what[3], sizeof what[3], "what keeps port %d from running", i + 1);
    return same_text(p, what[0], a->text[i], b->text[i]) &&
           same_number(p, what[4], a->start_timeout[i], b->start_timeout[i]) &&
           same_text(p, what[1], a->name[i], b->name[i]) && same_text(p, what[2], a->hello[i], b->hello[i]) &&
           (!a->absent[i] == !b->absent[i] || same_text(p, what[3], a->absent[i], b->absent[i]));
}

static bool same_ports(const pair *p)
{
    bool same = same_number(p, "the number of ports", p->first->run.backends, p->second->run.backends);
    for (int i = 0; same && i < p->first->run.backends; i++) same = same_port(p, i);
    return same;
}

bool is_one_run(const reader *first, const reader *second, complaint *why)
{
    pair const p = {first, second, why};
    return same_program(&p) && same_list(&p) && same_options(&p) && same_environment(&p) && same_ports(&p);
}
