/* See matrix.h. */
#include "matrix.h"

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

/* ---- rows ---- */

typedef struct {
    const dsv3_tensor *x;
    int64_t columns;
    float *to;
} conversion;

static void convert_row(const void *job, int64_t part, int worker)
{
    (void)worker;
    const conversion *const c = job;
    stored_row const row = row_of(c->x, part * c->x->stride[0]);
    load_row(&row, c->columns, c->to + part * c->columns);
}

const float *rows_of(dsv3_ctx *ctx, const dsv3_tensor *x, int64_t rows, int64_t columns, int64_t *stride)
{
    *stride = x->stride[0];
    if (x->dtype == DSV3_F32) return x->data;
    *stride = columns;
    conversion const c = {x, columns, ctx_take(ctx, rows * columns, sizeof(float))};
    if (c.to) ctx_run(ctx, convert_row, &c, rows);
    return c.to;
}

/* ---- products ---- */

typedef struct {
    const matrix *m;
    const float *x;
    int64_t stride, rows;
    target y;
    float *panel; /* (workers, TILE, columns): rows of W as binary32, where they are used more than a few times */
} product;

enum { OUTPUTS = 32 }; /* of a part */

static void store_tile(const target *y, int64_t t, int64_t o, int rows, int outputs, float tile[TILE][TILE])
{
    for (int i = 0; i < rows; i++)
        store_lanes(y->data, y->dtype, (t + i) * y->stride + o, first_lanes(outputs),
                    load_lanes(tile[i], DSV3_F32, 0, first_lanes(outputs)));
}

/* Rows o to o + 3 of W; past the last one that one again. */
static void find_rows(const product *p, int64_t o, int worker, stored_row w[TILE])
{
    int64_t const last = p->m->weight->shape[0] - 1, columns = p->m->weight->shape[1];
    for (int j = 0; j < TILE; j++) {
        w[j] = matrix_row(p->m, o + j < last ? o + j : last);
        if (!p->panel) continue;
        float *const row = p->panel + (worker * TILE + j) * columns;
        load_row(&w[j], columns, row);
        w[j] = (stored_row){row, DSV3_F32, NULL};
    }
}

static void multiply_rows(const product *p, int64_t o, int worker)
{
    int64_t const outputs = p->m->weight->shape[0], columns = p->m->weight->shape[1];
    stored_row w[TILE];
    find_rows(p, o, worker, w);
    for (int64_t t = 0; t < p->rows; t += TILE) {
        int const rows = p->rows - t < TILE ? (int)(p->rows - t) : TILE;
        const float *x[TILE];
        float tile[TILE][TILE];
        for (int i = 0; i < TILE; i++) x[i] = p->x + (t + (i < rows ? i : rows - 1)) * p->stride;
        dot_rows(rows, x, w, columns, tile);
        store_tile(&p->y, t, o, rows, outputs - o < TILE ? (int)(outputs - o) : TILE, tile);
    }
}

static void multiply_part(const void *job, int64_t part, int worker)
{
    const product *const p = job;
    int64_t const to = part * OUTPUTS + OUTPUTS, outputs = p->m->weight->shape[0];
    for (int64_t o = part * OUTPUTS; o < to && o < outputs; o += TILE) multiply_rows(p, o, worker);
}

void multiply(dsv3_ctx *ctx, const matrix *m, const float *x, int64_t stride, int64_t rows, target y)
{
    size_t const mark = ctx_mark(ctx);
    product p = {m, x, stride, rows, y, NULL};
    if (rows > 2 * TILE && m->weight->dtype != DSV3_F32)
        p.panel = ctx_take(ctx, ctx_workers(ctx) * TILE * m->weight->shape[1], sizeof(float));
    ctx_run(ctx, multiply_part, &p, (m->weight->shape[0] + OUTPUTS - 1) / OUTPUTS);
    ctx_back(ctx, mark);
}
