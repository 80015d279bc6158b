/* What a case must do at least: operations, and bytes that are read or written once. */
#ifndef COST_H
#define COST_H

#include "anchor.h"
#include "case/problem.h"
#include "dsv3_config.h"

typedef struct {
    double operations, bytes;
    bool bf16; /* its factors are BF16 or E4M3: a BF16 unit may take them */
} cost;

/* data: the tensors, inputs filled and outputs written: which experts and cache rows are used is seen in them. */
cost cost_of(const problem *p, void *const data[]);

/* Seconds that it takes at the limits. */
double floor_of(const cost *c, const anchor *limits);

/* The unit whose peak that takes: amx, dpbf16 or fma; "none": there is none. */
const char *unit_of(const cost *c, const anchor *limits);

/* Is that less time than the floor? Then why says how much, and what it may come from. */
bool beats_floor(double seconds, double floor, complaint *why);

/* Multiply-adds of one module of multi-token prediction beside those of the main model, for a token behind a short text. */
double module_share(const dsv3_config *c);

#endif
