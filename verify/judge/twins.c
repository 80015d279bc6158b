/* See twins.h. */
#include "twins.h"

#include <math.h>
#include <stdlib.h>

/* ---- which they are ---- */

typedef struct {
    int64_t element;
    double significand; /* of the mean, in [1/2, 1) */
} candidate;

/* What flips more rarely than this adds nothing to any variance. */
static const double rare = 0x1p-40;

/* Does element i flip at times? Numbers of binary32 are as fine as what rounds them: those are taken one by one. */
static bool may_flip(const null_ports *null, const null_output *t, int64_t i)
{
    return t->dtype != DSV3_F32 && null->weight[i] > 0 && !null_scatters(null, i) &&
           null->variance[i] > rare * null->ulp[i] * null->ulp[i];
}

static int by_significand(const void *a, const void *b)
{
    const candidate *const x = a, *const y = b;
    if (x->significand != y->significand) return x->significand < y->significand ? -1 : 1;
    return (x->element > y->element) - (x->element < y->element);
}

/* To 24 bits: means of ports that are drawn, each of which errs by last places of that. */
static bool are_alike(const candidate *a, const candidate *b)
{
    return b->significand - a->significand < 0x1p-24 * b->significand;
}

static int64_t candidates_of(const null_ports *null, const null_output *t, candidate *all)
{
    int64_t count = 0;
    int exponent;
    for (int64_t i = t->first; i < t->first + t->count; i++)
        if (may_flip(null, t, i)) all[count++] = (candidate){i, frexp(fabs(null->mean[i]), &exponent)};
    qsort(all, (size_t)count, sizeof *all, by_significand);
    return count;
}

/* Of sorted candidates those that have another one beside them. */
static void keep_twins(null_ports *null, const candidate *all, int64_t count)
{
    for (int64_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && are_alike(&all[end - 1], &all[end]);) end++;
        for (int64_t k = i; end > i + 1 && k < end; k++) null->twin[null->twins++] = (twin){all[k].element, k == i};
    }
}

bool twins_find(null_ports *null)
{
    candidate *const all = malloc(((size_t)null->n + 1) * sizeof *all);
    null->twin = malloc(((size_t)null->n + 1) * sizeof *null->twin);
    for (int o = 0; all && null->twin && o < null->outputs; o++)
        keep_twins(null, all, candidates_of(null, &null->output[o], all));
    free(all);
    return all && null->twin;
}

/* ---- what they do together ---- */

int64_t twins_weigh(const null_ports *null, int64_t i, const double *w, twin_sums *sums)
{
    double flip = 0, sd = 0, apart = 0;
    do {
        int64_t const e = null->twin[i].element;
        double const sign = null->mean[e] < 0 ? -1 : 1, away = w ? w[e] * sign : 1 / null->ulp[e];
        flip += away * null->ulp[e];
        sd += away * sqrt(null->variance[e]);
        apart += away * away * null->variance[e];
        i++;
    } while (i < null->twins && !null->twin[i].first);
    *sums = (twin_sums){flip, sd * sd, apart};
    return i;
}
