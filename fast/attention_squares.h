/*
 * Attention by the matrix unit AMX, or by pairs, of queries, keys and values in BF16. Keys are taken in parts whose number depends on theirs
 * alone, a part in blocks: a block's largest score is found before its weights are made, and sums that other maxima made are moved
 * to the largest. Weights aren't divided before they meet values.
 */
#ifndef ATTENTION_SQUARES_H
#define ATTENTION_SQUARES_H

#include "ctx.h"
#include "rows.h"

#include <stdbool.h>

/* Rows that lie anywhere; or (row NULL) `pitch` bytes apart. */
typedef struct {
    const stored_row *row;
    const char *first;
    int64_t pitch;
} key_rows;

/* Head h of token t lies at element t * token + h * head. */
typedef struct {
    void *data;
    dsv3_dtype dtype;
    int64_t token, head;
} head_rows;

/* Heads of tokens that have the same keys. The last token sees all of them, each one before it one less. */
typedef struct {
    int64_t tokens, heads;
    head_rows q, o; /* q: bf16; o: f32 or bf16 */
    float *lse;     /* head h of token t at t * lse_token + h * lse_head */
    int64_t lse_token, lse_head;
    key_rows key, value;    /* bf16 */
    int64_t len;            /* keys */
    int64_t width, columns; /* numbers of a key, of a value */
    float scale;
} square_group;

/*
 * Groups that differ in q, o, lse, keys and values, and in how many there are. acc amx.bf16, or where the path isn't amx acc
 * avx512.bf16 promote=288 bits2=24; div ieee; exp 2 0; log 2 0; rescales 4; scaled scores; parts 1; scores f32 must; P bf16 must;
 * flush daz. False: no memory. Only where there is AVX512-BF16. NaN and infinities reach tokens that see them, and no others.
 */
bool attend_squares(dsv3_ctx *ctx, const square_group *group, int64_t groups);

#endif
