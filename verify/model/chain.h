/*
 * A whole model from a checkpoint, stage by stage: every stage is a case of an op on the checkpoint's weights. Truth is a chain
 * of certified stages: the input of each is the binary64 rounding of the centre before, its radius is proven for that input.
 * With a port the chain is the port's own, and each stage is judged given the port's own input.
 */
#ifndef CHAIN_H
#define CHAIN_H

#include "files/checkpoint.h"
#include "files/config.h"
#include "files/dump.h"
#include "port/port.h"

/* Called after a stage: `module` is its path in the checkpoint; r: the verdict of a port, NULL for truth. */
typedef void on_stage(void *context, const char *module, const problem *p, const result *r);

typedef struct {
    const checkpoint *weights;
    const dsv3_config *config;
    const int32_t *tokens;
    int64_t n_tokens;
    dump *kept;
    port *judged;      /* NULL: truth */
    dsv3_dtype format; /* of a port's hidden states */
    bool diagnose;
    on_stage *report;
    void *context;
} model_run;

/* The whole chain: embedding, layers, head, MTP modules. False: one sentence in why (a tensor is missing or malformed, no memory,
 * or the port could not go on), everything finished is kept. */
bool model_run_all(const model_run *m, complaint *why);

/* Multiply-adds of the chain, and bytes of weights that it reads, at most. */
void model_work(const model_run *m, double *terms, double *bytes);

#endif
