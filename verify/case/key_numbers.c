/* See key_numbers.h. */
#include "key_numbers.h"

#include "rng.h"

const char selection_rule[] =
    "fills exact, onehot and uniform write the number of a key into its last entries: too many keys "
    "for this width";

selection selection_of(int64_t width, int64_t keys)
{
    selection s = {width, 0, 1};
    while ((int64_t)1 << s.bits < keys) s.bits++;
    while (s.pads < s.bits) s.pads *= 2;
    return s;
}

bool selection_fits(const selection *s)
{
    return s->bits + s->pads + 1 <= s->width;
}

double selection_key(const selection *s, int64_t j, int64_t c, uint64_t bits)
{
    int64_t const from_end = s->width - 1 - c;
    if (from_end <= s->pads) return 1;
    if (from_end <= s->pads + s->bits) return j >> (from_end - s->pads - 1) & 1 ? 1 : -1;
    return (double)rng_whole(bits, -8, 8);
}

double selection_query(const selection *s, uint64_t draw, int64_t c, int64_t free, int64_t seen)
{
    int64_t const from_end = s->width - 1 - c, bit = from_end - s->pads - 1;
    if (seen <= 0) return 0;
    while (seen >> free == 0) free--;
    int64_t const block = rng_whole(draw, 0, (seen >> free) - 1);
    if (from_end == 0) return -(double)s->pads * 0x1p14;
    if (from_end <= s->pads) return from_end <= s->pads - s->bits + free ? 0x1p14 : 0;
    if (bit >= s->bits || bit < free) return 0;
    return block >> (bit - free) & 1 ? 0x1p14 : -0x1p14;
}
