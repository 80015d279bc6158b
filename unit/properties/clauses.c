/*
 * What a port of an op may declare is what the op's formula reads. Every small case of @smoke and @ci is evaluated under
 * several declarations, and three things are compared with points.def: the clauses that the formula
 * says it reads (ref_reading.called), those that change its result, and those that don't.
 */
#include "clauses.h"

#include "case/expand.h"
#include "case/fill.h"
#include "judge/judge.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(clauses, .timeout = 300);

/* Where what may be declared and what is read differ, and why that stays. */
typedef struct {
    const char *op, *clause, *why;
} exception;

static const char decision[] = "a decision: chosen, not rounded";
static const char copy[] = "a copy: there is nothing to round", every[] = "may be said of every op";

static const exception never_read[] = {
    {"gate", "topk_idx", decision},
    {"moe", "topk_idx", decision},
    {"mtp", "mlp.topk_idx", decision},
    {"mtp_accept", "accepted", decision},
    {"mtp_accept", "next_token", decision},
    {"embed", "y", copy},
    {"embed", "flush", every},
    {"embed", "arith", every},
    {"mtp_inputs", "mtp_input_ids", copy},
    {"mtp_inputs", "mtp_labels", copy},
    {"mtp_inputs", "mtp_loss_mask", copy},
    {"mtp_inputs", "valid", copy},
    {"mtp_inputs", "flush", every},
    {"mtp_inputs", "arith", every},
    {"bias_update", "acc",
     "the loads are whole numbers, summed exactly; yet declarations of it are printed with an acc"},
    {NULL, NULL, NULL},
};

/* A token is legal or not: what arithmetic may do shows in near ties alone. */
static const exception without_effect[] = {
    {"mtp_accept", "acc", decision},
    {"mtp_accept", "div", decision},
    {"mtp_accept", "arith", decision},
    {NULL, NULL, NULL},
};

static bool excepted(const exception *e, const char *name, int clause)
{
    const char *const prefix = clause < REF_POINTS ? ref_point_prefix(name, clause) : "";
    char word[80];
    snprintf(word, sizeof word, "%s%s", prefix ? prefix : "?", clause_name(clause));
    for (; e->op; e++)
        if (!strcmp(e->op, name) && !strcmp(e->clause, word)) return true;
    return false;
}

/* ---- declarations ---- */

enum { VARIANTS = 5 };

/* Declarations under which formulas take different ways. */
static ref_numerics variant(const char *name, int i)
{
    static const struct {
        ref_flush flush;
        ref_form form;
        ref_quotient quotient;
        dsv3_dtype arith;
        bool ieee, must, fused;
    } rows[VARIANTS] = {
        {REF_FLUSH_DAZ, REF_FORM_ANY, REF_QUOTIENT_ANY, DSV3_F32, false, false, false}, /* what is assumed */
        {REF_FLUSH_NONE, REF_FORM_NAIVE, REF_QUOTIENT_ANY, DSV3_F32, true, true, false},
        {REF_FLUSH_NONE, REF_FORM_ABSORBED, REF_QUOTIENT_DIV, DSV3_F32, true, false, true},
        {REF_FLUSH_FTZ, REF_FORM_NAIVE, REF_QUOTIENT_RECIP, DSV3_BF16, false, true, false},
        {REF_FLUSH_NONE, REF_FORM_ANY, REF_QUOTIENT_EXACT, DSV3_BF16, false, false, true},
    };
    ref_numerics n;
    complaint why;
    cr_assert(ref_numerics_parse(name, "", &n, why.text, sizeof why.text), "%s", why.text);
    n.flush = rows[i].flush;
    n.form = rows[i].form;
    n.quotient = rows[i].quotient;
    n.arith = rows[i].arith;
    n.rsqrt.ieee = n.div.ieee = rows[i].ieee;
    for (int k = 0; k < REF_POINTS; k++) n.point[k].must = rows[i].must;
    if (rows[i].fused)
        n.acc = (ref_accumulator){.bits = 24, .block = 1, .guard = 255, .fused = true, .promote_bits = 24};
    return n;
}

/* Another arithmetic, as far as one clause says. */
static void alter(ref_numerics *n, int clause)
{
    const function_row *const f = clause_function(clause);
    if (clause < REF_POINTS)
        n->point[clause] =
            (ref_rounding){n->point[clause].format ? DSV3_NONE : DSV3_BF16, !n->point[clause].must, true};
    if (f) {
        ref_function const other = {.rel = 1000, .more = f->more ? 3000 : 0};
        memcpy((char *)n + f->offset, &other, sizeof other);
    }
    switch (clause) {
    case CLAUSE_ACC: n->acc = (ref_accumulator){.bits = 9, .rounding = REF_RZ, .block = 4, .promote_bits = 24}; break;
    case CLAUSE_SINCOS: n->sincos = 1000; break;
    case CLAUSE_ANGLE: n->angle_f64 = !n->angle_f64; break;
    case CLAUSE_RESCALES: n->rescales = n->rescales < 0 ? 0 : -1; break;
    case CLAUSE_FORM: n->form = (ref_form)((n->form + 1) % 3); break;
    case CLAUSE_SCALED: n->scaled = (ref_scaled)((n->scaled + 1) % 3); break;
    case CLAUSE_PARTS: n->parts = n->parts < 0 ? 1 : -1; break;
    case CLAUSE_QUOTIENT: n->quotient = (ref_quotient)((n->quotient + 1) % 4); break;
    case CLAUSE_FLUSH: n->flush = n->flush == REF_FLUSH_NONE ? REF_FLUSH_DAZ : REF_FLUSH_NONE; break;
    case CLAUSE_ARITH: n->arith = n->arith == DSV3_F32 ? DSV3_BF16 : DSV3_F32; break;
    }
}

/* ---- cases ---- */

/* An op's small cases, their tensors filled, the reference's own decisions among the outputs. */
typedef struct {
    problem *p;
    void ***data;
    int count;
} case_set;

static bool is_small(const problem *p)
{
    int64_t elements = 0;
    for (int i = 0; i < p->tensors; i++) elements += p->tensor[i].count;
    return p->preset != PRESET_V3 && elements < 6000 && p->op->work(p->prob.bytes) < 3e4;
}

static case_set open_cases(const case_list *ids, const op *o)
{
    case_set s = {NULL};
    complaint why;
    problem p;
    for (int i = 0; i < ids->count; i++) {
        if (strncmp(ids->id[i], o->name, strlen(o->name)) || ids->id[i][strlen(o->name)] != '@') continue;
        cr_assert(problem_parse(ids->id[i], &p, &why), "%s", why.text);
        if (!is_small(&p)) {
            problem_close(&p);
            continue;
        }
        s.p = realloc(s.p, (size_t)(s.count + 1) * sizeof *s.p);
        s.data = realloc(s.data, (size_t)(s.count + 1) * sizeof *s.data);
        s.p[s.count] = p;
        cr_assert(tensors_open(&p, &s.data[s.count]) && decide_own(&p, ref_none(), s.data[s.count]));
        s.count++;
    }
    cr_assert(s.count > 3, "%s has no small cases", o->name);
    return s;
}

static void close_cases(case_set *s)
{
    for (int i = 0; i < s->count; i++) {
        tensors_close(&s->p[i], s->data[i]);
        problem_close(&s->p[i]);
    }
    free(s->data);
    free(s->p);
}

static void evaluate(const case_set *s, int i, const ref_numerics *n, bool forced, ref_set *called, enclosures *out)
{
    ref_reading const rd = {.declared = n, .teacher_forced = forced, .called = called};
    cr_assert(enclose(&s->p[i], &rd, &ref_dd, s->data[i], out));
}

static bool same(const case_set *s, int i, const enclosures *a, const enclosures *b)
{
    for (int t = 0; t < s->p[i].tensors; t++)
        if (a->value[t] && memcmp(a->value[t], b->value[t], (size_t)s->p[i].tensor[t].count * sizeof(ref_value)))
            return false;
    return true;
}

/* Is the result of case i another one under the other declaration? */
static bool differs(const case_set *s, int i, const ref_numerics *n, const ref_numerics *other)
{
    enclosures a, b;
    evaluate(s, i, n, s->p[i].op->staged, NULL, &a);
    evaluate(s, i, other, s->p[i].op->staged, NULL, &b);
    bool const equal = same(s, i, &a, &b);
    enclosures_free(&a);
    enclosures_free(&b);
    return !equal;
}

/* ---- the three comparisons ---- */

static void compare_calls(const op *o, const case_set *s)
{
    ref_set called = ref_none();
    for (int i = 0; i < s->count; i++)
        for (int v = 0; v < 2 * VARIANTS; v++) {
            ref_numerics const n = variant(o->name, v / 2);
            enclosures out;
            evaluate(s, i, &n, v % 2, &called, &out);
            enclosures_free(&out);
        }
    for (int c = 0; c < CLAUSES; c++) {
        bool const read = ref_has(called, c), may = clause_concerns(o->name, c);
        bool const known = excepted(never_read, o->name, c);
        cr_expect(may || !read, "%s reads %s, which no port of it may declare", o->name, clause_name(c));
        cr_expect(!may || read != known, "%s: a port may declare %s, which the formula %s", o->name, clause_name(c),
                  read ? "reads after all" : "never reads");
    }
}

/* Clauses that don't concern the op may say anything. */
static void expect_no_others(const op *o, const case_set *s)
{
    for (int i = 0; i < s->count; i++)
        for (int v = 0; v < VARIANTS; v++) {
            ref_numerics const n = variant(o->name, v);
            ref_numerics other = n;
            for (int c = 0; c < CLAUSES; c++)
                if (!clause_concerns(o->name, c)) alter(&other, c);
            if (!differs(s, i, &n, &other)) continue;
            for (int c = 0; c < CLAUSES; c++) {
                ref_numerics one = n;
                if (!clause_concerns(o->name, c)) alter(&one, c);
                cr_expect(!differs(s, i, &n, &one), "%s: %s changes the result, but no port of %s may declare it",
                          s->p[i].id, clause_name(c), o->name);
            }
            return;
        }
}

static bool changes_any(const op *o, const case_set *s, int clause)
{
    for (int v = 0; v < VARIANTS; v++)
        for (int i = 0; i < s->count; i++) {
            ref_numerics const n = variant(o->name, v);
            ref_numerics other = n;
            alter(&other, clause);
            if (differs(s, i, &n, &other)) return true;
        }
    return false;
}

static void expect_effects(const op *o, const case_set *s)
{
    for (int c = 0; c < CLAUSES; c++) {
        bool const flush = c == CLAUSE_FLUSH; /* is less than any other error, but for numbers that no case here has */
        if (!clause_concerns(o->name, c) || flush) continue;
        bool const changes = changes_any(o, s, c),
                   known = excepted(never_read, o->name, c) || excepted(without_effect, o->name, c);
        cr_expect(changes != known, "%s: what a port declares of %s %s", o->name, clause_name(c),
                  changes ? "changes results after all" : "changes no result");
    }
}

static void for_each_op(void (*compare)(const op *o, const case_set *s))
{
    case_list ids = {NULL, 0};
    complaint why;
    cr_assert(cases_add(&ids, "@./verify/cases/smoke.txt", &why) && cases_add(&ids, "@./verify/cases/ci.txt", &why),
              "%s", why.text);
    for (const op *const *o = ops; *o; o++) {
        case_set s = open_cases(&ids, *o);
        compare(*o, &s);
        close_cases(&s);
    }
    cases_free(&ids);
}

Test(clauses, a_formula_reads_what_may_be_declared_and_nothing_else)
{
    for_each_op(compare_calls);
}

Test(clauses, nothing_else_has_an_effect)
{
    for_each_op(expect_no_others);
}

Test(clauses, each_has_an_effect)
{
    for_each_op(expect_effects);
}
