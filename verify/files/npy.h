/*
 * A file of numpy (numpy.lib.format, versions 1.0 to 3.0): one array, which becomes one tensor whose name is the file's without
 * folder and ending.
 */
#ifndef NPY_H
#define NPY_H

#include "safetensors.h"

/* Does the name end in .npy? */
bool npy_is(const char *path);

/* As safetensors_open and safetensors_parse: close with safetensors_close. */
bool npy_open(const char *path, safetensors *out, complaint *why);
bool npy_parse(const char *path, const void *data, size_t size, safetensors *out, complaint *why);

#endif
