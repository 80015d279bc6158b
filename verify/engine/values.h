/* A recorded tensor as a stage wants it: rows of so many columns in one format, compact, in memory of its own. */
#ifndef VALUES_H
#define VALUES_H

#include "recording.h"

/* Elements of t, whatever its shape; -1: more than there can be. */
int64_t values_count(const safetensor *t);

/* What can be said of the formats of some tensors. */
typedef struct {
    bool f64, f32, bf16, f16; /* there is one of this format */
} formats_seen;

/* wide: a tensor in F64 is one, whatever its numbers. */
void values_look(const safetensor *t, bool wide, formats_seen *seen);

/* The format that its numbers were rounded to: one whose numbers are all of BF16 counts as that, or else of F16, or F32. NONE: none of
 * them says anything. */
dsv3_dtype values_format(const safetensor *t);

/* What a stage wants of a tensor: rows x columns of a format. */
typedef struct {
    int64_t rows, columns;
    int64_t inner;        /* columns are of parts of so many each, such as heads; 0: of any */
    int64_t before, more; /* rows that are stored in front of these and behind them, for somebody else */
    dsv3_dtype format;
    bool finite; /* no NaN and no infinity */
} values_wanted;

/* The numbers of t, into out. False: one sentence in why, which says what is wrong with the tensor: its shape, its format, or a value. */
bool values_read(const safetensor *t, const values_wanted *w, void *out, complaint *why);

/* The same of two tensors side by side, each of half the columns. */
bool values_read_both(const safetensor *a, const safetensor *b, const values_wanted *w, void *out, complaint *why);

#endif
