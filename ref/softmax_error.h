/* What a port may do to a softmax, beside the formula: the terms of Lemma Softmax, docs/numerics.md. */
#ifndef SOFTMAX_ERROR_H
#define SOFTMAX_ERROR_H

#include "softmax.h"

/* One row's scores: the largest centre, and what a port may find; only max in an exact reading. */
typedef struct {
    double max, least_max, greatest; /* every port's maximum lies between the last two */
    double sup, top;                 /* >= every |score|; >= every port's |maximum| */
} score_range;
score_range score_range_of(const ref_reading *rd, const ball *score, int64_t n);

/* What the scores' ends and the arithmetic say of the row: top, shift, coarse. range NULL: every score that counts is 0. */
void begin_errors(const ref_reading *rd, const score_range *range, softmax *m);

/* Is e^(score - maximum) 0 in binary64, whatever maximum a port finds? Never in an exact reading. */
bool vanishes(const ref_reading *rd, ball score, const score_range *range);

/* eta_j: how far score - maximum is off, plus the relative errors of its exponential and of what merges its part. */
double exponent_error(const ref_reading *rd, ball score, const score_range *range, const softmax *m);

/* E_j = e^eta_j - 1 for a weight, whose own radius joins eta_j, so that it becomes a point; where that can't be relative, it goes
 * to m->floor. */
double weight_error(const ref_reading *rd, ball *weight, double eta, softmax *m);

/* E, floor, gamma, stored and merged of the row, when the weights' E_j P_j are summed up in m->E; w (m->n): the weights. */
void finish_errors(const ref_reading *rd, const ball *w, softmax *m);

/* How far ln of the sum is off. rounded: as in softmax_lse. */
double lse_error(const ref_reading *rd, const softmax *m, ball log_sum, ball lse, double rounded);

#endif
