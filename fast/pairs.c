/* See tile.h: products of BF16 pairs. Compiled for AVX512-BF16, called only where it is. */
#include "tile.h"

#include "vec.h"

#define KERNEL static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 4") /* sums stay in registers */

KERNEL void pair_step(int m, dsv3_dtype dtype, const uint16_t *const x[TILE], const stored_row w[TILE], int64_t k,
                      paired_lanes of, vec sum[TILE][TILE])
{
    pairs row[TILE];
    UNROLL for (int j = 0; j < TILE; j++) row[j] = load_pairs(w[j].data, dtype, k, of);
    UNROLL for (int i = 0; i < m; i++)
    {
        pairs const entry = load_pairs(x[i], DSV3_BF16, k, of);
        UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_dot(entry, row[j], sum[i][j]);
    }
}

KERNEL void pair_stretch(int m, dsv3_dtype dtype, const uint16_t *const x[TILE], const stored_row w[TILE], int64_t from,
                         int64_t to, vec sum[TILE][TILE])
{
    int64_t const whole = from + (to - from) / PAIRED * PAIRED;
    for (int64_t k = from; k < whole; k += PAIRED) pair_step(m, dtype, x, w, k, first_paired(PAIRED), sum);
    if (whole < to) pair_step(m, dtype, x, w, whole, first_paired(to - whole), sum);
}

KERNEL void add_bf16(int m, const uint16_t *const x[TILE], const stored_row w[TILE], int64_t from, int64_t to,
                     tile_sums *s)
{
    vec sum[TILE][TILE];
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_load(s->lane[i][j]);
    pair_stretch(m, DSV3_BF16, x, w, from, to, sum);
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) vec_store(s->lane[i][j], sum[i][j]);
}

/* A block's sum of codes, then its scale. */
KERNEL void add_codes(int m, dsv3_dtype dtype, const uint16_t *const x[TILE], const stored_row w[TILE], int64_t from,
                      int64_t to, tile_sums *s)
{
    for (int64_t k = from; k < to; k += BLOCK) {
        vec sum[TILE][TILE];
        UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_of(0);
        pair_stretch(m, dtype, x, w, k, k + BLOCK < to ? k + BLOCK : to, sum);
        UNROLL for (int j = 0; j < TILE; j++)
        {
            vec const scale = vec_of(w[j].scale[k / BLOCK]);
            UNROLL for (int i = 0; i < m; i++)
                vec_store(s->lane[i][j], vec_fma(sum[i][j], scale, vec_load(s->lane[i][j])));
        }
    }
}

void load_pair_row(const stored_row *row, int64_t n, uint16_t *to)
{
    for (int64_t k = 0; k < n; k += PAIRED)
        store_pairs(to + k, first_paired(n - k), load_pairs(row->data, row->dtype, k, first_paired(n - k)));
}

void tile_add_pairs(int m, const uint16_t *const x[TILE], const stored_row w[TILE], int64_t from, int64_t to,
                    tile_sums *s)
{
    if (w->scale && w->dtype == DSV3_F8_E4M3)
        m > 1 ? add_codes(TILE, DSV3_F8_E4M3, x, w, from, to, s) : add_codes(1, DSV3_F8_E4M3, x, w, from, to, s);
    else if (w->scale)
        m > 1 ? add_codes(TILE, DSV3_BF16, x, w, from, to, s) : add_codes(1, DSV3_BF16, x, w, from, to, s);
    else
        m > 1 ? add_bf16(TILE, x, w, from, to, s) : add_bf16(1, x, w, from, to, s);
}
