/* What an engine has recorded: the tensors of a safetensors file, or of all such files in a folder; a file NAME.npy, or
 * NAME.f32.bin with NAME.shape (files/raw.h), there is tensor NAME. They are mapped: pages are read when they are touched. */
#ifndef RECORDING_H
#define RECORDING_H

#include "files/safetensors.h"

typedef struct {
    char path[1024];
    int files;
    safetensors *file;
    int64_t count;
    const safetensor **item; /* in the order of their names */
} recording;

/* False: one sentence in why. Close either way. */
bool recording_open(const char *path, recording *r, complaint *why);
void recording_close(recording *r);

/* Is this one of its files? */
bool recording_has_file(const recording *r, const file_identity *id);

/* NULL: no such. */
const safetensor *recording_find(const recording *r, const char *name);

#endif
