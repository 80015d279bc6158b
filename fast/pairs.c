/* See tile.h: products of BF16 pairs. Compiled for AVX512-BF16, called only where it is. */
#include "tile.h"

#include "vec.h"

#define KERNEL static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 4") /* sums stay in registers */

/* Rows from some column on, and from chunk to chunk `step` bytes on. */
typedef struct {
    const char *data[TILE];
    int64_t step;
} row_set;

/* A chunk of each row that will be read soon. */
KERNEL void ask_for(const matrix_tile *w, int64_t chunk)
{
    const char *const at = w->later + chunk * w->step;
    UNROLL for (int j = 0; j < TILE; j++) __builtin_prefetch(at + j * w->pitch);
    if (w->dtype == DSV3_BF16) UNROLL for (int j = 0; j < TILE; j++) __builtin_prefetch(at + j * w->pitch + 64);
}

/* n columns, at most CHUNK, of m rows of x and TILE of w. */
KERNEL void pair_chunk(int m, dsv3_dtype dtype, const uint16_t *const x[], const row_set *w, int64_t k, int64_t n,
                       vec sum[][TILE])
{
    pairs row[TILE][2];
    UNROLL for (int j = 0; j < TILE; j++) load_pairs(w->data[j] + k / CHUNK * w->step, dtype, n, row[j]);
    UNROLL for (int i = 0; i < m; i++)
    {
        pairs entry[2];
        load_pairs(x[i] + k, DSV3_BF16, n, entry);
        UNROLL for (int h = 0; h < 2; h++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] =
            vec_dot(entry[h], row[j][h], sum[i][j]);
    }
}

KERNEL void load_sums(int m, float (*lane)[TILE][WIDTH], vec sum[][TILE])
{
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_load(lane[i][j]);
}

KERNEL void store_sums(int m, float (*lane)[TILE][WIDTH], vec sum[][TILE])
{
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) vec_store(lane[i][j], sum[i][j]);
}

/* Columns k to n - 1; those of w->later are asked for, where w isn't NULL. */
KERNEL void pair_chunks(int m, dsv3_dtype dtype, const uint16_t *const x[], const row_set *rows, const matrix_tile *w,
                        int64_t k, int64_t n, vec sum[][TILE])
{
    for (; k + CHUNK <= n; k += CHUNK) {
        if (w) ask_for(w, k / CHUNK);
        pair_chunk(m, dtype, x, rows, k, CHUNK, sum);
    }
    if (k < n) pair_chunk(m, dtype, x, rows, k, n - k, sum);
}

KERNEL void add_bf16(int m, const uint16_t *const x[], const row_set *rows, const matrix_tile *w, int64_t n,
                     float (*lane)[TILE][WIDTH])
{
    vec sum[TILE][TILE];
    load_sums(m, lane, sum);
    pair_chunks(m, DSV3_BF16, x, rows, w, 0, n, sum);
    store_sums(m, lane, sum);
}

/* A block's sum of codes, then its scale. Two rows at a time leave room for both sums in registers. */
KERNEL void add_codes(int m, dsv3_dtype dtype, const uint16_t *const x[], const row_set *rows, const matrix_tile *w,
                      const float *scale, int64_t n, float (*lane)[TILE][WIDTH])
{
    vec total[2][TILE];
    load_sums(m, lane, total);
    for (int64_t k = 0; k < n; k += BLOCK) {
        vec sum[2][TILE];
        UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_of(0);
        pair_chunks(m, dtype, x, rows, w, k, k + BLOCK < n ? k + BLOCK : n, sum);
        vec const factor = vec_of(scale[k / BLOCK]);
        UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) total[i][j] =
            vec_fma(sum[i][j], factor, total[i][j]);
    }
    store_sums(m, lane, total);
}

/* acc 24 rn fused: what tile_add_pairs does, without lanes in memory. */
KERNEL void dot_kernel(int m, const uint16_t *const x[TILE], const stored_row w[TILE], int64_t n, float out[TILE][TILE])
{
    row_set rows = {.step = CHUNK * sizeof(uint16_t)};
    vec sum[TILE][TILE];
    UNROLL for (int j = 0; j < TILE; j++) rows.data[j] = w[j].data;
    UNROLL for (int i = 0; i < TILE; i++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_of(0);
    pair_chunks(m, DSV3_BF16, x, &rows, NULL, 0, n, sum);
    vec_store(out[0], vec_sums(&sum[0][0]));
}

void dot_pairs(int m, const uint16_t *const x[TILE], const stored_row w[TILE], int64_t n, float out[TILE][TILE])
{
    m > 1 ? dot_kernel(TILE, x, w, n, out) : dot_kernel(1, x, w, n, out);
}

static row_set rows_of_tile(const matrix_tile *w)
{
    row_set rows = {.step = w->step};
    for (int j = 0; j < TILE; j++) rows.data[j] = w->data + (j < w->last ? j : w->last) * w->pitch;
    return rows;
}

void decode_pairs(const matrix_tile *w, int64_t n, uint16_t *to)
{
    row_set const rows = rows_of_tile(w);
    for (int64_t k = 0; k < n; k += CHUNK) {
        if (w->later) ask_for(w, k / CHUNK);
        UNROLL for (int j = 0; j < TILE; j++)
        {
            pairs chunk[2];
            load_pairs(rows.data[j] + k / CHUNK * w->step, w->dtype, n - k, chunk);
            for (int h = 0; h < 2; h++, to += PAIRED) store_pairs(to, first_paired(PAIRED), chunk[h]);
        }
    }
}

void tile_add_pairs(int m, const uint16_t *const x[TILE], const matrix_tile *w, int64_t n, tile_sums *s)
{
    row_set const rows = rows_of_tile(w);
    if (!w->scale && w->later) {
        m > 1 ? add_bf16(TILE, x, &rows, w, n, s->lane) : add_bf16(1, x, &rows, w, n, s->lane);
    } else if (!w->scale) {
        m > 1 ? add_bf16(TILE, x, &rows, NULL, n, s->lane) : add_bf16(1, x, &rows, NULL, n, s->lane);
    } else if (w->dtype == DSV3_F8_E4M3) {
        add_codes(1, DSV3_F8_E4M3, x, &rows, w->later ? w : NULL, w->scale, n, s->lane);
    } else {
        add_codes(2, DSV3_BF16, x, &rows, NULL, w->scale, n, s->lane);
        if (m > 2) add_codes(2, DSV3_BF16, x + 2, &rows, NULL, w->scale, n, s->lane + 2);
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
        UNROLL for (int c = 0; c < SPANS; c += 2) load_pairs(v + j * SPAN + c * WIDTH, DSV3_BF16, 2 * PAIRED, row + c);
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
