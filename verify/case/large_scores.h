/*
 * Scores s whose e^s is no number of binary32, or of binary64: what a softmax that doesn't subtract the maximum meets.
 */
#ifndef LARGE_SCORES_H
#define LARGE_SCORES_H

#include "key_numbers.h"

/* Near what the scores of row r are: 120, -120, 720 or -760. */
double large_score(uint64_t seed, int64_t r);

/* Data for attention: one key scores near 94, -106, 98 or -112, by row, the others are 8 and more below. All of
 * these differ in BF16, and what is chosen is clear in any arithmetic. Keys end in their number, bits as +1 and -1, and 1. */

/* Is a key wide enough? */
bool large_scores_fit(const key_numbers *n);

/* Entry c of key j; `other` where it doesn't count. */
double large_key(const key_numbers *n, int64_t j, int64_t c, double other);

/* Entry c of the query of row r, times softmax_scale, that chooses one of the first `seen` keys, drawn by `draw`. */
double large_query(const key_numbers *n, uint64_t seed, int64_t r, uint64_t draw, int64_t c, int64_t seen);

#endif
