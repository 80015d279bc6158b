/*
 * Safetensors files (huggingface/safetensors, README.md, section Format): 8 bytes little-endian header length, a JSON
 * header, then the data.
 */
#ifndef SAFETENSORS_H
#define SAFETENSORS_H

#include "dsv3.h"
#include "file_map.h"

enum {
    SAFETENSORS_MAX_HEADER = 100 * 1000 * 1000, /* bytes, as in Hugging Face's library */
    SAFETENSOR_AXES = 8
};

typedef struct {
    char name[128];
    dsv3_dtype dtype; /* DSV3_NONE: a format that the harness doesn't read, such as F8_E5M2 */
    int32_t ndim;
    int64_t shape[SAFETENSOR_AXES];
    const void *data; /* inside the file map; aligned to nothing */
    size_t bytes;
    const char *format; /* as the file says it; NULL: no file has said it */
} safetensor;

typedef struct {
    file_map map; /* none when parsed from memory */
    int64_t count;
    safetensor *item; /* in the order of the data */
} safetensors;

/* The format of a tensor as the file says it ("F16"), or would. */
const char *safetensor_format(const safetensor *t);

/* The other way: dtype and format of t, and the bytes of an element. False: there is no such. */
bool safetensor_set_format(safetensor *t, const char *name, size_t *size);

/* Checks a file that is in memory, which must outlive out. path is for the sentence. */
bool safetensors_parse(const char *path, const void *data, size_t size, safetensors *out, complaint *why);

/* Maps and checks a file. On an error returns false and one sentence in why that names the file and the tensor. */
bool safetensors_open(const char *path, safetensors *out, complaint *why);
void safetensors_close(safetensors *s);
const safetensor *safetensors_find(const safetensors *s, const char *name); /* NULL: no such */

/* Writes name, shape and data of each; to a temporary name beside path, then renamed. What is
 * there and is no regular file stays. On an error (full disk, say) nothing is left behind. */
bool safetensors_write(const char *path, const safetensor *item, int64_t count, complaint *why);

#endif
