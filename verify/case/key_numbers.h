/*
 * Data for attention that selects: keys carry their number in binary, +1 and -1, then `pads` times +1, then 1, at
 * their end. A query that asks for a number scores 0 there and below -2^15 softmax_scale elsewhere; bits that it
 * leaves out are made up by pads, so that all of its entries are powers of two.
 */
#ifndef KEY_NUMBERS_H
#define KEY_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t width; /* of a key */
    int64_t bits, pads;
} key_numbers;

/* How so many keys of that width carry their numbers. */
key_numbers key_numbers_of(int64_t width, int64_t keys);

/* Is a key wide enough? The rule that it breaks if not. */
bool key_numbers_fit(const key_numbers *n);
extern const char key_numbers_rule[];

/* Entry c of key j; `bits` draws what doesn't count. */
double key_numbers_key(const key_numbers *n, int64_t j, int64_t c, uint64_t bits);

/* Entry c of the query that selects the 2^free keys of a block: those whose number / 2^free is `block`. */
double key_numbers_select(const key_numbers *n, int64_t block, int64_t c, int64_t free);

/* Entry c of the query that selects a block of 2^free keys, drawn by `draw`, among the first `seen`; fewer if
 * those are fewer. */
double key_numbers_query(const key_numbers *n, uint64_t draw, int64_t c, int64_t free, int64_t seen);

#endif
