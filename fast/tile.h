/*
 * The kernel of long products: tiles of rows times rows whose running sums are kept while a stretch of k at a time passes
 * through the caches. Bits are those of one pass over all of k.
 */
#ifndef TILE_H
#define TILE_H

#include "rows.h"

/* Sixteen lanes of each of TILE x TILE sums. */
typedef struct {
    float lane[TILE][TILE][16];
} tile_sums;

/* TILE rows of a matrix from some column on, in one block of 128: row j is at data + least(j, last) * pitch, and from
 * chunk to chunk it is `step` on. */
typedef struct {
    const char *data;
    int64_t pitch, step, last; /* pitch and step in bytes */
    dsv3_dtype dtype;
    const float *scale; /* of each 128 columns; f8_e4m3 only */
} matrix_tile;

/* Adds n columns: all of a row, or a multiple of BLOCK. x: m <= TILE rows of binary32. */
void tile_add(int m, const float *const x[TILE], const matrix_tile *w, int64_t n, tile_sums *sums);

/* Each sum's lanes are added by a tree. */
void tile_end(const tile_sums *sums, float out[TILE][TILE]);

#endif
