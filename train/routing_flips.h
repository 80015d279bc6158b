/*
 * Tokens that a model in an engine's formats sends to other experts than the model in binary32 does, and whether that is legal: the
 * judge passes the logits of the gate, given the hidden states there, and the choice, given those logits.
 */
#ifndef ROUTING_FLIPS_H
#define ROUTING_FLIPS_H

#include "pass.h"

typedef struct {
    int64_t tokens;   /* that every layer with experts routed */
    int64_t *flipped; /* (model_moe_layers) of these, those with other experts; to be freed */
    int64_t illegal;  /* of the flipped ones, those that the judge does not pass */
    char first[600];  /* what it says of the first of them */
} flips;

/* False: no memory. Close either way. */
bool flips_open(flips *f, const model *m, complaint *why);
void flips_close(flips *f);

/* After pass_forward of both, on the same windows: p in formats of an engine, f32 in binary32. False: one sentence. */
bool flips_add(flips *f, const pass *f32, const pass *p, complaint *why);

#endif
