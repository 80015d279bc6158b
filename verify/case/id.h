/*
 * Case ids: text to numbers and back. The id is the whole case: op@preset:key=value,...;fill=NAME;seed=N.
 * Grammar: docs/formats.md.
 */
#ifndef ID_H
#define ID_H

#include "problem.h"

/* Reads what an id says: op, preset, fields, lists, fill and seed into *p, which is all 0 before; and the formats
 * given, by row of the op, into format_given[MAX_ROWS], all DSV3_NONE before. On an error returns false and one
 * sentence in why. */
bool id_read(const char *id, problem *p, dsv3_dtype format_given[], complaint *why);

/* Writes the canonical id of a problem whose tensors are known into p->id. */
void id_print(problem *p);

#endif
