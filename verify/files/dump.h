/*
 * What a run of a model leaves behind: named tensors, gathered layer by layer, written as one safetensors file
 * at the end. Finished layers are parts in a folder beside the file, so that a run that was killed goes on where
 * it was: it takes what is there in the order in which it was added, and adds what is missing.
 */
#ifndef DUMP_H
#define DUMP_H

#include "parts.h"

typedef struct {
    char path[1024];   /* of the file; "": nothing is written */
    char folder[1100]; /* path.partial */
    char key[FINGERPRINT_TEXT];
    int lock; /* the folder, locked; -1: none */
    int64_t count, room;
    safetensor *item;
    int64_t taken;   /* items that this run has taken or added; those behind are of an earlier run */
    int64_t saved;   /* items that are in parts */
    int64_t planned; /* parts at most */
    int64_t parts;   /* finished ones */
    int64_t *end;    /* of each finished part: items up to there */
    complaint note;  /* one sentence for the user about what was found in the folder; "": nothing */
} dump;

/* Can a dump be written there? Looks only. Refuses what is no regular file (folder, device, pipe, symbolic link) and a
 * path.partial that isn't ours. False: one sentence in why. */
bool dump_check_target(const char *path, complaint *why);

/* Opens; parts of an earlier run with the same key are read, those of another key are removed: files that its manifest
 * names, no others. path NULL: nothing is kept on disk. False: one sentence in why; close either way. */
bool dump_open(dump *d, const char *path, const char *key, int64_t parts, complaint *why);

/* The next item of an earlier run if it has this name, format and shape; NULL: it hasn't, or there is none. */
const void *dump_take(dump *d, const char *name, dsv3_dtype dtype, int32_t ndim, const int64_t *shape);

/* Goes back to where d->taken was `to`; what an earlier run left from there on is dropped. A note says so if there was
 * something. */
void dump_drop_rest(dump *d, int64_t to);

/* Copies a tensor in. False: out of memory. */
bool dump_add(dump *d, const char *name, dsv3_dtype dtype, int32_t ndim, const int64_t *shape, const void *data);
const safetensor *dump_find(const dump *d, const char *name); /* NULL: no such */

/* Bytes that parts keep and the file doesn't have. take: NULL: they aren't next. */
bool dump_add_record(dump *d, const char *name, const void *data, size_t bytes);
const void *dump_take_record(dump *d, const char *name, size_t bytes);

/* What was added since the last part becomes a part. */
bool dump_finish_part(dump *d, complaint *why);

/* Writes the file and removes the parts. */
bool dump_write(dump *d, complaint *why);

/* Finished parts stay for the next run. */
void dump_close(dump *d);

#endif
