/* See matrix.h. */
#include "matrix.h"

#include "amx.h"
#include "lanes.h"
#include "pack.h"
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

int is_matrix(const dsv3_weight *w)
{
    return w->tensor.ndim == 2 && !strstr(w->name, "weight_scale_inv");
}

dsv3_tensor tensor_in(dsv3_ctx *ctx, dsv3_dtype dtype, int64_t rows, int64_t columns)
{
    void *const data = ctx_take(ctx, rows * columns, (size_t)size_in(dtype));
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

int all_by_pairs(dsv3_dtype x, const dsv3_weights *weights)
{
    if (!by_pairs(x)) return 0;
    for (int64_t i = 0; i < weights->count; i++)
        if (is_matrix(&weights->item[i]) && weights->item[i].tensor.dtype == DSV3_F32) return 0;
    return 1;
}

/* Codes of one row are read once: what tiles would save is less than what they cost. */
static bool is_better_alone(int64_t rows, dsv3_dtype weight)
{
    return rows == 1 && weight == DSV3_F8_E4M3;
}

int lies_in_squares(const dsv3_ctx *ctx, dsv3_dtype x, dsv3_dtype weight, int64_t rows)
{
    if (is_better_alone(rows, weight) && !ctx_invariant(ctx)) return 0;
    return ctx_path(ctx) == PATH_AMX && x == DSV3_BF16 && weight != DSV3_F32;
}

int lies_in_lanes(const dsv3_ctx *ctx, dsv3_dtype x, dsv3_dtype weight)
{
    return ctx_path(ctx) != PATH_FMA && x == DSV3_BF16 && weight != DSV3_F32;
}

int by_amx(dsv3_dtype x)
{
    return path_here() == PATH_AMX && x == DSV3_BF16;
}

int all_by_amx(dsv3_dtype x, int64_t rows, const dsv3_weights *weights)
{
    if (!by_amx(x)) return 0;
    for (int64_t i = 0; i < weights->count; i++) {
        dsv3_dtype const dtype = weights->item[i].tensor.dtype;
        bool const alone = is_better_alone(rows, dtype) && !invariant_here();
        if (is_matrix(&weights->item[i]) && (dtype == DSV3_F32 || alone)) return 0;
    }
    return 1;
}

/* ---- products ---- */

enum {
    TOKENS = 64,    /* that are in work together */
    FEW = 2 * TILE, /* up to so many rows of x are not copied */
    TILES = OUTPUTS / TILE
};

typedef struct {
    const matrix *m;
    row_list x, y; /* x: f32 */
    int64_t rows, columns, outputs;
    const char *packed;      /* W, by prepare; NULL: as it is stored */
    int64_t pitch, step;     /* of W's rows and chunks there, in bytes */
    int64_t stretches, part; /* of a row; elements of a packed part */
    float *panel;            /* (workers, a packed part): where a part's rows are used many times; or NULL */
    tile_sums *sums;         /* (workers, TILES, TOKENS / TILE) */
} product;

/* A part in work: OUTPUTS rows of W with all rows of x. */
typedef struct {
    const product *p;
    int64_t first, n; /* rows of W */
    float *panel;
    tile_sums *sums;
} part_of;

static const void *row_at(const row_list *x, int64_t t)
{
    return (const char *)x->data + ((x->index ? x->index[t] : t) * x->stride) * size_in(x->dtype);
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
    stored_row const row = {row_at(c->from, t), c->from->dtype, NULL};
    load_row(&row, c->columns, (float *)c->to->data + t * c->to->stride);
}

static bool copy_rows(dsv3_ctx *ctx, product *p)
{
    if (p->rows <= FEW && p->x.dtype == DSV3_F32) return true;
    row_list to = {NULL, DSV3_F32, pitch_of(p->columns), NULL};
    to.data = ctx_take(ctx, p->rows * to.stride, sizeof(float));
    if (!to.data) return false;
    copying const c = {&p->x, &to, p->columns};
    ctx_run(ctx, copy_row, &c, p->rows);
    p->x = to;
    return true;
}

/* ---- rows of W ---- */

/* Tile `tile` of the part that begins at `first`, from memory. */
static const char *tile_at(const product *p, int64_t first, int64_t tile, int64_t stretch)
{
    int64_t const size = size_in(p->m->weight->dtype);
    if (p->packed) return p->packed + (first / OUTPUTS * p->part + packed_at(tile, stretch)) * size;
    return (const char *)p->m->weight->data + (first + tile * TILE) * p->pitch + stretch * STRETCH * size;
}

static matrix_tile find_tile(const product *p, int64_t first, int64_t tile, int64_t stretch)
{
    int64_t const o = first + tile * TILE, left = p->outputs - o - 1;
    matrix_tile w = {tile_at(p, first, tile, stretch), p->pitch, p->step, p->packed || left > TILE ? TILE : left};
    w.dtype = p->m->weight->dtype;
    if (p->m->scale)
        w.scale = (const float *)p->m->scale->data + o / BLOCK * p->m->scale->stride[0] + stretch * (STRETCH / BLOCK);
    return w;
}

/* The same rows as binary32, packed at `at`. */
static void packed_there(const float *at, matrix_tile *w)
{
    int64_t const size = sizeof *at;
    w->data = (const char *)at, w->pitch = CHUNK * size, w->step = TILE * CHUNK * size, w->last = TILE;
    w->dtype = DSV3_F32;
}

static int64_t columns_at(const product *p, int64_t stretch)
{
    int64_t const left = p->columns - stretch * STRETCH;
    return left < STRETCH ? left : STRETCH;
}

/* n columns as binary32, packed. */
static void decode_floats(const matrix_tile *w, int64_t n, float *to)
{
    for (int64_t k = 0; k < n; k += CHUNK)
        for (int j = 0; j < TILE; j++, to += CHUNK) {
            const char *const row = w->data + (j < w->last ? j : w->last) * w->pitch;
            stored_row const chunk = {row + k / CHUNK * w->step, w->dtype, w->scale ? w->scale + k / BLOCK : NULL};
            load_row(&chunk, n - k < CHUNK ? n - k : CHUNK, to);
        }
}

/* To `to`: w become those. */
static void decode_tile(matrix_tile *w, int64_t n, float *to)
{
    decode_floats(w, n, to);
    packed_there(to, w);
}

static float *panel_tile(const part_of *part, int64_t tile, int64_t stretch)
{
    return part->panel + packed_at(tile, stretch);
}

static void fill_panel(const part_of *part)
{
    const product *const p = part->p;
    for (int64_t s = 0; s < p->stretches; s++)
        for (int64_t tile = 0; tile * TILE < part->n; tile++) {
            matrix_tile w = find_tile(p, part->first, tile, s);
            decode_tile(&w, columns_at(p, s), panel_tile(part, tile, s));
        }
}

/* ---- tiles of W with tiles of x ---- */

static void add_tile(const product *p, int64_t t, int64_t k, const matrix_tile *w, int64_t n, tile_sums *sums)
{
    int const rows = p->rows - t < TILE ? (int)(p->rows - t) : TILE;
    const float *x[TILE];
    for (int i = 0; i < TILE; i++) x[i] = (const float *)row_at(&p->x, t + (i < rows ? i : 0)) + k;
    tile_add(rows, x, w, n, sums);
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

/* One tile of W at a stretch, with tokens t to t + tokens - 1. What several of them use is decoded once. */
static void add_tokens(const part_of *part, int64_t t, int64_t tokens, int64_t tile, int64_t stretch)
{
    const product *const p = part->p;
    int64_t const n = columns_at(p, stretch);
    tile_sums *const sums = part->sums + tile * (TOKENS / TILE);
    _Alignas(64) float decoded[TILE * STRETCH];
    matrix_tile w = find_tile(p, part->first, tile, stretch);
    if (part->panel) packed_there(panel_tile(part, tile, stretch), &w);
    if (w.dtype != DSV3_F32 && tokens > 1) decode_tile(&w, n, decoded);
    for (int64_t i = 0; i < tokens; i += TILE) add_tile(p, t + i, stretch * STRETCH, &w, n, &sums[i / TILE]);
}

static void multiply_tokens(const part_of *part, int64_t t)
{
    const product *const p = part->p;
    int64_t const tokens = p->rows - t < TOKENS ? p->rows - t : TOKENS;
    for (int64_t tile = 0; tile < TILES; tile++)
        memset(part->sums + tile * (TOKENS / TILE), 0, (size_t)((tokens + TILE - 1) / TILE) * sizeof *part->sums);
    for (int64_t s = 0; s < p->stretches; s++)
        for (int64_t tile = 0; tile * TILE < part->n; tile++) add_tokens(part, t, tokens, tile, s);
    for (int64_t tile = 0; tile * TILE < part->n; tile++)
        for (int64_t i = 0; i < tokens; i += TILE)
            store_tile(p, t + i, part->first + tile * TILE, &part->sums[tile * (TOKENS / TILE) + i / TILE]);
}

static void multiply_part(const void *job, int64_t i, int worker)
{
    const product *const p = job;
    part_of part = {.p = p, .first = i * OUTPUTS, .sums = p->sums + worker * TILES * (TOKENS / TILE)};
    part.n = p->outputs - part.first < OUTPUTS ? p->outputs - part.first : OUTPUTS;
    if (p->panel) part.panel = p->panel + worker * p->part;
    if (p->panel) fill_panel(&part);
    for (int64_t t = 0; t < p->rows; t += TOKENS) multiply_tokens(&part, t);
}

int multiply(dsv3_ctx *ctx, const matrix *m, row_list x, int64_t rows, row_list y)
{
    if (lies_in_squares(ctx, x.dtype, m->weight->dtype, rows)) return multiply_squares(ctx, m, x, rows, y);
    if (lies_in_lanes(ctx, x.dtype, m->weight->dtype)) return multiply_lanes(ctx, m, x, rows, y);
    size_t const mark = ctx_mark(ctx);
    product p = {.m = m, .x = x, .y = y, .rows = rows, .columns = m->weight->shape[1], .outputs = m->weight->shape[0]};
    p.packed = find_packed(ctx, m->weight, TILE);
    int64_t const size = size_in(m->weight->dtype);
    p.pitch = (p.packed ? CHUNK : m->weight->stride[0]) * size, p.step = (p.packed ? TILE : 1) * CHUNK * size;
    p.stretches = (p.columns + STRETCH - 1) / STRETCH, p.part = packed_part(p.columns);
    p.sums = ctx_take(ctx, ctx_workers(ctx) * TILES * (TOKENS / TILE), sizeof *p.sums);
    bool const panel = rows > TOKENS && !(p.packed && m->weight->dtype == DSV3_F32);
    if (panel) p.panel = ctx_take(ctx, ctx_workers(ctx) * p.part, sizeof *p.panel);
    bool const good = p.sums && (!panel || p.panel) && copy_rows(ctx, &p);
    if (good) ctx_run(ctx, multiply_part, &p, (p.outputs + OUTPUTS - 1) / OUTPUTS);
    ctx_back(ctx, mark);
    return good;
}
