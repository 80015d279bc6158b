/*
 * fill=trained: slices of a small model that learned a text (verify/trained/), and of what flowed through it on text that it hadn't
 * seen: outliers, near-tied experts and peaked softmaxes as random numbers don't have them. docs/formats.md has the rule.
 */
#ifndef TRAINED_H
#define TRAINED_H

#include "problem.h"

/* The row of an op's fills. */
#define FILL_TRAINED                                                                                                   \
    {                                                                                                                  \
        "trained", NULL, "slices of a trained model and its activations; the seed picks among layers", trained_tensor  \
    }

bool trained_tensor(const struct problem *p, const tensor_info *t, void *data);

/* Is the problem no larger than the model is? False: one sentence. */
bool trained_fits(const struct problem *p, complaint *why);

#endif
