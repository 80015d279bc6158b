/* See tile.h: products of BF16 pairs. Compiled for AVX512-BF16, called only where it is. */
#include "tile.h"

#include "vec.h"

#define KERNEL static inline __attribute__((always_inline))

/* Rows from some column on, and from chunk to chunk `step` bytes on. */
typedef struct {
    const char *data[TILE];
    int64_t step;
} row_set;

typedef enum { ASK_NOTHING, ASK_AHEAD, ASK_LATER } asking;

KERNEL void ask_ahead(dsv3_dtype dtype, const matrix_tile *w, int64_t k)
{
    int64_t const at = k / CHUNK * w->step + w->ahead, skip = at < w->length || !w->length ? 0 : (TILE - 1) * w->pitch;
    const char *const there = w->data + at + skip;
    UNROLL for (int j = 0; j < TILE; j++) __builtin_prefetch(there + j * w->pitch);
    if (dtype == DSV3_BF16) UNROLL for (int j = 0; j < TILE; j++) __builtin_prefetch(there + j * w->pitch + 64);
}

KERNEL void ask_later(matrix_tile *w)
{
    int64_t const until = w->asked + w->at_once < w->to_ask ? w->asked + w->at_once : w->to_ask;
    for (; w->asked < until; w->asked++) {
        int64_t const row = w->asked >> w->row_lines, line = w->asked - (row << w->row_lines);
        __builtin_prefetch(w->later + row * w->pitch + line * 64);
    }
}

KERNEL void ask(asking how, dsv3_dtype dtype, matrix_tile *w, int64_t k)
{
    if (how == ASK_AHEAD) ask_ahead(dtype, w, k);
    if (how == ASK_LATER) ask_later(w);
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

/* Columns k to n - 1. */
KERNEL void pair_chunks(int m, dsv3_dtype dtype, asking how, const uint16_t *const x[], const row_set *rows,
                        matrix_tile *w, int64_t k, int64_t n, vec sum[][TILE])
{
    for (; k + CHUNK <= n; k += CHUNK) {
        ask(how, dtype, w, k);
        pair_chunk(m, dtype, x, rows, k, CHUNK, sum);
    }
    if (k < n) pair_chunk(m, dtype, x, rows, k, n - k, sum);
}

KERNEL void add_bf16(int m, asking how, const uint16_t *const x[], const row_set *rows, matrix_tile *w, int64_t n,
                     float (*lane)[TILE][WIDTH])
{
    vec sum[TILE][TILE];
    load_sums(m, lane, sum);
    pair_chunks(m, DSV3_BF16, how, x, rows, w, 0, n, sum);
    store_sums(m, lane, sum);
}

/* A block's sum of codes, then its scale. Two rows at a time leave room for both sums in registers. */
KERNEL void add_codes(int m, dsv3_dtype dtype, asking how, const uint16_t *const x[], const row_set *rows,
                      matrix_tile *w, int64_t n, float (*lane)[TILE][WIDTH])
{
    vec total[2][TILE];
    load_sums(m, lane, total);
    for (int64_t k = 0; k < n; k += BLOCK) {
        vec sum[2][TILE];
        UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_of(0);
        pair_chunks(m, dtype, how, x, rows, w, k, k + BLOCK < n ? k + BLOCK : n, sum);
        vec const factor = vec_of(w->scale[k / BLOCK]);
        UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) total[i][j] =
            vec_fma(sum[i][j], factor, total[i][j]);
    }
    store_sums(m, lane, total);
}

/* Codes that are decoded already, without their scale. */
KERNEL void add_shared_codes(int m, asking how, const uint16_t *const x[], const row_set *rows, matrix_tile *w,
                             int64_t n, float (*lane)[TILE][WIDTH])
{
    add_codes(2, DSV3_BF16, how, x, rows, w, n, lane);
    if (m > 2) add_codes(2, DSV3_BF16, how, x + 2, rows, w, n, lane + 2);
}

/* Row by row of W, so that few of its numbers are in registers. */
KERNEL void code_chunk(const uint16_t *const x[], const row_set *rows, int64_t k, int64_t n, vec sum[][TILE])
{
    UNROLL for (int j = 0; j < TILE; j++)
    {
        pairs row[2], entry[2];
        load_pairs(rows->data[j] + k / CHUNK * rows->step, DSV3_F8_E4M3, n, row);
        UNROLL for (int i = 0; i < TILE; i++)
        {
            load_pairs(x[i] + k, DSV3_BF16, n, entry);
            UNROLL for (int h = 0; h < 2; h++) sum[i][j] = vec_dot(entry[h], row[h], sum[i][j]);
        }
    }
}

/* Four rows of codes that nobody else uses: sums of blocks are in registers, those of the row in memory. */
KERNEL void add_few_codes(const uint16_t *const x[], const row_set *rows, matrix_tile *w, int64_t n,
                          float (*lane)[TILE][WIDTH])
{
    for (int64_t k = 0; k < n; k += BLOCK) {
        int64_t const end = k + BLOCK < n ? k + BLOCK : n;
        vec sum[TILE][TILE];
        UNROLL for (int i = 0; i < TILE; i++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_of(0);
        for (int64_t c = k; c + CHUNK <= end; c += CHUNK) {
            ask_ahead(DSV3_F8_E4M3, w, c);
            code_chunk(x, rows, c, CHUNK, sum);
        }
        if (end % CHUNK) code_chunk(x, rows, end / CHUNK * CHUNK, end % CHUNK, sum);
        vec const factor = vec_of(w->scale[k / BLOCK]);
        UNROLL for (int i = 0; i < TILE; i++) UNROLL for (int j = 0; j < TILE; j++)
            vec_store(lane[i][j], vec_fma(sum[i][j], factor, vec_load(lane[i][j])));
        __asm__ volatile("" ::: "memory"); /* or compilers keep the row's sums in registers, which are used up */
    }
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
    for (int64_t k = 0; k < n; k += CHUNK) UNROLL for (int j = 0; j < TILE; j++)
        {
            pairs chunk[2];
            load_pairs(rows.data[j] + k / CHUNK * w->step, w->dtype, n - k, chunk);
            for (int h = 0; h < 2; h++, to += PAIRED) store_pairs(to, first_paired(PAIRED), chunk[h]);
        }
}

void tile_add_pairs(int m, const uint16_t *const x[TILE], matrix_tile *w, int64_t n, tile_sums *s)
{
    row_set const rows = rows_of_tile(w);
    if (!w->scale && w->ahead) {
        m > 1 ? add_bf16(TILE, ASK_AHEAD, x, &rows, w, n, s->lane) : add_bf16(1, ASK_AHEAD, x, &rows, w, n, s->lane);
    } else if (!w->scale && w->later) {
        m > 1 ? add_bf16(TILE, ASK_LATER, x, &rows, w, n, s->lane) : add_bf16(1, ASK_LATER, x, &rows, w, n, s->lane);
    } else if (!w->scale) {
        m > 1 ? add_bf16(TILE, ASK_NOTHING, x, &rows, w, n, s->lane)
              : add_bf16(1, ASK_NOTHING, x, &rows, w, n, s->lane);
    } else if (w->dtype == DSV3_F8_E4M3) {
        m > 1 ? add_few_codes(x, &rows, w, n, s->lane) : add_codes(1, DSV3_F8_E4M3, ASK_AHEAD, x, &rows, w, n, s->lane);
    } else {
        w->later ? add_shared_codes(m, ASK_LATER, x, &rows, w, n, s->lane)
                 : add_shared_codes(m, ASK_NOTHING, x, &rows, w, n, s->lane);
    }
}
