/* verify declare: what arithmetic a port could declare, from what it answers. docs/numerics.md, "Measured declarations". */
#include "case/expand.h"
#include "files/unknown_word.h"
#include "judge/tighten.h"
#include "options.h"
#include "run/kept_answer.h"
#include "run/sum_read.h"
#include "waiting.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    option_list backends;
    const char *cases;
    port_limits limits;
    int seeds;
} arguments;

static const option options[] = {
    {"--backend", OPTION_BACKENDS, offsetof(arguments, backends), "B",
     "the port: plain, avx512, portable, cuda, transformers; a path such as ./port.so; cuda:./kernels.cu; or "
     "exec:'COMMAND'"},
    {"--cases", OPTION_TEXT, offsetof(arguments, cases), "CASES",
     "what is asked: an id, a file of ids, or a pattern; default @smoke"},
    {"--seeds", OPTION_WHOLE, offsetof(arguments, seeds), "N",
     "on how many other seeds of these cases the declaration is tried before it is printed; default 1", 1, 100},
    {"--timeout", OPTION_NUMBER, offsetof(arguments, limits.timeout), "S",
     "seconds for one case on the port; default 60", 0.01, 86400},
    {NULL},
};

static const syntax declare_syntax = {
    "declare", "usage: verify declare --backend=B [OP...] [options]\n", options,
    "Asks the port for the cases of each op and prints the arithmetic that it could declare:\n"
    "of all declarations that allow every answer, also with other seeds, and in which filters\n"
    "find nothing, the widest that resolves less than one bit less than the tightest.\n"
    "\n"
    "A declaration that is measured is not refuted. Whether it is true only the port's source says.\n"};

/* ---- the answers ---- */

typedef struct {
    const op *of;
    const arguments *a;
    port *asked;
    kept_answer *kept[MOST_ANSWERS];
    int count, skipped;
    answers all;
    char besides[64], read[80];
    tightening found;
    waiting shown;
} measuring;

static double work_of(const kept_answer *k)
{
    return k->p.op->work(k->p.prob.bytes);
}

static int by_work(const void *x, const void *y)
{
    double const a = work_of(*(kept_answer *const *)x), b = work_of(*(kept_answer *const *)y);
    return (a > b) - (a < b);
}

/* A sequence is judged by run alone. Why an answer that isn't there isn't there: it is a skipped case, or the end. */
static int ask_case(measuring *m, const char *id)
{
    kept_answer *const k = m->count < MOST_ANSWERS ? kept_answer_ask(id, m->asked) : NULL;
    if (!k) return usage_error("no memory for %s: take fewer cases, as in --cases=@smoke", id);
    if (kept_answer_is_there(k)) {
        m->kept[m->count++] = k;
        return EXIT_GOOD;
    }
    bool const skipped = k->r.v == SKIP;
    m->skipped += skipped;
    if (!skipped) printf("# %s: no declaration helps: %s is %s: %s\n", m->of->name, id, verdict_name(k->r.v), k->r.why);
    kept_answer_free(k);
    return skipped ? EXIT_GOOD : EXIT_BAD_VERDICT;
}

static bool is_asked(const measuring *m, const problem *p)
{
    return p->op == m->of && !p->steps;
}

static int ask_all(measuring *m, const case_list *cases)
{
    int code = EXIT_GOOD;
    for (int i = 0; i < cases->count && !code; i++) {
        if (!is_asked(m, cases->problem[i])) continue;
        waiting_say(&m->shown, i, cases->count, cases->id[i]);
        code = ask_case(m, cases->id[i]);
    }
    waiting_hide(&m->shown);
    return code;
}

/* The same cases with other numbers. */
static int ask_other_seeds(measuring *m)
{
    int const count = m->count;
    int code = EXIT_GOOD;
    for (int i = 0; i < m->a->seeds * count && !code; i++) {
        char id[sizeof m->kept[0]->p.id + 40];
        const problem *const p = &m->kept[i % count]->p;
        size_t const length = strcspn(p->id, ";");
        const char *const fill = strstr(p->id, ";fill=");
        snprintf(id, sizeof id, "%.*s%.*s;seed=%llu", (int)length, p->id, fill ? (int)(1 + strcspn(fill + 1, ";")) : 0,
                 fill ? fill : "", (unsigned long long)p->seed + 1000 + (unsigned long long)(i / count));
        waiting_say(&m->shown, i, m->a->seeds * count, id);
        code = ask_case(m, id);
    }
    waiting_hide(&m->shown);
    return code;
}

/* Those in `kept` become the answers that are fitted: the cheapest first. */
static void list_answers(measuring *m)
{
    unsigned without = 0;
    qsort(m->kept, (size_t)m->count, sizeof *m->kept, by_work);
    for (int i = 0; i < m->count; i++) {
        m->all.of[i] = &m->kept[i]->under;
        without |= m->kept[i]->without;
    }
    m->all.count = m->count;
    m->all.op = m->of->name;
    snprintf(m->besides, sizeof m->besides, "%s%s%s", without & REF_LSE ? "without lse" : "",
             without == (REF_LSE | REF_STAGES) ? "; " : "", without & REF_STAGES ? "without stages" : "");
    m->all.besides = m->besides;
    m->all.read = m->read;
}

/* ---- the search ---- */

/* What the search came to, in words, unless it found something. */
static int say_end(const measuring *m, tightened end, int failing, const char *text)
{
    if (end == TIGHTEN_NO_MEMORY) return usage_error("no memory to measure %s", m->of->name);
    printf("# %s: %s %s\n", m->of->name, text, m->all.of[failing]->p->id);
    return EXIT_BAD_VERDICT;
}

/* Every answer beside ports that are drawn. */
static tightened look_with_filters(measuring *m, int *failing)
{
    tightened end = TIGHTEN_FOUND;
    for (int i = 0; i < m->count && end == TIGHTEN_FOUND; i++) {
        waiting_say(&m->shown, i, m->count, "filters");
        end = tighten_for_filters(&m->found, *failing = i);
    }
    waiting_hide(&m->shown);
    return end;
}

/* Sums that round to nearest first: those that cut explain more. */
static int search(measuring *m)
{
    int code = EXIT_GOOD;
    for (int sums = (int)sum_kind_of(m->read); sums < SUM_KINDS; sums++) {
        int failing = 0;
        tightened end = tighten(&m->found, &m->all, (sum_kind)sums, &failing);
        bool const legal = end == TIGHTEN_FOUND;
        if (legal) end = look_with_filters(m, &failing);
        if (end == TIGHTEN_FOUND) return EXIT_GOOD;
        if (sums + 1 < SUM_KINDS && end == TIGHTEN_NONE) continue;
        code = say_end(m, end, failing,
                       legal ? "no declaration that is tried explains what filters find in"
                             : "no declaration that is tried allows");
    }
    return code;
}

/* ---- what is printed ---- */

/* What the port's own declarations resolve; below 0: it declares nothing. */
static double own_bits(const measuring *m)
{
    double sum = 0;
    bool declares = false;
    for (int i = 0; i < m->found.samples; i++) {
        const kept_answer *const k = m->kept[m->found.sample[i]];
        ref_numerics n;
        fit f;
        char why[200];
        declares |= *k->r.declared != 0;
        if (!ref_numerics_parse(m->of->name, k->r.declared, &n, why, sizeof why) || !fit_of(&k->under, &n, &f))
            return -1;
        sum += f.bits;
    }
    return declares ? sum / m->found.samples : -1;
}

/* Does it declare the same in the whole sample? */
static bool declares_alike(const measuring *m)
{
    const char *const declared = m->kept[m->found.sample[0]]->r.declared;
    for (int i = 1; i < m->found.samples; i++)
        if (strcmp(m->kept[m->found.sample[i]]->r.declared, declared)) return false;
    return true;
}

static void print_own(const measuring *m)
{
    double const bits = own_bits(m), more = m->found.widest_bits - bits;
    if (bits < 0) return;
    if (declares_alike(m))
        printf("# it declares '%s', which resolves %.1f bits: ", m->kept[m->found.sample[0]]->r.declared, bits);
    else
        printf("# it declares one line for some cases and another for others, which resolve %.1f bits: ", bits);
    if (more >= 0.1)
        printf("it could be tighter by %.1f\n", more);
    else
        printf("as tight as can be seen\n");
}

static int print_found(const measuring *m, int first)
{
    char text[REF_NUMERICS_CAP];
    ref_numerics n;
    double undeclared;
    if (!ref_numerics_parse(m->of->name, m->besides, &n, text, sizeof text) ||
        !tighten_bits(&m->found, &n, &undeclared))
        return usage_error("no memory to measure %s", m->of->name);
    printf("# %s: %d cases and %d with other seeds, %d skipped\n", m->of->name, first, m->count - first, m->skipped);
    choice_print(&m->found.tightest, m->besides, text, sizeof text);
    printf("# the tightest, %.1f bits: %s\n", m->found.tightest_bits, text);
    choice_print(&m->found.widest, m->besides, text, sizeof text);
    print_own(m);
    printf("%s  # measured: %.1f bits; declaring nothing: %.1f\n", text, m->found.widest_bits, undeclared);
    return EXIT_GOOD;
}

static int measure(measuring *m, const case_list *cases)
{
    int code = ask_all(m, cases);
    int const first = m->count;
    if (code || !first) return code;
    code = ask_other_seeds(m);
    list_answers(m);
    if (!strcmp(m->of->name, "linear")) sum_read(m->asked, m->read, sizeof m->read);
    if (!code) code = search(m);
    if (!code) code = print_found(m, first);
    fflush(stdout);
    return code;
}

/* ---- the command ---- */

typedef struct {
    const arguments *a;
    port *asked;
    case_list cases;
    int measured;
} session;

static int measure_op(session *s, const op *o)
{
    measuring *const m = calloc(1, sizeof *m);
    if (!m) return usage_error("no memory to measure %s", o->name);
    m->of = o, m->a = s->a, m->asked = s->asked, m->shown = waiting_begin();
    int const code = measure(m, &s->cases);
    s->measured += m->count > 0;
    for (int i = 0; i < m->count; i++) kept_answer_free(m->kept[i]);
    tighten_close(&m->found);
    free(m);
    return code;
}

static const op *op_called(const char *name)
{
    for (int i = 0; ops[i]; i++)
        if (!strcmp(ops[i]->name, name)) return ops[i];
    return NULL;
}

static int check_ops(const operands *names)
{
    for (int i = 0; i < names->count; i++) {
        complaint why;
        unknown_word u = {.word = names->word[i]};
        if (op_called(u.word)) continue;
        refuse(&why, "unknown op '%.200s'", u.word);
        for (int k = 0; ops[k]; k++) unknown_word_offer(&u, ops[k]->name);
        unknown_word_refuse(&u, "known:", &why);
        return usage_error("%s", why.text);
    }
    return EXIT_GOOD;
}

/* Has each op that is named a case? */
static int check_cases(const session *s, const operands *names)
{
    for (int i = 0; i < names->count; i++) {
        bool found = false;
        for (int k = 0; k < s->cases.count; k++) found |= s->cases.problem[k]->op == op_called(names->word[i]);
        if (!found)
            return usage_error("%s holds no case of %s: name others, as in --cases=@smoke", s->a->cases,
                               names->word[i]);
    }
    return EXIT_GOOD;
}

/* A bad verdict on one op doesn't end it. */
static int measure_ops(session *s, const operands *names)
{
    int worst = EXIT_GOOD;
    for (int i = 0; ops[i]; i++) {
        bool named = !names->count;
        for (int k = 0; k < names->count; k++) named |= op_called(names->word[k]) == ops[i];
        int const code = named ? measure_op(s, ops[i]) : EXIT_GOOD;
        if (code == EXIT_USAGE) return code;
        if (code) worst = code;
    }
    if (worst || s->measured) return worst;
    fprintf(stderr, "verify: nothing was measured: the port skips every case\n");
    return EXIT_NOTHING;
}

static int with_port(session *s, const operands *names)
{
    complaint why;
    backend b;
    if (!backend_resolve(s->a->backends.item[0], &b, &why)) return usage_error("%s", why.text);
    s->asked = port_open(&b, s->a->limits);
    int code = EXIT_GOOD;
    if (port_is(s->asked) == PORT_UNUSABLE)
        code = usage_error("backend %s can't be used: %s", s->a->backends.item[0], port_why(s->asked));
    if (port_is(s->asked) == PORT_ABSENT)
        code = usage_error("backend %s can't run here: %s", s->a->backends.item[0], port_why(s->asked));
    if (!code) code = measure_ops(s, names);
    port_close(s->asked);
    return code;
}

int command_declare(int argc, char **argv)
{
    arguments a = {.cases = "@smoke", .limits = {.timeout = 60}, .seeds = 1};
    session s = {.a = &a};
    operands rest;
    complaint why;
    int code;
    if (!options_read(&declare_syntax, argc, argv, &a, &rest, &code)) return code;
    if (a.backends.count != 1) return usage_error("declare takes one port, as in: verify declare --backend=./port.so");
    code = check_ops(&rest);
    if (!code && !cases_add(&s.cases, a.cases, &why)) code = usage_error("%s", why.text);
    if (!code) code = check_cases(&s, &rest);
    if (!code) code = with_port(&s, &rest);
    cases_free(&s.cases);
    return code;
}
