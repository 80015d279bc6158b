/* See filter.h. */
#include "filter.h"

#include <math.h>

/* v + b |y| / 3 + b^2 / 4 under the root: the last keeps one flip from counting as much as it seems to. */
static double bernstein(double y, double v, double b)
{
    return y / sqrt(v + b * fabs(y) / 3 + b * b / 4);
}

static double along(const double *a, const double *w, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * w[i];
    return sum;
}

/* Of the ports of the null along w, as they were drawn or as they wrote it: they share what they share. */
static double variance_of_ports(const null_ports *null, const double *written, const double *w)
{
    double sum = 0, squares = 0;
    for (int k = 0; k < null->ports; k++) {
        double const y = along(written + k * null->n, w, null->n) - along(null->mean, w, null->n);
        sum += y, squares += y * y;
    }
    return (squares - sum * sum / null->ports) / (null->ports - 1);
}

/* Of y, when so much of the direction is there: which elements it takes past the middle between two results is chance. */
static double variance_of_flips(const null_ports *null, const double *d, const double *w, double size)
{
    double sum = 0;
    for (int64_t i = 0; i < null->n; i++)
        if (w[i] != 0 && !null_scatters(null, i))
            sum += fmin(fabs(size * d[i]), null->ulp[i] / 4) * null->ulp[i] * w[i] * w[i];
    return sum;
}

/* w: d times weights; ports: what those of the null have. */
static filtered filter_along(const null_ports *null, const double *ports, const double *d, const double *w)
{
    double y = 0, of_elements = 0, largest = 0, dw = 0, dd = 0;
    for (int64_t i = 0; i < null->n; i++) {
        if (w[i] == 0) continue;
        y += (null->got[i] - null->mu[i]) * w[i];
        of_elements += null->variance[i] * w[i] * w[i];
        largest = fmax(largest, fabs(w[i]) * fmin(null->ulp[i], null_scatters(null, i) ? 3 * null->sd[i] : HUGE_VAL));
        dw += d[i] * w[i];
        dd += d[i] * d[i] * null->weight[i];
    }
    if (!(dw > 0)) return (filtered){0};
    double const v = (1 + 1.0 / null->ports) * fmax(variance_of_ports(null, ports, w), of_elements);
    double const of_size = v + largest * largest / 4 + variance_of_flips(null, d, w, y / dw);
    return (filtered){bernstein(y, v, largest), bernstein(dw, v, largest), y / sqrt(dd), y / dw, sqrt(of_size) / dw};
}

filtered filter_smooth(const null_ports *null, const double *d)
{
    double *const w = null->room;
    for (int64_t i = 0; i < null->n; i++) w[i] = isfinite(d[i]) ? d[i] * null->weight[i] : 0;
    return filter_along(null, null->drawn, d, w);
}

filtered filter_rounded(const null_ports *null, const double *d)
{
    double *const w = null->room, *const moved = null->room + null->n;
    for (int o = 0; o < null->outputs; o++) {
        const null_output *const t = &null->output[o];
        for (int64_t i = t->first; i < t->first + t->count; i++) {
            bool const usable = isfinite(d[i]) && null->weight[i] > 0;
            moved[i] = usable ? null_written(t, null->mean[i] + d[i]) - null_written(t, null->mean[i]) : 0;
            w[i] = moved[i] * 4 / (null->ulp[i] * null->ulp[i]);
        }
    }
    return filter_along(null, null->written, moved, w);
}

filtered filter_both(const null_ports *null, const double *d)
{
    filtered const smooth = filter_smooth(null, d), rounded = filter_rounded(null, d);
    if (!(fabs(rounded.t) > fabs(smooth.t)))
        return (filtered){smooth.t, fmax(smooth.t_of_one, rounded.t_of_one), smooth.z, smooth.size, smooth.sd};
    return (filtered){rounded.t, fmax(smooth.t_of_one, rounded.t_of_one), smooth.z, smooth.size, smooth.sd};
}

/* ---- population ---- */

static double square_of(const null_ports *null, int64_t i, double off)
{
    return off * off / (null_scatters(null, i) ? null->variance[i] : null->ulp[i] * null->ulp[i]);
}

/* chi^2 of a port of the null, as its outputs are written. */
static double chi2_of_port(const null_ports *null, const null_output *t, int k)
{
    double sum = 0;
    for (int64_t i = t->first; i < t->first + t->count; i++)
        if (null->weight[i] > 0) sum += square_of(null, i, null->written[k * null->n + i] - null->mu[i]);
    return sum;
}

enum { MANY = 20 }; /* a chi^2 that many elements make up */

scattered population(const null_ports *null, int output)
{
    const null_output *const t = &null->output[output];
    double chi2 = 0, expected = 0, variance = 0, largest = 1, least = HUGE_VAL;
    for (int64_t i = t->first; i < t->first + t->count; i++) {
        if (!(null->weight[i] > 0)) continue;
        double const e = null_scatters(null, i) ? 1 : null->variance[i] / (null->ulp[i] * null->ulp[i]);
        chi2 += square_of(null, i, null->got[i] - null->mu[i]);
        expected += e;
        variance += null_scatters(null, i) ? 2 : e;
    }
    for (int k = 0; k < null->ports; k++) {
        double const one = chi2_of_port(null, t, k);
        largest = fmax(largest, one);
        least = fmin(least, one);
    }
    double const most = fmax(expected, largest);
    return (scattered){chi2 / most, bernstein(chi2 - most, variance, 1), least > MANY ? chi2 / least : 1};
}

/* ---- all of it ---- */

static double squared(const null_ports *null, const double *port)
{
    double sum = 0;
    for (int64_t i = 0; i < null->n; i++) sum += (port[i] - null->mu[i]) * (port[i] - null->mu[i]) * null->weight[i];
    return sum;
}

/* Last places that the direction flips, in the same metric. */
static double flipped(const null_ports *null, const double *d, double size)
{
    double sum = 0;
    for (int64_t i = 0; i < null->n; i++)
        if (null->weight[i] > 0 && isfinite(d[i]) && !null_scatters(null, i))
            sum += fmin(fabs(size * d[i]), null->ulp[i] / 2) * null->ulp[i] * null->weight[i];
    return sum;
}

double farthest_port(const null_ports *null)
{
    double most = 0;
    for (int k = 0; k < null->ports; k++) most = fmax(most, squared(null, null->written + k * null->n));
    return most;
}

bool filter_explains(const null_ports *null, const double *d, const filtered *found)
{
    double const got = squared(null, null->got), along = found->z * found->z;
    return got - along <= 1.5 * farthest_port(null) + 2 * flipped(null, d, found->size) + 2e-4 * got;
}
