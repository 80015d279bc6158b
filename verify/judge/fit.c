/* See fit.h. */
#include "fit.h"

#include "element.h"

#include <math.h>

bool answered_open(const problem *p, void *const data[], answered *out)
{
    *out = (answered){.p = p, .data = data};
    if (!enclose_truth(p, data, &out->truth)) return false;
    if (!p->op->choice || enclose_own(p, data, &out->own)) return true;
    enclosures_free(&out->truth);
    return false;
}

void answered_free(answered *a)
{
    enclosures_free(&a->truth);
    enclosures_free(&a->own);
}

/* Root of the mean square of what is finite. */
static double size_of(const ref_value *truth, int64_t n)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(truth[i].hi)) continue;
        sum += truth[i].hi * truth[i].hi;
        count++;
    }
    return count ? sqrt(sum / (double)count) : 0;
}

static double half_ulp(const tensor_info *t, const element *e)
{
    return isfinite(e->truth) ? ref_half_ulp(t->dtype, e->truth) : 0;
}

/* A decision, or what is no number, is far off. */
static double distance(const tensor_info *t, const element *e, double got)
{
    static const double FAR = 64;
    double const off = got < e->lower ? e->lower - got : got - e->upper, unit = half_ulp(t, e);
    bool const measured = t->dtype != DSV3_I32 && isfinite(off) && unit > 0;
    return measured ? fmin(FAR, log2(1 + off / unit)) : FAR;
}

/* Numbers far below the others are resolved no better than these. */
static double resolved(const tensor_info *t, const element *e, double size)
{
    double const half = any_is_legal(e) ? HUGE_VAL : (e->upper - e->lower) / 2 + ref_half_ulp(t->dtype, size);
    return half > 0 ? log2(1 + size / half) : 0;
}

static void fit_output(const tensor_info *t, const ref_value *truth, const ref_value *legal, const void *got, fit *f)
{
    double const size = t->dtype == DSV3_I32 ? 0 : size_of(truth, t->count);
    for (int64_t i = 0; i < t->count; i++) {
        element const e = element_of(truth, legal, i);
        double const value = ref_decode(t->dtype, got, i);
        if (!is_legal(&e, value)) f->outside += distance(t, &e, value);
        if (!(size > 0) || !isfinite(e.truth)) continue;
        f->bits += resolved(t, &e, size);
        f->elements++;
    }
}

bool fit_of(const answered *a, const ref_numerics *n, fit *f)
{
    enclosures legal;
    *f = (fit){0};
    if (!enclose_legal(a->p, n, a->data, &legal)) return false;
    for (int i = 0; i < a->p->tensors; i++)
        if (legal.value[i]) fit_output(&a->p->tensor[i], a->truth.value[i], legal.value[i], a->data[i], f);
    enclosures_free(&legal);
    if (f->elements > 0) f->bits /= f->elements;
    return true;
}
