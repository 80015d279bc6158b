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

/* Adds k from `from` to `to`, multiples of BLOCK but for the last. x: m <= TILE rows of binary32; w: TILE rows of one format. */
void tile_add(int m, const float *const x[TILE], const stored_row w[TILE], int64_t from, int64_t to, tile_sums *sums);

/* The same with pairs of BF16; x: rows of bf16; w: bf16 or f8_e4m3, whose scale multiplies each block's sum.
 * acc avx512.bf16 splits=16. Only where the processor has AVX512-BF16. */
void tile_add_pairs(int m, const uint16_t *const x[TILE], const stored_row w[TILE], int64_t from, int64_t to,
                    tile_sums *sums);

/* n numbers of a bf16 or f8_e4m3 row as BF16, codes without their scale. Likewise. */
void load_pair_row(const stored_row *row, int64_t n, uint16_t *to);

/* As dot_rows, of rows of bf16: acc avx512.bf16 splits=16. Likewise. */
void dot_pairs(int m, const uint16_t *const x[TILE], const stored_row w[TILE], int64_t n, float out[TILE][TILE]);

/* SPAN entries of two rows of bf16 side by side, zeros behind the n that there are; b NULL: zeros. Likewise. */
void pair_rows(const uint16_t *a, const uint16_t *b, int64_t n, uint32_t *to);

/* out[i][c] = sum over j < n of p[i][2 j] v[j][c].first + p[i][2 j + 1] v[j][c].second for SPAN columns c; v[j] at v + j * SPAN.
 * One chain: acc avx512.bf16 splits=1. Likewise. */
void sum_pairs(int m, const uint16_t *const p[TILE], const uint32_t *v, int64_t n, float out[TILE][SPAN]);

/* Each sum's lanes are added by a tree. */
void tile_end(const tile_sums *sums, float out[TILE][TILE]);

#endif
