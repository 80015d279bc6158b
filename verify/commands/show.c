/* verify show: what a case is, how finely it resolves, and which quirks it would catch. At most 40 lines of 80 columns
 * for every case of the present ops. */
#include "judge/judge.h"
#include "judge/seen.h"
#include "witness.h"
#include "loaded_case.h"
#include "options.h"
#include "report/wrap.h"
#include "standard.h"
#include "waiting.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    const char *numerics;
} arguments;

static const option options[] = {
    {"--numerics", OPTION_TEXT, offsetof(arguments, numerics), "T",
     "the arithmetic of a port instead of the defaults: text such as 'acc 24 rn fused; y bf16 must', or a file with "
     "it"},
    {NULL},
};

static const syntax show_syntax = {
    "show",
    "usage: verify show CASE [--numerics=TEXT|FILE]\n"
    "\n"
    "Prints the tensors of a case, the arithmetic that is assumed of a port, how many bits a\n"
    "verdict resolves under it, and which known mistakes this case sees. Of a sequence of\n"
    "calls it shows the first.\n",
    options, NULL};

static void wrapped(const char *label, const char *text)
{
    print_wrapped(stdout, label, text, 10, 80);
}

static void print_fields(const problem *p)
{
    char text[1200];
    size_t used = 0;
    for (const field_row *f = p->op->fields; f->name; f++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s=%.10g", used ? " " : "", f->name,
                                 problem_field(p, f));
    wrapped("fields", text);
}

static void print_tensors(const problem *p)
{
    static const char *const kinds[] = {"in", "weight", "out"};
    for (int i = 0; i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        printf("%-10s%-17s %-7s %-8s (", i ? "" : "tensors", t->name, kinds[t->row->kind], ref_dtype_name(t->dtype));
        for (int d = 0; d < t->ndim; d++) printf("%s%lld", d ? ", " : "", (long long)t->shape[d]);
        printf(")");
        if (t->wide)
            printf(", columns %lld:%lld of %lld", (long long)t->first, (long long)(t->first + t->shape[t->ndim - 1]),
                   (long long)t->wide);
        printf("\n");
    }
}

static void print_points(const problem *p)
{
    char text[1600];
    size_t used = 0;
    for (int i = 0; ref_point(i); i++) {
        const char *const prefix = ref_point_prefix(p->op->name, i);
        if (prefix)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s%s", used ? ", " : "", prefix,
                                     ref_point(i)->name);
    }
    wrapped("points", text);
}

static void print_stats(const result *r)
{
    for (int i = 0; i < r->outputs; i++) {
        const output_stats *const s = &r->output[i];
        char text[400], bits[40];
        snprintf(bits, sizeof bits, s->bits_exact ? "exact" : s->bits_none ? "none" : "%.1f bits", s->bits);
        snprintf(text, sizeof text,
                 "%s: resolution %s; %lld of %lld elements have one legal value%s; %d of %d wrong results would pass",
                 s->name, bits, (long long)s->single, (long long)s->count, s->undecided ? ", some any" : "",
                 s->survivors, s->mutants);
        wrapped(i ? "" : "sees", text);
    }
}

/* With a case that sees it, if that fits in the line: a case has one screen. */
static void print_blind(int q)
{
    char line[300];
    const char *const seen = witness_of(q);
    int const length =
        snprintf(line, sizeof line, "%s: BLIND%s%s", ref_quirk(q)->name, seen ? ", seen by " : "", seen ? seen : "");
    if (length > 70) snprintf(line, sizeof line, "%s: BLIND", ref_quirk(q)->name);
    wrapped("", line);
}

static bool print_quirk(const seeing *s, int q, waiting *w)
{
    char line[200];
    int64_t const apart = seen_with(s, q);
    waiting_hide(w);
    if (apart == 0) {
        print_blind(q);
        return true;
    }
    snprintf(line, sizeof line, "%s: SEEN in %lld of %lld elements", ref_quirk(q)->name, (long long)apart,
             (long long)s->count);
    wrapped("", line);
    return apart > 0;
}

static bool print_quirks(const seeing *s)
{
    waiting w = waiting_begin();
    int done = 0;
    bool good = true;
    puts("mistakes");
    for (int q = 0; good && ref_quirk(q) && !standard_is_unread(); q++) {
        if (strcmp(ref_quirk(q)->op, s->p->op->name)) continue;
        waiting_say(&w, done++, quirks_of(s->p->op), ref_quirk(q)->name);
        good = print_quirk(s, q, &w);
    }
    return good;
}

/* Judges the truth itself, rounded to the outputs' formats: its statistics are those of the case. False: no memory. */
static bool judge_truth(const seeing *s, result *r)
{
    enclosures truth;
    if (!enclose_truth(s->p, s->data, &truth)) return false;
    write_results(s->p, &truth, s->data);
    judge(s->p, &truth, &s->legal, &s->own, s->data, r);
    enclosures_free(&truth);
    return true;
}

static bool print_sight(const problem *p, const ref_numerics *n, void *const data[])
{
    seeing s;
    result r = {.v = ERROR};
    if (!seeing_open(p, n, data, &s)) return false;
    bool good = judge_truth(&s, &r);
    if (good) print_stats(&r);
    good = good && print_quirks(&s);
    seeing_close(&s);
    return good;
}

static int show(loaded_case *l)
{
    const problem *const p = &l->p;
    char text[REF_NUMERICS_CAP];
    printf("%s\n", p->id);
    wrapped("op", p->op->summary);
    wrapped("source", p->op->source);
    print_fields(p);
    snprintf(text, sizeof text, "%s: %s; seed %llu", p->fill->name, p->fill->help, (unsigned long long)p->seed);
    wrapped("fill", text);
    print_tensors(p);
    snprintf(text, sizeof text, "%.3g MB memory, %.3g million multiply-adds", problem_memory(p, false) / 1e6,
             p->op->work(p->prob.bytes) / 1e6);
    wrapped("needs", text);
    print_points(p);
    ref_numerics_print(p->op->name, &l->numerics, false, text, sizeof text);
    wrapped(!ref_is_empty(l->numerics.declared) || l->numerics.without ? "declared" : "assumed", text);
    fflush(stdout);
    if (standard_is_unread()) return EXIT_GOOD;
    waiting_announce("verify", p, 3 + 2 * quirks_of(p->op));
    if (!loaded_case_fill(l) || !loaded_case_leave_out(l, l->numerics.without)) return EXIT_USAGE;
    return print_sight(p, &l->numerics, l->data) ? EXIT_GOOD : usage_error("no memory to show %s", p->id);
}

/* Of a sequence, its first call: the others differ in lengths alone. */
static loaded_case *open_first_call(const char *id, const given_numerics *d)
{
    problem p;
    complaint why;
    char first[sizeof p.id];
    if (!problem_parse(id, &p, &why)) return usage_error("%s", why.text), NULL;
    snprintf(first, sizeof first, "%s", problem_step(&p, 0)->id);
    if (p.steps) printf("the first of the %d calls of %s:\n", p.steps, p.id);
    problem_close(&p);
    return loaded_case_open(first, d);
}

int command_show(int argc, char **argv)
{
    complaint why;
    arguments a = {NULL};
    operands rest;
    given_numerics d;
    int code;
    if (!options_read(&show_syntax, argc, argv, &a, &rest, &code)) return code;
    if (rest.count == 0) return usage_error("show needs a case, as in: verify show linear@v3");
    if (rest.count > 1) return usage_error("show takes one case, '%s' is a second", rest.word[1]);
    if (!read_numerics_option(a.numerics, &d, &why)) return usage_error("%s", why.text);
    loaded_case *const l = open_first_call(rest.word[0], &d);
    if (!l) return EXIT_USAGE;
    code = show(l);
    loaded_case_close(l);
    return code;
}
