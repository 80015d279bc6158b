/* silu(gate) * up over balls, for every op that has a feed-forward in it. (Silu) */
#ifndef SWIGLU_H
#define SWIGLU_H

#include "reading.h"

typedef struct {
    int gate_sigmoid, silu;
} silu_points;

/* silu(gate) * up: the exact product, of a silu(gate) that the port rounds at the points. */
ball silu_times(const ref_reading *rd, silu_points point, dsv3_dtype output, ball gate, ball up);

#endif
