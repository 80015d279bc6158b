/* See power_table.h. */
#include "power_table.h"

#include "case/expand.h"
#include "judge/power.h"
#include "loaded_case.h"
#include "printable.h"
#include "report/wrap.h"
#include "run/ask.h"
#include "standard.h"
#include "waiting.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* What all cases of an op see of a known mistake. */
typedef struct {
    int cases, of_kind[POWER_KINDS];
    power best;
    const char *id; /* of the best; NULL: none was looked at */
} tally;

typedef struct {
    case_list cases;
    const power_options *how;
    int sequences, large; /* of these, those that aren't looked at */
    given_numerics given;
    port *plain;             /* whose declaration it is; NULL: the one that is given */
    tally (*of)[REF_QUIRKS]; /* by op */
    waiting shown;
} listing;

/* ---- a case ---- */

static void print_json(const problem *p, const power *s)
{
    printf("{\"id\":");
    print_json_text(stdout, p->id);
    printf(",\"mistake\":\"%s\",\"verdict\":\"%s\",\"apart\":%lld,\"count\":%lld", ref_quirk(s->quirk)->name,
           power_name(s->kind), (long long)s->apart, (long long)s->count);
    if (!isnan(s->sigmas)) printf(",\"sigmas\":%.6g", s->sigmas);
    printf(",\"work\":%.6g}\n", p->op->work(p->prob.bytes));
}

static int number_of(const op *o)
{
    int i = 0;
    while (ops[i] != o) i++;
    return i;
}

static void count_case(listing *l, int i, const power *s)
{
    tally *const t = &l->of[number_of(l->cases.problem[i]->op)][s->quirk];
    t->cases++;
    t->of_kind[s->kind]++;
    if (t->id && !power_is_more(s, &t->best)) return;
    t->best = *s;
    t->id = l->cases.id[i];
}

/* What plain declares of the case becomes its arithmetic. */
static int ask_plain(const listing *l, loaded_case *c)
{
    answer a;
    result r;
    char why[200];
    if (!ask(&c->p, c->data, false, l->plain, &a, &r))
        return usage_error("plain gives no answer to %s, which is %s: %.200s; give a declaration with --numerics",
                           c->p.id, verdict_name(r.v), r.why);
    if (!ref_numerics_parse(c->p.op->name, r.declared, &c->numerics, why, sizeof why))
        return usage_error("the declaration of plain for %s can't be read: %s", c->p.id, why);
    return EXIT_GOOD;
}

/* Fills the case and settles its arithmetic. */
static int prepare(const listing *l, loaded_case *c)
{
    if (!loaded_case_fill(c) || !loaded_case_leave_out(c, c->numerics.without)) return EXIT_USAGE;
    return l->plain ? ask_plain(l, c) : EXIT_GOOD;
}

static int look_at(listing *l, int i)
{
    power all[REF_QUIRKS];
    loaded_case *const c = loaded_case_open(l->cases.id[i], &l->given);
    if (!c) return EXIT_USAGE;
    int code = prepare(l, c);
    int const count = code ? 0 : power_of(&c->p, &c->numerics, c->data, all);
    if (count < 0) code = usage_error("no memory to look at %s", c->p.id);
    for (int k = 0; k < count; k++) {
        count_case(l, i, &all[k]);
        if (l->how->jsonl) print_json(l->cases.problem[i], &all[k]);
    }
    loaded_case_close(c);
    return code;
}

/* ---- the table ---- */

/* "proved, 182.9 sigmas, rmsnorm@odd" */
static void describe_best(const tally *t, char *text, size_t cap)
{
    char sigmas[40] = "";
    if (t->best.kind != POWER_EQUAL && !isnan(t->best.sigmas))
        snprintf(sigmas, sizeof sigmas, "%.4g sigmas, ", t->best.sigmas);
    snprintf(text, cap, "%s, %s%s", power_name(t->best.kind), sigmas, t->id);
}

static void print_row(const char *mistake, const tally *t)
{
    char counts[60], label[120], text[700];
    const int *const of = t->of_kind;
    snprintf(counts, sizeof counts, "%d/%d/%d/%d/%d", of[POWER_PROVED], of[POWER_SIGMAS], of[POWER_SUSPECT],
             of[POWER_INFORMATION] + of[POWER_BALLS], of[POWER_EQUAL]);
    snprintf(label, sizeof label, "  %-25s %5d  %-15s  ", mistake, t->cases, counts);
    describe_best(t, text, sizeof text);
    print_wrapped(stdout, label, text, 6, 100);
}

static void print_op(const op *o, const tally of[])
{
    bool first = true;
    for (int q = 0; ref_quirk(q); q++) {
        if (!of[q].id) continue;
        if (first) puts(o->name);
        first = false;
        print_row(ref_quirk(q)->name, &of[q]);
    }
}

static void print_table(const listing *l)
{
    printf("mistake, cases, proved/statistical/suspect/blind/equal, the case that sees most; beside what %s\n\n",
           l->plain ? "plain declares" : "is given");
    for (int i = 0; ops[i]; i++) print_op(ops[i], l->of[i]);
    if (l->sequences) printf("sequences of calls, not looked at: %d\n", l->sequences);
    if (l->large)
        printf("cases of more than %g million multiply-adds, not looked at: %d\n", l->how->most_work, l->large);
}

/* ---- the command ---- */

static int read_cases(listing *l, const operands *cases)
{
    complaint why;
    for (int i = 0; i < (cases->count ? cases->count : 1); i++)
        if (!cases_add(&l->cases, cases->count ? cases->word[i] : "@smoke", &why)) return usage_error("%s", why.text);
    cases_sort(&l->cases);
    return EXIT_GOOD;
}

static int open_plain(listing *l)
{
    complaint why;
    backend b;
    if (!backend_resolve("plain", &b, &why)) return usage_error("%s", why.text);
    l->plain = port_open(&b, (port_limits){.timeout = 600});
    if (port_is(l->plain) == PORT_READY) return EXIT_GOOD;
    return usage_error("plain can't be asked what it declares: %s; give a declaration with --numerics",
                       port_why(l->plain));
}

static int open_listing(listing *l, const operands *cases)
{
    const char *const numerics = l->how->numerics;
    complaint why;
    int ops_here = 0;
    while (ops[ops_here]) ops_here++;
    l->of = calloc((size_t)ops_here, sizeof *l->of);
    if (!l->of) return usage_error("no memory");
    if (!read_numerics_option(numerics, &l->given, &why)) return usage_error("%s", why.text);
    int const code = read_cases(l, cases);
    return code || numerics ? code : open_plain(l);
}

/* Is it a case that is looked at? */
static bool take(listing *l, const problem *p)
{
    bool const sequence = p->steps > 0, large = !sequence && p->op->work(p->prob.bytes) > l->how->most_work * 1e6;
    l->sequences += sequence;
    l->large += large;
    return !sequence && !large;
}

static int look_at_all(listing *l)
{
    int code = EXIT_GOOD;
    l->shown = waiting_begin();
    for (int i = 0; i < l->cases.count && !code && !standard_is_unread(); i++) {
        if (!take(l, l->cases.problem[i])) continue;
        if (!l->how->jsonl) waiting_say(&l->shown, i, l->cases.count, l->cases.id[i]);
        code = look_at(l, i);
        fflush(stdout);
    }
    waiting_hide(&l->shown);
    if (!code && l->sequences + l->large == l->cases.count)
        return usage_error("no case is looked at: sequences of calls aren't, nor are cases above --work; name others");
    return code;
}

int list_power(const operands *cases, const power_options *how)
{
    listing l = {.how = how};
    int code = open_listing(&l, cases);
    if (!code) code = look_at_all(&l);
    if (!code && !how->jsonl) print_table(&l);
    if (l.plain) port_close(l.plain);
    cases_free(&l.cases);
    free(l.of);
    return code;
}
