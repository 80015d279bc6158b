/*
 * A whole model from a checkpoint, stage by stage: every stage is a case of an op on the checkpoint's weights.
 * Truth is a chain of certified stages: the input of each is the binary64 rounding of the centre before, its
 * radius is proven for that input. With a port the chain is the port's own, and each stage is judged given the
 * port's own input.
 */
#ifndef CHAIN_H
#define CHAIN_H

#include "model.h"

/* The whole chain: embedding, layers, head, MTP modules. False: one sentence in why (a tensor is missing or
 * malformed, no memory, or the port could not go on), everything finished is in m->outputs. */
bool model_run_all(const model_run *m, complaint *why);

/* The same without MTP modules. */
bool model_run_main(const model_run *m, complaint *why);

#endif
