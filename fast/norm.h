/* RMSNorm of one row, for the ops made of several steps. */
#ifndef NORM_H
#define NORM_H

#include "dsv3.h"

/* y = weight x / sqrt(mean(x^2) + eps); y may be x. acc 24 rn fused splits=16; rsqrt ieee; div ieee; x_norm f32 must */
void normalise(const dsv3_tensor *weight, double eps, const float *x, float *y, int64_t n);

#endif
