/* See sampling.h. */
#include "sampling.h"

#include <math.h>
#include <string.h>

void softmax_at(const float *logits, int64_t n, double temperature, double *out)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, (double)logits[i]);
    for (int64_t i = 0; i < n; i++) sum += out[i] = exp(((double)logits[i] - most) / temperature);
    for (int64_t i = 0; i < n; i++) out[i] /= sum;
}

/* Sums of p end a little off 1: what lies behind them is the last token that has a probability. */
int32_t draw(const double *p, int64_t n, double u)
{
    int32_t last = 0;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!(p[i] > 0)) continue;
        last = (int32_t)i;
        sum += p[i];
        if (u < sum) break;
    }
    return last;
}

bool stays(double p, double q, double u)
{
    return u * q < p;
}

void rest_of(const double *p, const double *q, int64_t n, double *out)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += out[i] = fmax(p[i] - q[i], 0);
    if (!(sum > 0)) memcpy(out, p, (size_t)n * sizeof *out); /* p = q: every draft stays, but for rounding */
    for (int64_t i = 0; sum > 0 && i < n; i++) out[i] /= sum;
}
