/* The softmax P of a row as a port has it, before any point: a weight over the sum of all, or e^(score - lse). (Probability) */
#ifndef PROBABILITY_H
#define PROBABILITY_H

#include "softmax.h"

/* A weight over the sum of all, whose common error cancels; error: the weight's, as softmax_weigh has it. */
ball probability_divided(const ref_reading *rd, const softmax *m, ball weight, double error);

/* e^(score - lse) of a port that has lse, or the maximum and ln of the sum. Not in an exact reading. */
ball probability_from_lse(const ref_reading *rd, const softmax *m, ball score, ball lse);

/* Of one score 0 whose row has no other weight: 1 over 1, or e to minus the logarithm of 1. inner: the softmax's reading. */
ball probability_selected(const ref_reading *rd, const ref_reading *inner);

#endif
