/* AdamW (Loshchilov and Hutter, arXiv 1711.05101), with the norm of the gradient clipped first. */
#ifndef ADAMW_H
#define ADAMW_H

#include "model.h"

typedef struct {
    double beta1, beta2, eps, weight_decay; /* weight_decay: of matrices alone */
    double max_norm;                        /* of the whole gradient */
} adamw;

/* Step `step`, counted from 1, with this learning rate. Returns the gradient's norm before it was clipped. */
double adamw_step(const adamw *a, model *m, int64_t step, double learning_rate);

#endif
