/* Attention of rows that share keys: the largest score is found first, weights aren't divided before they meet values. */
#ifndef ATTENTION_H
#define ATTENTION_H

#include "ctx.h"
#include "rows.h"

/* A group of rows that have the same keys and values. */
typedef struct {
    int64_t rows;                  /* queries */
    const float *q;                /* row r at q + r * q_stride */
    int64_t q_stride, width;       /* numbers of a key */
    const stored_row *key, *value; /* of one format each */
    int64_t len;                   /* keys */
    int64_t columns;               /* numbers of a value */
    float scale;
    const int64_t *seen; /* keys that row r sees */
    float *o;            /* row r at o + r * o_stride */
    int64_t o_stride;
    float *lse; /* (rows), or NULL */
} attention_group;

/* acc 24 rn fused; div ieee; exp 2 0; log 2 0; rescales 0; scores f32 must; P f32 must. False: no memory. */
int attend(dsv3_ctx *ctx, const attention_group *group, int64_t groups);

#endif
