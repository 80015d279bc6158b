/* verify model --logits and --logprobs: what an engine said of the next tokens, beside truth and ports that are drawn. */
#ifndef LOGITS_H
#define LOGITS_H

#include "engine/name_map.h"
#include "engine/recording.h"
#include "drawn_models.h"

typedef struct {
    const char *file;     /* of --logits or --logprobs */
    bool listed;          /* it is that of --logprobs */
    const char *numerics; /* as --numerics has it; NULL: nothing is declared */
    const name_map *names;
    int drawn;    /* ports, from FEWEST_DRAWN on */
    bool verbose; /* a line a port */
} logits_options;

/* Compares and reports; the format of m is that of the engine's hidden states. recorded: the file, where it is a recording; else
 * empty. Returns the exit code: bad verdict if it rejects; good if it doesn't, which proves nothing. */
int judge_logits(const logits_options *o, const model_run *m, const recording *recorded);

#endif
