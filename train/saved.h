/*
 * A training on disk. DIR/training.safetensors holds all that the next step wants, replaced as a whole: whoever is killed goes
 * on from there. DIR/config.json and DIR/model.safetensors are a Hugging Face checkpoint of the same step.
 */
#ifndef SAVED_H
#define SAVED_H

#include "training.h"

/* log_bytes: how long the log was then. False: one sentence. */
bool saved_write(const training *g, const char *dir, int64_t log_bytes, complaint *why);

/* Goes on from what is there; *found false: nothing is. False: it can't be used, or belongs to another plan, config or text:
 * one sentence. */
bool saved_read(training *g, const char *dir, int64_t *log_bytes, bool *found, complaint *why);

/* The checkpoint in F32, or but for e_score_correction_bias in BF16. */
bool saved_checkpoint(const training *g, const char *dir, dsv3_dtype dtype, complaint *why);

#endif
