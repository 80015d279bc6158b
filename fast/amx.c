/* See amx.h. Compiled for AMX and AVX512-BF16, called only where they are. */
#include "amx.h"

#include "pack.h"
#include "unit.h"
#include "unit_check.h"
#include "vec.h"

enum {
    HALVES = OUTPUTS / SIDE, /* squares side by side that a part's rows make */
    STRETCH_STEPS = STRETCH / DEEP,
    BLOCK_STEPS = BLOCK / DEEP
};

/* Sums of sixteen rows of W with sixteen rows of x: [output][token]. */
typedef struct {
    _Alignas(64) float at[SIDE][SIDE];
} square;

/* Pairs of sixteen rows of x, or rows of W: a tile's memory. */
typedef struct {
    _Alignas(64) uint16_t at[SIDE][DEEP];
} tile;

typedef struct {
    const matrix *m;
    row_list x, y;
    int64_t rows, columns, outputs;
    int64_t groups, steps; /* sixteen rows of x each; thirty-two columns each */
    const char *packed;    /* W, by prepare; NULL: as it is stored */
    tile *pairs;           /* (groups, steps): x */
    tile *panel;           /* (workers, HALVES, STRETCH_STEPS): rows of W that can't be taken as they lie */
    square *sums;          /* (workers, groups, HALVES) */
} product;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- rows of x: pairs side by side, zeros behind the last row and the last column ---- */

/* Sixteen rows of sixteen become columns: four times the first half meets the second one by one. */
static void transpose(vec v[SIDE])
{
    for (int round = 0; round < 4; round++) {
        vec joined[SIDE];
        for (int i = 0; i < SIDE / 2; i++) vec_join(v[i], v[i + SIDE / 2], &joined[2 * i], &joined[2 * i + 1]);
        memcpy(v, joined, sizeof joined);
    }
}

static const uint16_t *row_at(const row_list *x, int64_t t)
{
    return (const uint16_t *)x->data + (x->index ? x->index[t] : t) * x->stride;
}

/* Of a group, the two steps that begin at column k. */
static void pair_up(const product *p, int64_t group, int64_t k, tile *to)
{
    vec v[2][SIDE];
    for (int t = 0; t < SIDE; t++) {
        pairs row[2];
        int64_t const token = group * SIDE + t;
        v[0][t] = v[1][t] = vec_of(0);
        if (token >= p->rows) continue;
        load_pairs(row_at(&p->x, token) + k, DSV3_BF16, p->columns - k, row);
        v[0][t] = vec_of_pairs(row[0]), v[1][t] = vec_of_pairs(row[1]);
    }
    for (int h = 0; h < 2 && k + h * DEEP < p->columns; h++) {
        transpose(v[h]);
        for (int i = 0; i < SIDE; i++) memcpy(to[h].at[i], &v[h][i], sizeof to[h].at[i]);
    }
}

static void pair_steps(const void *job, int64_t part, int worker)
{
    (void)worker;
    const product *const p = job;
    int64_t const each = (p->steps + 1) / 2, group = part / each, step = part % each * 2;
    pair_up(p, group, step * DEEP, p->pairs + group * p->steps + step);
}

/* ---- rows of W ---- */

/* Sixteen of them from some step on. */
typedef struct {
    const char *data;
    int64_t pitch, step; /* bytes from row to row, from step to step */
} tile_rows;

/* Row j of a half at a stretch as it is stored, or packed. */
static const char *stored_at(const product *p, int64_t first, int64_t stretch, int64_t k)
{
    int64_t const size = size_in(p->m->weight->dtype);
    if (!p->packed) return (const char *)p->m->weight->data + (first * p->m->weight->stride[0] + k) * size;
    int64_t const part = first / OUTPUTS * packed_part(p->columns), in = first % OUTPUTS * STRETCH;
    return p->packed + (part + stretch * OUTPUTS * STRETCH + in + (k - stretch * STRETCH) * SIDE) * size;
}

/* Rows first to first + 15 as BF16, codes without their scale. */
static void decode_rows(const product *p, int64_t first, int64_t stretch, tile *to)
{
    dsv3_dtype const dtype = p->m->weight->dtype;
    int64_t const size = size_in(dtype), end = least(p->columns, (stretch + 1) * STRETCH);
    int64_t const pitch = p->packed ? 64 / size : p->m->weight->stride[0];
    for (int64_t k = stretch * STRETCH; k < end; k += CHUNK, to += 2)
        for (int64_t j = 0; j < SIDE; j++) {
            pairs row[2] = {0};
            if (first + j < p->outputs)
                load_pairs(stored_at(p, first, stretch, k) + j * pitch * size, dtype, end - k, row);
            for (int h = 0; h < 2 && k + h * DEEP < end; h++) store_pairs(to[h].at[j], first_paired(PAIRED), row[h]);
        }
}

/* Whole rows of BF16 are taken as they lie; others are decoded. */
static tile_rows find_rows(const product *p, int64_t first, int64_t stretch, tile *panel)
{
    int64_t const end = least(p->columns, (stretch + 1) * STRETCH);
    bool const bf16 = p->m->weight->dtype == DSV3_BF16;
    if (bf16 && p->packed) return (tile_rows){stored_at(p, first, stretch, stretch * STRETCH), 64, TILE_BYTES};
    if (bf16 && first + SIDE <= p->outputs && !(end % DEEP))
        return (tile_rows){stored_at(p, first, stretch, stretch * STRETCH), 2 * p->m->weight->stride[0], 2 * DEEP};
    decode_rows(p, first, stretch, panel);
    return (tile_rows){(const char *)panel, 64, TILE_BYTES};
}

/* ---- squares ---- */

/* Step s of both halves, which stay in tiles 4 and 5, with a group's x to tiles 0 and 1. */
static inline __attribute__((always_inline)) USES_UNIT void add_step(unit *u, const tile_rows w[HALVES], const tile *x,
                                                                     int64_t s)
{
    unit_load(u, 6, x, 64);
    unit_load(u, 4, w[0].data + s * w[0].step, w[0].pitch);
    unit_dot(u, 0, 4, 6);
    unit_load(u, 5, w[1].data + s * w[1].step, w[1].pitch);
    unit_dot(u, 1, 5, 6);
}

/* Adds steps of both halves of a part with one group of x to sums[half]; fresh: to 0. */
static USES_UNIT void add_group(unit *u, const tile_rows w[HALVES], const tile *x, int64_t steps, bool fresh,
                                square *sums)
{
    if (fresh) {
        unit_zero(u, 0);
        unit_zero(u, 1);
    } else {
        unit_load(u, 0, &sums[0], 64);
        unit_load(u, 1, &sums[1], 64);
    }
    for (int64_t s = 0; s < steps; s++) {
        add_step(u, w, &x[s], s);
    }
    unit_store(u, 0, &sums[0], 64);
    unit_store(u, 1, &sums[1], 64);
}

/* With two groups, to sums[group][half]. */
static USES_UNIT void add_two(unit *u, const tile_rows w[HALVES], const tile *x, const tile *next, int64_t steps,
                              bool fresh, square *sums)
{
    if (fresh) {
        unit_zero(u, 0);
        unit_zero(u, 1);
        unit_zero(u, 2);
        unit_zero(u, 3);
    } else {
        unit_load(u, 0, &sums[0], 64);
        unit_load(u, 1, &sums[1], 64);
        unit_load(u, 2, &sums[2], 64);
        unit_load(u, 3, &sums[3], 64);
    }
    for (int64_t s = 0; s < steps; s++) {
        add_step(u, w, &x[s], s);
        unit_load(u, 7, &next[s], 64);
        unit_dot(u, 2, 4, 7);
        unit_dot(u, 3, 5, 7);
    }
    unit_store(u, 0, &sums[0], 64);
    unit_store(u, 1, &sums[1], 64);
    unit_store(u, 2, &sums[2], 64);
    unit_store(u, 3, &sums[3], 64);
}

static void add_groups(unit *u, const product *p, const tile_rows w[HALVES], int64_t group, int64_t step, int64_t steps,
                       bool fresh, square *sums)
{
    const tile *const x = p->pairs + group * p->steps + step;
    if (group + 1 < p->groups)
        add_two(u, w, x, x + p->steps, steps, fresh, sums);
    else
        add_group(u, w, x, steps, fresh, sums);
}

/* sums += a block's sums times its scale; fresh: to 0. */
static void add_scaled(const square *of_block, int squares, float scale, bool fresh, square *sums)
{
    for (int i = 0; i < squares; i++)
        for (int j = 0; j < SIDE; j++) {
            vec const before = fresh ? vec_of(0) : vec_load(sums[i].at[j]);
            vec_store(sums[i].at[j], vec_fma(vec_load(of_block[i].at[j]), vec_of(scale), before));
        }
}

/* One group or two of x at a stretch; sums: theirs. */
static void add_stretch(unit *u, const product *p, const tile_rows w[HALVES], int64_t first, int64_t stretch,
                        int64_t group, square *sums)
{
    int64_t const begin = stretch * STRETCH_STEPS, end = least(p->steps, begin + STRETCH_STEPS);
    const dsv3_tensor *const scale = p->m->scale;
    if (p->m->weight->dtype == DSV3_BF16) {
        add_groups(u, p, w, group, begin, end - begin, stretch == 0, sums);
        return;
    }
    for (int64_t s = begin; s < end; s += BLOCK_STEPS) {
        square of_block[2 * HALVES];
        tile_rows here[HALVES];
        int const squares = group + 1 < p->groups ? 2 * HALVES : HALVES;
        for (int h = 0; h < HALVES; h++) here[h] = w[h], here[h].data += (s - begin) * w[h].step;
        add_groups(u, p, here, group, s, least(BLOCK_STEPS, end - s), true, of_block);
        add_scaled(of_block, squares, ((const float *)scale->data)[first / BLOCK * scale->stride[0] + s / BLOCK_STEPS],
                   s == 0, sums);
    }
}

/* ---- products ---- */

static void store_square(const product *p, int64_t group, int64_t first, const square *sums)
{
    lanes const of = first_lanes(p->outputs - first);
    vec v[SIDE];
    for (int i = 0; i < SIDE; i++) v[i] = vec_load(sums->at[i]);
    transpose(v);
    for (int64_t t = group * SIDE; t < p->rows && t < (group + 1) * SIDE; t++)
        store_lanes(p->y.data, p->y.dtype, t * p->y.stride + first, of, v[t % SIDE]);
}

static void multiply_part(const void *job, int64_t part, int worker)
{
    const product *const p = job;
    int64_t const first = part * OUTPUTS;
    square *const sums = p->sums + worker * p->groups * HALVES;
    tile *const panel = p->panel + worker * HALVES * STRETCH_STEPS;
    unit u;
    unit_open(&u, (int)least(p->rows, SIDE));
    for (int64_t stretch = 0; stretch * STRETCH < p->columns; stretch++) {
        tile_rows w[HALVES];
        for (int h = 0; h < HALVES; h++) w[h] = find_rows(p, first + h * SIDE, stretch, panel + h * STRETCH_STEPS);
        for (int64_t group = 0; group < p->groups; group += 2)
            add_stretch(&u, p, w, first, stretch, group, sums + group * HALVES);
    }
    unit_close(&u);
    for (int64_t i = 0; i < p->groups * HALVES; i++)
        if (first + i % HALVES * SIDE < p->outputs) store_square(p, i / HALVES, first + i % HALVES * SIDE, sums + i);
}

int multiply_squares(dsv3_ctx *ctx, const matrix *m, row_list x, int64_t rows, row_list y)
{
    size_t const mark = ctx_mark(ctx);
    product p = {.m = m, .x = x, .y = y, .rows = rows, .columns = m->weight->shape[1], .outputs = m->weight->shape[0]};
    int64_t const workers = ctx_workers(ctx);
    p.groups = (rows + SIDE - 1) / SIDE, p.steps = (p.columns + DEEP - 1) / DEEP;
    p.packed = find_packed(ctx, m->weight, SIDE);
    p.pairs = ctx_take(ctx, p.groups * p.steps, sizeof *p.pairs);
    p.panel = ctx_take(ctx, workers * HALVES * STRETCH_STEPS, sizeof *p.panel);
    p.sums = ctx_take(ctx, workers * p.groups * HALVES, sizeof *p.sums);
    bool const good = p.pairs && p.panel && p.sums;
    if (good) ctx_run(ctx, pair_steps, &p, p.groups * ((p.steps + 1) / 2));
    if (good) ctx_run(ctx, multiply_part, &p, (p.outputs + OUTPUTS - 1) / OUTPUTS);
    ctx_back(ctx, mark);
    return good;
}

/* ---- the unit itself ---- */

static USES_UNIT void step_of_unit(const uint16_t a[SIDE][DEEP], const uint16_t b[SIDE][DEEP], float sum[SIDE][SIDE])
{
    unit u;
    unit_open(&u, SIDE);
    unit_load(&u, 0, sum, 64);
    unit_load(&u, 4, a, 64);
    unit_load(&u, 6, b, 64);
    unit_dot(&u, 0, 4, 6);
    unit_store(&u, 0, sum, 64);
    unit_close(&u);
}

const char *unit_fault(void)
{
    return fault_of(step_of_unit);
}
