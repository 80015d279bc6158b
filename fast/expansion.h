/*
 * Products of binary32 with rows of BF16 or E4M3 that are read once, as they are stored: what brings queries to the latent and
 * values back from it. Codes are decoded in registers. A row's bits depend on that row alone.
 *
 * Of codes a block's products are summed and then scaled, by one fused operation with what the blocks before gave. acc 24 rn
 * fused. Only where there are AVX512-BF16 and AVX512-VBMI.
 */
#ifndef EXPANSION_H
#define EXPANSION_H

#include "rows.h"

enum { AHEAD = 16 }; /* rows behind the last one that are asked for: w has so many more */

/* Numbers in a row of `columns` and what fills its last chunk. */
static inline int64_t whole_chunks(int64_t columns)
{
    return (columns + CHUNK - 1) / CHUNK * CHUNK;
}

/* to[i][c] = sum over d < n of q[i][d] w[d][c], for i < m <= TILE. All TILE rows of q are read unless m is 1.
 * `sums` has room for TILE rows of whole chunks. flush daz */
void absorb_rows(int m, const uint16_t *const q[TILE], const stored_row *w, int64_t n, int64_t columns, float *sums,
                 float *const to[TILE]);

/* n numbers in the order in which expand_rows() takes them, whole chunks of them. */
void part_row(const float *x, int64_t n, float *to);

/* out[i][j] = sum over c < n of x[i][c] w[j][c], for i < m <= TILE and j < SIDE: sixteen lanes and a tree. All TILE rows of x are read
 * unless m is 1; part_row() made them. */
void expand_rows(int m, const float *const x[TILE], const stored_row *w, int64_t n, float out[TILE][SIDE]);

#endif
