/* Data of a problem: every element from (seed, tensor name, index) alone. */
#ifndef FILL_H
#define FILL_H

#include "problem.h"

/* Fills the inputs and weights; data[i] belongs to tensor[i], outputs are left alone. */
void fill_inputs(const problem *p, void *const data[]);

/* One tensor alone. */
void fill_tensor(const problem *p, const tensor_info *t, void *data);

/* Memory for every tensor, the inputs filled, the outputs 0. data has MAX_TENSORS entries, those not used NULL. False: no
 * memory; close either way. */
bool tensors_open(const problem *p, void *data[]);
void tensors_close(void *data[]);

#endif
