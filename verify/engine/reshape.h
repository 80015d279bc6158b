/* What a map does with a recorded tensor before it is a stage: its elements are moved, never changed. */
#ifndef RESHAPE_H
#define RESHAPE_H

#include "recording.h"

typedef enum {
    RESHAPE_ROWS,  /* rows from A up to B, of all axes but the last */
    RESHAPE_COLS,  /* columns from A up to B, of the last axis */
    RESHAPE_HALF,  /* the last columns, as many as are rotated, are halves: they become pairs */
    RESHAPE_TURN,  /* the two axes before the last change places */
    RESHAPE_FLAT,  /* the last two axes become one */
    RESHAPE_BESIDE /* the columns of another tensor follow */
} reshape_kind;

typedef struct {
    reshape_kind kind;
    int64_t from, to;        /* to: -1 for all that follow */
    const safetensor *other; /* beside */
} reshape;

/* A tensor, and the memory that it lies in, if that isn't the recording's. */
typedef struct {
    safetensor t;
    void *owned;
    bool unlike; /* ranks that should hold the same don't: an engine's fault, and no tensor */
} shaped;

/* rotated: columns that are rotated. False: one sentence in why. shaped_free either way: it is empty then. */
bool shaped_change(shaped *s, const reshape *op, int64_t rotated, complaint *why);
void shaped_free(shaped *s);

/* Memory for a new tensor of such rows, columns and element size in its place; the elements are to come from `old`, which shaped_free
 * ends. NULL: no memory, and a sentence in why. */
void *shaped_begin(shaped *s, int64_t rows, int64_t columns, size_t size, shaped *old, complaint *why);

/* Elements of all axes but the last, of the last, and the bytes of one. False: it has none, and a sentence in why. */
bool shaped_rows(const safetensor *t, int64_t *rows, int64_t *columns, size_t *size, complaint *why);

#endif
