/*
 * A Hugging Face checkpoint folder: model.safetensors, or model.safetensors.index.json and the shards that its
 * weight_map names (model.safetensors wins when both are there, as in transformers). Files are mapped, so that
 * tensors are views whose pages are read when they are touched.
 */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "safetensors.h"

enum { CHECKPOINT_FILE_NAME = 128, CHECKPOINT_MAX_FILES = 10000 };

typedef struct {
    char name[CHECKPOINT_FILE_NAME];
    safetensors content;
} checkpoint_file;

typedef struct {
    const safetensor *tensor;
    const checkpoint_file *file;
} checkpoint_entry;

typedef struct {
    char *dir;
    bool indexed;             /* it has an index; watched[1] is of that */
    file_identity watched[2]; /* config.json and the index, as they were when it was opened; all 0: there is none */
    int64_t files;
    checkpoint_file *file;
    int64_t count;           /* tensors of all files */
    checkpoint_entry *entry; /* in the order of their names */
} checkpoint;

/* Opens and checks a folder: every header, and that index and files say the same. On an error returns false
 * and one sentence in why that names the file and the tensor. Whoever touches a tensor
 * of a file that was cut since gets SIGBUS; see model/interrupt.h, which makes a sentence of it. */
bool checkpoint_open(const char *dir, checkpoint *c, complaint *why);
void checkpoint_close(checkpoint *c);

/* Tensors are the checkpoint's and live until it is closed. NULL: no such. */
const safetensor *checkpoint_find(const checkpoint *c, const char *name);

/* The tensor of that name if it has one of the formats (a sum of DTYPE_BIT) and this shape; otherwise false
 * and one sentence. */
#define DTYPE_BIT(dtype) (1u << (dtype))
bool checkpoint_expect(const checkpoint *c, const char *name, unsigned dtypes, int ndim, const int64_t *shape,
                       const safetensor **tensor, complaint *why);

/* Every file is as it was when it was opened: none was replaced, cut or written. Otherwise false and one sentence. */
bool checkpoint_check_unchanged(const checkpoint *c, complaint *why);

/* Is this one of the files that make up the checkpoint? */
bool checkpoint_has_file(const checkpoint *c, const file_identity *id);

/* The file whose mapping holds this address; NULL: none. Safe in a signal handler. */
const checkpoint_file *checkpoint_file_at(const checkpoint *c, const void *address);

/* Elements first to first + count of a real tensor of the checkpoint are finite; otherwise false and one sentence that
 * names tensor and index. The pages that it reads are released behind it. */
bool checkpoint_check_finite(const checkpoint *c, const safetensor *weight, int64_t first, int64_t count,
                             complaint *why);

/* Every element of an F32 tensor of the checkpoint is finite and above 0; otherwise false and one sentence. */
bool checkpoint_check_scales(const checkpoint *c, const safetensor *scales, complaint *why);

/* The whole pages inside these bytes of a tensor leave the memory of the process; they are read again when
 * touched. */
void checkpoint_release(const void *data, size_t bytes);

/* ---- the parser of model.safetensors.index.json alone ---- */

typedef struct {
    void *json;        /* the weight_map: tensor name to file name */
    int64_t files;     /* distinct */
    const char **file; /* their names, in order; the json's */
} checkpoint_index;

bool checkpoint_index_parse(const char *path, const char *text, size_t length, checkpoint_index *out, complaint *why);
void checkpoint_index_free(checkpoint_index *index);

#endif
