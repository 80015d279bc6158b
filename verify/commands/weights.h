/* verify model --weights: what an engine holds, beside the checkpoint. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "engine/name_map.h"
#include "engine/recording.h"
#include "files/checkpoint.h"
#include "files/config.h"

/* Compares and reports; Returns the exit code: bad verdict if a weight is different, or (strict)
 * missing, those of MTP modules aside; nothing if none was compared. */
int judge_weights(const checkpoint *c, const dsv3_config *config, const recording *r, const name_map *names,
                  bool strict, bool verbose);

#endif
