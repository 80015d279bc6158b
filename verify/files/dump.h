/*
 * What a run of a model leaves behind: named tensors, gathered layer by layer, written as one safetensors file
 * at the end. Finished layers are kept in a folder beside the file, so that a run that was killed goes on
 * where it was.
 */
#ifndef DUMP_H
#define DUMP_H

#include "safetensors.h"

typedef struct {
    char path[1024];   /* of the file; "": nothing is written */
    char folder[1100]; /* path.partial */
    int64_t count, room;
    safetensor *item;
    int64_t saved; /* items that are in finished parts */
    int parts;     /* finished ones */
} dump;

/* Opens; parts of an earlier run with the same key are read, others are removed. path NULL: nothing is kept on
 * disk. False: one sentence in why. */
bool dump_open(dump *d, const char *path, const char *key, complaint *why);

/* Copies a tensor in. False: out of memory. */
bool dump_add(dump *d, const char *name, dsv3_dtype dtype, int32_t ndim, const int64_t *shape, const void *data);
const safetensor *dump_find(const dump *d, const char *name); /* NULL: no such */

/* What was added since the last part becomes a part. */
bool dump_finish_part(dump *d, complaint *why);

/* Writes the file and removes the folder. */
bool dump_write(dump *d, complaint *why);
void dump_close(dump *d);

#endif
