/* See nearness.h. */
#include "nearness.h"

#include <math.h>

enum { MANY = 20 }; /* last places that tell ports apart */

/* How much of the mistake is in what was written, by least squares. */
static double size_of(const null_ports *narrow, const double *d, const null_ports *wider, const double *written)
{
    double dw = 0, dd = 0;
    for (int64_t i = 0; i < narrow->n; i++) {
        if (!isfinite(d[i]) || !(wider->weight[i] > 0)) continue;
        dw += (written[i] - narrow->mean[i]) * d[i] * narrow->weight[i];
        dd += d[i] * d[i] * narrow->weight[i];
    }
    return dd > 0 ? dw / dd : 0;
}

/* An element that the narrow null foretells, but for a last place; where the wider one has numbers, too. */
static bool is_foretold(const null_ports *narrow, const null_ports *wider, const double *d, int64_t i)
{
    return isfinite(d[i]) && narrow->weight[i] > 0 && wider->weight[i] > 0 && !null_scatters(narrow, i);
}

/* In last places, squared. */
static double distance(const null_ports *narrow, const double *d, const null_ports *wider, const double *written)
{
    double const size = size_of(narrow, d, wider, written);
    double sum = 0;
    for (int o = 0; o < narrow->outputs; o++) {
        const null_output *const t = &narrow->output[o];
        for (int64_t i = t->first; t->dtype != DSV3_F32 && i < t->first + t->count; i++) {
            if (!is_foretold(narrow, wider, d, i)) continue;
            double const off = (written[i] - null_written(t, narrow->mean[i] + size * d[i])) / narrow->ulp[i];
            sum += off * off;
        }
    }
    return sum;
}

double distance_of_answer(const null_ports *narrow, const double *d, const double *got)
{
    int64_t unknown = 0, all = 0;
    for (int o = 0; o < narrow->outputs; o++) {
        const null_output *const t = &narrow->output[o];
        for (int64_t i = t->first; t->dtype != DSV3_F32 && i < t->first + t->count; i++, all++)
            unknown += !is_foretold(narrow, narrow, d, i);
    }
    return all ? (distance(narrow, d, narrow, got) + (double)unknown) / (double)all : 1;
}

double nearness(const null_ports *narrow, const double *d, const double *got, const null_ports *wider)
{
    double nearest = HUGE_VAL;
    for (int k = 0; k < wider->ports; k++)
        nearest = fmin(nearest, distance(narrow, d, wider, wider->written + k * wider->n));
    return nearest > MANY ? distance(narrow, d, wider, got) / nearest : 1;
}
