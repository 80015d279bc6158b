/* See key_numbers.h. */
#include "key_numbers.h"

#include "rng.h"

const char key_numbers_rule[] =
    "this fill writes the number of a key into its last entries: too many keys for this width";

key_numbers key_numbers_of(int64_t width, int64_t keys)
{
    key_numbers n = {width, 0, 1};
    while ((int64_t)1 << n.bits < keys) n.bits++;
    while (n.pads < n.bits) n.pads *= 2;
    return n;
}

bool key_numbers_fit(const key_numbers *n)
{
    return n->bits + n->pads + 1 <= n->width;
}

double key_numbers_key(const key_numbers *n, int64_t j, int64_t c, uint64_t bits)
{
    int64_t const from_end = n->width - 1 - c;
    if (from_end <= n->pads) return 1;
    if (from_end <= n->pads + n->bits) return j >> (from_end - n->pads - 1) & 1 ? 1 : -1;
    return (double)rng_whole(bits, -8, 8);
}

double key_numbers_select(const key_numbers *n, int64_t block, int64_t c, int64_t free)
{
    int64_t const from_end = n->width - 1 - c, bit = from_end - n->pads - 1;
    if (from_end == 0) return -(double)n->pads * 0x1p14;
    if (from_end <= n->pads) return from_end <= n->pads - n->bits + free ? 0x1p14 : 0;
    if (bit >= n->bits || bit < free) return 0;
    return block >> (bit - free) & 1 ? 0x1p14 : -0x1p14;
}

double key_numbers_query(const key_numbers *n, uint64_t draw, int64_t c, int64_t free, int64_t seen)
{
    if (seen <= 0) return 0;
    while (seen >> free == 0) free--;
    return key_numbers_select(n, rng_whole(draw, 0, (seen >> free) - 1), c, free);
}
