/* The tokens that an engine was given, and whose sequences its rows are. */
#ifndef TOKENS_H
#define TOKENS_H

#include "name_map.h"

enum { MOST_TOKENS = 65536 };

/* Ids of a recording, of all its rows, padding among them; *ids is the caller's, and NULL if it has none. names learns how many rows there
 * are, and of a batch, (B, T), that each T are a sequence, unless it says itself what is one. False: one sentence in why. */
bool tokens_find(const recording *r, name_map *names, const dsv3_config *c, int32_t **ids, int64_t *count,
                 complaint *why);

/* Ids from..to are those of the vocabulary. */
bool tokens_check(const int32_t *ids, int64_t from, int64_t to, const dsv3_config *c, complaint *why);

#endif
