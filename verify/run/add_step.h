/* The result of a sequence of calls, from those of its steps. */
#ifndef ADD_STEP_H
#define ADD_STEP_H

#include "result.h"

/* Adds a step to those that are in `all`; all of them are PASS. An output is then that of all steps, one after another: counts are
 * sums, the budget is the largest, the resolution the smallest. */
void add_step(result *all, const result *step);

#endif
