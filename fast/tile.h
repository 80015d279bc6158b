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
    /* What memory is asked for in time. Where the rows are used once: what lies so many bytes on; behind the end of rows that aren't
     * packed (`length` bytes; packed: 0) the next four begin. */
    int64_t ahead, length;
    /* Where they are used in several passes (ahead is 0): `to_ask` lines of 64 bytes from `later` on, at_once a chunk, the one numbered
     * `asked` first. Where rows aren't packed, 2^row_lines of them lie in each. */
    const char *later;
    int64_t asked, to_ask, at_once;
    int row_lines;
} matrix_tile;

/* Adds n columns: all of a row, or a multiple of BLOCK. x: m <= TILE rows of binary32. */
void tile_add(int m, const float *const x[TILE], const matrix_tile *w, int64_t n, tile_sums *sums);

/* The same with pairs of BF16; x: rows of bf16; w: bf16 or f8_e4m3, a scale multiplies each block's sum. Asks for what is read later.
 * acc avx512.bf16 splits=16. Only where the processor has AVX512-BF16. */
void tile_add_pairs(int m, const uint16_t *const x[TILE], matrix_tile *w, int64_t n, tile_sums *sums);

/* n columns of bf16 or f8_e4m3 rows as BF16, codes without their scale, packed. Likewise. */
void decode_pairs(const matrix_tile *w, int64_t n, uint16_t *to);

/* Each sum's lanes are added by a tree. */
void tile_end(const tile_sums *sums, float out[TILE][TILE]);

#endif
