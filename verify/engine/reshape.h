/* What a map does with a recorded tensor before it is a stage: its elements are moved, never changed. */
#ifndef RESHAPE_H
#define RESHAPE_H

#include "recording.h"

typedef enum {
    RESHAPE_ROWS,  /* rows from A up to B, of all axes but the last */
    RESHAPE_COLS,  /* columns from A up to B, of the last axis */
    RESHAPE_HALF,  /* the last columns, as many as are rotated, are halves: they become pairs */
    RESHAPE_TURN,  /* (a, b, c) becomes (b, a, c) */
    RESHAPE_BESIDE /* the columns of another tensor follow */
} reshape_kind;

typedef struct {
    reshape_kind kind;
    int64_t from, to;
    const safetensor *other; /* beside */
} reshape;

/* A tensor, and the memory that it lies in, if that isn't the recording's. */
typedef struct {
    safetensor t;
    void *owned;
} shaped;

/* rotated: columns that are rotated. False: one sentence in why. shaped_free either way. */
bool shaped_change(shaped *s, const reshape *op, int64_t rotated, complaint *why);
void shaped_free(shaped *s);

#endif
