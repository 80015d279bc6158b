/* Softmax of one row of scores, for every op that has one: weights, their sum, its logarithm. (Softmax) */
#ifndef SOFTMAX_H
#define SOFTMAX_H

#include "reading.h"

#define SOFTMAX_VANISHING (-800.0) /* e^-800 is 0 in binary64 */

/* One row's softmax: its normaliser, and the error terms of Lemma Softmax. */
typedef struct {
    int64_t n;     /* scores */
    int64_t parts; /* in which they are taken at most, each with a sum of its own */
    ball maximum;  /* a point */
    double top;    /* >= |maximum| of every port */
    double shift;  /* >= how far a port's maximum is from `maximum` */
    ball sum;      /* of the weights */
    double E;      /* the mean of E_j: sum P_j E_j */
    double floor;  /* what else each weight may be off by, absolutely */
    double gamma;  /* bound on the relative error of the running sum, rescaling and merging included */
    double coarse; /* relative error of each operation in arithmetic coarser than binary32; 0: it isn't */
    double stored; /* of the sum where an accumulator of more bits hands it to that arithmetic; 0: none does */
    double merged; /* bound on the relative error of e^(lse_i - lse) that all parts share; 0: there is one part */
} softmax;

/* The softmax of `selected` scores of 0 among n. (Selection) */
softmax softmax_of_zeros(const ref_reading *rd, int64_t n, int64_t selected);

/* Is one score 0, and does every other weight vanish? Then that weight is 1, and lse 0, in any arithmetic that has ln 1 = 0.
 * (Selection) */
bool softmax_selects_one(const ball *score, int64_t n);

/* n scores, in at most so many parts, become weights e^(score - maximum), points; their relative errors E_j go to error[]. */
softmax softmax_weigh(const ref_reading *rd, ball *w, double *error, int64_t n, int64_t parts);

/* ln of the sum of e^score. rounded: what else the sum, or each weight of it, may be off by, relative. */
ball softmax_lse(const ref_reading *rd, const softmax *m, double rounded);

#endif
