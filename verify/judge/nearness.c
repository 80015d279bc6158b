/* See nearness.h. */
#include "nearness.h"

#include <math.h>

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

/* How many elements differ from the line, at the size of the mistake that brings it nearest. Of those near 0 a last place is small, and
 * what differs by a thousand of them counts no more than by one: else few elements would say all. */
static double differing(const null_ports *narrow, const double *d, const null_ports *wider, const double *written)
{
    double const size = size_of(narrow, d, wider, written);
    int64_t count = 0;
    for (int o = 0; o < narrow->outputs; o++) {
        const null_output *const t = &narrow->output[o];
        for (int64_t i = t->first; t->dtype != DSV3_F32 && i < t->first + t->count; i++)
            count += is_foretold(narrow, wider, d, i) && written[i] != null_written(t, narrow->mean[i] + size * d[i]);
    }
    return (double)count;
}

double distance_of_answer(const null_ports *narrow, const double *d, const double *got)
{
    int64_t unknown = 0, all = 0;
    for (int o = 0; o < narrow->outputs; o++) {
        const null_output *const t = &narrow->output[o];
        for (int64_t i = t->first; t->dtype != DSV3_F32 && i < t->first + t->count; i++, all++)
            unknown += !is_foretold(narrow, narrow, d, i);
    }
    return all ? (differing(narrow, d, narrow, got) + (double)unknown) / (double)all : 1;
}

/* Of what the wider ports' counts are. Elements that move one by one, at random, vary as much as their mean, at least. */
typedef struct {
    double mean, variance, least;
} spread;

static spread spread_of_ports(const null_ports *narrow, const double *d, const null_ports *wider)
{
    double each[NULL_PORTS], sum = 0, squares = 0, least = HUGE_VAL;
    for (int k = 0; k < wider->ports; k++) {
        each[k] = differing(narrow, d, wider, wider->written + k * wider->n);
        sum += each[k], least = fmin(least, each[k]);
    }
    double const mean = sum / wider->ports;
    for (int k = 0; k < wider->ports; k++) squares += (each[k] - mean) * (each[k] - mean);
    return (spread){mean, fmax(squares / (wider->ports - 1), mean), least};
}

/* That a gamma variable of this shape is at most x times its mean: a bound, from e^-t <= 1. */
static double chance_of_gamma(double shape, double x)
{
    return exp(shape * log(shape * x) - lgamma(shape + 1));
}

/* That at most so many elements move, by Chernoff, if they do so one by one. */
static double chance_of_count(double mean, double count)
{
    return count < mean ? exp(count - mean + (count > 0 ? count * log(mean / count) : 0)) : 1;
}

double chance_of_nearness(const null_ports *narrow, const double *d, const double *got, const null_ports *wider)
{
    spread const s = spread_of_ports(narrow, d, wider);
    double const off = differing(narrow, d, wider, got);
    if (off >= s.mean) return 1;
    double const shape = s.mean * s.mean / s.variance;
    return fmin(1, fmax(chance_of_gamma(shape, fmax(off, 1) / s.mean), chance_of_count(s.least, off)));
}
