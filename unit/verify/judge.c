/* The judge: enclosures, elements, mutants, choices; and what the two readings owe each other. */
#include "case/expand.h"
#include "case/fill.h"
#include "judge/diagnose.h"
#include "judge/element.h"
#include "judge/flips.h"
#include "judge/judge.h"
#include "judge/mutants.h"
#include "judge/way_out.h"
#include "judge/would_pass.h"
#include "report/text.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

TestSuite(judge, .timeout = 120);

typedef struct {
    problem p;
    void **data;
    enclosures truth, legal, own;
} view;

static void look(view *s, const char *id, const char *declared)
{
    complaint why;
    ref_numerics n;
    memset(s, 0, sizeof *s);
    cr_assert(problem_parse(id, &s->p, &why), "%s", why.text);
    cr_assert(ref_numerics_parse(s->p.op->name, declared, &n, why.text, sizeof why.text), "%s", why.text);
    cr_assert(tensors_open(&s->p, &s->data));
    cr_assert(decide_own(&s->p, ref_none(), s->data));
    cr_assert(enclose_both(&s->p, &n, s->data, &s->truth, &s->legal));
    cr_assert(enclose_own(&s->p, s->data, &s->own));
}

static void look_away(view *s)
{
    tensors_close(&s->p, s->data);
    problem_close(&s->p);
    enclosures_free(&s->truth);
    enclosures_free(&s->legal);
    enclosures_free(&s->own);
}

/* Undeclared, a port may be perfect: the truth, rounded to the output, is a legal result, in every smoke case. */
Test(judge, truth_is_legal_by_default)
{
    complaint why;
    case_list list = {NULL, 0};
    cr_assert(cases_add(&list, "@verify/cases/smoke.txt", &why), "%s", why.text);
    cr_assert(list.count > 50);
    for (int c = 0; c < list.count; c++) {
        view s;
        look(&s, list.id[c], "");
        for (int i = 0; i < s.p.tensors; i++)
            for (int64_t k = 0; s.truth.value[i] && k < s.p.tensor[i].count; k++) {
                double const v = ref_round(s.p.tensor[i].dtype, s.truth.value[i][k].hi);
                ref_value const legal = s.legal.value[i][k];
                cr_assert(ref_lower(legal) <= v && v <= ref_upper(legal), "%s [%lld]: %a not in [%a, %a]", s.p.id,
                          (long long)k, v, ref_lower(legal), ref_upper(legal));
            }
        look_away(&s);
    }
    cases_free(&list);
}

/* The proof tiers and the working tier enclose the same numbers. */
Test(judge, tiers_overlap)
{
    static const char *const ids[] = {"rmsnorm@odd:residual=1", "rmsnorm@odd;fill=adversarial",
                                      "linear@odd:weight=f8_e4m3;fill=adversarial", "linear@odd:x=f32"};
    static const ref_table *const tiers[] = {&ref_256, &ref_512, &ref_1024};
    ref_reading const exact = {NULL, ref_none()};
    for (size_t c = 0; c < sizeof ids / sizeof *ids; c++) {
        view s;
        look(&s, ids[c], "");
        for (size_t t = 0; t < 3; t++) {
            enclosures other;
            cr_assert(enclose(&s.p, &exact, tiers[t], s.data, &other));
            for (int i = 0; i < s.p.tensors; i++)
                for (int64_t k = 0; s.truth.value[i] && k < s.p.tensor[i].count; k++) {
                    ref_value const a = s.truth.value[i][k], b = other.value[i][k];
                    double const apart = fabs((a.hi - b.hi) + (a.lo - b.lo));
                    /* {hi, lo} holds 106 bits of the proof tier's centre; the rest is in its radius */
                    cr_assert(apart <= (a.radius + b.radius) * (1 + 0x1p-20),
                              "%s tier %s [%lld]: %g apart, radii %g and %g", s.p.id, tiers[t]->tier, (long long)k,
                              apart, a.radius, b.radius);
                    cr_assert(a.radius <= 0x1p-85 * fmax(fabs(a.hi), 0x1p-30), "%s [%lld]: radius %g of %g", s.p.id,
                              (long long)k, a.radius, a.hi);
                }
            enclosures_free(&other);
        }
        look_away(&s);
    }
}

/* Puts the rounded truth into the outputs. */
static void write_truth(view *s)
{
    for (int i = 0; i < s->p.tensors; i++)
        for (int64_t k = 0; s->truth.value[i] && k < s->p.tensor[i].count; k++)
            ref_encode(s->p.tensor[i].dtype, s->data[i], k, s->truth.value[i][k].hi);
}

static verdict judged(view *s, result *r)
{
    memset(r, 0, sizeof *r);
    judge(&s->p, &s->truth, &s->legal, &s->own, s->data, r);
    return r->v;
}

/* One wrong bit, one NaN, one infinity, wherever: seen, counted, placed. */
Test(judge, one_wrong_element_is_seen)
{
    view s;
    result r;
    look(&s, "linear@odd:x=f32;fill=exact", "");
    write_truth(&s);
    cr_expect(judged(&s, &r) == PASS, "%s", r.why);
    cr_expect(r.output[0].bits_exact && r.output[0].single == r.output[0].count && r.output[0].budget == 0);
    const tensor_info *const y = problem_tensor(&s.p, "y");
    float *const values = s.data[y - s.p.tensor];
    static const int64_t places[] = {0, 1, 23, 24, 119};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        float const right = values[places[i]];
        float const wrong[] = {nextafterf(right, 1e30f), nextafterf(right, -1e30f), (float)NAN, (float)INFINITY,
                               -(float)INFINITY};
        for (size_t w = 0; w < 5; w++) {
            values[places[i]] = wrong[w];
            cr_expect(judged(&s, &r) == (w < 2 ? FAIL : NOT_A_NUMBER), "place %lld wrong %zu", (long long)places[i], w);
            cr_expect(r.output[0].outside == 1 && r.output[0].worst == places[i] && r.output[0].bad_rows == 1 &&
                      r.output[0].bad_columns == 1);
        }
        values[places[i]] = right;
    }
    look_away(&s);
}

/* Real fills see: in every preset and format, under default assumptions, no wrong result would pass. */
Test(judge, real_fills_are_never_vacuous)
{
    static const char *const lists[] = {
        "rmsnorm@v3|tiny|odd|edge:residual=0|1,x=bf16|f32",
        "linear@v3|tiny|odd|edge:x=bf16,weight=bf16|f8_e4m3",
        "linear@v3|tiny|odd|edge:x=f32,weight=f32|bf16|f8_e4m3",
        "swiglu@v3|tiny|odd|edge:gate=bf16|f32",
        "embed@tiny|odd|edge:weight=bf16|f32",
        "cross_entropy@v3|tiny|odd:divisor=0|1,logits=bf16|f32", /* edge: one token, loss 0 */
        "quant@v3|tiny|odd|edge:scale_fmt=0|1,x=bf16|f32"};
    complaint why;
    case_list list = {NULL, 0};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        cr_assert(cases_add(&list, lists[i], &why), "%s", why.text);
    for (int c = 0; c < list.count; c++) {
        view s;
        result r;
        look(&s, list.id[c], "");
        write_truth(&s);
        cr_expect(judged(&s, &r) == PASS && !r.constant, "%s: %s %s", s.p.id, verdict_name(r.v), r.why);
        look_away(&s);
    }
    cases_free(&list);
}

/* -0 is 0. */
Test(judge, negative_zero_is_zero)
{
    view s;
    result r;
    look(&s, "rmsnorm@tiny:x=f32;fill=adversarial;seed=5", "");
    write_truth(&s);
    float *const y = s.data[problem_tensor(&s.p, "y") - s.p.tensor];
    int zeros = 0;
    for (int i = 0; i < 8; i++)
        if (y[i] == 0) y[i] = -0.0f, zeros++;
    cr_assert(zeros > 0, "the case has no zero");
    cr_expect(judged(&s, &r) == PASS, "%s", r.why);
    look_away(&s);
}

/* Every quirk is told from the truth by at least one case of ci.txt under default assumptions, and none of a case that
 * its theory hides it in. */
Test(judge, every_quirk_is_seen_somewhere)
{
    static const struct {
        int quirk;
        const char *seen, *blind;
    } rows[] = {
        {QUIRK_A2_mean_subtracted, "rmsnorm@odd", "rmsnorm@odd;fill=exact;seed=0"},
        {QUIRK_A3_eps_missing, "rmsnorm@odd", "rmsnorm@odd;fill=exact"},
        {QUIRK_A3_eps_outside, "rmsnorm@odd", "rmsnorm@odd;fill=exact"},
        {QUIRK_F1_partial_block, "linear@odd:in_features=320,out_features=192,weight=f8_e4m3",
         "linear@v3:out_features=256,weight=f8_e4m3"},
        {QUIRK_F2_scale_transposed, "linear@odd:in_features=320,out_features=192,weight=f8_e4m3",
         "linear@odd:weight=f8_e4m3"},
        {QUIRK_F4_scale_divided, "linear@odd:in_features=320,out_features=192,weight=f8_e4m3", "linear@odd"},
    };
    for (size_t q = 0; q < sizeof rows / sizeof *rows; q++) /* those of the other ops: unit/properties/mistakes.c */
        for (int blind = 0; blind < 2; blind++) {
            if (blind && rows[q].quirk == QUIRK_A2_mean_subtracted) continue; /* no fill has mean 0 */
            view s;
            enclosures wrong;
            ref_numerics n;
            complaint why;
            look(&s, blind ? rows[q].blind : rows[q].seen, "");
            ref_numerics_parse(s.p.op->name, "", &n, why.text, sizeof why.text);
            ref_reading const rd = {&n, ref_only(rows[q].quirk)};
            cr_assert(enclose(&s.p, &rd, &ref_dd, s.data, &wrong));
            int64_t apart = 0;
            int const y = (int)(problem_tensor(&s.p, "y") - s.p.tensor);
            for (int64_t k = 0; k < s.p.tensor[y].count; k++)
                apart += ref_lower(wrong.value[y][k]) > ref_upper(s.legal.value[y][k]) ||
                         ref_upper(wrong.value[y][k]) < ref_lower(s.legal.value[y][k]);
            cr_expect(blind ? apart == 0 : apart > 0, "%s in %s: %lld elements", ref_quirk(rows[q].quirk)->name, s.p.id,
                      (long long)apart);
            enclosures_free(&wrong);
            look_away(&s);
        }
}

/* The outputs of every op fit where results and enclosures list them. */
Test(judge, outputs_fit)
{
    for (int o = 0; ops[o]; o++) {
        int outputs = 0;
        for (const tensor_row *row = ops[o]->tensors; row->name; row++) outputs += row->kind == TENSOR_OUT;
        cr_expect(0 < outputs && outputs <= MAX_OUTPUTS, "%s has %d outputs", ops[o]->name, outputs);
    }
}

/* The error counts as a fraction of the legal error on its own side. */
Test(judge, budget_of_an_element)
{
    static const struct {
        double lower, upper, got, used;
        bool legal;
    } rows[] = {
        {0, 3, 1, 0, true},
        {0, 3, 2, 0.5, true},
        {0, 3, 0.5, 0.5, true},
        {0, 3, 5, 2, false},
        {1, 1, 2, HUGE_VAL, false},
        {0, 3, NAN, HUGE_VAL, false},
        {0, 3, -HUGE_VAL, HUGE_VAL, false},
        {-HUGE_VAL, HUGE_VAL, NAN, 0, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        element const e = {1, rows[i].lower, rows[i].upper};
        cr_expect(is_legal(&e, rows[i].got) == rows[i].legal, "row %zu", i);
        cr_expect(budget_used(&e, rows[i].got) == rows[i].used, "row %zu: %g", i, budget_used(&e, rows[i].got));
    }
}

/* Mutants that differ from the truth count; where balls are wide they survive. */
Test(judge, mutants_survive_in_wide_balls)
{
    tensor_info const t = {.dtype = DSV3_F32, .ndim = 2, .shape = {2, 3}, .count = 6};
    tensor_info const indices = {.dtype = DSV3_I32, .ndim = 2, .shape = {2, 3}, .count = 6};
    ref_value const truth[6] = {{1}, {2}, {3}, {4}, {5}, {6}}, zero[6] = {{0}};
    ref_value wide[6];
    for (int i = 0; i < 6; i++) wide[i] = (ref_value){truth[i].hi, 0, 100};
    output_stats narrow = {.count = 6}, all = {.count = 6}, none = {.count = 6}, index = {.count = 6};
    try_mutants(&t, truth, truth, &narrow);
    try_mutants(&t, truth, wide, &all);
    try_mutants(&t, zero, wide, &none);
    try_mutants(&indices, truth, wide, &index);
    cr_expect(narrow.mutants == 5 && narrow.survivors == 0, "%d of %d", narrow.survivors, narrow.mutants);
    cr_expect(all.mutants == 5 && all.survivors == 5, "%d of %d", all.survivors, all.mutants);
    cr_expect(none.mutants == 0 && none.survivors == 0, "zero has %d mutants", none.mutants);
    cr_expect(index.mutants == 0, "indices have %d mutants", index.mutants);
}

/* Choices are compared with the reference's own as sets; an illegal one is described before a flip. */
Test(judge, choices_are_sets)
{
    view s;
    result r = {0};
    look(&s, "gate@tiny", "");
    const tensor_info *const t = problem_tensor(&s.p, "topk_idx");
    int const at = (int)(t - s.p.tensor);
    int64_t const width = row_width(t);
    int32_t *const idx = s.data[at], first = idx[0];
    cr_assert(width > 1 && t->count / width > 1);
    idx[0] = idx[1];
    idx[1] = first;
    list_flips(&s.p, &s.legal, &s.own, s.data, &r);
    cr_expect(r.flips == 0 && !*r.choice, "%s", r.choice);

    s.own.value[at][0].hi = 1e6; /* another set in row 0 */
    list_flips(&s.p, &s.legal, &s.own, s.data, &r);
    cr_expect(r.flips == 1 && !r.choice_illegal && !strncmp(r.choice, "row 0: the port chose {", 23), "%s", r.choice);

    s.own.value[at][width].hi = 1e6; /* and in row 1, where the port's is illegal */
    s.legal.value[at][width].hi = NAN;
    r = (result){0};
    list_flips(&s.p, &s.legal, &s.own, s.data, &r);
    cr_expect(r.flips == 1 && r.choice_illegal && strstr(r.choice, "row 1: no legal choice, the port chose {") &&
                  strstr(r.choice, ", the reference {1000000 "),
              "%s", r.choice);
    look_away(&s);
}

/* A quirk whose reference reads NaN allows any value, and explains none of them: one element off by a little is no
 * padding read, on any fill. */
Test(judge, what_allows_anything_explains_nothing)
{
    static const char *const ids[] = {"mla_decode@odd;fill=nan_unused", "mla_decode@odd:q=f32;fill=nan_unused"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        view s;
        result r;
        ref_numerics n;
        char why[200];
        look(&s, ids[i], "");
        cr_assert(ref_numerics_parse(s.p.op->name, "", &n, why, sizeof why));
        write_truth(&s);
        const tensor_info *const o = problem_tensor(&s.p, "o");
        for (int64_t k = 0; k < o->count; k++)
            ref_encode(o->dtype, s.data[o - s.p.tensor], k, 0.9 * s.truth.value[o - s.p.tensor][k].hi + 0.001);
        cr_assert(judged(&s, &r) == FAIL, "%s: %s", s.p.id, verdict_name(r.v));
        cr_assert(diagnose(&s.p, &n, &s.legal, s.data, &r, NULL, NULL) && r.diagnoses > 0);
        bool padding = false;
        for (int d = 0; d < r.diagnoses; d++) {
            cr_expect(r.diagnosis[d].illegal > 0, "%s explains all of %s", ref_quirk(r.diagnosis[d].quirk)->name,
                      s.p.id);
            padding |= r.diagnosis[d].quirk == QUIRK_A16_last_page_whole && r.diagnosis[d].undecided > 0;
        }
        cr_expect(padding, "%s: A16_last_page_whole leaves nothing undecided", s.p.id);
        look_away(&s);
    }
}

/* The block that a failing case gets; the caller frees it. */
static char *block_of(const result *r)
{
    char *text = NULL;
    size_t bytes;
    FILE *const f = open_memstream(&text, &bytes);
    cr_assert(f != NULL);
    report_text(f, "rmsnorm@odd", "port", NULL, r, false);
    fclose(f);
    return text;
}

/* What explains no more than half has no name, what explains most has one, what could have any value is only that. */
Test(judge, only_explanations_are_named)
{
    static const struct {
        verdict v;
        int64_t illegal, undecided;
        const char *says, *hides;
    } rows[] = {
        {FAIL, 12, 0, "no known mistake explains it\n", "A3_eps_missing"},
        {FAIL, 10, 0, "no known mistake explains it\n", "A3_eps_missing"},
        {FAIL, 10, 10, "no known mistake explains it\n", "A3_eps_missing"},
        {NOT_A_NUMBER, 10, 10, "no known mistake explains it; A3_eps_missing could have any value", "explain all"},
        {FAIL, 9, 0, "no known mistake explains it\n", "A3_eps_missing"}, /* one of ten by chance */
        {FAIL, 5, 0, "no known mistake explains it\n", "A3_eps_missing"},
        {FAIL, 4, 0, "A3_eps_missing would explain all but 4 of 10", "no known"},
        {FAIL, 3, 0, "A3_eps_missing would explain all but 3 of 10", "no known"},
        {FAIL, 0, 0, "A3_eps_missing explains all 10", "no known"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        result r = {.v = rows[i].v, .outputs = 1, .diagnoses = 1};
        r.output[0] = (output_stats){.dtype = DSV3_F32, .ndim = 1, .shape = {20}, .count = 20, .outside = 10};
        r.diagnosis[0] = (diagnosis_row){QUIRK_A3_eps_missing, -1, rows[i].illegal, rows[i].undecided, 2};
        char *const text = block_of(&r);
        cr_expect(strstr(text, rows[i].says) && !strstr(text, rows[i].hides), "row %zu:\n%s", i, text);
        free(text);
    }
}

static double bf16(double v)
{
    return ref_round(DSV3_BF16, v);
}

/* x / sqrt(mean + eps) * weight, where mean + eps is rounded to BF16 too; off: a factor. */
static void write_rmsnorm(view *s, double off)
{
    const tensor_info *const t = s->p.tensor, *const y = problem_tensor(&s->p, "y");
    int64_t const x = problem_tensor(&s->p, "x") - t, weight = problem_tensor(&s->p, "weight") - t;
    int64_t const n = y->shape[y->ndim - 1];
    for (int64_t row = 0; row < y->count; row += n) {
        double sum = 0;
        for (int64_t k = row; k < row + n; k++) sum += pow(ref_decode(t[x].dtype, s->data[x], k), 2);
        double const r = 1 / sqrt(bf16(sum / (double)n + 0.01));
        for (int64_t k = row; k < row + n; k++) {
            double const x_norm = bf16(ref_decode(t[x].dtype, s->data[x], k) * r);
            ref_encode(y->dtype, s->data[y - t], k,
                       off * bf16(x_norm * ref_decode(t[weight].dtype, s->data[weight], k - row)));
        }
    }
}

/* A VACUOUS verdict names the clause, or the case, that would make it one, and only one that does. */
Test(judge, a_vacuous_verdict_has_a_way_out)
{
    static const struct {
        const char *id, *declared, *says;
    } rows[] = {
        {"rope_backward@edge;fill=far", "", "PASS, if it is true of the port and declared: angle f64"},
        {"rope_backward@edge;fill=far", "flush none; angle f32",
         "PASS, if it is true of the port and declared: angle f64"},
        {"rmsnorm@odd", "acc 2 rz; flush none", "PASS, if it is true of the port and declared: acc 24 rn"},
        {"experts@tiny:n_tokens=4;fill=adversarial", "acc 24 rn",
         "these values say little: the case without ;fill= judges more"},
        {"experts@odd", "acc 2 rz", "PASS, if it is true of the port and declared: acc 24 rn"},
        {"rmsnorm_backward@edge", "", "no one clause makes it PASS, nor stages=1, nor another fill"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        view s;
        result r;
        look(&s, rows[i].id, rows[i].declared);
        for (int t = 0; t < s.p.tensors; t++)
            for (int64_t k = 0; s.truth.value[t] && k < s.p.tensor[t].count; k++)
                ref_encode(s.p.tensor[t].dtype, s.data[t], k, s.truth.value[t][k].hi);
        cr_expect(judged(&s, &r) == VACUOUS, "%s: %s", rows[i].id, verdict_name(r.v));
        snprintf(r.declared, sizeof r.declared, "%s", rows[i].declared);
        cr_assert(find_way_out(&s.p, &s.truth, &s.own, s.data, true, &r));
        cr_expect(!strcmp(r.way_out, rows[i].says), "%s: %s", rows[i].id, r.way_out);
        char *const text = block_of(&r);
        cr_expect(strstr(text, "\n  way out  ") != NULL, "%s", text);
        free(text);
        look_away(&s);
    }
}

/* A port that rounds to BF16 and doesn't say so is told what to say; one that is wrong beyond that is not. */
Test(judge, undeclared_arithmetic_is_guessed)
{
    view s;
    result r;
    look(&s, "rmsnorm@odd", "");
    write_rmsnorm(&s, 1);
    cr_assert(judged(&s, &r) == FAIL, "%s", verdict_name(r.v));
    cr_assert(find_passing(&s.p, &s.truth, &s.own, s.data, &r));
    cr_expect(!strcmp(r.would_pass, "arith bf16"), "'%s'", r.would_pass);
    char *const text = block_of(&r);
    cr_expect(strstr(text, "would pass if it declared: arith bf16\n"), "%s", text);
    free(text);
    write_rmsnorm(&s, 1.5);
    cr_assert(judged(&s, &r) == FAIL);
    cr_assert(find_passing(&s.p, &s.truth, &s.own, s.data, &r));
    cr_expect(!*r.would_pass, "'%s'", r.would_pass);
    look_away(&s);
}

/* What a problem looks like when all elements but the first `tight` of an output tell nothing. */
static verdict judged_wide(const char *id, const char *name, int64_t tight, result *r)
{
    view s;
    look(&s, id, "");
    write_truth(&s);
    const tensor_info *const t = problem_tensor(&s.p, name);
    ref_value *const legal = s.legal.value[t - s.p.tensor];
    for (int64_t i = tight; i < t->count; i++) legal[i] = (ref_value){0, 0, 1e30};
    verdict const v = judged(&s, r);
    look_away(&s);
    return v;
}

/* One tight element vouches for itself alone, and one output for itself. */
Test(judge, vacuous_is_decided_for_each_output)
{
    result r;
    cr_expect(judged_wide("rmsnorm@odd:residual=1", "y", 1, &r) == VACUOUS, "%s", verdict_name(r.v));
    int y = 0;
    for (int i = 0; i < r.outputs; i++) {
        bool const is_y = !strcmp(r.output[i].name, "y");
        if (is_y) y = i;
        cr_expect(r.output[i].vacuous == is_y, "%s", r.output[i].name);
    }
    const output_stats *const s = &r.output[y];
    cr_expect(s->survivors == 0 && s->decided == 1 && s->decidable > 1 && s->rows_blind == s->rows, "%lld of %lld",
              (long long)s->decided, (long long)s->decidable);
    cr_expect(strstr(r.why, "y: ") == r.why, "%s", r.why);

    int64_t const count = s->count;
    cr_expect(judged_wide("rmsnorm@odd:residual=1", "y", count - count / 25, &r) == PASS, "%s", r.why);
    cr_expect(judged_wide("rmsnorm@odd:residual=1", "y", count - count / 15, &r) == VACUOUS, "%s", verdict_name(r.v));
}

/* A function may not be declared so bad that a missing mscale or YaRN is legal. */
Test(judge, excuses_are_refused)
{
    static const struct {
        const char *op, *declared;
        bool good;
    } rows[] = {
        {"mla_decode", "exp 600000 0", false},
        {"mla_decode", "exp 16385", false},
        {"mla_decode", "exp 4 16385", false},
        {"mla_decode", "exp 16384 4", true},
        {"rope", "sincos 1048576; cos_sin f8_e4m3 may", false},
        {"rope", "sincos 16384", true},
        {"rmsnorm", "rsqrt 20000", false},
        {"gate", "sigmoid 20000", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ref_numerics n;
        char why[200] = "";
        bool const good = ref_numerics_parse(rows[i].op, rows[i].declared, &n, why, sizeof why);
        cr_expect(good == rows[i].good, "%s of %s: %s", rows[i].declared, rows[i].op, why);
        cr_expect(good || strstr(why, "16384"), "%s", why);
    }
}

/* Constant answers in place of mtp_accept's. */
static verdict judged_constant(const char *id, const char *declared, int32_t accepted, int32_t next, result *r)
{
    view s;
    ref_numerics n;
    char why[200];
    look(&s, id, declared);
    const tensor_info *const a = problem_tensor(&s.p, "accepted"), *const t = problem_tensor(&s.p, "next_token");
    for (int64_t i = 0; i < a->count; i++) ref_encode(DSV3_I32, s.data[a - s.p.tensor], i, accepted);
    for (int64_t i = 0; i < t->count; i++) ref_encode(DSV3_I32, s.data[t - s.p.tensor], i, next);
    enclosures_free(&s.truth);
    enclosures_free(&s.legal);
    cr_assert(ref_numerics_parse(s.p.op->name, declared, &n, why, sizeof why));
    cr_assert(enclose_both(&s.p, &n, s.data, &s.truth, &s.legal));
    verdict const v = judged(&s, r);
    look_away(&s);
    return v;
}

/* An arithmetic under which any tokens are legal shows nothing, whatever the port answers; one that is tight does. */
Test(judge, decisions_may_be_vacuous)
{
    static const char *const ids[] = {"mtp_accept@odd", "mtp_accept@v3:batch=2", "mtp_accept@tiny"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        result r;
        verdict const wide = judged_constant(ids[i], "acc 4 rz", 0, 7, &r);
        cr_expect(wide == VACUOUS || wide == FAIL, "%s: %s", ids[i], verdict_name(wide));
        cr_expect(i > 1 || wide == VACUOUS, "%s: %s %s", ids[i], verdict_name(wide), r.why);
        for (int o = 0; o < r.outputs && wide == VACUOUS; o++)
            cr_expect(r.output[o].mutants == 1 && r.output[o].single < r.output[o].count, "%s", r.output[o].name);
        cr_expect(judged_constant(ids[i], "", 0, 7, &r) == FAIL, "%s", r.why);
    }
}

/* A decision is single if exactly one choice is legal: not in a tie, though the port has one answer. */
Test(judge, a_tie_is_not_single)
{
    static const struct {
        const char *id, *output;
        bool single;
    } rows[] = {
        {"gate@odd", "topk_idx", true},
        {"gate@v3:n_tokens=2", "topk_idx", true},
        {"gate@tiny;fill=tie", "topk_idx", false},
        {"moe@odd:n_tokens=4,stages=1", "topk_idx", true},
        {"mtp_accept@odd;fill=exact", "next_token", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        view s;
        result r;
        look(&s, rows[i].id, "");
        write_truth(&s);
        cr_expect(judged(&s, &r) == PASS, "%s: %s", s.p.id, r.why);
        const output_stats *o = r.output;
        while (strcmp(o->name, rows[i].output)) o++;
        cr_expect(rows[i].single ? o->single == o->count : o->single == 0, "%s: %lld of %lld", s.p.id,
                  (long long)o->single, (long long)o->count);
        look_away(&s);
    }
}

/* Choices by number: at least half of the wrong ones must be illegal. */
Test(judge, wrong_choices_are_counted)
{
    static const struct {
        double truth, legal, choices;
        bool decidable, decided;
    } rows[] = {
        {0, 0, 9, true, true}, {0, 4, 9, true, true},  {0, 5, 9, true, false},  {0, 9, 9, true, false},
        {7, 8, 9, true, true}, {7, 9, 9, true, false}, {9, 9, 9, false, false}, {0, 0, 0, false, false},
    };
    tensor_info const t = {.dtype = DSV3_I32, .ndim = 1, .shape = {1}, .count = 1};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        output_stats s = {.count = 1};
        try_choices(&t, &rows[i].truth, &rows[i].legal, rows[i].choices, &s);
        cr_expect(s.decidable == rows[i].decidable && s.decided == rows[i].decided, "row %zu", i);
        cr_expect(s.mutants == rows[i].decidable && s.survivors == (rows[i].decidable && !rows[i].decided), "row %zu",
                  i);
    }
}

/* Bits of an output whose rows don't vary are those of its value; where the truth is 0 there are none. */
Test(judge, bits_mean_something)
{
    static const struct {
        double truth, half, bits;
        bool none;
    } rows[] = {{0.1, 0.1 / 1024, 10, false}, {-3, 3.0 / 4, 2, false}, {0, 1, 0, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        view s;
        result r;
        look(&s, "rmsnorm@odd:x=f32", "");
        int const y = (int)(problem_tensor(&s.p, "y") - s.p.tensor);
        for (int64_t k = 0; k < s.p.tensor[y].count; k++) {
            s.truth.value[y][k] = (ref_value){rows[i].truth, 0, 0};
            s.legal.value[y][k] = (ref_value){rows[i].truth, 0, rows[i].half};
        }
        write_truth(&s);
        judged(&s, &r);
        cr_expect(r.output[0].bits_none == rows[i].none && !r.output[0].bits_exact, "row %zu", i);
        cr_expect(fabs(r.output[0].bits - rows[i].bits) < 1e-6, "row %zu: %g", i, r.output[0].bits);
        look_away(&s);
    }
}

/* An output of which a case shows nothing says so, though the others show something. */
Test(judge, constant_is_said_of_each_output)
{
    view s;
    result r;
    look(&s, "moe@edge:hidden_states=f32;fill=adversarial", "");
    write_truth(&s);
    cr_assert(judged(&s, &r) == PASS, "%s", r.why);
    for (int o = 0; o < r.outputs; o++)
        cr_expect(r.output[o].constant || strcmp(r.output[o].name, "y"), "%s has mutants", r.output[o].name);
    char *const text = block_of(&r);
    const char *const y = strstr(text, "  y ");
    cr_expect(y && strstr(y, ", constant"), "%s", text);
    free(text);
    look_away(&s);
}
