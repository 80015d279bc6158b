/* The norm of one row of balls: what rmsnorm is, and what compositions normalise with. */
#ifndef RMSNORM_H
#define RMSNORM_H

#include "reading.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_tensor *weight; /* (width) */
    int64_t width;
    double eps;        /* added to the mean square */
    int point_x_norm;  /* before the weight */
    int point_y;       /* after it */
    dsv3_dtype format; /* of both, unless declared otherwise */
} norm;

/* sqrt(mean(z^2) + eps), for a division by it; of the norm only rd, width and eps are read. */
rms norm_root(const norm *n, const ball *z);

/* y_i = weight_i z_i / sqrt(mean(z^2) + eps); y may be z. */
void norm_row(const norm *n, const ball *z, ball *y);

#endif
