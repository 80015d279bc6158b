/* See expansion.h. Compiled for AVX512-BF16, called only where it is. Kernels are inlined for one row and for TILE. */
#include "expansion.h"

#include "vec.h"

#define KERNEL static inline __attribute__((always_inline))

enum { GROUP = 8, VECS = CHUNK / WIDTH }; /* rows that meet a chunk's sums at once */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* From column c on. */
KERNEL const char *row_from(const stored_row *row, dsv3_dtype dtype, int64_t c)
{
    return (const char *)row->data + c * size_in(dtype);
}

/* A chunk of a row from column c on is wanted soon. */
KERNEL void ask(const stored_row *row, dsv3_dtype dtype, int64_t c)
{
    __builtin_prefetch(row_from(row, dtype, c));
    if (dtype == DSV3_BF16) __builtin_prefetch(row_from(row, dtype, c + CHUNK / 2));
}

/* ---- weighted sums of rows: pairs of rows, columns as lanes ---- */

KERNEL void add_pair(int m, const uint16_t *const q[TILE], int64_t d, pairs const a[2], pairs const b[2],
                     vec sum[TILE][VECS])
{
    pairs w[VECS];
    UNROLL for (int h = 0; h < 2; h++) weave(a[h], b[h], &w[2 * h], &w[2 * h + 1]);
    UNROLL for (int i = 0; i < m; i++)
    {
        pairs const one = pairs_of(q[i] + d);
        UNROLL for (int k = 0; k < VECS; k++) sum[i][k] = vec_dot(one, w[k], sum[i][k]);
    }
}

/* Rows d to d + rows - 1 of w, n <= CHUNK columns from c on; the sums lie `pitch` apart. */
KERNEL void absorb_chunk(int m, dsv3_dtype dtype, const uint16_t *const q[TILE], const stored_row *w, int64_t d,
                         int64_t rows, int64_t c, int64_t n, float *sums, int64_t pitch)
{
    vec sum[TILE][VECS];
    pairs a[2], b[2];
    int64_t const end = d + rows / 2 * 2;
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int k = 0; k < VECS; k++) sum[i][k] =
        vec_load(sums + i * pitch + c + k * WIDTH);
    for (int64_t r = d; r < end; r += 2) {
        ask(&w[r + AHEAD], dtype, c), ask(&w[r + 1 + AHEAD], dtype, c);
        load_pairs(row_from(&w[r], dtype, c), dtype, n, a);
        load_pairs(row_from(&w[r + 1], dtype, c), dtype, n, b);
        add_pair(m, q, r, a, b, sum);
    }
    if (rows % 2) {
        uint16_t last[TILE][2];
        const uint16_t *alone[TILE];
        for (int i = 0; i < m; i++) last[i][0] = q[i][end], last[i][1] = 0, alone[i] = last[i];
        load_pairs(row_from(&w[end], dtype, c), dtype, n, a);
        load_pairs(row_from(&w[end], dtype, c), dtype, 0, b);
        add_pair(m, alone, 0, a, b, sum);
    }
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int k = 0; k < VECS; k++)
        vec_store(sums + i * pitch + c + k * WIDTH, sum[i][k]);
}

KERNEL void absorb_kernel(int m, dsv3_dtype dtype, const uint16_t *const q[TILE], const stored_row *w, int64_t from,
                          int64_t to, int64_t columns, float *sums)
{
    int64_t const pitch = whole_chunks(columns), whole = columns / CHUNK * CHUNK;
    for (int64_t d = from; d < to; d += GROUP) {
        int64_t const rows = least(GROUP, to - d);
        for (int64_t c = 0; c < whole; c += CHUNK) absorb_chunk(m, dtype, q, w, d, rows, c, CHUNK, sums, pitch);
        if (whole < columns) absorb_chunk(m, dtype, q, w, d, rows, whole, columns - whole, sums, pitch);
    }
}

static void add_rows(int m, const uint16_t *const q[TILE], const stored_row *w, int64_t from, int64_t to,
                     int64_t columns, float *sums)
{
    if (w->dtype == DSV3_BF16)
        m > 1 ? absorb_kernel(TILE, DSV3_BF16, q, w, from, to, columns, sums)
              : absorb_kernel(1, DSV3_BF16, q, w, from, to, columns, sums);
    else
        m > 1 ? absorb_kernel(TILE, DSV3_F8_E4M3, q, w, from, to, columns, sums)
              : absorb_kernel(1, DSV3_F8_E4M3, q, w, from, to, columns, sums);
}

/* Sums of woven columns, times their scales, are added to a row. */
static void add_scaled(const float *sums, const float *scale, int64_t columns, float *to)
{
    for (int64_t c = 0; c < columns; c += PAIRED) {
        vec v[2];
        vec const factor = vec_of(scale ? scale[c / BLOCK] : 1);
        unweave(vec_load(sums + c), vec_load(sums + c + WIDTH), &v[0], &v[1]);
        for (int h = 0; h < 2 && c + h * WIDTH < columns; h++) {
            int64_t const at = c + h * WIDTH;
            lanes const of = first_lanes(columns - at);
            store_lanes(to, DSV3_F32, at, of, vec_fma(v[h], factor, load_lanes(to, DSV3_F32, at, of)));
        }
    }
}

void absorb_rows(int m, const uint16_t *const q[TILE], const stored_row *w, int64_t n, int64_t columns, float *sums,
                 float *const to[TILE])
{
    int64_t const pitch = whole_chunks(columns);
    for (int i = 0; i < m; i++) memset(to[i], 0, (size_t)columns * sizeof **to);
    for (int64_t from = 0, end; from < n; from = end) {
        for (end = from + 1; end < n && w[end].scale == w[from].scale; end++) {
        }
        memset(sums, 0, (size_t)(m > 1 ? TILE : 1) * (size_t)pitch * sizeof *sums);
        add_rows(m, q, w, from, end, columns, sums);
        for (int i = 0; i < m; i++) add_scaled(sums + i * pitch, w[from].scale, columns, to[i]);
    }
}

/* ---- rows times rows: columns as lanes, those at even places and at odd ones ---- */

void part_row(const float *x, int64_t n, float *to)
{
    for (int64_t c = 0; c < n; c += PAIRED) {
        vec even, odd;
        int64_t const left = n - c - WIDTH;
        vec const second = left > 0 ? load_lanes(x, DSV3_F32, c + WIDTH, first_lanes(left)) : vec_of(0);
        vec_part(load_lanes(x, DSV3_F32, c, first_lanes(n - c)), second, &even, &odd);
        vec_store(to + c, even), vec_store(to + c + WIDTH, odd);
    }
    if (whole_chunks(n) - n >= PAIRED) memset(to + whole_chunks(n) - PAIRED, 0, PAIRED * sizeof *to);
}

/* n <= CHUNK columns of TILE rows, from c on. */
KERNEL void expand_chunk(int m, dsv3_dtype dtype, const float *const x[TILE], const stored_row *w, int64_t c, int64_t n,
                         vec sum[TILE][TILE])
{
    UNROLL for (int j = 0; j < TILE; j++)
    {
        pairs both[2];
        vec v[VECS];
        ask(&w[j + AHEAD], dtype, c);
        load_pairs(row_from(&w[j], dtype, c), dtype, n, both);
        UNROLL for (int h = 0; h < 2; h++) split_pairs(both[h], &v[2 * h], &v[2 * h + 1]);
        UNROLL for (int i = 0; i < m; i++) UNROLL for (int k = 0; k < VECS; k++) sum[i][j] =
            vec_fma(vec_load(x[i] + c + k * WIDTH), v[k], sum[i][j]);
    }
}

/* A block's sums, scaled, are added to lanes that lie SIDE rows apart. */
KERNEL void expand_block(int m, dsv3_dtype dtype, const float *const x[TILE], const stored_row *w, int64_t c, int64_t n,
                         float (*lane)[WIDTH])
{
    vec sum[TILE][TILE];
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < TILE; j++) sum[i][j] = vec_of(0);
    int64_t const whole = n / CHUNK * CHUNK;
    for (int64_t k = 0; k < whole; k += CHUNK) expand_chunk(m, dtype, x, w, c + k, CHUNK, sum);
    if (whole < n) expand_chunk(m, dtype, x, w, c + whole, n - whole, sum);
    UNROLL for (int j = 0; j < TILE; j++)
    {
        vec const factor = vec_of(dtype == DSV3_F8_E4M3 ? w[j].scale[c / BLOCK] : 1);
        UNROLL for (int i = 0; i < m; i++)
        {
            float *const total = lane[i * SIDE + j];
            vec_store(total, vec_fma(sum[i][j], factor, vec_load(total)));
        }
    }
}

KERNEL void expand_kernel(int m, dsv3_dtype dtype, const float *const x[TILE], const stored_row *w, int64_t n,
                          float (*lane)[WIDTH])
{
    for (int j = 0; j < SIDE; j += TILE)
        for (int64_t c = 0; c < n; c += BLOCK) expand_block(m, dtype, x, w + j, c, least(BLOCK, n - c), lane + j);
}

void expand_rows(int m, const float *const x[TILE], const stored_row *w, int64_t n, float out[TILE][SIDE])
{
    float lane[TILE * SIDE][WIDTH];
    memset(lane, 0, sizeof lane);
    if (w->dtype == DSV3_BF16)
        m > 1 ? expand_kernel(TILE, DSV3_BF16, x, w, n, lane) : expand_kernel(1, DSV3_BF16, x, w, n, lane);
    else
        m > 1 ? expand_kernel(TILE, DSV3_F8_E4M3, x, w, n, lane) : expand_kernel(1, DSV3_F8_E4M3, x, w, n, lane);
    for (int i = 0; i < m; i++) {
        vec sum[SIDE];
        for (int j = 0; j < SIDE; j++) sum[j] = vec_load(lane[i * SIDE + j]);
        vec_store(out[i], vec_sums(sum));
    }
}
