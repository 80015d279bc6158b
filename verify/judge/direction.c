/* See direction.h. */
#include "direction.h"

#include "excerpt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A new one, of zeros. NULL: no memory. */
static double *add_direction(directions *all, const null_ports *null, kind what, const char *name)
{
    if (all->count == MOST_DIRECTIONS) return NULL;
    direction *const one = &all->of[all->count];
    *one = (direction){what, "", -1, -1, calloc((size_t)null->n + 1, sizeof *one->d)};
    if (!one->d) return NULL;
    snprintf(one->name, sizeof one->name, "%.60s", name);
    all->count++;
    return one->d;
}

/* d: results of the formula somehow changed; what the change is, times `size`. */
static void subtract_truth(const directions *all, const null_ports *null, double size, double *d)
{
    for (int64_t i = 0; i < null->n; i++) d[i] = (d[i] - all->truth[i]) * size;
}

/* What a mistake changes, which the formula asks for here. */
static bool add_mistake(directions *all, const null_ports *null, int quirk)
{
    double *const d = add_direction(all, null, MISTAKE, ref_quirk(quirk)->name);
    if (!d || !null_formula(all->p, null, ref_only(quirk), all->data, d, NULL)) return false;
    all->of[all->count - 1].quirk = quirk;
    subtract_truth(all, null, 1, d);
    return true;
}

/* Of each output: its scale, its signs, an offset. */
static bool add_shapes(directions *all, const null_ports *null)
{
    for (int o = 0; o < null->outputs; o++) {
        const null_output *const t = &null->output[o];
        const char *const name = all->p->tensor[t->tensor].name;
        double *const scale = add_direction(all, null, SCALE, name);
        double *const bias = add_direction(all, null, BIAS, name);
        double *const offset = add_direction(all, null, OFFSET, name);
        if (!scale || !bias || !offset) return false;
        all->of[all->count - 3].output = o;
        for (int64_t i = t->first; i < t->first + t->count; i++) {
            scale[i] = all->truth[i];
            bias[i] = (all->truth[i] > 0) - (all->truth[i] < 0);
            offset[i] = 1;
        }
    }
    return true;
}

static const double STEP = 0x1p-10; /* relative, of what results are derived by */

/* The derivative by a real number of the problem, times that number. */
static bool add_constant(directions *all, const null_ports *null, const field_row *field)
{
    problem moved = *all->p;
    double *const value = (double *)(void *)(moved.prob.bytes + field->offset);
    double *const d = add_direction(all, null, CONSTANT, field->name);
    *value *= 1 + STEP;
    if (!d || !null_formula(&moved, null, ref_none(), all->data, d, NULL)) return false;
    subtract_truth(all, null, 1 / STEP, d);
    return true;
}

static bool add_constants(directions *all, const null_ports *null)
{
    for (const field_row *f = all->p->op->fields; f->name; f++)
        if (f->kind == FIELD_REAL && problem_field(all->p, f) != 0 && !add_constant(all, null, f)) return false;
    return true;
}

bool direction_alter(const directions *all, const null_ports *null, const alteration *a, double *d)
{
    void **const data = malloc((size_t)all->p->tensors * sizeof *data);
    if (!data) return false;
    memcpy(data, all->data, (size_t)all->p->tensors * sizeof *data);
    for (int k = 0; k < a->changed; k++) data[a->tensor[k]] = a->data[k];
    bool const good = null_formula(all->p, null, ref_none(), data, d, NULL);
    if (good) subtract_truth(all, null, 1 / a->share, d);
    free(data);
    return good;
}

/* A key or a feature that is left out, an expert's weight that is off. */
static bool add_alteration(directions *all, const null_ports *null, const alteration *a)
{
    double *const d = add_direction(all, null, a->share == 1 ? LEFT_OUT : SLOT, a->name);
    return d && direction_alter(all, null, a, d);
}

static bool add_alterations(directions *all, const null_ports *null)
{
    alteration a;
    bool good = true;
    for (int i = 0; good && alteration_of(all->p, all->data, i, &a); i++) {
        good = add_alteration(all, null, &a);
        alteration_close(&a);
    }
    return good;
}

bool directions_find(directions *all, const null_ports *null)
{
    ref_set asked;
    all->truth = malloc(((size_t)null->n + 1) * sizeof *all->truth);
    if (!all->truth || !null_formula(all->p, null, ref_none(), all->data, all->truth, &asked)) return false;
    for (int q = 0; ref_quirk(q); q++)
        if (ref_has(asked, q) && !(all->excerpt && excerpt_misleads(q)) && !add_mistake(all, null, q)) return false;
    return add_shapes(all, null) && add_constants(all, null) && add_alterations(all, null);
}

void directions_forget(directions *all)
{
    for (int i = 0; i < all->count; i++) free(all->of[i].d);
    free(all->truth);
    all->truth = NULL;
    all->count = 0;
}

/* ---- words ---- */

static const char *const prefixes[] = {
    [MISTAKE] = "",      [LEFT_OUT] = "",         [CONSTANT] = "", [SCALE] = "scale of ",
    [BIAS] = "bias of ", [OFFSET] = "offset of ", [SLOT] = ""};

void direction_name(const direction *way, char *text, size_t cap)
{
    snprintf(text, cap, "%s%.40s", prefixes[way->kind], way->name);
}

void direction_describe(const direction *way, double size, double sd, char *text, size_t cap)
{
    switch (way->kind) {
    case MISTAKE: snprintf(text, cap, "%.6g +- %.1g of %s", size, sd, way->name); return;
    case LEFT_OUT: snprintf(text, cap, "%s, %.6g +- %.1g of it", way->name, size, sd); return;
    case CONSTANT: snprintf(text, cap, "%s is %.9g +- %.1g of what it should be", way->name, 1 + size, sd); return;
    case SCALE: snprintf(text, cap, "%s is %.9g +- %.1g of what it should be", way->name, 1 + size, sd); return;
    case BIAS: snprintf(text, cap, "%s lies %.6g +- %.1g farther from 0", way->name, size, sd); return;
    case OFFSET: snprintf(text, cap, "%s lies %.6g +- %.1g higher", way->name, size, sd); return;
    case SLOT: snprintf(text, cap, "the %s is %.9g +- %.1g of what it should be", way->name, 1 + size, sd); return;
    }
}

double direction_oddness(const problem *p, const direction *way, const filtered *f)
{
    static const double of_kind[] = {[CONSTANT] = 0.3, [SLOT] = 0.3, [SCALE] = 0.4, [OFFSET] = 0.35, [BIAS] = 0.5};
    if (way->kind == LEFT_OUT) return fabs(f->size - 1) + 0.01;
    if (way->kind != MISTAKE) return of_kind[way->kind];
    double const of_another_op = strcmp(ref_quirk(way->quirk)->op, p->op->name) ? 0.01 : 0;
    return fabs(f->size - 1) + of_another_op;
}
