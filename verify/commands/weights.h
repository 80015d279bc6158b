/* verify model --weights: what an engine holds, beside the checkpoint. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "engine/recording.h"
#include "files/checkpoint.h"
#include "files/config.h"

/* Compares and reports; map: as --map has it, or NULL. Returns the exit code: bad verdict if a weight is different, nothing if none
 * was compared. */
int judge_weights(const checkpoint *c, const dsv3_config *config, const recording *r, const char *map, bool verbose);

#endif
