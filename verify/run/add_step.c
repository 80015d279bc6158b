/* See add_step.h. */
#include "add_step.h"

#include <math.h>

static bool is_measured(const output_stats *s)
{
    return !s->bits_exact && !s->bits_none;
}

/* The smaller resolution, where there is one. */
static void add_resolution(output_stats *all, const output_stats *step)
{
    bool const before = is_measured(all), here = is_measured(step);
    all->bits = !here ? all->bits : before ? fmin(all->bits, step->bits) : step->bits;
    all->bits_exact = all->bits_exact && step->bits_exact;
    all->bits_none = !all->bits_exact && !before && !here;
}

/* Its index counts the elements of the steps before. */
static void add_worst(output_stats *all, const output_stats *step)
{
    if (!(step->budget > all->budget)) return;
    all->budget = step->budget;
    all->worst = all->count + step->worst;
    all->got = step->got;
    all->truth = step->truth;
    all->lower = step->lower;
    all->upper = step->upper;
}

static void add_output(output_stats *all, const output_stats *step)
{
    add_resolution(all, step);
    add_worst(all, step);
    all->count += step->count;
    all->ndim = 1;
    all->shape[0] = all->count;
    all->outside += step->outside;
    all->undecided += step->undecided;
    all->single += step->single;
    all->mutants += step->mutants;
    all->survivors += step->survivors;
    all->decidable += step->decidable;
    all->decided += step->decided;
    all->rows += step->rows;
    all->rows_open += step->rows_open;
    all->rows_blind += step->rows_blind;
    all->constant = all->constant && step->constant;
    all->vacuous = all->vacuous || step->vacuous;
}

/* Of that name; a new one, of no elements, where a step before was without it. */
static output_stats *output_called(result *r, const output_stats *like)
{
    for (int i = 0; i < r->outputs; i++)
        if (!strcmp(r->output[i].name, like->name)) return &r->output[i];
    output_stats *const s = &r->output[r->outputs++];
    *s = (output_stats){.dtype = like->dtype, .worst = -1, .bits_exact = true, .constant = true};
    memcpy(s->name, like->name, sizeof s->name);
    return s;
}

/* What the case sees is asked of the last step, and the declaration shown is its own. */
static void take_last(result *all, const result *step)
{
    memcpy(all->declared, step->declared, sizeof all->declared);
    memcpy(all->assumed, step->assumed, sizeof all->assumed);
    all->quirks_tried = step->quirks_tried;
    all->quirks_blind = step->quirks_blind;
    all->quirks_seconds = step->quirks_seconds;
}

void add_step(result *all, const result *step)
{
    for (int i = 0; i < step->outputs; i++) add_output(output_called(all, &step->output[i]), &step->output[i]);
    if (!*all->not_made) memcpy(all->not_made, step->not_made, sizeof all->not_made);
    if (!*all->choice) memcpy(all->choice, step->choice, sizeof all->choice);
    all->constant = all->constant && step->constant;
    all->flips += step->flips;
    take_last(all, step);
}
