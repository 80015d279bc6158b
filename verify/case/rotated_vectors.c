/* See rotated_vectors.h. */
#include "rotated_vectors.h"

#include "rng.h"

#include <math.h>

/* Of a vector: all floats of the problem are vectors. */
static int64_t width_of(const struct problem *p)
{
    return p->tensor[0].shape[p->tensor[0].ndim - 1];
}

static bool is_positions(const tensor_row *row)
{
    return !strcmp(row->name, "positions");
}

double rotated_real(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)p, (void)i;
    return is_positions(row) ? (double)rng_whole(bits, 1, 4095) : rng_gaussian(bits);
}

/* Position 0: nothing turns, so that only the places of the elements are left to be wrong. */
double rotated_exact(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)p, (void)i;
    return is_positions(row) ? 0 : (double)rng_whole(bits, -100, 100);
}

/* Where 16-bit positions, BF16 tables, the original length and binary32 angles end; then anywhere far out. */
double rotated_far(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    static const double edges[] = {163839, 4096, 65537, 131071, 257, 4095, 65535, 16777215};
    (void)p;
    if (!is_positions(row)) return rng_gaussian(bits);
    return i < 8 ? edges[i] : (double)rng_whole(bits, 4096, 163839);
}

double rotated_onehot(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const r = width_of(p);
    if (is_positions(row)) return (double)rng_whole(bits, 1, 4095);
    return i % r == (i / r + (int64_t)(p->seed % 1024)) % r ? 1 : 0;
}

/* Pairs of very different size, nearly equal ones, subnormal ones, zeros. */
double rotated_adversarial(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const r = width_of(p);
    double const g = rng_gaussian(bits);
    if (is_positions(row)) return (double)rng_whole(bits, 0, i % 3 ? 100000 : 8);
    switch ((i / r + (int64_t)(p->seed % 5)) % 5) {
    case 0: return i % 2 ? g : 0x1p20 * g;
    case 1: return 1 + 0x1p-7 * g;
    case 2: return 0x1p-130 * g;
    case 3: return i % 3 ? 0 : g;
    default: return 0x1p60 * g;
    }
}
