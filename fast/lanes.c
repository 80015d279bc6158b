/* See lanes.h. Compiled for AVX512-BF16, called only where it is. */
#include "lanes.h"

#include "pack.h"
#include "unit.h"
#include "vec.h"

#define KERNEL static inline __attribute__((always_inline))

enum {
    HALVES = OUTPUTS / SIDE, /* tiles side by side that a part's rows make */
    EIGHT = 8,               /* rows of x whose sums are in registers */
    FEW = 4,                 /* so many take codes as they are packed; for more these are decoded once */
    TOKENS = 512,            /* rows of x that are in work together, at most */
    BLOCK_STEPS = BLOCK / DEEP,
    SPAN_STEPS = 2 * BLOCK_STEPS, /* of a part, that stay near while rows of x pass by: 16 KiB */
    LINE = 64
};

typedef struct {
    const matrix *m;
    row_list x, y;
    int64_t rows, columns, outputs, steps; /* thirty-two columns each */
    const char *packed;                    /* W, by prepare; NULL: as it is stored */
    worker_pieces panel;                   /* (SPAN_STEPS, HALVES) tiles: where W isn't taken as it is packed */
    worker_pieces sums;                    /* (TOKENS + EIGHT, OUTPUTS) */
} product;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- memory that is asked for: lines of a part's next steps, while rows of x meet these ---- */

typedef struct {
    const char *from;
    int64_t pitch, next, end, each; /* bytes from row to row; lines; so many a step */
    int row_lines;                  /* 2^row_lines of them lie in a row */
} asking;

KERNEL void ask(asking *a)
{
    for (int64_t const until = least(a->next + a->each, a->end); a->next < until; a->next++) {
        int64_t const row = a->next >> a->row_lines, line = a->next - (row << a->row_lines);
        __builtin_prefetch(a->from + row * a->pitch + line * LINE);
    }
}

/* ---- sums ---- */

/* Tiles of a part in BF16, or in codes, whose scales follow one another. */
typedef struct {
    const char *tiles;
    dsv3_dtype dtype;
    const float *scale; /* NULL: none */
} part_tiles;

/* Adds at most a block's steps of m rows of x, with pairs from x[i] on, to total. */
KERNEL void add_block(int m, dsv3_dtype dtype, const char *const x[EIGHT], const char *tiles, int64_t steps,
                      const float *scale, asking *later, float (*total)[OUTPUTS])
{
    int64_t const size = size_in(dtype), tile_size = SIDE * DEEP * size;
    vec sum[EIGHT][HALVES];
    UNROLL_EIGHT for (int i = 0; i < m; i++) UNROLL for (int h = 0; h < HALVES; h++) sum[i][h] = vec_of(0);
    for (int64_t s = 0; s < steps; s++) {
        ask(later);
        for (int64_t k = 0; k < SIDE; k += 2) {
            pairs w[HALVES][2];
            const char *const at = tiles + s * HALVES * tile_size + k * DEEP * size;
            UNROLL for (int h = 0; h < HALVES; h++) load_pairs(at + h * tile_size, dtype, CHUNK, w[h]);
            UNROLL for (int odd = 0; odd < 2; odd++) UNROLL_EIGHT for (int i = 0; i < m; i++)
            {
                pairs const one = pairs_of((const uint16_t *)(const void *)x[i] + s * DEEP + 2 * (k + odd));
                UNROLL for (int h = 0; h < HALVES; h++) sum[i][h] = vec_dot(one, w[h][odd], sum[i][h]);
            }
        }
    }
    vec const factor = vec_of(scale ? *scale : 1);
    UNROLL_EIGHT for (int i = 0; i < m; i++) UNROLL for (int h = 0; h < HALVES; h++)
    {
        vec const before = vec_load(total[i] + h * SIDE);
        vec_store(total[i] + h * SIDE, scale ? vec_fma(sum[i][h], factor, before) : vec_add(before, sum[i][h]));
    }
}

KERNEL void add_blocks(int m, dsv3_dtype dtype, const char *const x[EIGHT], const part_tiles *w, int64_t steps,
                       asking *later, float (*total)[OUTPUTS])
{
    const char *row[EIGHT];
    UNROLL_EIGHT for (int i = 0; i < m; i++) row[i] = x[i];
    for (int64_t s = 0; s < steps; s += BLOCK_STEPS) {
        const char *const tiles = w->tiles + s * HALVES * SIDE * DEEP * size_in(dtype);
        add_block(m, dtype, row, tiles, least(BLOCK_STEPS, steps - s), w->scale ? w->scale + s / BLOCK_STEPS : NULL,
                  later, total);
        UNROLL_EIGHT for (int i = 0; i < m; i++) row[i] += BLOCK * sizeof(uint16_t);
    }
}

/* m rows of x; of more than FEW there are places for EIGHT. */
static void add_codes(int64_t m, const char *const x[EIGHT], const part_tiles *w, int64_t steps, asking *later,
                      float (*total)[OUTPUTS])
{
    if (m == 1) add_blocks(1, DSV3_F8_E4M3, x, w, steps, later, total);
    if (m == 2) add_blocks(2, DSV3_F8_E4M3, x, w, steps, later, total);
    if (m > 2) add_blocks(4, DSV3_F8_E4M3, x, w, steps, later, total);
}

static void add_rows(int64_t m, const char *const x[EIGHT], const part_tiles *w, int64_t steps, asking *later,
                     float (*total)[OUTPUTS])
{
    if (w->dtype == DSV3_F8_E4M3) return add_codes(m, x, w, steps, later, total);
    if (m == 1) add_blocks(1, DSV3_BF16, x, w, steps, later, total);
    if (m == 2) add_blocks(2, DSV3_BF16, x, w, steps, later, total);
    if (m > 2 && m <= 4) add_blocks(4, DSV3_BF16, x, w, steps, later, total);
    if (m > 4) add_blocks(8, DSV3_BF16, x, w, steps, later, total);
}

/* ---- rows of W ---- */

/* From a step of a part on. */
static const char *stored_at(const product *p, int64_t part, int64_t step)
{
    int64_t const size = size_in(p->m->weight->dtype), first = part * OUTPUTS, k = step * DEEP;
    if (!p->packed) return (const char *)p->m->weight->data + (first * p->m->weight->stride[0] + k) * size;
    return p->packed + (part * packed_part(p->columns) + k * OUTPUTS) * size;
}

/* What comes after a span: the next one, or that of the next part. */
static asking asking_after(const product *p, int64_t part, int64_t step)
{
    int64_t const size = size_in(p->m->weight->dtype);
    bool const last = step + SPAN_STEPS >= p->steps;
    asking a = {.from = last ? stored_at(p, part + 1, 0) : stored_at(p, part, step + SPAN_STEPS)};
    a.pitch = p->m->weight->stride[0] * size, a.row_lines = p->packed ? 62 : size == 1 ? 2 : 3;
    a.end = SPAN_STEPS * DEEP * OUTPUTS * size / LINE;
    return a;
}

/* What is left is asked for in so many shares. */
static void share(asking *a, int64_t shares)
{
    a->each = (a->end - a->next + shares - 1) / shares;
}

/* Packed codes become BF16. */
static void decode_span(const char *codes, int64_t steps, asking *later, tile *to)
{
    for (int64_t i = 0; i < steps * HALVES; i++, codes += SIDE * DEEP) {
        ask(later);
        for (int k = 0; k < SIDE; k += 2) {
            pairs two[2];
            load_pairs(codes + k * DEEP, DSV3_F8_E4M3, CHUNK, two);
            for (int h = 0; h < 2; h++) store_pairs(to[i].at[k + h], first_paired(PAIRED), two[h]);
        }
    }
}

KERNEL void turn(vec v[SIDE], tile *to)
{
    vec_transpose(v);
    UNROLL_SIXTEEN for (int i = 0; i < SIDE; i++) memcpy(to->at[i], &v[i], sizeof to->at[i]);
}

/* Sixteen rows as they are stored, two steps from column k on, all of which are there: pairs side by side. */
KERNEL void pair_whole(dsv3_dtype dtype, const char *row, int64_t pitch, asking *later, tile *to)
{
    vec v[2][SIDE];
    UNROLL_SIXTEEN for (int i = 0; i < SIDE; i++, row += pitch)
    {
        pairs both[2];
        load_pairs(row, dtype, CHUNK, both);
        v[0][i] = vec_of_pairs(both[0]), v[1][i] = vec_of_pairs(both[1]);
    }
    ask(later);
    turn(v[0], to), turn(v[1], to + HALVES);
}

/* The same with zeros behind the last row and column. */
static void pair_some(const product *p, int64_t first, int64_t k, tile *to)
{
    dsv3_dtype const dtype = p->m->weight->dtype;
    const char *const data = p->m->weight->data;
    vec v[2][SIDE];
    for (int i = 0; i < SIDE; i++) {
        pairs row[2];
        v[0][i] = v[1][i] = vec_of(0);
        if (first + i >= p->outputs) continue;
        load_pairs(data + ((first + i) * p->m->weight->stride[0] + k) * size_in(dtype), dtype, p->columns - k, row);
        v[0][i] = vec_of_pairs(row[0]), v[1][i] = vec_of_pairs(row[1]);
    }
    for (int h = 0; h < 2 && k + h * DEEP < p->columns; h++) turn(v[h], to + h * HALVES);
}

static void pair_rows(const product *p, int64_t first, int64_t k, asking *later, tile *to)
{
    dsv3_dtype const dtype = p->m->weight->dtype;
    int64_t const pitch = p->m->weight->stride[0] * size_in(dtype);
    const char *const at = (const char *)p->m->weight->data + first * pitch + k * size_in(dtype);
    if (first + SIDE > p->outputs || k + CHUNK > p->columns)
        pair_some(p, first, k, to);
    else if (dtype == DSV3_BF16)
        pair_whole(DSV3_BF16, at, pitch, later, to);
    else
        pair_whole(DSV3_F8_E4M3, at, pitch, later, to);
}

/* A part from a step on, for a span of steps that meet so many rows of x. */
static part_tiles find_tiles(const product *p, int64_t part, int64_t step, int64_t steps, int64_t tokens, asking *later,
                             tile *panel)
{
    dsv3_dtype const dtype = p->m->weight->dtype;
    const dsv3_tensor *const scale = p->m->scale;
    part_tiles w = {(const char *)panel, DSV3_BF16, NULL};
    if (dtype == DSV3_F8_E4M3)
        w.scale = (const float *)scale->data + part * OUTPUTS / BLOCK * scale->stride[0] + step / BLOCK_STEPS;
    if (p->packed && (dtype == DSV3_BF16 || tokens <= FEW)) {
        w.tiles = stored_at(p, part, step), w.dtype = dtype;
    } else if (p->packed) {
        share(later, (2 + tokens / EIGHT) * SPAN_STEPS * HALVES / 2);
        decode_span(stored_at(p, part, step), steps, later, panel);
    } else {
        share(later, (1 + tokens / EIGHT) * SPAN_STEPS);
        for (int64_t s = 0; s < steps; s += 2)
            for (int h = 0; h < HALVES; h++)
                pair_rows(p, part * OUTPUTS + h * SIDE, (step + s) * DEEP, later, panel + s * HALVES + h);
    }
    return w;
}

/* ---- rows of x ---- */

static const uint16_t *row_at(const row_list *x, int64_t t)
{
    return (const uint16_t *)x->data + (x->index ? x->index[t] : t) * x->stride;
}

typedef struct {
    const row_list *from, *to;
    int64_t columns;
} copying;

static void copy_row(const void *job, int64_t t, int worker)
{
    (void)worker;
    const copying *const c = job;
    uint16_t *const to = (uint16_t *)c->to->data + t * c->to->stride;
    memcpy(to, row_at(c->from, t), (size_t)c->columns * sizeof *to);
    memset(to + c->columns, 0, (size_t)(c->to->stride - c->columns) * sizeof *to);
}

/* Where steps end behind a row's end, or many rows want the same places of a cache. */
static bool copy_rows(dsv3_ctx *ctx, product *p)
{
    enum { PLACES = 2048 };
    bool const whole = p->columns % DEEP == 0, apart = p->rows <= EIGHT || p->x.stride % PLACES;
    if (whole && apart) return true;
    row_list to = {NULL, DSV3_BF16, (p->columns + DEEP - 1) / DEEP * DEEP + DEEP, NULL};
    to.data = ctx_take(ctx, p->rows * to.stride, sizeof(uint16_t));
    if (!to.data) return false;
    copying const c = {&p->x, &to, p->columns};
    ctx_run(ctx, copy_row, &c, p->rows);
    p->x = to;
    return true;
}

/* ---- products ---- */

/* Rows of x from t on, at most EIGHT, at a span. */
static void add_group(const product *p, int64_t t, int64_t rows, const part_tiles *w, int64_t step, int64_t steps,
                      asking *later, float (*total)[OUTPUTS])
{
    const char *x[EIGHT];
    for (int i = 0; i < EIGHT; i++) x[i] = (const char *)(row_at(&p->x, t + (i < rows ? i : 0)) + step * DEEP);
    add_rows(rows, x, w, steps, later, total);
}

static void store_part(const product *p, int64_t part, int64_t t, int64_t tokens, float (*total)[OUTPUTS])
{
    for (int64_t i = 0; i < tokens; i++)
        for (int64_t h = 0; h < HALVES; h++) {
            int64_t const o = part * OUTPUTS + h * SIDE;
            if (o < p->outputs)
                store_lanes(p->y.data, p->y.dtype, (t + i) * p->y.stride + o, first_lanes(p->outputs - o),
                            vec_load(total[i] + h * SIDE));
        }
}

/* A part with rows t to t + tokens - 1 of x. */
static void multiply_tokens(const product *p, int64_t part, int64_t t, int64_t tokens, int worker)
{
    float(*const total)[OUTPUTS] = piece_of(&p->sums, worker);
    memset(total, 0, (size_t)(tokens + EIGHT) * sizeof *total);
    for (int64_t step = 0; step < p->steps; step += SPAN_STEPS) {
        int64_t const steps = least(SPAN_STEPS, p->steps - step);
        asking later = asking_after(p, part, step);
        part_tiles const w = find_tiles(p, part, step, steps, tokens, &later, piece_of(&p->panel, worker));
        share(&later, (tokens + EIGHT - 1) / EIGHT * SPAN_STEPS);
        for (int64_t i = 0; i < tokens; i += EIGHT)
            add_group(p, t + i, least(EIGHT, tokens - i), &w, step, steps, &later, total + i);
    }
    store_part(p, part, t, tokens, total);
}

static void multiply_part(const void *job, int64_t part, int worker)
{
    const product *const p = job;
    for (int64_t t = 0; t < p->rows; t += TOKENS) multiply_tokens(p, part, t, least(TOKENS, p->rows - t), worker);
}

int multiply_lanes(dsv3_ctx *ctx, const matrix *m, row_list x, int64_t rows, row_list y)
{
    size_t const mark = ctx_mark(ctx);
    product p = {.m = m, .x = x, .y = y, .rows = rows, .columns = m->weight->shape[1], .outputs = m->weight->shape[0]};
    p.steps = (p.columns + DEEP - 1) / DEEP;
    p.packed = find_packed(ctx, m->weight, SIDE);
    p.panel = ctx_take_each(ctx, SPAN_STEPS * HALVES, sizeof(tile));
    p.sums = ctx_take_each(ctx, least(rows, TOKENS) + EIGHT, OUTPUTS * sizeof(float));
    bool const good = p.panel.memory && p.sums.memory && copy_rows(ctx, &p);
    if (good) ctx_run(ctx, multiply_part, &p, (p.outputs + OUTPUTS - 1) / OUTPUTS);
    ctx_back(ctx, mark);
    return good;
}
