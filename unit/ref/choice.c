/*
 * Decisions that are none: a port's index may be anything. In a teacher-forced reading the reference says so of that row, leaves
 * open what follows from it, and judges every other token as before. (Under the sanitizers: no such index points anywhere.)
 */
#include "case/fill.h"
#include "case/problem.h"
#include "judge/judge.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>

TestSuite(choice, .timeout = 120);

typedef enum { ZERO, MINUS_ONE, LARGE, LEAST, COUNT, LAST_TWICE, PATTERNS } pattern;

static const char *const ids[] = {
    "gate@odd",
    "gate@odd:scoring_func=1,topk_method=1",
    "moe@tiny:n_tokens=4",
    "moe@tiny:n_tokens=4,stages=1",
    "mtp@tiny:stages=0",
    "mtp@tiny:stages=1",
};

static double planted(pattern w, double own, double first, bool last, int64_t count)
{
    switch (w) {
    case ZERO: return 0;
    case MINUS_ONE: return -1;
    case LARGE: return 1 << 30;
    case LEAST: return INT_MIN;
    case COUNT: return (double)count;
    default: return last ? first : own;
    }
}

/* One case, as the reference itself answers it. */
typedef struct {
    problem p;
    void **data;
    ref_numerics n;
} answered;

static void open_case(const char *id, answered *a)
{
    complaint why;
    enclosures own;
    cr_assert(problem_parse(id, &a->p, &why), "%s", why.text);
    cr_assert(tensors_open(&a->p, &a->data));
    cr_assert(ref_numerics_parse(a->p.op->name, NULL, &a->n, why.text, sizeof why.text), "%s", why.text);
    cr_assert(enclose_own(&a->p, a->data, &own));
    for (int t = 0; t < a->p.tensors; t++)
        for (int64_t i = 0; own.value[t] && i < a->p.tensor[t].count; i++)
            ref_encode(a->p.tensor[t].dtype, a->data[t], i, own.value[t][i].hi);
    enclosures_free(&own);
}

static void close_case(answered *a)
{
    tensors_close(&a->p, a->data);
    problem_close(&a->p);
}

/* Overwrites the choice of one row. */
static void plant(const answered *a, int tensor, int64_t row, pattern w)
{
    const tensor_info *const t = &a->p.tensor[tensor];
    int64_t const width = t->shape[1], count = problem_size(&a->p, "n_routed_experts");
    double const first = ref_decode(t->dtype, a->data[tensor], row * width);
    for (int64_t k = 0; k < width; k++) {
        double const own = ref_decode(t->dtype, a->data[tensor], row * width + k);
        ref_encode(t->dtype, a->data[tensor], row * width + k, planted(w, own, first, k == width - 1, count));
    }
}

static bool same(ref_value a, ref_value b)
{
    return a.hi == b.hi && a.lo == b.lo && a.radius == b.radius;
}

/* Each element of a spoilt row is undecided, or as if the choice were good. Tensors whose rows are no tokens: y of mla in mtp. */
static void expect_open_or_same(const answered *a, const enclosures *good, const enclosures *spoilt, int chosen,
                                int64_t row, const char *what)
{
    int64_t const tokens = a->p.tensor[chosen].shape[0];
    for (int t = 0; t < a->p.tensors; t++) {
        const tensor_info *const i = &a->p.tensor[t];
        if (t == chosen || !good->value[t]) continue;
        int64_t const width = i->count / tokens;
        for (int64_t e = 0; e < i->count; e++) {
            bool const open = isinf(spoilt->value[t][e].radius),
                       as_before = same(good->value[t][e], spoilt->value[t][e]);
            bool const here = e / width == row;
            cr_expect(as_before || (here && open), "%s: %s[%lld]", what, i->name, (long long)e);
        }
    }
}

static void expect_illegal(const tensor_info *t, const ref_value *spoilt, int64_t row, const char *what)
{
    int64_t const width = t->shape[1];
    for (int64_t i = 0; i < t->count; i++)
        cr_expect(isnan(spoilt[i].hi) == (i / width == row), "%s: %s[%lld]", what, t->name, (long long)i);
}

/* The pattern in the last row, under one reading. */
static void check(const char *id, pattern w, bool conforming)
{
    answered a;
    enclosures good, spoilt;
    char what[96];
    open_case(id, &a);
    snprintf(what, sizeof what, "%s, pattern %d", id, w);
    const tensor_info *const t = problem_tensor(&a.p, a.p.op->choice);
    cr_assert(t != NULL);
    int const chosen = (int)(t - a.p.tensor);
    ref_reading const rd = {.declared = conforming ? &a.n : NULL, .teacher_forced = true};
    cr_assert(enclose(&a.p, &rd, &ref_dd, a.data, &good));
    plant(&a, chosen, t->shape[0] - 1, w);
    cr_assert(enclose(&a.p, &rd, &ref_dd, a.data, &spoilt));
    expect_illegal(t, spoilt.value[chosen], t->shape[0] - 1, what);
    expect_open_or_same(&a, &good, &spoilt, chosen, t->shape[0] - 1, what);
    enclosures_free(&good);
    enclosures_free(&spoilt);
    close_case(&a);
}

Test(choice, no_index_leaves_its_row)
{
    for (size_t c = 0; c < sizeof ids / sizeof *ids; c++)
        for (pattern w = 0; w < PATTERNS; w++) {
            check(ids[c], w, false);
            check(ids[c], w, true);
        }
}

/* An op whose ids are inputs: one that is none leaves its token open, twice the same is twice that expert. */
Test(choice, ids_that_a_case_repeats)
{
    answered a;
    enclosures e;
    open_case("experts@tiny:n_tokens=4,stages=1", &a);
    const tensor_info *const idx = problem_tensor(&a.p, "topk_idx"), *const act = problem_tensor(&a.p, "act");
    for (pattern w = 0; w < PATTERNS; w++)
        for (int64_t row = 0; row < idx->shape[0]; row++) {
            ref_reading const rd = {.declared = &a.n};
            plant(&a, (int)(idx - a.p.tensor), row, w);
            cr_assert(enclose(&a.p, &rd, &ref_dd, a.data, &e));
            bool const names = ref_decode(idx->dtype, a.data[idx - a.p.tensor], row * idx->shape[1]) >= 0 &&
                               (w == ZERO || w == LAST_TWICE);
            int64_t const width = act->count / idx->shape[0];
            const ref_value *const first = e.value[act - a.p.tensor] + row * width;
            if (w != LAST_TWICE) cr_expect(isinf(first->radius) == !names, "pattern %d, row %lld", w, (long long)row);
            enclosures_free(&e);
        }
    close_case(&a);
}
