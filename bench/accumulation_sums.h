/* Dot products of E4M3 with E4M3, summed in several ways; all of them at once, as a product of two matrices. */
#ifndef ACCUMULATION_SUMS_H
#define ACCUMULATION_SUMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rows of A and columns of B, k codes each. */
enum { SUMS_ROWS = 64, SUMS_COLUMNS = 128, SUMS = SUMS_ROWS * SUMS_COLUMNS };

/* Hopper's wgmma alone; with its sum added to one of binary32 after every 128 products; binary32 alone, one chain. */
typedef enum { SUM_UNIT, SUM_PROMOTED, SUM_BINARY32, SUM_WAYS } sum_way;

/* 448 times numbers that are uniform in [0, 1), or in [-1, 1), rounded to E4M3. */
void sums_fill(uint8_t *codes, size_t n, bool is_signed, uint64_t *random);

/* sum[i][j]; k: a multiple of 32. */
void sums_multiply(sum_way way, int k, const uint8_t *a, const uint8_t *b, float *sum);

/* The exact sum of the products of a row and a column. k: no more than 65536. */
double sums_exact(int k, const uint8_t *a, const uint8_t *b);

#endif
