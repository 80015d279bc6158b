/* What a chain will take, before it runs. */
#ifndef COST_H
#define COST_H

#include "model.h"

int count_stages(const model_run *m);

/* Parts that the dump of a chain has: layers, head, and of an MTP module its layer and its head. */
int64_t count_parts(const model_run *m);

/* Multiply-adds of the chain, and bytes of weights that it reads, at most. */
void model_work(const model_run *m, double *terms, double *bytes);

/* Bytes of memory for the truth, about; outputs that are kept not included. */
double model_memory(const model_run *m);

#endif
