/*
 * The folder of an unfinished dump, and what is read from it: a manifest that says whose it is and what is in it, and
 * parts, each a safetensors file with a seal. Bytes there are believed only under their checksums.
 */
#ifndef PARTS_H
#define PARTS_H

#include "fingerprint.h"
#include "safetensors.h"

enum { PART_NAME = 32, MOST_PARTS = 100000 };

/* ---- the manifest: lines "dsv3 parts 1", "key K", "file NAME" each, "check C" ---- */

typedef enum {
    MANIFEST_WHOLE,
    MANIFEST_DAMAGED, /* ours, but a line or the checksum is wrong; key and files are empty */
    MANIFEST_FOREIGN  /* not ours */
} manifest_state;

typedef struct {
    char key[FINGERPRINT_TEXT];
    int64_t files;
    char (*file)[PART_NAME]; /* "0000.safetensors" ...: digits and the ending, nothing that leads elsewhere */
} manifest;

/* Reads it, of any length. */
manifest_state manifest_parse(const char *text, size_t length, manifest *out);
void manifest_free(manifest *m);

/* The text of a manifest with `parts` parts; the caller frees it. NULL: no memory. */
char *manifest_text(const char *key, int64_t parts, size_t *length);

/* The name of a part, or of the whole before it is put in its place (part -1). */
const char *part_name(int64_t part, char name[PART_NAME]);

/* ---- parts ---- */

/* Writes a part: the tensors, and a seal over the key, the number of the part, and every name, format, shape and byte. */
bool part_write(const char *path, const char *key, int64_t part, const safetensor *item, int64_t count, complaint *why);

/* Checks a part that is in memory, which must outlive out; out lacks the seal. False: one sentence, nothing to close. */
bool part_parse(const char *path, const void *data, size_t size, const char *key, int64_t part, safetensors *out,
                complaint *why);

#endif
