/*
 * Attention of rows that share keys, in binary32. The largest score is found first, weights aren't divided before they meet
 * values. attention_squares.h has that of BF16 where the processor multiplies it.
 */
#ifndef ATTENTION_H
#define ATTENTION_H

#include "ctx.h"
#include "rows.h"

/* A group of rows that have the same keys and values. */
typedef struct {
    int64_t rows;                  /* queries */
    const float *q;                /* row r at element r * q_stride */
    int64_t q_stride, width;       /* numbers of a key */
    const stored_row *key, *value; /* (len) of one format, f32 or bf16 */
    int64_t len, columns;          /* keys; numbers of a value */
    float scale;
    const int64_t *seen; /* keys that row r sees; never fewer than the row before */
    float *o;            /* row r at o + r * columns */
    float *lse;          /* (rows), or NULL */
} attention_group;

/* The cached row of token j of sequence b. */
stored_row paged_row(const dsv3_tensor *cache, const dsv3_tensor *block_table, int64_t page_size, int64_t b, int64_t j);

/* acc 24 rn fused; div ieee; exp 2 0; log 2 0; rescales 0; scaled scores; parts 1; scores f32 must; P f32 must. False:
 * no memory. */
int attend(dsv3_ctx *ctx, const attention_group *group);

#endif
