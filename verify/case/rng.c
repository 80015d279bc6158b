/* See rng.h. */
#include "rng.h"

static const uint64_t golden = 0x9e3779b97f4a7c15u; /* 2^64 / the golden ratio */

/* The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014; constants: Stafford's variant 13). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t rng_key(uint64_t seed, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, 64 bits */
    for (const char *s = name; *s; s++) hash = (hash ^ (unsigned char)*s) * 0x100000001b3u;
    return mix(mix(seed + golden) ^ hash);
}

uint64_t rng_bits(uint64_t key, uint64_t index)
{
    return mix(key + (index + 1) * golden);
}

double rng_gaussian(uint64_t bits)
{
    int64_t sum = 0;
    for (int i = 0; i < 4; i++) sum += (int64_t)(bits >> 16 * i & 0xffff);
    return (double)(sum - 131070) * 0x1p-15;
}

int64_t rng_whole(uint64_t bits, int64_t least, int64_t most)
{
    return least + (int64_t)((bits >> 32) * (uint64_t)(most - least + 1) >> 32);
}
