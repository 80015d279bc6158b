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

/* ---- directions and their weights ---- */

/* In room: what the direction changes, and that times weights. */
static void weigh_smooth(const null_ports *null, const double *d, double *moved, double *w)
{
    for (int64_t i = 0; i < null->n; i++) {
        moved[i] = isfinite(d[i]) ? d[i] : 0;
        w[i] = moved[i] * null->weight[i];
    }
}

static void weigh_rounded(const null_ports *null, const double *d, double *moved, double *w)
{
    for (int o = 0; o < null->outputs; o++) {
        const null_output *const t = &null->output[o];
        for (int64_t i = t->first; i < t->first + t->count; i++) {
            bool const usable = isfinite(d[i]) && null->weight[i] > 0;
            moved[i] = usable ? null_written(t, null->mean[i] + d[i]) - null_written(t, null->mean[i]) : 0;
            w[i] = moved[i] * 4 / (null->ulp[i] * null->ulp[i]);
        }
    }
}

/* ---- filters ---- */

/* Of the ports of the null along w, as they were drawn or as they wrote it: they share what they share, and where one factor brings many
 * numbers beside the middle between two results, all of them go one way. */
static double variance_of_ports(const null_ports *null, const double *ports, const double *w)
{
    double const middle = along(null->mean, w, null->n);
    double sum = 0, squares = 0;
    for (int k = 0; k < null->ports; k++) {
        double const y = along(ports + k * null->n, w, null->n) - middle;
        sum += y, squares += y * y;
    }
    return (squares - sum * sum / null->ports) / (null->ports - 1);
}

/* Of y, when so much of the direction is there: which elements it takes past the middle between two results is chance, and the
 * results are as far apart as they are where it takes them. */
static double variance_of_flips(const null_ports *null, const double *d, double size)
{
    double sum = 0;
    for (int o = 0; o < null->outputs; o++) {
        const null_output *const t = &null->output[o];
        for (int64_t i = t->first; i < t->first + t->count; i++) {
            double const w = isfinite(d[i]) ? d[i] * null->weight[i] : 0;
            if (w == 0 || null_scatters(null, i)) continue;
            double const apart = 2 * ref_half_ulp(t->dtype, null->mean[i] + size * d[i]);
            sum += fmin(fabs(size * d[i]), apart / 4) * apart * w * w;
        }
    }
    return sum;
}

/* w: what moves times weights. */
static weighing weigh(const null_ports *null, const double *moved, const double *w)
{
    weighing s = {0};
    double of_elements = 0;
    for (int64_t i = 0; i < null->n; i++) {
        if (w[i] == 0) continue;
        of_elements += null->variance[i] * w[i] * w[i];
        s.largest =
            fmax(s.largest, fabs(w[i]) * fmin(null->ulp[i], null_scatters(null, i) ? 3 * null->sd[i] : HUGE_VAL));
        s.of_one += moved[i] * w[i];
    }
    if (!(s.of_one > 0)) return (weighing){0};
    double const drawn = variance_of_ports(null, null->drawn, w), written = variance_of_ports(null, null->written, w);
    s.variance = (1 + 1.0 / null->ports) * fmax(fmax(drawn, written), of_elements);
    return s;
}

/* The direction's own length. */
static double squared_along(const null_ports *null, const double *d)
{
    double sum = 0;
    for (int64_t i = 0; i < null->n; i++)
        if (isfinite(d[i])) sum += d[i] * d[i] * null->weight[i];
    return sum;
}

/* 0 where the direction moves nothing. */
static double sigmas(const weighing *s, double y)
{
    return s->of_one > 0 ? bernstein(y, s->variance, s->largest) : 0;
}

filter filter_open(const null_ports *null, const double *d, double *room)
{
    double *const moved = room, *const w = room + null->n;
    filter f = {.squared = squared_along(null, d)};
    weigh_smooth(null, d, moved, w);
    f.smooth = weigh(null, moved, w);
    weigh_rounded(null, d, moved, w);
    f.rounded = weigh(null, moved, w);
    f.t_of_one = fmax(sigmas(&f.smooth, f.smooth.of_one), sigmas(&f.rounded, f.rounded.of_one));
    return f;
}

filtered filter_apply(const null_ports *null, const filter *f, const double *d, const double *off, double *room)
{
    double *const moved = room, *const w = room + null->n;
    weigh_smooth(null, d, moved, w);
    double const smooth = along(off, w, null->n), t = sigmas(&f->smooth, smooth);
    weigh_rounded(null, d, moved, w);
    double const t_of_rounded = f->rounded.of_one > 0 ? sigmas(&f->rounded, along(off, w, null->n)) : 0;
    filtered const found = {.t = fabs(t_of_rounded) > fabs(t) ? t_of_rounded : t};
    if (!(f->smooth.of_one > 0)) return found;
    return (filtered){found.t, smooth / sqrt(f->squared), smooth / f->smooth.of_one};
}

double filter_error(const null_ports *null, const filter *f, const double *d, double size)
{
    const weighing *const s = &f->smooth;
    if (!(s->of_one > 0)) return 0;
    return sqrt(s->variance + s->largest * s->largest / 4 + variance_of_flips(null, d, size)) / s->of_one;
}

void filter_subtract(const null_ports *null, const double *got, double *off)
{
    for (int64_t i = 0; i < null->n; i++) off[i] = null->weight[i] > 0 ? got[i] - null->mu[i] : 0;
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

enum { MANY = 20 }; /* elements that are a population; a chi^2 that many make up */

scatter scatter_of_ports(const null_ports *null, int output)
{
    const null_output *const t = &null->output[output];
    scatter s = {.most = 1, .least = HUGE_VAL};
    for (int64_t i = t->first; i < t->first + t->count; i++) {
        if (!(null->weight[i] > 0)) continue;
        double const e = null_scatters(null, i) ? 1 : null->variance[i] / (null->ulp[i] * null->ulp[i]);
        s.elements++;
        s.expected += e;
        s.variance += null_scatters(null, i) ? 2 : e;
    }
    for (int k = 0; k < null->ports; k++) {
        double const one = chi2_of_port(null, t, k);
        s.most = fmax(s.most, one);
        s.least = fmin(s.least, one);
    }
    s.most = fmax(s.expected, s.most);
    return s;
}

scattered population(const null_ports *null, int output, const scatter *ports, const double *off)
{
    const null_output *const t = &null->output[output];
    double chi2 = 0;
    if (ports->elements < MANY) return (scattered){0, 0, 1};
    for (int64_t i = t->first; i < t->first + t->count; i++)
        if (null->weight[i] > 0) chi2 += square_of(null, i, off[i]);
    return (scattered){chi2 / ports->most, bernstein(chi2 - ports->most, ports->variance, 1),
                       ports->least > MANY ? chi2 / ports->least : 1};
}

/* ---- all of it ---- */

static double squared(const null_ports *null, const double *port)
{
    double sum = 0;
    for (int64_t i = 0; i < null->n; i++) sum += (port[i] - null->mu[i]) * (port[i] - null->mu[i]) * null->weight[i];
    return sum;
}

double filter_most(const null_ports *null)
{
    double most = 0;
    for (int k = 0; k < null->ports; k++) most = fmax(most, squared(null, null->written + k * null->n));
    return most;
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

double filter_enough(double most)
{
    return 1.5 * most;
}

bool filter_explains(const null_ports *null, const double *d, const filtered *found, double most, const double *off)
{
    double got = 0;
    for (int64_t i = 0; i < null->n; i++) got += off[i] * off[i] * null->weight[i];
    double const along = found->z * found->z;
    return got - along <= filter_enough(most) + 2 * flipped(null, d, found->size) + 2e-4 * got;
}
