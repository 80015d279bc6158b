/*
 * The forward ops once more, over real numbers and from docs/components and dsv3.h alone: what chain.c differentiates by differences.
 * No gradient is written here, and nothing of ref/ is read.
 */
#ifndef FORWARD_H
#define FORWARD_H

#include "case/problem.h"
#include "numbers.h"

typedef struct {
    const problem *p;
    void **data;      /* data[i] is the memory of tensor[i]: whole numbers are read there */
    mpfr_ptr **value; /* value[i][e]: element e of tensor[i], NULL for whole numbers; inputs are read, outputs set */
    bool chosen;      /* topk_idx in data is the gate's choice already: another one is an error */
} forward;

/* Sets outputs; leaves NULL what isn't finite. */
typedef void formula(forward *f);
formula swiglu, rope, linear, embed, rmsnorm, cross_entropy, gate, balance_loss, experts, mla_prefill;

#endif
