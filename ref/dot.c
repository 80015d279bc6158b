/* See dot.h. Compiled with -DDOT_ISA=baseline, v3, v4 and the matching -march. */
#include "dot.h"

#include <math.h>

#define DOT_JOIN_(a, b) a##b
#define DOT_JOIN(a, b)  DOT_JOIN_(a, b)
#define DOT_TEXT_(a)    #a
#define DOT_TEXT(a)     DOT_TEXT_(a)

enum { L = DOT_LANES };

static dot_sum plain(const double *restrict a, const double *restrict b, int64_t n)
{
    double s[L] = {0}, m[L] = {0};
    int64_t i = 0;
    for (; i + L <= n; i += L)
        for (int k = 0; k < L; k++) {
            double const p = a[i + k] * b[i + k];
            s[k] += p;
            m[k] += fabs(p);
        }
    for (int k = 0; i + k < n; k++) {
        double const p = a[i + k] * b[i + k];
        s[k] += p;
        m[k] += fabs(p);
    }
    dot_sum sum = {0, 0, 0};
    for (int k = 0; k < L; k++) {
        sum.hi += s[k];
        sum.abs += m[k];
    }
    return sum;
}

/* Lemma Dot: lanes s with the errors e of TwoSum added into c; then the lanes by a chain of TwoSum. */
static dot_sum compensated(const double *restrict a, const double *restrict b, int64_t n)
{
    double s[L] = {0}, c[L] = {0}, m[L] = {0};
    int64_t i = 0;
    for (; i < n; i += L) {
        int const width = n - i < L ? (int)(n - i) : L;
        if (width < L) {
            for (int k = 0; k < width; k++) {
                double const p = a[i + k] * b[i + k];
                double const t = s[k] + p;
                double const z = t - s[k];
                c[k] += (s[k] - (t - z)) + (p - z);
                s[k] = t;
                m[k] += fabs(p);
            }
            break;
        }
        for (int k = 0; k < L; k++) {
            double const p = a[i + k] * b[i + k];
            double const t = s[k] + p;
            double const z = t - s[k];
            c[k] += (s[k] - (t - z)) + (p - z);
            s[k] = t;
            m[k] += fabs(p);
        }
    }
    double high = 0, low = 0, abs = 0;
    for (int k = 0; k < L; k++) {
        double const t = high + s[k];
        double const z = t - high;
        low += (high - (t - z)) + (s[k] - z);
        low += c[k];
        high = t;
        abs += m[k];
    }
    double const hi = high + low;
    double const z = hi - high;
    return (dot_sum){hi, (high - (hi - z)) + (low - z), abs};
}

const dot_kernel DOT_JOIN(dot_, DOT_ISA) = {DOT_TEXT(DOT_ISA), plain, compensated};
