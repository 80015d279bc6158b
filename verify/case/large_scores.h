/*
 * Scores s whose e^s is no number of binary32, or of binary64: what a softmax that doesn't subtract the maximum meets.
 */
#ifndef LARGE_SCORES_H
#define LARGE_SCORES_H

#include <stdint.h>

/* Near what the scores of row r are: 120, -120, 720 or -760. */
double large_score(uint64_t seed, int64_t r);

/* The entry of the query of row r, times softmax_scale, for keys that end in (m / 8, 1), m from -8 to 7. Their scores are
 * large_score + m / 2. */
double large_query_entry(uint64_t seed, int64_t r, int64_t from_end);

#endif
