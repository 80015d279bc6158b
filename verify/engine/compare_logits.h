/*
 * What an engine said of the next tokens beside truth and beside ports that are drawn. docs/engines.md, "Logits alone": what each
 * figure is, and when one rejects.
 */
#ifndef COMPARE_LOGITS_H
#define COMPARE_LOGITS_H

#include "listing.h"

enum { LIKELIEST = 10, LOGIT_FIGURES = 4 };

typedef enum {
    FIGURE_KL_HALF, /* at most that in half of the rows: the divergence from truth in nats; of lists, its lower bound */
    FIGURE_KL_MEAN,
    FIGURE_KL_MAX,
    FIGURE_OFF /* the largest difference of a log-probability: of truth's 10 likeliest ids, or of all that are listed */
} logit_figure;

typedef struct {
    double value[LOGIT_FIGURES];
    int64_t agree, known; /* rows whose likeliest id is truth's; rows whose likeliest id is known */
    int64_t worst;        /* the row of the largest divergence */
    int64_t broken;       /* rows that are no distribution, as one with a NaN */
} logit_figures;

/* Truth of all rows, (rows, vocabulary), as log-probabilities. */
typedef struct {
    int64_t rows, vocabulary;
    const double *logprob;
} logit_truth;

/* Of what is listed; `logprob` is in the place of the list's own. False: no memory. */
bool compare_logits(const logit_truth *truth, const listing *l, const double *logprob, logit_figures *out);

/* The log-probabilities of one port, (rows, vocabulary), as an engine that lists the same ids would have told them; `out` has the
 * list's count. */
void list_same(const listing *l, int64_t vocabulary, const double *logprob, double *out);

/* The likeliest id of entries `first` to first + count; -1: it isn't known, for one entry alone is no list, unless more than half of
 * all is its. */
int32_t likeliest(const listing *l, const double *logprob, const listed_row *row);
int32_t likeliest_of(const double *logprob, int64_t vocabulary);

/* Sorts n > 0 values, of which half are at most what is returned. */
double sort_to_half(double *value, int64_t n);

#endif
