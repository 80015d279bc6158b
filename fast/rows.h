/*
 * The two sums of which every op is made, over rows that lie anywhere: rows times rows, and weighted sums of rows. A result
 * depends on its own rows alone, not on how many others are made beside it.
 */
#ifndef ROWS_H
#define ROWS_H

#include "dsv3.h"

#include <stdbool.h>

/* Entries under one FP8 scale; rows of a tile, and of one of the matrix unit; columns of a weighted sum; entries of a packed row
 * that lie side by side. */
enum { BLOCK = 128, TILE = 4, SIDE = 16, SPAN = 64, CHUNK = 64 };

/* A stored row. */
typedef struct {
    const void *data;
    dsv3_dtype dtype;   /* f32, bf16 or f8_e4m3 */
    const float *scale; /* of each 128 codes; f8_e4m3 only */
} stored_row;

/* Bytes of a number. */
static inline int64_t size_in(dsv3_dtype dtype)
{
    return dtype == DSV3_F32 ? 4 : dtype == DSV3_BF16 ? 2 : 1;
}

stored_row row_of(const dsv3_tensor *t, int64_t from); /* from element `from` of its memory on */

/* n numbers of a row, as binary32; codes times scale are rounded. */
void load_row(const stored_row *row, int64_t n, float *to);
void store_row(const dsv3_tensor *t, int64_t from, const float *v, int64_t n);

/* Are n numbers of a row of f32 or bf16 neither NaN nor infinite? */
bool row_is_finite(const stored_row *row, int64_t n);

/* out[i][j] = sum over k < n of x[i][k] w[j][k]: sixteen lanes of fused sums and a tree. i < m, j < TILE rows of one format; m <= TILE.
 * acc 24 rn fused splits=16 */
void dot_rows(int m, const float *const x[TILE], const stored_row w[TILE], int64_t n, float out[TILE][TILE]);

/* out[i][c] = sum over j < n of p[i][j] v[j][c], c from `from` on, at most SPAN columns: one chain of fused sums.
 * All TILE rows of p are read unless m is 1.
 * acc 24 rn fused splits=1 */
void sum_rows(int m, const float *const p[TILE], const stored_row *v, int64_t n, int64_t from, int64_t columns,
              float out[TILE][SPAN]);

#endif
