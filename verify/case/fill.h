/* Data of a problem: every element from (seed, tensor name, index) alone, or by a formula from such elements. */
#ifndef FILL_H
#define FILL_H

#include "problem.h"

/* Fills the inputs and weights; data[i] belongs to tensor[i], outputs are left alone, and so is what is NULL. False: no
 * memory. */
bool fill_inputs(const problem *p, void *const data[]);

/* One tensor alone, unless it follows from others. */
void fill_tensor(const problem *p, const tensor_info *t, void *data);

/* Memory for every tensor, the inputs filled, the outputs 0: (*data)[i] belongs to tensor[i]. Lazy ones are filled when they are
 * touched, until when p stays where it is; from now on SIGSEGV does that. False: no memory; close either way, before the
 * problem. */
bool tensors_open(const problem *p, void ***data);
void tensors_close(const problem *p, void **data);

/* The same of one tensor; NULL: no memory. */
void *tensor_open(const problem *p, int i);
void tensor_close(const problem *p, int i, void *data);

/* Fills what is lazy, as what the system reads must be. False: no memory. */
bool tensors_touch(const problem *p, void *const data[]);

#endif
