/* See diagnose.h. */
#include "diagnose.h"

#include "element.h"

#include <math.h>

/* Results that conform to n in a port with the quirks. */
static bool enclose_quirky(const problem *p, const ref_numerics *n, ref_set quirks, void *const data[], enclosures *out)
{
    ref_reading const faulty = {.declared = n, .quirks = quirks, .teacher_forced = p->op->staged};
    return enclose(p, &faulty, &ref_dd, data, out);
}

/* What the quirk leaves unexplained of one element: it is no legal result with the quirk either, or the quirk allows
 * anything where the declaration did not. The distance is that from the middle of the ball. */
static void weigh(diagnosis_row *d, const ref_value *legal, const ref_value *quirky, int64_t k, double got)
{
    element const right = element_of(legal, legal, k);
    element wrong = element_of(quirky, quirky, k);
    wrong.truth = (wrong.lower + wrong.upper) / 2;
    bool const undecided = any_is_legal(&wrong) && !is_legal(&right, got);
    d->undecided += undecided;
    d->illegal += undecided || !is_legal(&wrong, got);
    d->worst = fmax(d->worst, budget_used(&wrong, got));
}

/* A quirk as an explanation of got[]. */
static void explain(const problem *p, const enclosures *legal, const enclosures *quirky, void *const got[],
                    diagnosis_row *d)
{
    for (int i = 0; i < p->tensors; i++)
        for (int64_t k = 0; quirky->value[i] && k < p->tensor[i].count; k++)
            weigh(d, legal->value[i], quirky->value[i], k, ref_decode(p->tensor[i].dtype, got[i], k));
    if (!(d->worst > 1)) d->worst = 0; /* that of the illegal ones alone */
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

bool diagnose(const problem *p, const ref_numerics *n, const enclosures *legal, void *const got[], result *r)
{
    r->diagnoses = 0;
    for (int q = 0; ref_quirk(q); q++) {
        diagnosis_row d = {.quirk = q};
        enclosures quirky;
        if (strcmp(ref_quirk(q)->op, p->op->name)) continue;
        if (!enclose_quirky(p, n, (ref_set)1 << q, got, &quirky)) return false;
        explain(p, legal, &quirky, got, &d);
        enclosures_free(&quirky);
        insert_diagnosis(r, d);
    }
    return true;
}

static int64_t count_apart(const problem *p, const enclosures *a, const enclosures *b, int64_t *count)
{
    int64_t apart = 0;
    *count = 0;
    for (int i = 0; i < p->tensors; i++)
        for (int64_t k = 0; a->value[i] && k < p->tensor[i].count; k++) {
            ref_value const x = a->value[i][k], y = b->value[i][k];
            apart += !(ref_lower(x) <= ref_upper(y) && ref_lower(y) <= ref_upper(x));
            ++*count;
        }
    return apart;
}

int64_t seen_in(const problem *p, const ref_numerics *n, ref_set quirks, void *const data[], int64_t *count)
{
    enclosures wrong, legal;
    *count = 0;
    if (!decide_own(p, quirks, data) || !enclose_quirky(p, n, quirks, data, &wrong)) return -1;
    if (!enclose_legal(p, n, data, &legal)) return enclosures_free(&wrong), -1;
    int64_t const apart = count_apart(p, &legal, &wrong, count);
    enclosures_free(&wrong);
    enclosures_free(&legal);
    return apart;
}

int quirks_of(const op *o)
{
    int n = 0;
    for (int q = 0; ref_quirk(q); q++) n += !strcmp(ref_quirk(q)->op, o->name);
    return n;
}

bool look_for_quirks(const problem *p, const ref_numerics *n, void *const data[], result *r)
{
    r->quirks_tried = 0;
    r->quirks_blind = 0;
    for (int q = 0; ref_quirk(q); q++) {
        int64_t count;
        if (strcmp(ref_quirk(q)->op, p->op->name)) continue;
        int64_t const apart = seen_in(p, n, (ref_set)1 << q, data, &count);
        if (apart < 0) return false;
        r->quirks_tried++;
        if (apart == 0) r->quirks_blind |= (ref_set)1 << q;
    }
    return true;
}
