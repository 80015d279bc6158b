/*
 * Attention of rows that share keys. The largest score is found first, weights aren't divided before they meet values. Where
 * queries and keys are BF16 and products go by pairs, weights are rounded to BF16 and values are taken two tokens at a time.
 */
#ifndef ATTENTION_H
#define ATTENTION_H

#include "ctx.h"
#include "rows.h"

/* A group of rows that have the same keys and values. */
typedef struct {
    int64_t rows;                  /* queries */
    const void *q;                 /* row r at element r * q_stride */
    int64_t q_stride, width;       /* numbers of a key */
    dsv3_dtype dtype;              /* of queries, keys and values: f32 or bf16 */
    const stored_row *key, *value; /* (len) */
    int64_t len, columns;          /* keys; numbers of a value */
    float scale;
    const int64_t *seen; /* keys that row r sees; never fewer than the row before */
    float *o;            /* row r at o + r * columns */
    float *lse;          /* (rows), or NULL */
} attention_group;

/* The cached row of token j of sequence b. */
stored_row paged_row(const dsv3_tensor *cache, const dsv3_tensor *block_table, int64_t page_size, int64_t b, int64_t j);

/* acc 24 rn fused; div ieee; exp 2 0; log 2 0; rescales 0; scaled scores; parts 1; scores f32 must; P f32 must, or bf16 must
 * with pairs. False: no memory. */
int attend(dsv3_ctx *ctx, const attention_group *group);

#endif
