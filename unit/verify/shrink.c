/* What verify shrink finds of ports whose fault is known, and which it doesn't take for the same: unit/planted/sizes.c, planted.c. */
#include "case/smaller.h"
#include "command.h"
#include "run/failure.h"

#include <criterion/criterion.h>

TestSuite(shrink, .timeout = 120);

#define SIZES   "PLAIN=" BUILD "/ports/plain.so PLANT="
#define FAULTY  " --backend=" BUILD "/planted/sizes.so"
#define MISTAKE " --backend=" BUILD "/planted/mistake_"

/* ---- the command ---- */

/* A fault, a case that shows it, and the smallest one. */
typedef struct {
    const char *environment, *arguments, *smallest, *fails;
} known;

static const known faults[] = {
    {SIZES "wide", "'rmsnorm@v3:x=f32,view.x=3:7171/8000;seed=9'" FAULTY, "rmsnorm@edge:hidden_size=9,x=f32",
     "FAIL(proved) in y, of no known mistake"},
    {SIZES "two_fields", "'rmsnorm@v3:x=f32,residual=1;fill=adversarial'" FAULTY,
     "rmsnorm@v3:n_tokens=3,hidden_size=9,x=f32", "FAIL(proved) in y, of no known mistake"},
    {SIZES "strided", "'rmsnorm@odd:x=f32,view.x=3:67/80,view.y=0:64/65'" FAULTY, "rmsnorm@edge:x=f32,view.x=0:1/2",
     "FAIL(proved) in y, of no known mistake"},
    {SIZES "groups", "gate@v3" FAULTY, "gate@edge:n_tokens=1,n_routed_experts=6,n_group=2,num_experts_per_tok=3",
     "FAIL(proved) in topk_weight, of no known mistake"},
    {SIZES "odd_size", "rmsnorm@odd:hidden_size=449,n_tokens=5" FAULTY, "rmsnorm@edge:hidden_size=45",
     "CRASH: signal ABRT"},
    {SIZES "late_odd_size", "rmsnorm@odd:hidden_size=49 --timeout=0.2" FAULTY, "rmsnorm@edge:hidden_size=45",
     "TIMEOUT: no answer within s"},
    {SIZES "pages", "'mla_decode@odd:kv_lens=5+37+8+64,view.q=3:27/40;seed=3'" FAULTY, "mla_decode@edge:kv_lens=2",
     "FAIL(proved) in lse, of no known mistake"},
    {SIZES "pages", "mla_decode@odd:kv_lens=7+9/41+9/7+9" FAULTY, "mla_decode@edge:kv_lens=2",
     "FAIL(proved) in lse, of no known mistake"},
    {"PLANT=overread", "'rmsnorm@odd:x=f32;seed=5' --backend=" BUILD "/planted/planted.so", "rmsnorm@edge:x=f32",
     "CRASH: signal SEGV: access bytes behind the end of x"},
    {"", "rmsnorm@odd:x=f32" MISTAKE "A3_eps_missing.so", "rmsnorm@edge:x=f32", "FAIL(proved), A3_eps_missing"},
    {"", "gate@odd" MISTAKE "G2_group_max.so", "gate@odd:n_tokens=3,n_routed_experts=12,num_experts_per_tok=4",
     "FAIL(proved), G2_group_max"},
};

static void expect_smallest(const known *k)
{
    char arguments[400], wanted[200];
    snprintf(arguments, sizeof arguments, "shrink %s", k->arguments);
    const outcome *const o = run_verify(k->environment, arguments);
    cr_expect(o->code == 1, "%s %s: code %d: %s", k->environment, arguments, o->code, o->err);
    size_t const length = strlen(k->smallest);
    cr_expect(!strncmp(o->out, k->smallest, length) && o->out[length] == '\n', "%s %s: %s", k->environment, arguments,
              o->out);
    snprintf(wanted, sizeof wanted, "\n  fails    %s\n", k->fails);
    cr_expect(strstr(o->out, wanted), "%s %s: %s", k->environment, arguments, o->out);
    cr_expect(!strstr(o->out, "  again "), "%s %s: %s", k->environment, arguments, o->out);
}

Test(shrink, known_faults_come_to_the_sizes_that_they_need)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) expect_smallest(&faults[i]);
}

/* What stands behind a label of the report, as a command of its own. */
Test(shrink, the_line_to_run_again_fails_again)
{
    char again[1000];
    const outcome *o = run_verify("", "shrink gate@odd" MISTAKE "G2_group_max.so");
    const char *const line = strstr(o->out, "  repro    ");
    cr_assert(line, "%s%s", o->out, o->err);
    snprintf(again, sizeof again, "%.*s", (int)strcspn(line + 11, "\n"), line + 11);
    const char *const arguments = strstr(again, "/bin/verify run ");
    cr_assert(arguments, "%s", again);
    o = run_verify("", arguments + strlen("/bin/verify "));
    cr_expect(o->code == 1 && strstr(o->out, "G2_group_max explains all"), "code %d: %s%s", o->code, o->out, o->err);
}

Test(shrink, what_is_said_of_answers_that_change)
{
    const outcome *const o =
        run_verify("PLANT=nondet", "shrink rmsnorm@odd:x=f32 --backend=" BUILD "/planted/planted.so");
    cr_expect(o->code == 1 && strstr(o->out, "  fails    NONDET: two runs on the same inputs differ in y\n"), "%s%s",
              o->out, o->err);
    cr_expect(strstr(o->out, "the port doesn't answer the same each time"), "%s", o->out);
}

Test(shrink, a_search_that_is_cut_says_so)
{
    const outcome *const o = run_verify(SIZES "wide", "shrink rmsnorm@odd:x=f32 --tries=2" FAULTY);
    cr_expect(o->code == 1 && strstr(o->out, "  tries    2, and then no more"), "%s%s", o->out, o->err);
    cr_expect(strstr(o->out, "it may get smaller with more --tries"), "%s", o->out);
}

Test(shrink, what_does_not_fail_is_not_shrunk)
{
    const outcome *o = run_verify("", "shrink rmsnorm@tiny --backend=plain");
    cr_expect(o->code == 3 && !*o->out && strstr(o->err, "rmsnorm@tiny doesn't fail on plain, it is PASS"), "%s%s",
              o->out, o->err);
    o = run_verify("PLANT=honest", "shrink rmsnorm@tiny --backend=" BUILD "/planted/planted.so");
    cr_expect(o->code == 3 && strstr(o->err, "it is SKIP: the port doesn't support this case"), "%s", o->err);
}

/* ---- the search ---- */

typedef struct {
    int64_t elements; /* of the best so far */
    int asked;
    char id[300][512];
} watched;

/* Does it have two tokens and three columns or more? Whatever is asked is smaller than the best, and new. */
static smaller_answer is_wide(const problem *p, void *context)
{
    watched *const w = context;
    int64_t const elements = elements_of(p, ~0u);
    cr_expect(elements <= w->elements, "%s has %lld elements", p->id, (long long)elements);
    for (int i = 0; i < w->asked; i++) cr_expect(strcmp(w->id[i], p->id) != 0, "%s is asked twice", p->id);
    snprintf(w->id[w->asked++ % 300], sizeof *w->id, "%s", p->id);
    if (problem_size(p, "n_tokens") < 2 || problem_size(p, "hidden_size") < 3) return HOLDS_NO_MORE;
    w->elements = elements;
    return STILL_HOLDS;
}

Test(shrink, the_search_asks_for_smaller_cases_alone)
{
    problem p;
    complaint why;
    static watched w;
    cr_assert(problem_parse("rmsnorm@odd:x=f32,residual=1,view.x=1:65/70;fill=exact;seed=7", &p, &why));
    w.elements = elements_of(&p, ~0u);
    cr_expect(smaller_search(&p, is_wide, &w));
    cr_expect(!strcmp(p.id, "rmsnorm@tiny:hidden_size=3"), "%s", p.id);
    problem_close(&p);
}

/* ---- the same way ---- */

/* An answer with one illegal element of y, which that mistake explains; -1: none does. */
static failure illegal(int quirk)
{
    result r = {.v = FAIL, .outputs = 1, .output = {{.name = "y", .count = 4, .outside = 1}}, .sensed = {.quirk = -1}};
    if (quirk >= 0) r.diagnoses = 1, r.diagnosis[0] = (diagnosis_row){.quirk = quirk};
    return failure_of(&r);
}

static failure unanswered(verdict v, const char *why)
{
    result r = {.v = v};
    snprintf(r.why, sizeof r.why, "%s", why);
    return failure_of(&r);
}

Test(shrink, an_answer_fails_in_the_same_way_if_it_is_named_alike)
{
    failure const one = illegal(0), other = illegal(1), none = illegal(-1);
    cr_expect(failure_is_same(&one, &one) && failure_is_same(&none, &none));
    cr_expect(!failure_is_same(&one, &other), "another mistake");
    cr_expect(!failure_is_same(&one, &none), "a mistake that isn't named any more");
    cr_expect(!failure_is_same(&none, &one), "a mistake that wasn't named");
}

Test(shrink, a_reason_is_the_same_but_for_numbers)
{
    failure const one = unanswered(CRASH, "signal SEGV: access 16 bytes behind the end of x");
    failure const step = unanswered(CRASH, "step 2 of 3: signal SEGV: access 4 bytes behind the end of x");
    failure const elsewhere = unanswered(CRASH, "signal SEGV: access 16 bytes behind the end of y");
    failure const late = unanswered(TIMEOUT, "signal SEGV: access 16 bytes behind the end of x");
    cr_expect(failure_is_same(&one, &step), "%s / %s", one.why, step.why);
    cr_expect(!failure_is_same(&one, &elsewhere));
    cr_expect(!failure_is_same(&one, &late));
}
