/*
 * The generator of all data: 64 random bits for (seed, tensor name, logical index). Counter-based, so that shape,
 * order, threads and filters never change an element. Specified with test vectors in docs/formats.md.
 */
#ifndef RNG_H
#define RNG_H

#include <stdint.h>

uint64_t rng_key(uint64_t seed, const char *name); /* one stream */
uint64_t rng_bits(uint64_t key, uint64_t index);   /* element `index` of the stream */

/* What fills are made of; each is exact, so that any language can repeat it. */
double rng_gaussian(uint64_t bits); /* near-normal, |value| <= 4, sd 1.1547: see docs/formats.md */
int64_t rng_whole(uint64_t bits, int64_t least, int64_t most); /* least..most, least <= most */

#endif
