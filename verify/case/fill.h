/* Data of a problem: every element from (seed, tensor name, index) alone. */
#ifndef FILL_H
#define FILL_H

#include "problem.h"

/* Fills the inputs and weights; data[i] belongs to tensor[i], outputs are left alone. */
void fill_inputs(const problem *p, void *const data[]);

/* One tensor alone. */
void fill_tensor(const problem *p, const tensor_info *t, void *data);

/* Memory for every tensor, the inputs filled, the outputs 0: (*data)[i] belongs to tensor[i]. False: no memory;
 * close either way, before the problem. */
bool tensors_open(const problem *p, void ***data);
void tensors_close(const problem *p, void **data);

#endif
