/* The gradients of silu(gate) * up over balls, for every op that goes back through a feed-forward. (Slope) */
#ifndef SWIGLU_BACKWARD_H
#define SWIGLU_BACKWARD_H

#include "swiglu.h"

/* What a port forms of a gate z. */
typedef struct {
    ball s, silu;
    ball rest;  /* 1 - s */
    ball inner; /* 1 + z (1 - s) */
    ball slope; /* silu'(z) */
} gate_values;

gate_values gate_values_of(const ref_reading *rd, silu_points point, dsv3_dtype output, ball z);

/* grad_y up silu'(gate) in any order, the last product exact. point: of grad_y up, where a port forms that. */
ball gate_gradient(const ref_reading *rd, int point, dsv3_dtype output, const gate_values *g, ball grad_y, ball up);

#endif
