/* See finding.h. */
#include "finding.h"

#include <math.h>
#include <stdio.h>

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

double unexplained(const senses *s)
{
    return fmax(fabs(s->t) / SUSPECT_T, s->ratio / SUSPECT_RATIO);
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
    if (way->quirk >= 0) {
        s->known++;
        if (f->t_of_one >= FAIL_T) ref_add(&s->sees, way->quirk);
    }
    if (all->way) {
        bool const tied = fabs(fabs(f->z) - fabs(all->named.z)) <= 1e-3 * fabs(all->named.z);
        if (tied ? direction_oddness(all->all->p, way, f) >= direction_oddness(all->all->p, all->way, &all->named)
                 : fabs(f->z) < fabs(all->named.z))
            return;
    }
    all->named = *f, all->way = way;
}

static void note_population(const null_ports *null, int output, finding *all)
{
    senses *const s = &all->found;
    scattered const c = population(null, output);
    all->thin = fmin(all->thin, c.thin);
    if (c.ratio <= s->ratio) return;
    s->ratio = c.ratio, s->ratio_t = c.t;
    snprintf(s->population, sizeof s->population, "%.31s", all->all->p->tensor[null->output[output].tensor].name);
}

static finding sense_beside(const directions *all, const null_ports *null)
{
    finding f = {.all = all, .thin = 1};
    for (int i = 0; i < all->count; i++) {
        filtered const one = filter_both(null, all->of[i].d);
        note_filter(&all->of[i], &one, &f);
        if (all->of[i].kind == SCALE && shows(null, all->of[i].output, one.t_of_one))
            f.found.shown |= 1u << null->output[all->of[i].output].tensor_out;
    }
    for (int o = 0; o < null->outputs; o++) note_population(null, o, &f);
    for (int64_t i = 0; i < null->n; i++) f.lost += null->weight[i] == 0;
    if (!f.way) return f;
    f.found.size = f.named.size, f.found.sd = f.named.sd, f.found.quirk = f.way->quirk;
    f.found.alone = filter_explains(null, f.way->d, &f.named);
    direction_name(f.way, f.found.filter, sizeof f.found.filter);
    direction_describe(f.way, &f.named, f.found.words, sizeof f.found.words);
    return f;
}

bool find_among(directions *all, const null_ports *null, finding *f)
{
    bool const good = all->truth || directions_find(all, null);
    if (good) *f = sense_beside(all, null);
    return good;
}

bool find_beside(directions *all, const ref_numerics *n, uint64_t seed, finding *f)
{
    null_ports null;
    if (!null_open(all->p, n, all->data, seed, &null)) return false;
    bool const good = find_among(all, &null, f);
    null_close(&null);
    return good;
}
