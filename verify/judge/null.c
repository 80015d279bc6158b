/* See null.h. */
#include "null.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- vectors ---- */

bool has_numbers(const tensor_info *t)
{
    return t->row->kind == TENSOR_OUT && t->dtype != DSV3_I32;
}

double null_written(const null_output *t, double v)
{
    return t->truncates ? ref_truncate(t->dtype, v) : ref_round(t->dtype, v);
}

/* By port k. */
static double written_by(const null_output *t, int k, double v)
{
    return t->idle && k % 2 ? ref_truncate(t->dtype, v) : null_written(t, v);
}

/* Is the last rounding of the tensor of that name declared to be one toward zero? */
static bool truncates(const problem *p, const ref_numerics *n, const char *name)
{
    char point[64];
    for (int i = 0; ref_point(i); i++) {
        const char *const prefix = ref_point_prefix(p->op->name, i);
        if (!prefix || !n->point[i].truncates) continue;
        snprintf(point, sizeof point, "%s%s", prefix, ref_point(i)->name);
        if (!strcmp(point, name)) return true;
    }
    return false;
}

static void list_outputs(const problem *p, const ref_numerics *n, null_ports *null)
{
    for (int i = 0, out = 0; i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        out += t->row->kind == TENSOR_OUT;
        if (!has_numbers(t)) continue;
        bool const cut = truncates(p, n, t->name), idle = cut && t->dtype == DSV3_F32 && n->acc.bits <= 24;
        null->output[null->outputs++] = (null_output){i, out - 1, null->n, t->count, t->dtype, cut && !idle, idle};
        null->n += p->tensor[i].count;
    }
}

/* What can't be a number is NaN. */
static void copy_values(const null_ports *null, const enclosures *e, double *vector)
{
    for (int o = 0; o < null->outputs; o++) {
        const ref_value *const value = e->value[null->output[o].tensor];
        for (int64_t i = 0; i < null->output[o].count; i++)
            vector[null->output[o].first + i] = isinf(value[i].radius) ? (double)NAN : value[i].hi;
    }
}

static bool read_vector(const problem *p, const null_ports *null, const ref_reading *rd, void *const data[],
                        double *vector, ref_set *asked)
{
    enclosures e;
    if (!enclose(p, rd, &ref_sampled, data, &e)) return false;
    copy_values(null, &e, vector);
    if (asked) *asked = e.asked;
    enclosures_free(&e);
    return true;
}

bool null_formula(const problem *p, const null_ports *null, ref_set quirks, void *const data[], double *vector,
                  ref_set *asked)
{
    ref_reading const rd = {.quirks = quirks, .teacher_forced = p->op->staged};
    return read_vector(p, null, &rd, data, vector, asked);
}

/* ---- the ports ---- */

static bool draw_ports(const problem *p, const ref_numerics *n, void *const data[], uint64_t seed, null_ports *null)
{
    ref_sums *const sums = ref_sums_open();
    ref_sample port = {.seed = seed, .sums = sums};
    ref_reading const rd = {.declared = n, .teacher_forced = p->op->staged, .sample = &port};
    bool good = sums != NULL;
    for (; good && port.number < null->ports; port.number++) {
        ref_sums_rewind(sums);
        good = read_vector(p, null, &rd, data, null->drawn + port.number * null->n, NULL);
    }
    ref_sums_close(sums);
    return good;
}

/* The chance that a standard normal number is above x. */
static double above(double x)
{
    return erfc(x / sqrt(2)) / 2;
}

/* Mean and standard deviation of the ports. */
static void measure(const null_ports *null, const double *ports, int64_t i)
{
    double sum = 0, squares = 0;
    for (int k = 0; k < null->ports; k++) sum += ports[k * null->n + i];
    double const mean = sum / null->ports;
    for (int k = 0; k < null->ports; k++) {
        double const off = ports[k * null->n + i] - mean;
        squares += off * off;
    }
    null->mean[i] = mean;
    null->sd[i] = sqrt(squares / (null->ports - 1));
}

/* Ports that differ by last places: what they wrote says all. */
static void describe_scattered(const null_ports *null, int64_t i)
{
    double const sd = null->sd[i], ulp = null->ulp[i];
    for (int k = 0; k < null->ports; k++) null->drawn[k * null->n + i] = null->written[k * null->n + i];
    measure(null, null->drawn, i);
    null->mu[i] = null->mean[i];
    null->variance[i] = fmax(null->sd[i] * null->sd[i], sd * sd);
    null->sd[i] = fmax(null->sd[i], 0.31 * ulp);
}

/* Ports that hardly differ: so many, that is few of them, show a last place that flips with some chance. */
static void describe_steady(const null_ports *null, const null_output *t, int64_t i)
{
    double const mean = null->mean[i], sd = null->sd[i], ulp = null->ulp[i], rounded = null_written(t, mean);
    double const middle = rounded + (t->truncates ? copysign(ulp / 2, mean) : 0); /* of what is rounded to the same */
    double const p = sd > 0 ? above((ulp / 2 - fabs(mean - middle)) / sd) : 0;
    null->mu[i] = rounded + (mean > middle ? p : -p) * ulp;
    null->variance[i] = p * (1 - p) * ulp * ulp;
}

bool null_scatters(const null_ports *null, int64_t i)
{
    return null->sd[i] > 0.3 * null->ulp[i];
}

/* Counts nowhere from now on. */
static void leave_out(null_ports *null, int64_t i)
{
    null->mu[i] = null->variance[i] = null->mean[i] = null->sd[i] = null->weight[i] = 0;
    for (int k = 0; k < null->ports; k++) null->drawn[k * null->n + i] = null->written[k * null->n + i] = 0;
}

/* The root of the mean square of elements that aren't 0. */
static double size_of(const null_ports *null, int64_t first, int64_t count)
{
    double squares = 0;
    int64_t n = 0;
    for (int64_t i = first; i < first + count; i++) {
        if (null->mean[i] == 0 || !isfinite(null->mean[i])) continue;
        squares += null->mean[i] * null->mean[i];
        n++;
    }
    return n ? sqrt(squares / (double)n) : 0;
}

/* Where all ports have 0, nothing is rounded, and the next number is 10^38 times smaller than any other: what a mistake puts there is
 * rounded as a number of this size is. */
static double ulp_at(const null_ports *null, const null_output *t, double size, int64_t i)
{
    bool const zero = null->mean[i] == 0 && null->sd[i] == 0;
    return 2 * ref_half_ulp(t->dtype, zero ? size : null->mean[i]);
}

static void describe(null_ports *null, const null_output *t, double size, int64_t i)
{
    double const mean = null->mean[i], sd = null->sd[i], ulp = null->ulp[i] = ulp_at(null, t, size, i);
    if (!isfinite(mean) || !isfinite(sd) || !isfinite(ulp)) {
        leave_out(null, i);
        return;
    }
    null->weight[i] = 1 / (sd * sd + ulp * ulp / 12);
    if (null_scatters(null, i) || t->idle)
        describe_scattered(null, i);
    else
        describe_steady(null, t, i);
}

static void write_and_measure(null_ports *null, const null_output *t, int64_t i)
{
    for (int k = 0; k < null->ports; k++)
        null->written[k * null->n + i] = written_by(t, k, null->drawn[k * null->n + i]);
    measure(null, null->drawn, i);
}

/* The size of an output's numbers; if it has none but 0, of all numbers. */
static void describe_all(null_ports *null)
{
    for (int o = 0; o < null->outputs; o++) {
        const null_output *const t = &null->output[o];
        for (int64_t i = 0; i < t->count; i++) write_and_measure(null, t, t->first + i);
    }
    double const of_all = size_of(null, 0, null->n);
    for (int o = 0; o < null->outputs; o++) {
        const null_output *const t = &null->output[o];
        double const own = size_of(null, t->first, t->count), size = own > 0 ? own : of_all;
        for (int64_t i = 0; i < t->count; i++) describe(null, t, size, t->first + i);
    }
}

static bool open_arrays(null_ports *null)
{
    double **const each[NULL_ARRAYS] = {&null->mean, &null->sd, &null->ulp, &null->mu, &null->variance, &null->weight};
    size_t const n = (size_t)null->n, ports = (size_t)null->ports;
    double *const all = malloc((NULL_ARRAYS * n + 1) * sizeof *all);
    null->drawn = malloc((2 * ports * n + 1) * sizeof *null->drawn);
    if (!all || !null->drawn) return free(all), free(null->drawn), false;
    for (size_t k = 0; k < NULL_ARRAYS; k++) *each[k] = all + k * n;
    null->written = null->drawn + ports * n;
    return true;
}

bool null_open(const problem *p, const ref_numerics *n, void *const data[], uint64_t seed, null_ports *out)
{
    *out = (null_ports){.ports = NULL_PORTS};
    list_outputs(p, n, out);
    if (!open_arrays(out)) return false;
    if (!draw_ports(p, n, data, seed, out)) {
        null_close(out);
        return false;
    }
    describe_all(out);
    return true;
}

void null_let_go(null_ports *null)
{
    free(null->drawn);
    null->drawn = null->written = NULL;
}

void null_close(null_ports *null)
{
    null_let_go(null);
    free(null->mean);
    *null = (null_ports){.n = 0};
}

/* ---- an answer ---- */

void null_read(const null_ports *null, void *const data[], double *got)
{
    for (int o = 0; o < null->outputs; o++) {
        const null_output *const t = &null->output[o];
        ref_decode_all(t->dtype, data[t->tensor], 0, t->count, got + t->first);
    }
}

bool null_has_holes(const null_ports *null, const double *got)
{
    for (int64_t i = 0; i < null->n; i++)
        if (null->weight[i] > 0 && !isfinite(got[i])) return true;
    return false;
}

void null_leave_out(null_ports *null, const double *got)
{
    for (int64_t i = 0; i < null->n; i++)
        if (!isfinite(got[i])) leave_out(null, i);
}
