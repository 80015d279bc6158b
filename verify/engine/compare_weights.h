/*
 * Weights as an engine holds them, beside the checkpoint: the same numbers, perhaps moved, widened or rounded once. docs/engines.md,
 * "Weights".
 */
#ifndef COMPARE_WEIGHTS_H
#define COMPARE_WEIGHTS_H

#include "name_map.h"
#include "recording.h"
#include "weight_source.h"

typedef enum { WEIGHT_EQUAL, WEIGHT_DIFFERENT, WEIGHT_UNKNOWN } weight_verdict;

typedef struct {
    const char *name; /* the engine's */
    weight_verdict verdict;
    char rule[120]; /* what was done before it was equal; "": nothing */
    char why[300];  /* how it is different */
} compared_weight;

typedef void on_weight(void *context, const compared_weight *w);

/* Calls for every tensor of the recording that may be a weight: those named weight:NAME if there are such, else all. names: a map's
 * rules about weights; one without a rule has its own name. seen: one a
 * tensor of the checkpoint, which becomes true if a weight of the engine was made of it. False: one sentence in why. */
bool compare_weights(const checkpoint *c, const dsv3_config *config, const recording *r, const name_map *names,
                     bool seen[], on_weight *call, void *context, complaint *why);

#endif
