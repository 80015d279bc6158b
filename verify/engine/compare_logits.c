/* See compare_logits.h. */
#include "compare_logits.h"

#include <math.h>
#include <stdlib.h>

int32_t likeliest_of(const double *logprob, int64_t vocabulary)
{
    int32_t best = 0;
    for (int64_t v = 1; v < vocabulary; v++)
        if (logprob[v] > logprob[best]) best = (int32_t)v;
    return best;
}

int32_t likeliest(const listing *l, const double *logprob, const listed_row *row)
{
    int64_t best = row->first;
    for (int64_t i = row->first; i < row->first + row->count; i++)
        if (logprob[i] > logprob[best]) best = i;
    return row->count > 1 || logprob[best] > log(0.5) ? l->id[best] : -1;
}

void list_same(const listing *l, int64_t vocabulary, const double *logprob, double *out)
{
    for (const listed_row *row = l->row; row < l->row + l->rows; row++)
        for (int64_t i = row->first; i < row->first + row->count; i++)
            out[i] = logprob[row->row * vocabulary + l->id[i]];
}

/* p ln(p / q) of one id, from logarithms. */
static double term(double p, double q)
{
    double const mass = exp(p);
    return mass > 0 ? mass * (p - q) : 0;
}

/* sum p ln(p / q) over what is listed, and of what is left together: no more than the divergence (the log sum inequality). */
static double divergence(const double *truth, const listing *l, const double *logprob, const listed_row *row)
{
    double sum = 0, p = 0, q = 0;
    for (int64_t i = row->first; i < row->first + row->count; i++) {
        sum += term(truth[l->id[i]], logprob[i]);
        p += exp(truth[l->id[i]]);
        q += exp(logprob[i]);
    }
    if (l->whole) return sum;
    double const least = (double)row->count * 0x1p-24; /* no binary32 log-probabilities tell less from nothing */
    double const rest = fmax(1 - q, least);
    return 1 - p > 0 ? sum + (1 - p) * log((1 - p) / rest) : sum;
}

/* Truth's likeliest ids are those above this: entry LIKELIEST of them, in falling order. */
static double least_of_likeliest(const double *truth, int64_t vocabulary)
{
    double top[LIKELIEST];
    int n = 0;
    for (int64_t v = 0; v < vocabulary; v++) {
        if (n == LIKELIEST && truth[v] <= top[n - 1]) continue;
        int at = n < LIKELIEST ? n++ : n - 1;
        for (; at > 0 && top[at - 1] < truth[v]; at--) top[at] = top[at - 1];
        top[at] = truth[v];
    }
    return top[n - 1];
}

static double largest_difference(const logit_truth *t, const listing *l, const double *logprob, const listed_row *row)
{
    const double *const truth = t->logprob + row->row * t->vocabulary;
    double const least = l->whole ? least_of_likeliest(truth, t->vocabulary) : -HUGE_VAL;
    double most = 0;
    for (int64_t i = row->first; i < row->first + row->count; i++) {
        double const off = fabs(logprob[i] - truth[l->id[i]]);
        if (truth[l->id[i]] >= least && !(off <= most)) most = off; /* NaN stays */
        if (isnan(most)) return most;
    }
    return most;
}

/* No distribution is as far from truth as any. */
static double far_if_none(double v)
{
    return isnan(v) ? HUGE_VAL : v;
}

static bool is_broken(const double *logprob, const listed_row *row)
{
    for (int64_t i = row->first; i < row->first + row->count; i++)
        if (isnan(logprob[i])) return true;
    return false;
}

static double compare_row(const logit_truth *t, const listing *l, const double *logprob, const listed_row *row,
                          logit_figures *out)
{
    const double *const truth = t->logprob + row->row * t->vocabulary;
    double const kl = far_if_none(divergence(truth, l, logprob, row));
    double const off = far_if_none(largest_difference(t, l, logprob, row));
    int32_t const best = likeliest(l, logprob, row);
    double *const value = out->value;
    value[FIGURE_KL_MEAN] += kl / (double)l->rows;
    if (row == l->row || kl > value[FIGURE_KL_MAX]) value[FIGURE_KL_MAX] = kl, out->worst = row->row;
    value[FIGURE_OFF] = fmax(value[FIGURE_OFF], off);
    out->known += best >= 0;
    out->broken += is_broken(logprob, row);
    out->agree += best == likeliest_of(truth, t->vocabulary);
    return kl;
}

static int ascending(const void *a, const void *b)
{
    double const x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double sort_to_half(double *value, int64_t n)
{
    qsort(value, (size_t)n, sizeof *value, ascending);
    return value[(n - 1) / 2];
}

bool compare_logits(const logit_truth *truth, const listing *l, const double *logprob, logit_figures *out)
{
    double *const kl = malloc((size_t)l->rows * sizeof *kl);
    *out = (logit_figures){.value = {0}};
    for (int64_t r = 0; kl && r < l->rows; r++) kl[r] = compare_row(truth, l, logprob, &l->row[r], out);
    if (kl) out->value[FIGURE_KL_HALF] = sort_to_half(kl, l->rows);
    bool const good = kl != NULL;
    free(kl);
    return good;
}
