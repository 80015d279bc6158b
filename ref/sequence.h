/* Sequences that follow one another: their queries and keys by cumulative lengths, the rows of one head. */
#ifndef SEQUENCE_H
#define SEQUENCE_H

#include "dsv3.h"

/* One sequence, and the first of its queries and keys among all. */
typedef struct {
    int64_t first_query, first_key, n, len; /* queries, keys */
} sequence;
sequence sequence_of(const dsv3_tensor *cu_seqlens_q, const dsv3_tensor *cu_seqlens_k, int64_t b);

/* Of a tensor (tokens, heads, width) what belongs to head h, from row `first` on: a matrix. It has no row: nothing is read. */
dsv3_tensor rows_of_head(const dsv3_tensor *t, int64_t h, int64_t first, int64_t rows);

#endif
