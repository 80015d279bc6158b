/* See matrix.h. */
#include "matrix.h"

#include "tile.h"
#include "vec.h"

#include <stdio.h>

matrix find_matrix(const dsv3_weights *weights, const char *name)
{
    char full[128];
    matrix m;
    snprintf(full, sizeof full, "%s.weight", name);
    m.weight = dsv3_find(weights, full);
    snprintf(full, sizeof full, "%s.weight_scale_inv", name);
    m.scale = dsv3_find(weights, full);
    return m;
}

int is_float(const dsv3_tensor *t)
{
    return t && (t->dtype == DSV3_F32 || t->dtype == DSV3_BF16);
}

int usable(const matrix *m)
{
    return m->weight && (m->weight->dtype == DSV3_F8_E4M3 ? m->scale != NULL : is_float(m->weight));
}

stored_row matrix_row(const matrix *m, int64_t o)
{
    stored_row row = row_of(m->weight, o * m->weight->stride[0]);
    if (m->scale) row.scale = (const float *)m->scale->data + o / BLOCK * m->scale->stride[0];
    return row;
}

static size_t size_of(dsv3_dtype dtype)
{
    return dtype == DSV3_F32 ? 4 : 2;
}

dsv3_tensor tensor_in(dsv3_ctx *ctx, dsv3_dtype dtype, int64_t rows, int64_t columns)
{
    void *const data = ctx_take(ctx, rows * columns, size_of(dtype));
    return (dsv3_tensor){data, dtype, 2, {rows, columns}, {columns, 1}};
}

row_list rows_of(const dsv3_tensor *x)
{
    return (row_list){x->data, x->dtype, x->stride[0], NULL};
}

int by_pairs(dsv3_dtype x)
{
    return path_here() == PATH_PAIRS && x == DSV3_BF16;
}

/* ---- products ---- */

enum {
    OUTPUTS = 32,       /* of a part */
    TOKENS = 64,        /* that are in work together */
    FEW = 2 * TILE,     /* up to so many rows nothing is copied or decoded beforehand */
    STRETCH = 8 * BLOCK /* of k, where a part passes over it more than once */
};

typedef struct {
    const matrix *m;
    row_list x, y; /* x: f32, or bf16 with pairs */
    int64_t rows, columns, outputs;
    bool pairs;
    char *panel; /* (workers, OUTPUTS, pitch): rows of W as x is stored; NULL: few rows */
    int64_t pitch;
    tile_sums *sums; /* (workers, OUTPUTS / TILE, TOKENS / TILE) */
} product;

static const void *row_at(const row_list *x, int64_t t)
{
    return (const char *)x->data + (size_t)((x->index ? x->index[t] : t) * x->stride) * size_of(x->dtype);
}

/* Numbers from row to row in memory of our own: rows must not lie a power of two apart, or they share cache lines' places. */
static int64_t pitch_of(int64_t columns)
{
    return (columns + BLOCK - 1) / BLOCK * BLOCK + 32;
}

/* ---- rows of x, copied where they are converted or used often ---- */

typedef struct {
    const row_list *from, *to;
    int64_t columns;
} copying;

static void copy_row(const void *job, int64_t t, int worker)
{
    (void)worker;
    const copying *const c = job;
    char *const to = (char *)c->to->data + (size_t)(t * c->to->stride) * size_of(c->to->dtype);
    stored_row const row = {row_at(c->from, t), c->from->dtype, NULL};
    if (c->to->dtype == DSV3_F32)
        load_row(&row, c->columns, (float *)(void *)to);
    else
        memcpy(to, row.data, (size_t)c->columns * sizeof(uint16_t));
}

static bool copy_rows(dsv3_ctx *ctx, product *p)
{
    dsv3_dtype const dtype = p->pairs ? DSV3_BF16 : DSV3_F32;
    if (p->rows <= FEW && p->x.dtype == dtype) return true;
    row_list to = {NULL, dtype, pitch_of(p->columns), NULL};
    to.data = ctx_take(ctx, p->rows * to.stride, size_of(dtype));
    if (!to.data) return false;
    copying const c = {&p->x, &to, p->columns};
    ctx_run(ctx, copy_row, &c, p->rows);
    p->x = to;
    return true;
}

/* ---- rows of W ---- */

/* Rows o to o + 3, past the last one that one again; decoded ones lie in the worker's panel. */
static void find_tile(const product *p, int64_t o, int64_t first, int worker, stored_row w[TILE])
{
    for (int j = 0; j < TILE; j++) {
        int64_t const at = o + j < p->outputs ? o + j : p->outputs - 1;
        w[j] = matrix_row(p->m, at);
        if (!p->panel) continue;
        w[j].data = p->panel + (size_t)((worker * OUTPUTS + at - first) * p->pitch) * (p->pairs ? 2 : 4);
        w[j].dtype = p->pairs ? DSV3_BF16 : DSV3_F32;
    }
}

static void decode_rows(const product *p, int64_t first, int64_t n, int worker)
{
    for (int64_t o = 0; o < n; o++) {
        char *const to = p->panel + (size_t)((worker * OUTPUTS + o) * p->pitch) * (p->pairs ? 2 : 4);
        stored_row const row = matrix_row(p->m, first + o);
        if (p->pairs)
            load_pair_row(&row, p->columns, (uint16_t *)(void *)to);
        else
            load_row(&row, p->columns, (float *)(void *)to);
    }
}

/* ---- a part: OUTPUTS rows of W with all rows of x ---- */

static void add_tile(const product *p, int64_t t, const stored_row w[TILE], int64_t from, int64_t to, tile_sums *sums)
{
    int const rows = p->rows - t < TILE ? (int)(p->rows - t) : TILE;
    const void *x[TILE];
    for (int i = 0; i < TILE; i++) x[i] = row_at(&p->x, t + (i < rows ? i : 0));
    if (p->pairs)
        tile_add_pairs(rows, (const uint16_t *const *)x, w, from, to, sums);
    else
        tile_add(rows, (const float *const *)x, w, from, to, sums);
}

static void store_tile(const product *p, int64_t t, int64_t o, const tile_sums *sums)
{
    lanes const outputs = first_lanes(p->outputs - o < TILE ? p->outputs - o : TILE);
    float out[TILE][TILE];
    tile_end(sums, out);
    for (int i = 0; i < TILE && t + i < p->rows; i++)
        store_lanes(p->y.data, p->y.dtype, (t + i) * p->y.stride + o, outputs,
                    load_lanes(out[i], DSV3_F32, 0, outputs));
}

/* Tokens t to t + TOKENS - 1, a stretch of k after the other. */
static void multiply_tokens(const product *p, int64_t t, int64_t first, int64_t n, int worker)
{
    int64_t const tokens = p->rows - t < TOKENS ? p->rows - t : TOKENS, stretch = p->panel ? STRETCH : p->columns;
    tile_sums *const sums = p->sums + worker * (OUTPUTS / TILE) * (TOKENS / TILE);
    memset(sums, 0, (OUTPUTS / TILE) * (TOKENS / TILE) * sizeof *sums);
    for (int64_t k = 0; k < p->columns; k += stretch)
        for (int64_t o = 0; o < n; o += TILE) {
            stored_row w[TILE];
            find_tile(p, first + o, first, worker, w);
            for (int64_t i = 0; i < tokens; i += TILE)
                add_tile(p, t + i, w, k, k + stretch < p->columns ? k + stretch : p->columns,
                         &sums[o / TILE * (TOKENS / TILE) + i / TILE]);
        }
    for (int64_t o = 0; o < n; o += TILE)
        for (int64_t i = 0; i < tokens; i += TILE)
            store_tile(p, t + i, first + o, &sums[o / TILE * (TOKENS / TILE) + i / TILE]);
}

static void multiply_part(const void *job, int64_t part, int worker)
{
    const product *const p = job;
    int64_t const first = part * OUTPUTS, n = p->outputs - first < OUTPUTS ? p->outputs - first : OUTPUTS;
    if (p->panel) decode_rows(p, first, n, worker);
    for (int64_t t = 0; t < p->rows; t += TOKENS) multiply_tokens(p, t, first, n, worker);
}

int multiply(dsv3_ctx *ctx, const matrix *m, row_list x, int64_t rows, row_list y)
{
    size_t const mark = ctx_mark(ctx);
    product p = {.m = m, .x = x, .y = y, .rows = rows, .columns = m->weight->shape[1], .outputs = m->weight->shape[0]};
    p.pairs = ctx_path(ctx) == PATH_PAIRS && x.dtype == DSV3_BF16 && m->weight->dtype != DSV3_F32;
    p.pitch = pitch_of(p.columns);
    p.sums = ctx_take(ctx, ctx_workers(ctx) * (OUTPUTS / TILE) * (TOKENS / TILE), sizeof *p.sums);
    if (rows > FEW) p.panel = ctx_take(ctx, ctx_workers(ctx) * OUTPUTS * p.pitch, p.pairs ? 2 : 4);
    bool const good = p.sums && (rows <= FEW || p.panel) && copy_rows(ctx, &p);
    if (good) ctx_run(ctx, multiply_part, &p, (p.outputs + OUTPUTS - 1) / OUTPUTS);
    ctx_back(ctx, mark);
    return good;
}
