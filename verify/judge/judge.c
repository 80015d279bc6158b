/* See judge.h. */
#include "judge.h"

#include "element.h"
#include "flips.h"
#include "mutants.h"

#include <math.h>
#include <stdio.h>

/* One output tensor: where its elements should lie, and what the port wrote. */
typedef struct {
    const tensor_info *t;
    const ref_value *truth, *legal;
    const double *truth_rivals, *legal_rivals; /* of a decision; else NULL */
    double choices;                            /* the most that a decision may choose from besides */
    const void *got;
    const void *before; /* what its memory held, of an output that lies over an input; else NULL */
} output;

/* How many choices a decision has besides the one it makes. */
static double choices_of(const problem *p, const tensor_info *t)
{
    if (!strcmp(t->name, "accepted")) return (double)problem_size(p, "n_draft");
    if (!strcmp(t->name, "next_token")) return (double)(problem_size(p, "vocab_size") - 1);
    if (!op_field(p->op, "n_routed_experts")) return 1; /* a number that is copied, or another */
    return (double)(problem_size(p, "n_routed_experts") - row_width(t));
}

static output output_of(const problem *p, int i, const enclosures *truth, const enclosures *legal, void *const got[])
{
    const tensor_info *const t = &p->tensor[i], *const under = t->row->over ? problem_tensor(p, t->row->over) : NULL;
    output o = {.t = t, .truth = truth->value[i], .legal = legal->value[i], .got = got[i]};
    if (under) o.before = got[under - p->tensor];
    if (t->dtype != DSV3_I32) return o;
    o.truth_rivals = truth->rivals[i];
    o.legal_rivals = legal->rivals[i];
    o.choices = choices_of(p, t);
    return o;
}

/* Is exactly one value, or one choice, legal? */
static bool is_single(const output *o, const element *e, int64_t i)
{
    return e->lower == e->upper && !(o->legal_rivals && o->legal_rivals[i] > 0);
}

static bool is_bad(const output *o, int64_t i)
{
    element const e = element_of(o->truth, o->legal, i);
    return !is_legal(&e, ref_decode(o->t->dtype, o->got, i));
}

/* What a row varies around: its mean, or 0 if it doesn't vary. */
static double centre_of_row(const ref_value *truth, int64_t width)
{
    double mean = 0, least = HUGE_VAL, most = -HUGE_VAL;
    for (int64_t i = 0; i < width; i++) {
        if (!isfinite(truth[i].hi)) continue;
        mean += truth[i].hi / (double)width;
        least = fmin(least, truth[i].hi);
        most = fmax(most, truth[i].hi);
    }
    bool const varies = most - least > 0x1p-48 * fmax(fabs(most), fabs(least));
    return varies ? mean : 0;
}

/* log2 of how much larger the signal is than what is allowed around it. */
static void measure_resolution(const output *o, output_stats *s)
{
    int64_t const width = row_width(o->t);
    double signal = 0, allowed = 0;
    s->bits_exact = s->single == s->count;
    s->bits_none = !s->bits_exact;
    if (s->bits_exact || o->t->dtype == DSV3_I32) return;
    for (int64_t start = 0; start < o->t->count; start += width) {
        double const centre = centre_of_row(o->truth + start, width);
        for (int64_t i = start; i < start + width; i++) {
            element const e = element_of(o->truth, o->legal, i);
            if (any_is_legal(&e) || !isfinite(e.truth)) continue;
            double const off = e.truth - centre, half = (e.upper - e.lower) / 2;
            signal += off * off;
            allowed += half * half;
        }
    }
    s->bits_none = !(allowed > 0 && signal > 0);
    s->bits = s->bits_none ? 0 : log2(signal / allowed) / 2;
}

static void note_worst(output_stats *s, const element *e, double got, double used, int64_t i)
{
    if (!(used > s->budget)) return;
    s->budget = used;
    s->worst = i;
    s->got = got;
    s->truth = e->truth;
    s->lower = e->lower;
    s->upper = e->upper;
}

/* A bad element among n, each so many behind the one before. */
static bool any_bad(const output *o, int64_t first, int64_t n, int64_t stride)
{
    for (int64_t i = 0; i < n; i++)
        if (is_bad(o, first + i * stride)) return true;
    return false;
}

static void count_where(const output *o, output_stats *s)
{
    int64_t const width = row_width(o->t), rows = width ? o->t->count / width : 0;
    for (int64_t r = 0; r < rows; r++) s->bad_rows += any_bad(o, r * width, width, 1);
    for (int64_t c = 0; c < width; c++) s->bad_columns += any_bad(o, c, rows, width);
}

/* Fills s; returns whether a NaN or infinity stands where none is legal. */
static bool judge_output(const output *o, output_stats *s)
{
    const tensor_info *const t = o->t;
    bool not_finite = false;
    *s = (output_stats){.dtype = t->dtype, .ndim = t->ndim, .count = t->count, .worst = -1};
    snprintf(s->name, sizeof s->name, "%.31s", t->name);
    memcpy(s->shape, t->shape, sizeof s->shape);
    for (int64_t i = 0; i < t->count; i++) {
        element const e = element_of(o->truth, o->legal, i);
        double const got = ref_decode(t->dtype, o->got, i);
        bool const bad = !is_legal(&e, got);
        s->outside += bad;
        s->undecided += any_is_legal(&e);
        s->single += is_single(o, &e, i);
        not_finite |= bad && !isfinite(got);
        note_worst(s, &e, got, budget_used(&e, got), i);
    }
    measure_resolution(o, s);
    if (t->dtype == DSV3_I32)
        try_choices(t, o->truth_rivals, o->legal_rivals, o->choices, s);
    else
        try_mutants(t, o->truth, o->legal, s);
    s->constant = s->mutants == 0;
    if (s->outside) count_where(o, s);
    return not_finite;
}

/* Why an output shows too little: a wrong result would pass, or more than one element in twenty tells none from the
 * truth. Nothing if it shows enough. */
static void describe_vacuous(const output_stats *s, char *text, size_t cap)
{
    static const char wide[] = "the declared arithmetic is so wide that";
    *text = 0;
    if (s->survivors)
        snprintf(text, cap, "%s: %s %d of %d wrong results would pass", s->name, wide, s->survivors, s->mutants);
    else if (s->undecided * 20 > s->count)
        snprintf(text, cap, "%s: any value is legal for %lld of %lld elements", s->name, (long long)s->undecided,
                 (long long)s->count);
    else if ((s->decidable - s->decided) * 20 > s->decidable)
        snprintf(text, cap,
                 "%s: %s %lld of %lld elements tell no wrong result from the truth, nor do %lld of %lld rows", s->name,
                 wide, (long long)(s->decidable - s->decided), (long long)s->decidable, (long long)s->rows_blind,
                 (long long)s->rows);
}

/* The verdict when every element is legal: the first output that shows too little decides. */
static void decide_sight(result *r)
{
    r->v = PASS;
    for (int i = 0; i < r->outputs; i++) {
        char why[sizeof r->why];
        describe_vacuous(&r->output[i], why, sizeof why);
        r->output[i].vacuous = *why != 0;
        if (!*why || r->v == VACUOUS) continue;
        r->v = VACUOUS;
        memcpy(r->why, why, sizeof why);
    }
}

static void decide(result *r, bool not_finite)
{
    int mutants = 0;
    int64_t outside = 0, count = 0;
    bool reals = false;
    for (int i = 0; i < r->outputs; i++) {
        bool const real = r->output[i].dtype != DSV3_I32;
        reals |= real;
        mutants += real ? r->output[i].mutants : 0;
        outside += r->output[i].outside;
        count += r->output[i].count;
    }
    r->constant = reals && mutants == 0; /* a decision's depend on the port */
    decide_sight(r);
    if (!outside) return;
    r->v = not_finite ? NOT_A_NUMBER : FAIL;
    snprintf(r->why, sizeof r->why, "%lld of %lld elements are no legal result", (long long)outside, (long long)count);
}

/* A row of a pool that is nothing of the op's: it should be what it was. */
static bool stays(const output *o, int64_t row)
{
    int64_t const width = row_width(o->t);
    for (int64_t i = row * width; i < (row + 1) * width; i++)
        if (o->truth[i].hi != ref_decode(o->t->dtype, o->before, i)) return false;
    return true;
}

/* The first byte of a pool (pages, rows, entries) that has changed in a row that stays. */
static void find_corrupt(const output *o, result *r)
{
    size_t const size = ref_dtype_size(o->t->dtype);
    int64_t const width = row_width(o->t), rows = o->t->shape[1];
    const char *const is = o->got, *const was = o->before;
    for (int64_t row = 0; row < o->t->shape[0] * rows; row++) {
        size_t const bytes = (size_t)width * size, from = (size_t)row * bytes;
        size_t at = 0;
        while (at < bytes && is[from + at] == was[from + at]) at++;
        if (at == bytes || !stays(o, row)) continue;
        r->v = CORRUPT;
        snprintf(r->why, sizeof r->why,
                 "the port wrote to a row of %s that is no token's: page %lld, row %lld, byte %zu", o->t->name,
                 (long long)(row / rows), (long long)(row % rows), at);
        return;
    }
}

void judge(const problem *p, const enclosures *truth, const enclosures *legal, const enclosures *own, void *const got[],
           result *r)
{
    bool not_finite = false;
    r->outputs = 0;
    for (int i = 0; i < p->tensors; i++) {
        if (p->tensor[i].row->kind != TENSOR_OUT) continue;
        output const o = output_of(p, i, truth, legal, got);
        not_finite |= judge_output(&o, &r->output[r->outputs++]);
    }
    if (p->op->choice) list_flips(p, legal, own, got, r);
    decide(r, not_finite);
    for (int i = 0; i < p->tensors; i++) {
        if (!p->tensor[i].row->over) continue;
        output const o = output_of(p, i, truth, legal, got);
        find_corrupt(&o, r);
    }
}
