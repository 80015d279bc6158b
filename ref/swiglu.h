/* silu(gate) * up over balls, for every op that has a feed-forward in it. (Silu) */
#ifndef SWIGLU_H
#define SWIGLU_H

#include "reading.h"

/* silu(gate) * up: the exact product, of a silu(gate) that the port rounds at `point`, from a sigmoid that it may round at
 * `sigmoid`. */
ball silu_times(const ref_reading *rd, int sigmoid, int point, dsv3_dtype output, ball gate, ball up);

#endif
