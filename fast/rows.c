/* See rows.h. Kernels are inlined for each number of rows and each format. */
#include "rows.h"

#include "tile.h"
#include "vec.h"

#define KERNEL static inline __attribute__((always_inline))

stored_row row_of(const dsv3_tensor *t, int64_t from)
{
    return (stored_row){(const char *)t->data + from * size_in(t->dtype), t->dtype, NULL};
}

/* Entries at, at + 1, ... of a row in one block of 128; factor: its scale, times 2^8 for codes. */
KERNEL vec load_scaled(const stored_row *row, dsv3_dtype dtype, int64_t at, lanes of, float factor)
{
    vec const v = load_lanes(row->data, dtype, at, of);
    return dtype == DSV3_F8_E4M3 ? vec_mul(v, vec_of(factor)) : v;
}

KERNEL float factor_of(const stored_row *row, dsv3_dtype dtype, int64_t block)
{
    return dtype == DSV3_F8_E4M3 ? row->scale[block] * 0x1p8f : 1;
}

KERNEL int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- rows ---- */

void load_row(const stored_row *row, int64_t n, float *to)
{
    if (row->dtype == DSV3_F32) {
        memcpy(to, row->data, (size_t)n * sizeof *to);
        return;
    }
    for (int64_t i = 0; i < n; i += WIDTH) {
        lanes const of = first_lanes(n - i);
        store_lanes(to, DSV3_F32, i, of, load_scaled(row, row->dtype, i, of, factor_of(row, row->dtype, i / BLOCK)));
    }
}

bool row_is_finite(const stored_row *row, int64_t n)
{
    float v[BLOCK];
    bool finite = true;
    for (int64_t c = 0; c < n; c += BLOCK) {
        int64_t const some = n - c < BLOCK ? n - c : BLOCK;
        stored_row const part = {(const char *)row->data + c * size_in(row->dtype), row->dtype, NULL};
        load_row(&part, some, v);
        for (int64_t i = 0; i < some; i++) finite &= v[i] - v[i] == 0;
    }
    return finite;
}

void store_row(const dsv3_tensor *t, int64_t from, const float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i += WIDTH) {
        lanes const of = first_lanes(n - i);
        store_lanes(t->data, t->dtype, from + i, of, load_lanes(v, DSV3_F32, i, of));
    }
}

/* ---- rows times rows ---- */

/* Rows from some column on, and from chunk to chunk `step` bytes on. */
typedef struct {
    const char *data[TILE];
    const float *scale[TILE];
    int64_t step;
} row_set;

KERNEL void dot_step(int m, dsv3_dtype dtype, const float *const x[TILE], const char *const w[TILE], int64_t k,
                     lanes of, const float factor[TILE], vec sum[TILE][TILE])
{
    vec row[TILE];
    UNROLL for (int j = 0; j < TILE; j++)
    {
        vec const v = load_lanes(w[j], dtype, k, of);
        row[j] = dtype == DSV3_F8_E4M3 ? vec_mul(v, vec_of(factor[j])) : v;
    }
    UNROLL for (int i = 0; i < m; i++)
    {
        vec const entry = load_lanes(x[i], DSV3_F32, k, of);
        UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_fma(entry, row[j], sum[i][j]);
    }
}

/* Columns k to k + n - 1, of one chunk. */
KERNEL void dot_chunk(int m, dsv3_dtype dtype, const float *const x[TILE], const row_set *w, int64_t k, int64_t n,
                      vec sum[TILE][TILE])
{
    const float *entry[TILE];
    const char *row[TILE];
    float factor[TILE];
    int64_t const whole = n / WIDTH * WIDTH;
    UNROLL for (int i = 0; i < m; i++) entry[i] = x[i] + k;
    UNROLL for (int j = 0; j < TILE; j++)
    {
        row[j] = w->data[j] + k / CHUNK * w->step;
        factor[j] = dtype == DSV3_F8_E4M3 ? w->scale[j][k / BLOCK] * 0x1p8f : 1;
    }
    for (int64_t c = 0; c < whole; c += WIDTH) dot_step(m, dtype, entry, row, c, first_lanes(WIDTH), factor, sum);
    if (whole < n) dot_step(m, dtype, entry, row, whole, first_lanes(n - whole), factor, sum);
}

KERNEL void add_kernel(int m, dsv3_dtype dtype, const float *const x[TILE], const row_set *w, int64_t n, tile_sums *s)
{
    vec sum[TILE][TILE];
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_load(s->lane[i][j]);
    for (int64_t k = 0; k < n; k += CHUNK) dot_chunk(m, dtype, x, w, k, least(CHUNK, n - k), sum);
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) vec_store(s->lane[i][j], sum[i][j]);
}

static void add_rows(int m, dsv3_dtype dtype, const float *const x[TILE], const row_set *w, int64_t n, tile_sums *s)
{
    switch (dtype) {
    case DSV3_F32: m > 1 ? add_kernel(TILE, DSV3_F32, x, w, n, s) : add_kernel(1, DSV3_F32, x, w, n, s); return;
    case DSV3_BF16: m > 1 ? add_kernel(TILE, DSV3_BF16, x, w, n, s) : add_kernel(1, DSV3_BF16, x, w, n, s); return;
    default: m > 1 ? add_kernel(TILE, DSV3_F8_E4M3, x, w, n, s) : add_kernel(1, DSV3_F8_E4M3, x, w, n, s);
    }
}

void tile_add(int m, const float *const x[TILE], const matrix_tile *w, int64_t n, tile_sums *s)
{
    row_set rows = {.step = w->step};
    for (int j = 0; j < TILE; j++) rows.data[j] = w->data + least(j, w->last) * w->pitch, rows.scale[j] = w->scale;
    add_rows(m, w->dtype, x, &rows, n, s);
}

void tile_end(const tile_sums *s, float out[TILE][TILE])
{
    vec sum[TILE * TILE];
    for (int i = 0; i < TILE * TILE; i++) sum[i] = vec_load(s->lane[i / TILE][i % TILE]);
    vec_store(out[0], vec_sums(sum));
}

void dot_rows(int m, const float *const x[TILE], const stored_row w[TILE], int64_t n, float out[TILE][TILE])
{
    tile_sums sums;
    row_set rows = {.step = CHUNK * size_in(w->dtype)};
    for (int j = 0; j < TILE; j++) rows.data[j] = w[j].data, rows.scale[j] = w[j].scale;
    memset(&sums, 0, sizeof sums);
    add_rows(m, w->dtype, x, &rows, n, &sums);
    tile_end(&sums, out);
}

/* ---- weighted sums of rows ---- */

enum { SPANS = SPAN / WIDTH };

KERNEL void sum_kernel(int m, int spans, dsv3_dtype dtype, const float *const p[TILE], const stored_row *v, int64_t n,
                       int64_t from, const lanes of[SPANS], float out[TILE][SPAN])
{
    vec sum[TILE][SPANS];
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int c = 0; c < spans; c++) sum[i][c] = vec_of(0);
    for (int64_t j = 0; j < n; j++) {
        float const factor = factor_of(&v[j], dtype, from / BLOCK);
        vec row[SPANS];
        UNROLL for (int c = 0; c < spans; c++) row[c] = load_scaled(&v[j], dtype, from + c * WIDTH, of[c], factor);
        UNROLL for (int i = 0; i < m; i++) UNROLL for (int c = 0; c < spans; c++) sum[i][c] =
            vec_fma(vec_of(p[i][j]), row[c], sum[i][c]);
    }
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int c = 0; c < spans; c++) vec_store(out[i] + c * WIDTH, sum[i][c]);
}

void sum_rows(int m, const float *const p[TILE], const stored_row *v, int64_t n, int64_t from, int64_t columns,
              float out[TILE][SPAN])
{
    lanes of[SPANS];
    UNROLL for (int c = 0; c < SPANS; c++) of[c] = columns > c * WIDTH ? first_lanes(columns - c * WIDTH) : 0;
    dsv3_dtype const dtype = n ? v->dtype : DSV3_F32;
    switch (dtype) {
    case DSV3_F32:
        if (m == 1)
            sum_kernel(1, SPANS, DSV3_F32, p, v, n, from, of, out);
        else if (columns <= 2 * WIDTH)
            sum_kernel(TILE, 2, DSV3_F32, p, v, n, from, of, out);
        else if (columns <= 3 * WIDTH)
            sum_kernel(TILE, 3, DSV3_F32, p, v, n, from, of, out);
        else
            sum_kernel(TILE, SPANS, DSV3_F32, p, v, n, from, of, out);
        return;
    case DSV3_BF16:
        m > 1 ? sum_kernel(TILE, SPANS, DSV3_BF16, p, v, n, from, of, out)
              : sum_kernel(1, SPANS, DSV3_BF16, p, v, n, from, of, out);
        return;
    default:
        m > 1 ? sum_kernel(TILE, SPANS, DSV3_F8_E4M3, p, v, n, from, of, out)
              : sum_kernel(1, SPANS, DSV3_F8_E4M3, p, v, n, from, of, out);
    }
}
