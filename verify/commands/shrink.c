/* verify shrink: the smallest case that fails in the same way as the one given. docs/porting.md. */
#include "case/smaller.h"
#include "command_line.h"
#include "judge/seen.h"
#include "memory.h"
#include "model/interrupt.h"
#include "options.h"
#include "port/process.h"
#include "report/text.h"
#include "report/wrap.h"
#include "run/case.h"
#include "run/failure.h"
#include "waiting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    option_list backends;
    port_limits limits;
    double seconds;
    int tries;
    bool strict, proofs;
} arguments;

static const option options[] = {
    {"--backend", OPTION_BACKENDS, offsetof(arguments, backends), "B",
     "the port: plain, avx512, portable, cuda, transformers; a path such as ./port.so; cuda:./kernels.cu; or "
     "exec:'COMMAND'"},
    {"--tries", OPTION_WHOLE, offsetof(arguments, tries), "N", "cases that the port is asked for at most; default 300",
     1, 100000},
    {"--seconds", OPTION_NUMBER, offsetof(arguments, seconds), "S",
     "no other case is tried after so many seconds; default 120", 0.01, 86400},
    {"--timeout", OPTION_NUMBER, offsetof(arguments, limits.timeout), "S",
     "seconds for one case on the port; default 60", 0.01, 86400},
    {"--start-timeout", OPTION_NUMBER, offsetof(arguments, limits.start), "S",
     "seconds for the start of a port; default 120 for a program, as --timeout for a shared object", 0.01, 86400},
    {"--strict", OPTION_FLAG, offsetof(arguments, strict), NULL, "SUSPECT counts as failed"},
    {"--proofs", OPTION_FLAG, offsetof(arguments, proofs), NULL,
     "verdicts that rest on theorems alone: no statistics, which take most of the time"},
    {NULL},
};

static const syntax shrink_syntax = {
    "shrink", "usage: verify shrink CASE --backend=B [options]\n", options,
    "Makes sizes, lists, views and sequences of the case smaller, and leaves out keys, one\n"
    "after another, as long as the port fails in the same way: with the same verdict, and\n"
    "named after the same mistake, or, if none is named, in the same output; where only\n"
    "filters refuse it, along the same filter; without an answer, for the same reason but\n"
    "for numbers. Prints the id of the smallest, how many elements it has, and its verdict\n"
    "as verify run does.\n"
    "\n"
    "What is found is smaller than any case beside it that was tried: not the smallest that\n"
    "there is.\n"
    "\n"
    "exit: 1 a failing case was found; 2 usage or unreadable input; 3 the case doesn't fail;\n"
    "128+n interrupted, with the smallest id so far\n"};

typedef struct {
    const arguments *a;
    backend b;
    port *asked;
    failure first;
    result *last, *found; /* of the case in work, and of the smallest so far */
    int tries;
    double from;
    waiting shown;
} session;

/* ---- cases are tried ---- */

static void judge_case(session *s, const problem *p)
{
    port *const ports[] = {s->asked};
    run_case(p, NULL, ports, 1, WANT_DIAGNOSIS | (s->a->proofs ? WANT_PROOFS : 0), s->last);
}

/* The result in work becomes the one that is reported. */
static void keep(session *s, const char *id)
{
    char line[sizeof((problem *)0)->id + 1];
    result *const old = s->found;
    s->found = s->last, s->last = old;
    snprintf(line, sizeof line, "%s\n", id);
    interrupt_hold();
    interrupt_says(line, ": that is the smallest so far");
    interrupt_go_on();
}

static bool is_over(const session *s)
{
    return s->tries >= s->a->tries || now() - s->from > s->a->seconds;
}

static smaller_answer fails_too(const problem *p, void *context)
{
    session *const s = context;
    if (is_over(s)) return NOBODY_ASKED;
    waiting_say(&s->shown, s->tries++, s->a->tries, p->id);
    judge_case(s, p);
    failure const other = failure_of(s->last);
    if (!failure_is_same(&s->first, &other)) return HOLDS_NO_MORE;
    keep(s, p->id);
    return STILL_HOLDS;
}

/* ---- what is printed ---- */

static void line(const char *label, const char *text)
{
    print_wrapped(stdout, label, text, 11, 80);
}

static void print_elements(const problem *p, int64_t before)
{
    char text[200];
    snprintf(text, sizeof text, "%lld in outputs, %lld in all tensors, of which there were %lld",
             (long long)elements_of(p, 1u << TENSOR_OUT), (long long)elements_of(p, ~0u), (long long)before);
    line("  elements", text);
}

static void print_tries(const session *s, bool whole)
{
    char text[200];
    snprintf(text, sizeof text, "%d%s", s->tries,
             whole ? "" : ", and then no more: it may get smaller with more --tries or --seconds");
    line("  tries", text);
}

/* What is reported is what the port did again, if it did. */
static void print_again(session *s, const problem *p)
{
    enum { TIMES = 3 };
    int const times = s->first.v == NONDET ? TIMES : 1;
    int again = 0;
    char text[200];
    for (int i = 0; i < times; i++) {
        judge_case(s, p);
        failure const other = failure_of(s->last);
        if (!failure_is_same(&s->first, &other)) continue;
        keep(s, p->id);
        again++;
    }
    if (again == times && s->first.v != NONDET) return;
    snprintf(text, sizeof text,
             "%d of %d times: the port doesn't answer the same each time, so a smaller case may have been missed",
             again, times);
    line("  again", text);
}

static bool print_block(const session *s, const problem *p)
{
    run_about about = {
        .timeout = s->a->limits.timeout, .strict = s->a->strict, .proofs = s->a->proofs, .diagnose = true};
    report_run run = {.backends = 1, .about = &about, .name = {s->b.name}, .text = {s->a->backends.item[0]}};
    environment_here(&about.environment);
    run.start_timeout[0] = start_seconds(s->b.kind == BACKEND_PROGRAM, s->a->limits);
    bool const good = repros_of_run(&run);
    if (good) report_text(stdout, p->id, s->b.name, &run.again[0], s->found, false);
    repros_free(&run);
    return good;
}

static int print_found(session *s, const problem *p, int64_t before, bool whole)
{
    char text[700];
    waiting_hide(&s->shown);
    puts(p->id);
    print_elements(p, before);
    failure_describe(&s->first, text, sizeof text);
    line("  fails", text);
    print_tries(s, whole);
    print_again(s, p);
    return print_block(s, p) ? EXIT_BAD_VERDICT : usage_error("no memory");
}

/* ---- the command ---- */

static int refuse_good(const session *s, const problem *p)
{
    const result *const r = s->last;
    if (r->v == ERROR) return usage_error("%s can't be judged: %s", p->id, r->why);
    fprintf(stderr, "verify: %s doesn't fail on %s, it is %s%s%s: there is nothing to shrink%s\n", p->id, s->b.name,
            verdict_name(r->v), r->v == SKIP ? ": " : "", r->v == SKIP ? r->why : "",
            r->v == SUSPECT ? " without --strict" : "");
    return EXIT_NOTHING;
}

/* The problem becomes the smallest one. */
static int shrink(session *s, problem *p)
{
    int64_t const before = elements_of(p, ~0u);
    waiting_announce("verify", p, 3 + 2 * quirks_of(p->op));
    s->from = now();
    s->shown = waiting_begin();
    judge_case(s, p);
    if (s->last->v == ERROR || verdict_counts_as(s->last->v, s->a->strict) != COUNT_FAILED) return refuse_good(s, p);
    s->first = failure_of(s->last);
    keep(s, p->id);
    bool const whole = smaller_search(p, fails_too, s);
    return print_found(s, p, before, whole);
}

static int with_port(session *s, problem *p)
{
    complaint why;
    const char *const text = s->a->backends.item[0];
    if (!memory_holds(memory_available(), p, s->b.kind == BACKEND_PROGRAM, &why)) return usage_error("%s", why.text);
    s->last = calloc(1, sizeof *s->last);
    s->found = calloc(1, sizeof *s->found);
    if (!s->last || !s->found) return usage_error("no memory");
    s->asked = port_open(&s->b, s->a->limits);
    backend_call(&s->b, port_called(s->asked));
    if (port_is(s->asked) == PORT_READY) return shrink(s, p);
    return usage_error("backend %s can't be used: %s", text, port_why(s->asked));
}

int command_shrink(int argc, char **argv)
{
    arguments a = {.limits = usual_limits, .seconds = 120, .tries = 300};
    session s = {.a = &a};
    operands rest;
    complaint why;
    problem p;
    int code;
    if (!options_read(&shrink_syntax, argc, argv, &a, &rest, &code)) return code;
    if (rest.count == 0) return usage_error("shrink needs a case, as in: verify shrink linear@v3 --backend=./port.so");
    if (rest.count > 1) return usage_error("shrink takes one case, '%.200s' is a second", rest.word[1]);
    if (a.backends.count != 1)
        return usage_error("shrink takes one port, as in: verify shrink linear@v3 --backend=./port.so");
    if (!backend_resolve(a.backends.item[0], &s.b, &why)) return usage_error("%s", why.text);
    if (!problem_parse(rest.word[0], &p, &why)) return usage_error("%s", why.text);
    interrupt_catch();
    code = with_port(&s, &p);
    if (s.asked) port_close(s.asked);
    free(s.last);
    free(s.found);
    problem_close(&p);
    return code;
}
