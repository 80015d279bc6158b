/* See tile.h: products of BF16 pairs. Compiled for AVX512-BF16, called only where it is. */
#include "tile.h"

#include "vec.h"

#define KERNEL static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 4") /* sums stay in registers */

enum { AHEAD = 2048 }; /* bytes */

/* Asks for what comes next of four rows that follow one another: behind their ends the next four begin. */
KERNEL void ask_ahead(dsv3_dtype dtype, const stored_row w[TILE], int64_t k, int64_t n)
{
    int64_t const size = dtype == DSV3_BF16 ? 2 : 1, at = k * size + AHEAD;
    int64_t const row = (const char *)w[1].data - (const char *)w[0].data, skip = at < n * size ? 0 : (TILE - 1) * row;
    UNROLL for (int j = 0; j < TILE; j++) __builtin_prefetch((const char *)w[j].data + at + skip);
}

KERNEL void pair_step(int m, dsv3_dtype dtype, const uint16_t *const x[], const stored_row w[TILE], int64_t k,
                      paired_lanes of, vec sum[][TILE])
{
    pairs row[TILE];
    UNROLL for (int j = 0; j < TILE; j++) row[j] = load_pairs(w[j].data, dtype, k, of);
    UNROLL for (int i = 0; i < m; i++)
    {
        pairs const entry = load_pairs(x[i], DSV3_BF16, k, of);
        UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_dot(entry, row[j], sum[i][j]);
    }
}

KERNEL void pair_stretch(int m, dsv3_dtype dtype, const uint16_t *const x[], const stored_row w[TILE], int64_t from,
                         int64_t to, vec sum[][TILE])
{
    int64_t const whole = from + (to - from) / PAIRED * PAIRED;
    for (int64_t k = from; k < whole; k += PAIRED) {
        if (m == 1 || dtype == DSV3_F8_E4M3) ask_ahead(dtype, w, k, to);
        pair_step(m, dtype, x, w, k, first_paired(PAIRED), sum);
    }
    if (whole < to) pair_step(m, dtype, x, w, whole, first_paired(to - whole), sum);
}

KERNEL void load_sums(int m, float (*lane)[TILE][WIDTH], vec sum[][TILE])
{
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_load(lane[i][j]);
}

KERNEL void store_sums(int m, float (*lane)[TILE][WIDTH], vec sum[][TILE])
{
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) vec_store(lane[i][j], sum[i][j]);
}

KERNEL void add_bf16(int m, const uint16_t *const x[], const stored_row w[TILE], int64_t from, int64_t to,
                     float (*lane)[TILE][WIDTH])
{
    vec sum[TILE][TILE];
    load_sums(m, lane, sum);
    pair_stretch(m, DSV3_BF16, x, w, from, to, sum);
    store_sums(m, lane, sum);
}

/* A block's sum of codes, then its scale. Two rows at a time leave room for both sums in registers. */
KERNEL void add_codes(int m, dsv3_dtype dtype, const uint16_t *const x[], const stored_row w[TILE], int64_t from,
                      int64_t to, float (*lane)[TILE][WIDTH])
{
    vec total[TILE][TILE];
    load_sums(m, lane, total);
    for (int64_t k = from; k < to; k += BLOCK) {
        vec sum[TILE][TILE];
        UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_of(0);
        pair_stretch(m, dtype, x, w, k, k + BLOCK < to ? k + BLOCK : to, sum);
        UNROLL for (int j = 0; j < TILE; j++)
        {
            vec const scale = vec_of(w[j].scale[k / BLOCK]);
            UNROLL for (int i = 0; i < m; i++) total[i][j] = vec_fma(sum[i][j], scale, total[i][j]);
        }
    }
    store_sums(m, lane, total);
}

/* acc 24 rn fused: what tile_add_pairs does, without lanes in memory. */
KERNEL void dot_kernel(int m, const uint16_t *const x[TILE], const stored_row w[TILE], int64_t n, float out[TILE][TILE])
{
    vec sum[TILE][TILE];
    UNROLL for (int i = 0; i < TILE; i++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_of(0);
    pair_stretch(m, DSV3_BF16, x, w, 0, n, sum);
    vec_store(out[0], vec_sums(&sum[0][0]));
}

void dot_pairs(int m, const uint16_t *const x[TILE], const stored_row w[TILE], int64_t n, float out[TILE][TILE])
{
    m > 1 ? dot_kernel(TILE, x, w, n, out) : dot_kernel(1, x, w, n, out);
}

void load_pair_row(const stored_row *row, int64_t n, uint16_t *to)
{
    for (int64_t k = 0; k < n; k += PAIRED)
        store_pairs(to + k, first_paired(n - k), load_pairs(row->data, row->dtype, k, first_paired(n - k)));
}

void tile_add_pairs(int m, const uint16_t *const x[TILE], const stored_row w[TILE], int64_t from, int64_t to,
                    tile_sums *s)
{
    if (!w->scale) {
        m > 1 ? add_bf16(TILE, x, w, from, to, s->lane) : add_bf16(1, x, w, from, to, s->lane);
    } else if (w->dtype == DSV3_F8_E4M3) {
        m > 1 ? add_codes(TILE, DSV3_F8_E4M3, x, w, from, to, s->lane)
              : add_codes(1, DSV3_F8_E4M3, x, w, from, to, s->lane);
    } else {
        add_codes(2, DSV3_BF16, x, w, from, to, s->lane);
        if (m > 2) add_codes(2, DSV3_BF16, x + 2, w, from, to, s->lane + 2);
    }
}

/* ---- weighted sums of pairs of rows ---- */

void pair_rows(const uint16_t *a, const uint16_t *b, int64_t n, uint32_t *to)
{
    static const uint16_t none[WIDTH];
    for (int64_t c = 0; c < SPAN; c += WIDTH) {
        lanes const of = n > c ? first_lanes(n - c) : 0;
        store_pairs((uint16_t *)(to + c), first_paired(PAIRED),
                    interleave(of ? a + c : none, of && b ? b + c : none, of));
    }
}

enum { SPANS = SPAN / WIDTH };

KERNEL void sum_kernel(int m, const uint16_t *const p[TILE], const uint32_t *v, int64_t n, float out[TILE][SPAN])
{
    vec sum[TILE][SPANS];
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int c = 0; c < SPANS; c++) sum[i][c] = vec_of(0);
    for (int64_t j = 0; j < n; j++) {
        pairs row[SPANS];
        UNROLL for (int c = 0; c < SPANS; c++) row[c] =
            load_pairs(v + j * SPAN, DSV3_BF16, c * PAIRED, first_paired(PAIRED));
        UNROLL for (int i = 0; i < m; i++)
        {
            pairs const weight = pairs_of(p[i] + 2 * j);
            UNROLL for (int c = 0; c < SPANS; c++) sum[i][c] = vec_dot(weight, row[c], sum[i][c]);
        }
    }
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int c = 0; c < SPANS; c++) vec_store(out[i] + c * WIDTH, sum[i][c]);
}

void sum_pairs(int m, const uint16_t *const p[TILE], const uint32_t *v, int64_t n, float out[TILE][SPAN])
{
    m > 1 ? sum_kernel(TILE, p, v, n, out) : sum_kernel(1, p, v, n, out);
}
