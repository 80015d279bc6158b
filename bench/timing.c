/* See timing.h. */
#include "timing.h"

#include "port/process.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

timed time_reading(const problem *p, void *const data[], const ref_reading *rd)
{
    enclosures e;
    double const from = now();
    if (!enclose(p, rd, &ref_dd, data, &e)) return (timed){NAN, NAN, 0};
    timed t = {.seconds = now() - from};
    double largest = 0;
    for (int i = 0; i < p->tensors; i++)
        for (int64_t k = 0; e.value[i] && k < p->tensor[i].count; k++) {
            t.lost += isinf(e.value[i][k].radius);
            t.radius = fmax(t.radius, isinf(e.value[i][k].radius) ? 0 : e.value[i][k].radius);
            largest = fmax(largest, fabs(e.value[i][k].hi));
        }
    t.radius /= largest;
    enclosures_free(&e);
    return t;
}

static int by_value(const void *a, const void *b)
{
    double const x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void sort_values(double *value, int n)
{
    qsort(value, (size_t)n, sizeof *value, by_value);
}

double median(const double *value, int n)
{
    double copy[64];
    memcpy(copy, value, (size_t)n * sizeof *copy);
    sort_values(copy, n);
    return copy[n / 2];
}

double peak_memory(void)
{
    char line[200];
    double kilobytes = 0;
    FILE *const f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lf kB", &kilobytes) == 1) break;
    if (f) fclose(f);
    return kilobytes / (1 << 20);
}
