/* silu(gate) * up over balls, for every op that has a feed-forward in it. (Silu) */
#ifndef SWIGLU_H
#define SWIGLU_H

#include "reading.h"

/* The exact product of up and of what the port has for silu(gate), rounded at `point`. */
ball silu_times(const ref_reading *rd, int point, dsv3_dtype output, ball gate, ball up);

#endif
