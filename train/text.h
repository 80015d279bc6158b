/* The text that a model learns: bytes of a file. The last twentieth is held out. */
#ifndef TEXT_H
#define TEXT_H

#include "files/complaint.h"

#include <stdint.h>

typedef struct {
    uint8_t *byte;
    int64_t count, learned; /* the first `learned` bytes are for training */
    uint64_t hash;          /* XXH3 of all */
} training_text;

/* False: one sentence in why. least: bytes that the held-out text must have at least. */
bool text_open(training_text *t, const char *path, int64_t least, complaint *why);

/* The same of a text of which nothing was learned: all of it is held out. */
bool text_open_whole(training_text *t, const char *path, int64_t least, complaint *why);
void text_close(training_text *t);

#endif
