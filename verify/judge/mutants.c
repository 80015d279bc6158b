/* See mutants.h. */
#include "mutants.h"

#include "element.h"

#include <math.h>

enum { MUTANT_ZERO, MUTANT_SIGN, MUTANT_ROW, MUTANT_SCALE, MUTANT_ROTATE, MUTANTS };

/* One output, as wrong results are tried on it. */
typedef struct {
    const tensor_info *t;
    const ref_value *truth, *legal;
} target;

/* Element i of a mutant. */
static double mutant(int kind, const target *o, int64_t i)
{
    int64_t const width = row_width(o->t);
    switch (kind) {
    case MUTANT_ZERO: return 0;
    case MUTANT_SIGN: return -o->truth[i].hi;
    case MUTANT_ROW: return o->truth[(i + width) % o->t->count].hi;
    case MUTANT_SCALE: return 1.125 * o->truth[i].hi;
    default: return o->truth[i / width * width + (i % width + 1) % width].hi;
    }
}

/* Does the number differ from the truth by more than the truth's radius? */
static bool is_wrong(const ref_value *truth, double m)
{
    return fabs(m - truth->hi) > truth->radius + fabs(truth->lo);
}

static bool would_pass(const target *o, int64_t i, double m)
{
    element const e = element_of(o->truth, o->legal, i);
    return is_legal(&e, ref_round(o->t->dtype, m));
}

/* What a mutant does in one row, or in all: it differs from the truth somewhere; all of it, rounded to the tensor's
 * format, is legal. */
typedef struct {
    bool counts, survives;
} trial;

/* Row r: the mutants, and how many elements they differ in and are told apart in. */
static void try_row(const target *o, int64_t r, trial row[MUTANTS], int64_t *decidable, int64_t *decided)
{
    int64_t const width = row_width(o->t);
    *decidable = *decided = 0;
    for (int kind = 0; kind < MUTANTS; kind++) row[kind] = (trial){false, true};
    for (int64_t i = r * width; i < (r + 1) * width; i++) {
        bool differs = false, apart = false;
        for (int kind = 0; kind < MUTANTS; kind++) {
            double const m = mutant(kind, o, i);
            bool const wrong = is_wrong(&o->truth[i], m), passes = would_pass(o, i, m);
            row[kind].counts |= wrong;
            row[kind].survives &= passes;
            differs |= wrong;
            apart |= wrong && !passes;
        }
        *decidable += differs;
        *decided += apart;
    }
}

static void add_row(output_stats *s, const trial row[MUTANTS], trial all[MUTANTS], int64_t decidable, int64_t decided)
{
    bool counts = false, survives = false;
    for (int kind = 0; kind < MUTANTS; kind++) {
        counts |= row[kind].counts;
        survives |= row[kind].counts && row[kind].survives;
        all[kind].counts |= row[kind].counts;
        all[kind].survives &= row[kind].survives;
    }
    s->decidable += decidable;
    s->decided += decided;
    s->rows += counts;
    s->rows_open += survives;
    s->rows_blind += 2 * decided < decidable;
}

void try_mutants(const tensor_info *t, const ref_value *truth, const ref_value *legal, output_stats *s)
{
    target const o = {t, truth, legal};
    trial all[MUTANTS];
    if (t->dtype == DSV3_I32) return;
    for (int kind = 0; kind < MUTANTS; kind++) all[kind] = (trial){false, true};
    for (int64_t r = 0; r < t->count / row_width(t); r++) {
        trial row[MUTANTS];
        int64_t decidable, decided;
        try_row(&o, r, row, &decidable, &decided);
        add_row(s, row, all, decidable, decided);
    }
    for (int kind = 0; kind < MUTANTS; kind++) {
        s->mutants += all[kind].counts;
        s->survivors += all[kind].counts && all[kind].survives;
    }
}

void try_choices(const tensor_info *t, const double *truth, const double *legal, double choices, output_stats *s)
{
    int64_t const width = t->ndim > 1 ? row_width(t) : 1; /* accepted and next_token: a choice an element */
    for (int64_t i = 0; i < t->count; i += width) {
        double const wrong = choices - truth[i], excluded = choices - fmax(legal[i], truth[i]);
        bool const decided = 2 * excluded >= wrong;
        if (!(wrong > 0)) continue;
        s->rows++;
        s->rows_open += excluded < wrong;
        s->rows_blind += !decided;
        s->decidable += width;
        s->decided += decided ? width : 0;
    }
    s->mutants += s->rows > 0;
    s->survivors += s->rows > 0 && s->rows_blind == s->rows;
}
