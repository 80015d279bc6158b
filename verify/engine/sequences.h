/* Where the sequences of a recording begin whose rows follow one another: `set seqlens` of a map. docs/engines.md. */
#ifndef SEQUENCES_H
#define SEQUENCES_H

#include "name_map.h"

typedef struct {
    int64_t count;
    int64_t *start; /* (count + 1): sequence b has the rows from start[b] up to start[b + 1] */
} sequences;

/* seqlens: lengths, as in "5,7", or the name of a recorded tensor that has them; one that begins with 0 has starts and the end. Rows
 * behind the last sequence are padding. False: one sentence in why. Free either way. */
bool sequences_read(const char *seqlens, const recording *r, int64_t tokens, sequences *s, complaint *why);

/* The same, so many tokens each. */
bool sequences_cut(int64_t each, int64_t tokens, sequences *s, complaint *why);
void sequences_free(sequences *s);

#endif
