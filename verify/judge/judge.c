/* See judge.h. Comparisons are written as "legal only if", so that NaN is never legal by accident. */
#include "judge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool enclose(const problem *p, const ref_reading *rd, const ref_table *tier, void *const data[], enclosures *out)
{
    ref_value *outputs[MAX_ROWS] = {NULL};
    void *io = NULL;
    bool good = false;
    int n = 0;
    *out = (enclosures){p->tensors, calloc((size_t)p->tensors, sizeof *out->value)};
    if (!out->value) goto done;
    /* outputs in the order of the op's rows, present or not */
    for (const tensor_row *row = p->op->tensors; row->name; row++) {
        if (row->kind != TENSOR_OUT) continue;
        const tensor_info *const t = problem_tensor(p, row->name);
        if (t) {
            out->value[t - p->tensor] = calloc((size_t)t->count, sizeof(ref_value));
            outputs[n] = out->value[t - p->tensor];
            if (!outputs[n]) goto done;
        }
        n++;
    }
    io = problem_bind(p, data);
    good = io && op_reference(p->op, tier)(rd, p->prob.bytes, io, outputs);
done:
    free(io);
    if (!good) enclosures_free(out);
    return good;
}

void enclosures_free(enclosures *e)
{
    for (int i = 0; e->value && i < e->tensors; i++) free(e->value[i]);
    free(e->value);
    *e = (enclosures){0, NULL};
}

bool enclose_both(const problem *p, const ref_numerics *n, void *const data[], enclosures *truth, enclosures *legal)
{
    bool const forced = p->op->staged;
    ref_reading const exact = {.forced = forced}, conforming = {.port = n, .forced = forced};
    if (!enclose(p, &exact, &ref_dd, data, truth)) return false;
    if (enclose(p, &conforming, &ref_dd, data, legal)) return true;
    enclosures_free(truth);
    return false;
}

bool decide_own(const problem *p, ref_set quirks, void *const data[])
{
    ref_reading const rd = {.quirks = quirks};
    enclosures own;
    if (!p->op->staged) return true;
    if (!enclose(p, &rd, &ref_dd, data, &own)) return false;
    for (int t = 0; t < p->tensors; t++)
        for (int64_t i = 0; own.value[t] && i < p->tensor[t].count; i++)
            ref_encode(p->tensor[t].dtype, data[t], i, own.value[t][i].hi);
    enclosures_free(&own);
    return true;
}

/* One element: what is true, what is legal. */
typedef struct {
    double truth, lower, upper;
} element;

static element element_of(const ref_value *truth, const ref_value *legal, int64_t i)
{
    return (element){truth[i].hi, ref_lower(legal[i]), ref_upper(legal[i])};
}

static bool anything_goes(const element *e)
{
    return e->lower == -HUGE_VAL && e->upper == HUGE_VAL;
}

static bool is_legal(const element *e, double got)
{
    return anything_goes(e) || (e->lower <= got && got <= e->upper);
}

/* How much of the allowed distance from the truth is used; above 1 outside. */
static double budget_used(const element *e, double got)
{
    if (anything_goes(e) || (got == e->truth && is_legal(e, got))) return 0;
    if (!isfinite(got)) return HUGE_VAL;
    double const far = fabs(got - e->truth);
    double const allowed = got < e->truth ? e->truth - e->lower : e->upper - e->truth;
    bool const legal = is_legal(e, got), single = e->lower == e->upper;
    if (far == 0 || (legal && (single || !(allowed > 0)))) return legal ? 0 : HUGE_VAL;
    double const used = allowed > 0 ? far / allowed : HUGE_VAL;
    return legal ? fmin(used, 1) : fmax(used, nextafter(1, 2));
}

static int64_t row_width(const tensor_info *t)
{
    return t->ndim > 0 ? t->shape[t->ndim - 1] : 1;
}

/* ---- could this case see a wrong result? ---- */

enum { MUTANT_ZERO, MUTANT_SIGN, MUTANT_ROW, MUTANT_SCALE, MUTANT_ROTATE, MUTANTS };

/* Element i of a wrong result made from the truth. */
static double mutant(int kind, const ref_value *truth, int64_t i, int64_t count, int64_t width)
{
    switch (kind) {
    case MUTANT_ZERO: return 0;
    case MUTANT_SIGN: return -truth[i].hi;
    case MUTANT_ROW: return truth[(i + width) % count].hi;
    case MUTANT_SCALE: return 1.125 * truth[i].hi;
    default: return truth[i / width * width + (i % width + 1) % width].hi;
    }
}

/* A mutant counts if it differs from the truth somewhere by more than the truth's radius; it survives if all of it,
 * rounded to the tensor's format, is legal. */
static void try_mutant(int kind, const tensor_info *t, const ref_value *truth, const ref_value *legal, output_stats *s)
{
    bool counts = false, survives = true;
    for (int64_t i = 0; i < t->count && (survives || !counts); i++) {
        double const m = mutant(kind, truth, i, t->count, row_width(t));
        if (fabs(m - truth[i].hi) > truth[i].radius + fabs(truth[i].lo)) counts = true;
        element const e = element_of(truth, legal, i);
        if (!is_legal(&e, ref_round(t->dtype, m))) survives = false;
    }
    s->mutants += counts;
    s->survivors += counts && survives;
}

/* log2 of how much larger the signal is than what is allowed around it. */
static void measure_resolution(const tensor_info *t, const ref_value *truth, const ref_value *legal, output_stats *s)
{
    int64_t const width = row_width(t);
    double signal = 0, allowed = 0;
    if (t->dtype == DSV3_I32) {
        s->bits_exact = true;
        return;
    }
    for (int64_t start = 0; start < t->count; start += width) {
        double mean = 0;
        for (int64_t i = start; i < start + width; i++) mean += isfinite(truth[i].hi) ? truth[i].hi / (double)width : 0;
        for (int64_t i = start; i < start + width; i++) {
            element const e = element_of(truth, legal, i);
            if (anything_goes(&e) || !isfinite(e.truth)) continue;
            double const off = width > 1 ? truth[i].hi - mean : truth[i].hi, half = (e.upper - e.lower) / 2;
            signal += off * off;
            allowed += half * half;
        }
    }
    s->bits_exact = allowed == 0;
    s->bits = allowed > 0 && signal > 0 ? log2(signal / allowed) / 2 : 0;
}

/* ---- one output tensor ---- */

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

static void count_where(const tensor_info *t, const bool *bad, output_stats *s)
{
    int64_t const width = row_width(t), rows = width ? t->count / width : 0;
    for (int64_t r = 0; r < rows; r++) {
        bool any = false;
        for (int64_t c = 0; c < width && !any; c++) any = bad[r * width + c];
        s->bad_rows += any;
    }
    for (int64_t c = 0; c < width; c++) {
        bool any = false;
        for (int64_t r = 0; r < rows && !any; r++) any = bad[r * width + c];
        s->bad_columns += any;
    }
}

/* Fills s; returns whether a NaN or infinity stands where none is legal. */
static bool judge_output(const tensor_info *t, const ref_value *truth, const ref_value *legal, const void *data,
                         bool *bad, output_stats *s)
{
    bool not_finite = false;
    *s = (output_stats){.dtype = t->dtype, .ndim = t->ndim, .count = t->count, .worst = -1};
    snprintf(s->name, sizeof s->name, "%.31s", t->name);
    memcpy(s->shape, t->shape, sizeof s->shape);
    for (int64_t i = 0; i < t->count; i++) {
        element const e = element_of(truth, legal, i);
        double const got = ref_decode(t->dtype, data, i);
        bad[i] = !is_legal(&e, got);
        s->outside += bad[i];
        s->undecided += anything_goes(&e);
        s->single += e.lower == e.upper;
        not_finite |= bad[i] && !isfinite(got);
        note_worst(s, &e, got, budget_used(&e, got), i);
    }
    measure_resolution(t, truth, legal, s);
    for (int kind = 0; kind < MUTANTS && t->dtype != DSV3_I32; kind++) try_mutant(kind, t, truth, legal, s);
    if (s->outside) count_where(t, bad, s);
    return not_finite;
}

static void decide(result *r, bool not_finite)
{
    int mutants = 0, survivors = 0;
    int64_t outside = 0, undecided = 0, count = 0;
    bool reals = false;
    for (int i = 0; i < r->outputs; i++) {
        reals |= r->output[i].dtype != DSV3_I32;
        mutants += r->output[i].mutants;
        survivors += r->output[i].survivors;
        outside += r->output[i].outside;
        undecided += r->output[i].undecided;
        count += r->output[i].count;
    }
    r->constant = reals && mutants == 0; /* decisions have no mutants */
    if (outside) {
        r->v = not_finite ? NOT_A_NUMBER : FAIL;
        snprintf(r->why, sizeof r->why, "%lld of %lld elements are no legal result", (long long)outside,
                 (long long)count);
    } else if (survivors) {
        r->v = VACUOUS;
        snprintf(r->why, sizeof r->why, "the declared arithmetic is so wide that %d of %d wrong results would pass",
                 survivors, mutants);
    } else if (undecided * 20 > count) {
        r->v = VACUOUS;
        snprintf(r->why, sizeof r->why, "any value is legal for %lld of %lld elements", (long long)undecided,
                 (long long)count);
    } else {
        r->v = PASS;
    }
}

/* ---- decisions ---- */

/* Is the choice of row r the same set as the reference's own? */
static bool same_set(const tensor_info *t, const void *a, const ref_value *b, int64_t r)
{
    int64_t const width = row_width(t);
    for (int64_t i = r * width; i < (r + 1) * width; i++) {
        bool found = false;
        for (int64_t k = r * width; k < (r + 1) * width; k++) found |= ref_decode(t->dtype, a, i) == b[k].hi;
        if (!found) return false;
    }
    return true;
}

static size_t print_port_set(char *text, size_t cap, const tensor_info *t, const void *data, int64_t r)
{
    int64_t const width = row_width(t);
    size_t used = (size_t)snprintf(text, cap, "{");
    for (int64_t k = 0; k < width && used < cap; k++)
        used += (size_t)snprintf(text + used, cap - used, "%s%.0f", k ? " " : "",
                                 ref_decode(t->dtype, data, r * width + k));
    return used + (used < cap ? (size_t)snprintf(text + used, cap - used, "}") : 0);
}

static size_t print_own_set(char *text, size_t cap, const tensor_info *t, const ref_value *own, int64_t r)
{
    int64_t const width = row_width(t);
    size_t used = (size_t)snprintf(text, cap, "{");
    for (int64_t k = 0; k < width && used < cap; k++)
        used += (size_t)snprintf(text + used, cap - used, "%s%.0f", k ? " " : "", own[r * width + k].hi);
    return used + (used < cap ? (size_t)snprintf(text + used, cap - used, "}") : 0);
}

/* Rows in which the port's legal choice isn't the reference's, and the first of them; or the first that isn't legal. */
static bool list_flips(const problem *p, const enclosures *legal, void *const got[], result *r)
{
    ref_reading const rd = {.port = NULL};
    const tensor_info *const t = problem_tensor(p, p->op->choice);
    int const index = (int)(t - p->tensor);
    enclosures own;
    if (!enclose(p, &rd, &ref_dd, got, &own)) return false;
    for (int64_t row = 0; row < t->count / row_width(t); row++) {
        bool const bad = isnan(legal->value[index][row * row_width(t)].hi);
        if (same_set(t, got[index], own.value[index], row)) continue;
        r->flips += !bad;
        if (*r->choice && !(bad && !r->choice_illegal)) continue;
        r->choice_illegal = bad;
        size_t used = (size_t)snprintf(r->choice, sizeof r->choice, "row %lld: %s chose ", (long long)row,
                                       bad ? "no legal choice, the port" : "the port");
        used += print_port_set(r->choice + used, sizeof r->choice - used, t, got[index], row);
        if (used < sizeof r->choice)
            used += (size_t)snprintf(r->choice + used, sizeof r->choice - used, ", the reference ");
        if (used < sizeof r->choice) print_own_set(r->choice + used, sizeof r->choice - used, t, own.value[index], row);
    }
    enclosures_free(&own);
    return true;
}

void judge(const problem *p, const enclosures *truth, const enclosures *legal, void *const got[], result *r)
{
    bool not_finite = false;
    r->outputs = 0;
    for (int i = 0; i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        if (t->row->kind != TENSOR_OUT) continue;
        bool *const bad = malloc((size_t)t->count);
        if (!bad) {
            r->v = ERROR;
            snprintf(r->why, sizeof r->why, "no memory to judge %s", t->name);
            return;
        }
        not_finite |= judge_output(t, truth->value[i], legal->value[i], got[i], bad, &r->output[r->outputs++]);
        free(bad);
    }
    if (p->op->choice && !list_flips(p, legal, got, r)) {
        r->v = ERROR;
        snprintf(r->why, sizeof r->why, "no memory to judge %s", p->op->choice);
        return;
    }
    decide(r, not_finite);
}

/* ---- which mistake? ---- */

/* Elements of got[] that are no legal result under these balls, and how far off the worst is. */
static int64_t illegal(const problem *p, const enclosures *legal, void *const got[], double *worst)
{
    int64_t bad = 0;
    *worst = 0;
    for (int i = 0; i < p->tensors; i++)
        for (int64_t k = 0; legal->value[i] && k < p->tensor[i].count; k++) {
            element e = element_of(legal->value[i], legal->value[i], k);
            double const v = ref_decode(p->tensor[i].dtype, got[i], k);
            e.truth = (e.lower + e.upper) / 2;
            if (is_legal(&e, v)) continue;
            bad++;
            *worst = fmax(*worst, budget_used(&e, v));
        }
    return bad;
}

/* Sorted in: fewest illegal elements first, then the smallest distance. */
static void insert_diagnosis(result *r, diagnosis_row d)
{
    int at = r->diagnoses;
    while (at > 0 && (d.illegal < r->diagnosis[at - 1].illegal ||
                      (d.illegal == r->diagnosis[at - 1].illegal && d.worst < r->diagnosis[at - 1].worst)))
        at--;
    if (at == MAX_DIAGNOSES) return;
    if (r->diagnoses < MAX_DIAGNOSES) r->diagnoses++;
    memmove(&r->diagnosis[at + 1], &r->diagnosis[at], (size_t)(r->diagnoses - 1 - at) * sizeof d);
    r->diagnosis[at] = d;
}

bool diagnose(const problem *p, const ref_numerics *n, void *const got[], result *r)
{
    r->diagnoses = 0;
    for (int q = 0; ref_quirk(q); q++) {
        ref_reading const rd = {.port = n, .quirks = (ref_set)1 << q, .forced = p->op->staged};
        diagnosis_row d = {.quirk = q};
        enclosures legal;
        if (strcmp(ref_quirk(q)->op, p->op->name)) continue;
        if (!enclose(p, &rd, &ref_dd, got, &legal)) return false;
        d.illegal = illegal(p, &legal, got, &d.worst);
        enclosures_free(&legal);
        insert_diagnosis(r, d);
    }
    return true;
}

/* What a port with the mistakes would give, decisions included, against what is legal. */
int64_t seen_in(const problem *p, const ref_numerics *n, ref_set quirks, void *const data[], int64_t *count)
{
    bool const forced = p->op->staged;
    ref_reading const mistaken = {.port = n, .quirks = quirks, .forced = forced},
                      correct = {.port = n, .forced = forced};
    enclosures wrong, legal;
    int64_t apart = 0;
    *count = 0;
    if (!decide_own(p, quirks, data) || !enclose(p, &mistaken, &ref_dd, data, &wrong)) return -1;
    if (!enclose(p, &correct, &ref_dd, data, &legal)) return enclosures_free(&wrong), -1;
    for (int i = 0; i < p->tensors; i++) {
        *count += legal.value[i] ? p->tensor[i].count : 0;
        for (int64_t k = 0; legal.value[i] && k < p->tensor[i].count; k++) {
            ref_value const a = legal.value[i][k], b = wrong.value[i][k];
            apart += !(ref_lower(a) <= ref_upper(b) && ref_lower(b) <= ref_upper(a));
        }
    }
    enclosures_free(&wrong);
    enclosures_free(&legal);
    return apart;
}
