/* Data of a problem: every element from (seed, tensor name, index) alone, or by a formula from such elements. */
#ifndef FILL_H
#define FILL_H

#include "problem.h"

/* Fills the inputs and weights; data[i] belongs to tensor[i], outputs are left alone. False: no memory. */
bool fill_inputs(const problem *p, void *const data[]);

/* One tensor alone, unless it follows from others. */
void fill_tensor(const problem *p, const tensor_info *t, void *data);

/* Memory for every tensor, the inputs filled, the outputs 0: (*data)[i] belongs to tensor[i]. False: no memory;
 * close either way, before the problem. */
bool tensors_open(const problem *p, void ***data);
void tensors_close(const problem *p, void **data);

#endif
