/* A verdict that an earlier run left in a part or a journal. */
#ifndef VERDICT_H
#define VERDICT_H

#include "result.h"

/* Reads the bytes of a result, which were this program's own; but they come from a file, so nothing in them is believed:
 * false unless every text ends, every count fits and every word is one that there is. */
bool verdict_read(const void *bytes, size_t size, result *out);

#endif
