/* verify model: the tokens of --tokens, and those of a recording. */
#ifndef MODEL_TOKENS_H
#define MODEL_TOKENS_H

#include "engine/name_map.h"

/* What the model was given: the ids of --tokens (text; NULL: it isn't there), or of the recording, which may be empty; of both, if they
 * are the same. names says which rows they are, and learns of them what tokens_find says. The caller's. NULL: one sentence on stderr. */
int32_t *model_tokens(const char *text, const recording *r, name_map *names, const dsv3_config *c, int64_t *count);

#endif
