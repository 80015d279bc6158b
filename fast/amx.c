/* See amx.h. Compiled for AMX and AVX512-BF16, called only where they are. */
#include "amx.h"

#include "pack.h"
#include "unit.h"
#include "unit_check.h"
#include "vec.h"

enum {
    HALVES = OUTPUTS / SIDE, /* squares side by side that a part's rows make */
    BLOCK_STEPS = BLOCK / DEEP,
    SPAN_STEPS = 32, /* that a strip's rows of W are held for, while rows of x pass by */
    FEW_STEPS =
        2 * BLOCK_STEPS, /* where few do: what is decoded can't be loaded by a tile before it has left the core */
    STRIP = 8,           /* parts that a group of rows of x meets before the next one comes */
    AHEAD = 4096,        /* bytes of a packed W that memory is asked for before they are used */
    LINE = 64
};

typedef struct {
    const matrix *m;
    row_list x, y;
    int64_t rows, columns, outputs;
    int64_t groups, steps, parts; /* sixteen rows of x each; thirty-two columns each; OUTPUTS rows of W each */
    int64_t span, strip;          /* steps, and parts, that are in work together */
    const char *packed;           /* W, by prepare; NULL: as it is stored */
    tile *pairs;                  /* (groups, steps): x */
    worker_pieces panel;          /* (strip, span, HALVES) tiles: rows of W that can't be taken as they lie */
    worker_pieces sums;           /* (strip, groups, HALVES) squares */
} product;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- rows of x: pairs side by side, zeros behind the last row and the last column ---- */

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
        vec_transpose(v[h]);
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

/* From column k on, the first of a lump: packed, all rows of a part have a line there, one behind the other. */
static const char *stored_at(const product *p, int64_t first, int64_t k)
{
    int64_t const size = size_in(p->m->weight->dtype);
    if (!p->packed) return (const char *)p->m->weight->data + (first * p->m->weight->stride[0] + k) * size;
    return p->packed + (first / OUTPUTS * packed_part(p->columns) + k * OUTPUTS) * size + first % OUTPUTS * LINE;
}

/* A lump of packed codes: two steps of both halves, without their scale. Memory is asked for what follows. */
static void decode_lump(const char *codes, tile *to)
{
    for (int64_t j = 0; j < OUTPUTS; j++) {
        pairs row[2];
        __builtin_prefetch(codes + j * LINE + AHEAD);
        load_pairs(codes + j * LINE, DSV3_F8_E4M3, CHUNK, row);
        for (int h = 0; h < 2; h++) store_pairs(to[h * HALVES + j / SIDE].at[j % SIDE], first_paired(PAIRED), row[h]);
    }
}

/* The same of rows as they are stored: codes, or BF16 up to the last column and the last row. */
static void decode_rows(const product *p, int64_t first, int64_t k, tile *to)
{
    dsv3_dtype const dtype = p->m->weight->dtype;
    for (int64_t j = 0; j < OUTPUTS; j++) {
        pairs row[2] = {0};
        if (first + j < p->outputs) load_pairs(stored_at(p, first + j, k), dtype, p->columns - k, row);
        for (int h = 0; h < 2; h++) store_pairs(to[h * HALVES + j / SIDE].at[j % SIDE], first_paired(PAIRED), row[h]);
    }
}

/* Of a part from a step on, for a span. Whole rows of BF16 are taken as they lie; others are decoded. */
static void find_rows(const product *p, int64_t first, int64_t step, tile *panel, tile_rows w[HALVES])
{
    int64_t const k = step * DEEP, end = least(p->columns, k + p->span * DEEP);
    bool const bf16 = p->m->weight->dtype == DSV3_BF16, whole = first + OUTPUTS <= p->outputs && !(end % DEEP);
    for (int h = 0; h < HALVES; h++) {
        w[h] = (tile_rows){(const char *)(panel + h), LINE, HALVES * TILE_BYTES};
        if (!bf16 || (!p->packed && !whole)) continue;
        w[h].data = stored_at(p, first + h * SIDE, k);
        if (!p->packed) w[h].pitch = 2 * p->m->weight->stride[0], w[h].step = 2 * DEEP;
    }
    if (bf16 && (p->packed || whole)) return;
    for (int64_t c = k; c < end; c += CHUNK, panel += 2 * HALVES)
        if (p->packed)
            decode_lump(stored_at(p, first, c), panel);
        else
            decode_rows(p, first, c, panel);
}

/* ---- squares ---- */

/* What memory is asked for while squares are made: so many lines each step. */
typedef struct {
    const char *from;
    int64_t lines;
} asked;

static inline void ask(const asked *a, int64_t step)
{
    for (int64_t i = 0; i < a->lines; i++) __builtin_prefetch(a->from + (step * a->lines + i) * LINE);
}

/* Step s of both halves, which stay in tiles 4 and 5, with a group's x to tiles 0 and 1. */
static inline __attribute__((always_inline)) USES_UNIT void add_step(unit *u, const tile_rows w[HALVES], const tile *x,
                                                                     int64_t s)
{
    unit_load(u, 6, x, LINE);
    unit_load(u, 4, w[0].data + s * w[0].step, w[0].pitch);
    unit_dot(u, 0, 4, 6);
    unit_load(u, 5, w[1].data + s * w[1].step, w[1].pitch);
    unit_dot(u, 1, 5, 6);
}

/* Adds steps of both halves of a part with one group of x to sums[half]; fresh: to 0. */
static USES_UNIT void add_group(unit *u, const tile_rows w[HALVES], const tile *x, int64_t steps, bool fresh,
                                const asked *later, square *sums)
{
    if (fresh) {
        unit_zero(u, 0);
        unit_zero(u, 1);
    } else {
        unit_load(u, 0, &sums[0], LINE);
        unit_load(u, 1, &sums[1], LINE);
    }
    for (int64_t s = 0; s < steps; s++) {
        ask(later, s);
        add_step(u, w, &x[s], s);
    }
    unit_store(u, 0, &sums[0], LINE);
    unit_store(u, 1, &sums[1], LINE);
}

/* With two groups, to sums[group][half]. */
static USES_UNIT void add_two(unit *u, const tile_rows w[HALVES], const tile *x, const tile *next, int64_t steps,
                              bool fresh, const asked *later, square *sums)
{
    unit_begin_four(u, fresh, sums, sums + HALVES);
    for (int64_t s = 0; s < steps; s++) {
        ask(later, s);
        add_step(u, w, &x[s], s);
        unit_load(u, 7, &next[s], LINE);
        unit_dot(u, 2, 4, 7);
        unit_dot(u, 3, 5, 7);
    }
    unit_end_four(u, sums, sums + HALVES);
}

static void add_groups(unit *u, const product *p, const tile_rows w[HALVES], int64_t group, int64_t step, int64_t steps,
                       bool fresh, const asked *later, square *sums)
{
    const tile *const x = p->pairs + group * p->steps + step;
    if (group + 1 < p->groups)
        add_two(u, w, x, x + p->steps, steps, fresh, later, sums);
    else
        add_group(u, w, x, steps, fresh, later, sums);
}

/* Squares of a block of codes, to be multiplied with its scale and added to sums; fresh: to 0. */
typedef struct {
    square of_block[2 * HALVES];
    square *sums;
    int squares; /* 0: there is nothing */
    float scale;
    bool fresh;
} block_sums;

static void add_scaled(block_sums *b)
{
    for (int i = 0; i < b->squares; i++)
        for (int j = 0; j < SIDE; j++) {
            vec const before = b->fresh ? vec_of(0) : vec_load(b->sums[i].at[j]);
            vec_store(b->sums[i].at[j], vec_fma(vec_load(b->of_block[i].at[j]), vec_of(b->scale), before));
        }
    b->squares = 0;
}

/* A unit at work. What a tile stores can't be loaded before it has left the core: a block is added after the next one is made. */
typedef struct {
    unit unit;
    block_sums block[2];
    int last; /* of both */
} worker_state;

static void add_last(worker_state *w)
{
    add_scaled(&w->block[w->last]);
}

/* One group or two of x at a span of a part's rows; sums: theirs. */
static void add_span(worker_state *state, const product *p, const tile_rows w[HALVES], int64_t first, int64_t step,
                     int64_t group, asked later, square *sums)
{
    int64_t const end = least(p->steps, step + p->span);
    const dsv3_tensor *const scale = p->m->scale;
    if (p->m->weight->dtype == DSV3_BF16) {
        add_groups(&state->unit, p, w, group, step, end - step, step == 0, &later, sums);
        return;
    }
    for (int64_t s = step; s < end; s += BLOCK_STEPS, later.from += BLOCK_STEPS * later.lines * LINE) {
        block_sums *const b = &state->block[!state->last];
        tile_rows here[HALVES];
        for (int h = 0; h < HALVES; h++) here[h] = w[h], here[h].data += (s - step) * w[h].step;
        add_groups(&state->unit, p, here, group, s, least(BLOCK_STEPS, end - s), true, &later, b->of_block);
        b->scale = ((const float *)scale->data)[first / BLOCK * scale->stride[0] + s / BLOCK_STEPS];
        b->sums = sums, b->fresh = s == 0, b->squares = group + 1 < p->groups ? 2 * HALVES : HALVES;
        add_last(state);
        state->last = !state->last;
    }
}

/* ---- products ---- */

/* While part i of a strip meets the first rows of x: what of W follows, where it is packed BF16. Else a share of the next
 * two groups' x. */
static asked later_of(const product *p, const tile_rows *w, int64_t i, int64_t step, int64_t group)
{
    if (group == 0 && p->packed && p->m->weight->dtype == DSV3_BF16)
        return (asked){w->data + AHEAD, HALVES * TILE_BYTES / LINE};
    int64_t const at = i * 2 * p->span / p->strip, next = group + 2 + at / p->span;
    if (next >= p->groups) return (asked){NULL, 0};
    const tile *const x = p->pairs + next * p->steps + step + at % p->span;
    return (asked){(const char *)x, 2 * TILE_BYTES / LINE / p->strip};
}

static void store_square(const product *p, int64_t group, int64_t first, const square *sums)
{
    lanes const of = first_lanes(p->outputs - first);
    vec v[SIDE];
    for (int i = 0; i < SIDE; i++) v[i] = vec_load(sums->at[i]);
    vec_transpose(v);
    for (int64_t t = group * SIDE; t < p->rows && t < (group + 1) * SIDE; t++)
        store_lanes(p->y.data, p->y.dtype, t * p->y.stride + first, of, v[t % SIDE]);
}

static void store_part(const product *p, int64_t first, const square *sums)
{
    for (int64_t i = 0; i < p->groups * HALVES; i++)
        if (first + i % HALVES * SIDE < p->outputs) store_square(p, i / HALVES, first + i % HALVES * SIDE, sums + i);
}

static void multiply_strip(const void *job, int64_t strip, int worker)
{
    const product *const p = job;
    int64_t const first = strip * p->strip, parts = least(p->strip, p->parts - first), squares = p->groups * HALVES;
    square *const sums = piece_of(&p->sums, worker);
    tile *const panel = piece_of(&p->panel, worker);
    tile_rows w[STRIP][HALVES];
    worker_state state;
    state.last = state.block[0].squares = state.block[1].squares = 0;
    unit_open(&state.unit, (int)least(p->rows, SIDE));
    for (int64_t step = 0; step < p->steps; step += p->span) {
        for (int64_t i = 0; i < parts; i++)
            find_rows(p, (first + i) * OUTPUTS, step, panel + i * p->span * HALVES, w[i]);
        for (int64_t group = 0; group < p->groups; group += 2)
            for (int64_t i = 0; i < parts; i++)
                add_span(&state, p, w[i], (first + i) * OUTPUTS, step, group, later_of(p, w[i], i, step, group),
                         sums + i * squares + group * HALVES);
    }
    add_last(&state);
    unit_close(&state.unit);
    for (int64_t i = 0; i < parts; i++) store_part(p, (first + i) * OUTPUTS, sums + i * squares);
}

/* Two groups of x at most are always near, and W comes from memory: part by part, a few steps at a time. Else each worker has
 * strips enough. */
static void choose_shape(const dsv3_ctx *ctx, product *p)
{
    p->span = p->groups > 2 ? SPAN_STEPS : FEW_STEPS;
    p->strip = 1;
    while (p->groups > 2 && p->strip < STRIP && p->parts >= 4 * p->strip * ctx_workers(ctx)) p->strip *= 2;
}

int multiply_squares(dsv3_ctx *ctx, const matrix *m, row_list x, int64_t rows, row_list y)
{
    size_t const mark = ctx_mark(ctx);
    product p = {.m = m, .x = x, .y = y, .rows = rows, .columns = m->weight->shape[1], .outputs = m->weight->shape[0]};
    p.groups = (rows + SIDE - 1) / SIDE, p.steps = (p.columns + DEEP - 1) / DEEP;
    p.parts = (p.outputs + OUTPUTS - 1) / OUTPUTS;
    choose_shape(ctx, &p);
    p.packed = find_packed(ctx, m->weight, OUTPUTS);
    p.pairs = ctx_take(ctx, p.groups * p.steps, sizeof *p.pairs);
    p.panel = ctx_take_each(ctx, p.strip * p.span * HALVES, sizeof(tile));
    p.sums = ctx_take_each(ctx, p.strip * p.groups * HALVES, sizeof(square));
    bool const good = p.pairs && p.panel.memory && p.sums.memory;
    if (good) ctx_run(ctx, pair_steps, &p, p.groups * ((p.steps + 1) / 2));
    if (good) ctx_run(ctx, multiply_strip, &p, (p.parts + p.strip - 1) / p.strip);
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
