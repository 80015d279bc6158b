/* verify model --stages --given=chain: how far an engine is from truth after every stage, beside whole models that are drawn. */
#ifndef DRIFT_H
#define DRIFT_H

#include "drawn_models.h"
#include "engine/name_map.h"
#include "engine/recording.h"

typedef struct {
    const char *numerics; /* as --numerics has it; NULL: nothing is declared */
    const name_map *names;
    int drawn;    /* ports, from FEWEST_DRAWN on */
    bool verbose; /* all figures of every port */
} drift_options;

/* Compares and reports; the format of m is that of the engine's hidden states. Returns the exit code: bad verdict if a stage is
 * further off than ports go; good if none is, which proves nothing; nothing if no stage is recorded. */
int judge_drift(const drift_options *o, const model_run *m, const recording *recorded);

#endif
