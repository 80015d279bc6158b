/* See finding.h. */
#include "finding.h"

#include "pairs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double SUSPECT_T = 6, FAIL_T = 12, SUSPECT_RATIO = 4, FAIL_RATIO = 8;

bool is_along(const senses *s)
{
    return fabs(s->t) >= SUSPECT_T;
}

bool is_suspect(const senses *s)
{
    return is_along(s) || s->ratio >= SUSPECT_RATIO;
}

bool is_wrong(const senses *s)
{
    return fabs(s->t) >= FAIL_T || (s->ratio >= FAIL_RATIO && s->ratio_t >= FAIL_T);
}

bool is_once(const senses *s)
{
    return fabs(s->size - 1) <= SUSPECT_T * s->sd;
}

double chance_of_suspicion(void)
{
    return erfc(SUSPECT_T / sqrt(2));
}

/* How far it is beyond what is suspect. Of several that adds up: a rung that explains one output better is better, whatever the others
 * leave. */
static void note_figure(int i, double figure, double suspect, finding *all)
{
    all->figure[i] = figure;
    if (figure < suspect) return;
    all->suspects |= 1u << i;
    all->left += 1 + log(figure / suspect);
}

/* Outputs of which an eighth of the scale would show: what mutants do, at least. Their elements are numbers, too, all but one in 20. */
static bool shows(const null_ports *null, int output, double t_of_scale)
{
    const null_output *const t = &null->output[output];
    int64_t unusable = 0;
    for (int64_t i = t->first; i < t->first + t->count; i++) unusable += null->weight[i] == 0;
    return t_of_scale / 8 >= FAIL_T && unusable * 20 <= t->count;
}

/* The name is that of the largest |z|; of two that are nearly along one another, that of the one whose size is as it should be. */
static void note_filter(const direction *way, const filtered *f, finding *all)
{
    senses *const s = &all->found;
    s->filters++;
    if (fabs(f->t) > fabs(s->t)) s->t = f->t;
    if (all->way) {
        bool const tied = fabs(fabs(f->z) - fabs(all->named.z)) <= 1e-3 * fabs(all->named.z);
        if (tied ? direction_oddness(all->p, way, f) >= direction_oddness(all->p, all->way, &all->named)
                 : fabs(f->z) < fabs(all->named.z))
            return;
    }
    all->named = *f, all->way = way;
}

/* What the case would show, whatever the port wrote. */
static void note_sight(const known_null *k, const direction *way, const filter *f, senses *s)
{
    if (way->quirk >= 0) {
        s->known++;
        if (f->t_of_one >= FAIL_T) ref_add(&s->sees, way->quirk);
    }
    if (way->kind == SCALE && shows(&k->null, way->output, f->t_of_one))
        s->shown |= 1u << k->null.output[way->output].tensor_out;
}

static void note_population(const known_null *k, int output, const double *off, finding *all)
{
    senses *const s = &all->found;
    scattered const c = population(&k->null, output, &k->output[output], off);
    all->thin = fmin(all->thin, c.thin);
    note_figure(output, c.ratio, SUSPECT_RATIO, all);
    if (c.ratio <= s->ratio) return;
    s->ratio = c.ratio, s->ratio_t = c.t;
    snprintf(s->population, sizeof s->population, "%.31s", all->p->tensor[k->null.output[output].tensor].name);
}

static void name(const known_null *k, const filter *f, const double *off, finding *all)
{
    const direction *const way = all->way;
    senses *const s = &all->found;
    s->size = all->named.size, s->quirk = way->quirk;
    s->sd = filter_error(&k->null, f, way->d, s->size);
    s->alone = filter_explains(&k->null, way->d, &all->named, k->most, off);
    direction_name(way, s->filter, sizeof s->filter);
    direction_describe(way, s->size, s->sd, s->words, sizeof s->words);
}

bool find_beside(nulls *s, const ref_numerics *n, uint64_t seed, finding *f)
{
    const known_null *const k = nulls_beside(s, n, seed);
    const direction *const of = s->all.of;
    if (!k) return false;
    *f = (finding){.p = s->all.p, .beside = &k->null, .thin = 1};
    filter_subtract(&k->null, s->got, s->off);
    for (int i = 0; i < s->all.count; i++) {
        filtered const one = filter_apply(&k->null, &k->filter[i], of[i].d, s->off, s->room);
        note_filter(&of[i], &one, f);
        note_sight(k, &of[i], &k->filter[i], &f->found);
    }
    for (int o = 0; o < k->null.outputs; o++) note_population(k, o, s->off, f);
    note_figure(MAX_OUTPUTS, fabs(f->found.t), SUSPECT_T, f);
    for (int64_t i = 0; i < k->null.n; i++) f->lost += k->null.weight[i] == 0;
    if (f->way) name(k, &k->filter[f->way - of], s->off, f);
    return true;
}

/* ---- what no direction of the case explains ---- */

/* An answer beside ports of one null. */
typedef struct {
    const nulls *kept;
    const null_ports *null;
    const double *off; /* what the answer is off */
    double most;       /* that a port of the null is */
    double *d;         /* room for a direction */
} beside;

/* What the mistakes change, into b->d. False: no memory. */
static bool change_of(const beside *b, ref_set quirks)
{
    const directions *const all = &b->kept->all;
    if (!null_formula(all->p, b->null, quirks, all->data, b->d, NULL)) return false;
    for (int64_t i = 0; i < b->null->n; i++) b->d[i] -= all->truth[i];
    return true;
}

static double misfit(void *context, ref_set quirks)
{
    const beside *const b = context;
    double sum = 0;
    if (!change_of(b, quirks)) return HUGE_VAL;
    for (int64_t i = 0; i < b->null->n; i++) {
        double const left = b->off[i] - (isfinite(b->d[i]) ? b->d[i] : 0);
        sum += b->null->weight[i] * left * left;
    }
    return sum;
}

static pair pair_of_mistakes(beside *b)
{
    const directions *const all = &b->kept->all;
    pairing of = {.enough = filter_enough(b->most), .most = affordable_pairs(all->p->op->work(all->p->prob.bytes))};
    for (int i = 0; i < all->count; i++)
        if (all->of[i].quirk >= 0) of.quirk[of.count++] = all->of[i].quirk;
    return nearest_pair(&of, misfit, b);
}

/* Does the second mistake explain more than chance leaves? */
static bool stands_out(const beside *b, const pair *nearest)
{
    return nearest->first >= 0 && nearest->alone - nearest->misfit > filter_enough(b->most);
}

/* What is in b->d explains the answer: *one is how much of it. */
static bool explains(const beside *b, filter *f, filtered *one)
{
    double *const room = b->kept->room;
    *f = filter_open(b->null, b->d, room);
    *one = filter_apply(b->null, f, b->d, b->off, room);
    return filter_explains(b->null, b->d, one, b->most, b->off);
}

static void take_size(const beside *b, const filter *f, const filtered *one, senses *found)
{
    if (fabs(one->t) > fabs(found->t)) found->t = one->t;
    found->size = one->size, found->sd = filter_error(b->null, f, b->d, one->size);
    found->quirk = -1, found->alone = true;
}

/* False: no memory. */
static bool name_pair(beside *b, senses *found)
{
    pair const nearest = pair_of_mistakes(b);
    filter f;
    filtered one;
    if (!stands_out(b, &nearest)) return true;
    ref_set quirks = ref_only(nearest.first);
    ref_add(&quirks, nearest.second);
    if (!change_of(b, quirks)) return false;
    if (!explains(b, &f, &one)) return true;
    take_size(b, &f, &one, found);
    pair_name(nearest.first, nearest.second, found->filter, sizeof found->filter);
    snprintf(found->words, sizeof found->words, "%.6g +- %.1g of %s", found->size, found->sd, found->filter);
    return true;
}

/* Does one direction explain it that is none of the case's? */
static bool name_one(beside *b, const direction *way, senses *found)
{
    filter f;
    filtered one;
    if (!way->d || found->alone) return false;
    memcpy(b->d, way->d, (size_t)b->null->n * sizeof *b->d);
    if (!explains(b, &f, &one)) return false;
    take_size(b, &f, &one, found);
    direction_name(way, found->filter, sizeof found->filter);
    direction_describe(way, found->size, found->sd, found->words, sizeof found->words);
    return true;
}

bool find_other(nulls *s, const ref_numerics *n, uint64_t seed, const direction *way, senses *found)
{
    null_ports null;
    if (!null_open(s->all.p, n, s->all.data, seed, &null)) return false;
    null_leave_out(&null, s->got);
    filter_subtract(&null, s->got, s->off);
    beside b = {s, &null, s->off, filter_most(&null), malloc(((size_t)null.n + 1) * sizeof *b.d)};
    bool const good = b.d && (name_one(&b, way, found) || name_pair(&b, found));
    free(b.d);
    null_close(&null);
    return good;
}
