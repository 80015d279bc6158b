/* See pairs.h. */
#include "pairs.h"

#include <math.h>
#include <stdio.h>

static ref_set both(int first, int second)
{
    ref_set set = ref_only(first);
    ref_add(&set, second);
    return set;
}

/* Into by_misfit the numbers 0 .. n - 1, the nearest alone first. Returns its misfit. */
static double sort_singles(const pairing *of, misfit_of *misfit, void *context, int by_misfit[])
{
    double alone[REF_QUIRKS], least = HUGE_VAL;
    for (int i = 0; i < of->count; i++) {
        int at = i;
        alone[i] = misfit(context, ref_only(of->quirk[i]));
        least = fmin(least, alone[i]);
        for (; at > 0 && alone[by_misfit[at - 1]] > alone[i]; at--) by_misfit[at] = by_misfit[at - 1];
        by_misfit[at] = i;
    }
    return least;
}

pair nearest_pair(const pairing *of, misfit_of *misfit, void *context)
{
    int order[REF_QUIRKS] = {0};
    pair best = {-1, -1, HUGE_VAL, misfit(context, ref_none())};
    best.misfit = best.alone = fmin(best.alone, sort_singles(of, misfit, context, order));
    int const n = best.alone > of->enough ? of->count : 0;
    for (int a = 0, read = 0; a < n && read + n - a <= of->most; a++)
        for (int b = a + 1; b < n; b++, read++) {
            int const first = of->quirk[order[a]], second = of->quirk[order[b]];
            double const here = misfit(context, both(first, second));
            if (here >= best.misfit) continue;
            best.first = first, best.second = second, best.misfit = here;
        }
    return best;
}

int affordable_pairs(double work)
{
    enum { FEWEST = 60, MOST = 1000 };
    return (int)fmin(MOST, fmax(FEWEST, 3e9 / (work + 1)));
}

void pair_name(int first, int second, char *text, size_t cap)
{
    snprintf(text, cap, "%s and %s", ref_quirk(first)->name, ref_quirk(second)->name);
}
