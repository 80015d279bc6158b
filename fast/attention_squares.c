/* See attention_squares.h. Compiled for AMX and AVX512-BF16, called only where they are. */
#include "attention_squares.h"

#include "unit.h"

#include "elementwise.h"

#define KERNEL static inline __attribute__((always_inline))

enum {
    ROWS = 128,       /* that are in work together, at most: a key is used for all of them while it is near */
    FEW_ROWS = 32,    /* at least */
    BLOCK_KEYS = 256, /* whose weights have one maximum */
    PART_KEYS = 1024, /* whose sums are one worker's */
    ROW_TILES = ROWS / SIDE,
    BLOCK_STEPS = BLOCK_KEYS / DEEP,
    NEAR_STEPS = 9, /* of two tiles of keys and two of queries: 36 KiB */
    VALUE_TILES =
        BLOCK_STEPS + 1 /* of a column: one is left free, or all columns would want the same sets of a cache */
};

/* A tile's memory: rows, or pairs of rows, of BF16; and sums. */
typedef struct {
    _Alignas(64) uint16_t at[SIDE][DEEP];
} tile;

typedef struct {
    _Alignas(64) float at[SIDE][SIDE];
} square;

/* A number for each row of a tile of them. */
typedef struct {
    _Alignas(64) float at[SIDE];
} tile_column;

/* What rows have of a part of the keys. */
typedef struct {
    square *o;         /* (tiles of rows, of columns): weights times values, columns woven */
    tile_column *most; /* (tiles of rows): the largest score */
    tile_column *sum;  /* (tiles of rows): of weights */
} partial;

/* What a worker works on. */
typedef struct {
    int64_t packed; /* the rows whose queries are here, from 1 on; 0: none */
    tile *query;    /* (tiles of rows, steps): pairs of queries */
    tile *key;      /* (2, steps): keys that can't be taken as they lie */
    square *score;  /* (tiles of rows, BLOCK_KEYS / SIDE): [key][row] */
    tile *weight;   /* (tiles of rows, BLOCK_STEPS): [row][key] */
    tile *value;    /* (tiles of columns, VALUE_TILES): pairs of keys, [pair of keys][column] */
    int64_t asked;  /* keys before this one are asked for */
} desk;

typedef struct {
    const square_group *group;
    int64_t groups, rows, blocks; /* rows in work together; such blocks of a group's rows */
    int64_t steps, columns;       /* of a key, thirty-two numbers each; tiles of columns, an even number */
    int64_t parts;                /* of the longest keys */
    int64_t few;                  /* keys that are asked for at once, so that each block asks for as many as it has */
    desk *desk;                   /* (workers) */
    square *o;                    /* (slots, tiles of rows, columns) */
    tile_column *most, *sum;      /* (slots, tiles of rows) */
} attention;

/* Rows of a group from `row` on. */
typedef struct {
    const attention *a;
    const square_group *g;
    desk *d;
    unit *u;
    int64_t row;
} work_rows;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t over(int64_t n, int64_t each)
{
    return (n + each - 1) / each;
}

/* ---- who sees what ---- */

static int64_t rows_of_group(const square_group *g)
{
    return g->tokens * g->heads;
}

/* Keys that row r sees, or the last row if there is no such one. Later rows see more. */
static int64_t seen_by(const square_group *g, int64_t r)
{
    int64_t const seen = g->len - g->tokens + least(r, rows_of_group(g) - 1) / g->heads + 1;
    return seen > 0 ? seen : 0;
}

/* Keys that have one maximum. */
typedef struct {
    int64_t first, keys;         /* where they begin; how many any row sees */
    int64_t seen[ROW_TILES / 2]; /* how many tiles 2 i and 2 i + 1 of rows see */
    int64_t next;                /* where those end that come next */
    bool fresh;                  /* no keys came before in this part */
} key_block;

static int64_t seen_in_block(const square_group *g, int64_t r, int64_t first)
{
    int64_t const seen = seen_by(g, r) - first;
    return seen < 0 ? 0 : least(seen, BLOCK_KEYS);
}

static key_block block_at(const work_rows *w, int64_t first, int64_t end)
{
    key_block b = {.first = first, .next = least(end, first + 2 * BLOCK_KEYS), .fresh = first % PART_KEYS == 0};
    for (int64_t i = 0; i < w->a->rows / (2 * SIDE); i++)
        b.keys = b.seen[i] = seen_in_block(w->g, w->row + (2 * i + 2) * SIDE - 1, first);
    return b;
}

/* Keys that any row of a block of rows sees, in parts. */
static int64_t parts_of(const attention *a, const square_group *g, int64_t row)
{
    return over(seen_by(g, row + a->rows - 1), PART_KEYS);
}

/* ---- queries ---- */

static const uint16_t *query_at(const square_group *g, int64_t r)
{
    return (const uint16_t *)g->q.data + r / g->heads * g->q.token + r % g->heads * g->q.head;
}

/* Two steps of sixteen queries, from column k on: pairs side by side, zeros behind the last row and the last column. */
static void pair_queries(const square_group *g, int64_t row, int64_t k, tile *to)
{
    vec v[2][SIDE];
    for (int i = 0; i < SIDE; i++) {
        pairs q[2];
        v[0][i] = v[1][i] = vec_of(0);
        if (row + i >= rows_of_group(g)) continue;
        load_pairs(query_at(g, row + i) + k, DSV3_BF16, g->width - k, q);
        v[0][i] = vec_of_pairs(q[0]), v[1][i] = vec_of_pairs(q[1]);
    }
    for (int h = 0; h < 2 && k + h * DEEP < g->width; h++) {
        vec_transpose(v[h]);
        for (int i = 0; i < SIDE; i++) memcpy(to[h].at[i], &v[h][i], sizeof to[h].at[i]);
    }
}

static void find_queries(const work_rows *w)
{
    const attention *const a = w->a;
    int64_t const these = 1 + ((w->g - a->group) * a->blocks + w->row / a->rows);
    if (w->d->packed == these) return;
    w->d->packed = these;
    for (int64_t t = 0; t < a->rows / SIDE; t++)
        for (int64_t s = 0; s < a->steps; s += 2)
            pair_queries(w->g, w->row + t * SIDE, s * DEEP, w->d->query + t * a->steps + s);
}

/* ---- keys ---- */

/* Sixteen rows from some step on: bytes from row to row, from step to step. */
typedef struct {
    const char *data;
    int64_t pitch, step;
} tile_rows;

static const char *row_at(const key_rows *rows, int64_t j)
{
    return rows->row ? rows->row[j].data : rows->first + j * rows->pitch;
}

/* Do sixteen keys lie in equal distances, all of whose numbers fill tiles? */
static bool lie_evenly(const square_group *g, int64_t j)
{
    if (j + SIDE > g->len || g->width % DEEP) return false;
    if (!g->key.row) return true;
    int64_t const pitch = row_at(&g->key, j + 1) - row_at(&g->key, j);
    for (int i = 2; i < SIDE; i++)
        if (row_at(&g->key, j + i) - row_at(&g->key, j + i - 1) != pitch) return false;
    return true;
}

/* Zeros behind the last key and the last number. */
static void copy_keys(const square_group *g, int64_t j, tile *to)
{
    for (int64_t k = 0; k < g->width; k += CHUNK, to += 2)
        for (int64_t i = 0; i < SIDE; i++) {
            pairs row[2] = {0};
            if (j + i < g->len) load_pairs((const uint16_t *)row_at(&g->key, j + i) + k, DSV3_BF16, g->width - k, row);
            for (int h = 0; h < 2 && k + h * DEEP < g->width; h++)
                store_pairs(to[h].at[i], first_paired(PAIRED), row[h]);
        }
}

static tile_rows find_keys(const square_group *g, int64_t j, tile *room)
{
    if (lie_evenly(g, j)) return (tile_rows){row_at(&g->key, j), row_at(&g->key, j + 1) - row_at(&g->key, j), 2 * DEEP};
    copy_keys(g, j, room);
    return (tile_rows){(const char *)room, sizeof *room->at, sizeof *room};
}

/* ---- values ---- */

/* Row i of a step's tiles: two keys; zeros in place of one that isn't there, and behind the last column. */
KERNEL void pair_rows_of_values(bool whole, const uint16_t *first, const uint16_t *second, int64_t columns, int64_t i,
                                tile *to)
{
    for (int64_t c = 0; c < columns; c += CHUNK) {
        pairs one[2] = {0}, other[2] = {0};
        if (whole || first) load_pairs(first + c, DSV3_BF16, whole ? CHUNK : columns - c, one);
        if (whole || second) load_pairs(second + c, DSV3_BF16, whole ? CHUNK : columns - c, other);
        for (int h = 0; h < 2 && (whole || c + h * DEEP < columns); h++, to += 2 * VALUE_TILES) {
            pairs low, high;
            weave(one[h], other[h], &low, &high);
            store_pairs(to[0].at[i], first_paired(PAIRED), low);
            store_pairs(to[VALUE_TILES].at[i], first_paired(PAIRED), high);
        }
    }
}

/* Thirty-two keys from j on. */
static void pair_values(const square_group *g, int64_t j, tile *to)
{
    bool const whole = j + DEEP <= g->len && g->columns % CHUNK == 0;
    for (int64_t i = 0; i < SIDE; i++, j += 2) {
        const void *const first = j < g->len ? row_at(&g->value, j) : NULL;
        const void *const second = j + 1 < g->len ? row_at(&g->value, j + 1) : NULL;
        if (whole)
            pair_rows_of_values(true, first, second, g->columns, i, to);
        else
            pair_rows_of_values(false, first, second, g->columns, i, to);
    }
}

/* ---- memory is asked for in time ---- */

static void ask_for_row(const char *row, int64_t bytes)
{
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at, 0, 2);
}

/* A few keys of the next block. */
static void ask_for_keys(const work_rows *w, const key_block *b)
{
    const square_group *const g = w->g;
    if (w->d->asked < b->first + b->keys) w->d->asked = b->first + b->keys;
    int64_t const until = least(w->d->asked + w->a->few, b->next);
    for (; w->d->asked < until; w->d->asked++) {
        const char *const key = row_at(&g->key, w->d->asked), *const value = row_at(&g->value, w->d->asked);
        ask_for_row(key, 2 * g->width);
        if (value != key) ask_for_row(value, 2 * g->columns);
    }
}

/* ---- squares ---- */

/* Two tiles of rows with two of pairs: to[i] += a[i] b, next[i] += a[i] c; fresh: to 0. */
static USES_UNIT void multiply_four(unit *u, const tile_rows a[2], const tile *b, const tile *c, int64_t steps,
                                    bool fresh, square to[2], square next[2])
{
    const char *one = a[0].data, *other = a[1].data;
    int64_t const pitch = a[0].pitch, step = a[0].step, other_pitch = a[1].pitch, other_step = a[1].step;
    if (fresh) {
        unit_zero(u, 0);
        unit_zero(u, 1);
        unit_zero(u, 2);
        unit_zero(u, 3);
    } else {
        unit_load(u, 0, &to[0], 64);
        unit_load(u, 1, &to[1], 64);
        unit_load(u, 2, &next[0], 64);
        unit_load(u, 3, &next[1], 64);
    }
    for (int64_t s = 0; s < steps; s++) {
        unit_load(u, 6, b + s, 64);
        unit_load(u, 4, one, pitch);
        unit_dot(u, 0, 4, 6);
        unit_load(u, 5, other, other_pitch);
        unit_dot(u, 1, 5, 6);
        unit_load(u, 7, c + s, 64);
        unit_dot(u, 2, 4, 7);
        unit_dot(u, 3, 5, 7);
        one += step, other += other_step;
    }
    unit_store(u, 0, &to[0], 64);
    unit_store(u, 1, &to[1], 64);
    unit_store(u, 2, &next[0], 64);
    unit_store(u, 3, &next[1], 64);
}

static square *scores_of(const work_rows *w, int64_t t)
{
    return w->d->score + t * (BLOCK_KEYS / SIDE);
}

/* The same from step s on. */
static tile_rows skip(tile_rows rows, int64_t s)
{
    return (tile_rows){rows.data + s * rows.step, rows.pitch, rows.step};
}

/* Scores of thirty-two keys from number j of a block on. Few steps at a time stay near while all rows pass. */
static void score_keys(const work_rows *w, const key_block *b, const tile_rows key[2], int64_t j)
{
    const attention *const a = w->a;
    for (int64_t s = 0; s < a->steps; s += NEAR_STEPS) {
        tile_rows const here[2] = {skip(key[0], s), skip(key[1], s)};
        for (int64_t t = 0; t < a->rows / SIDE; t += 2) {
            const tile *const q = w->d->query + t * a->steps + s;
            square *const to = scores_of(w, t) + j / SIDE;
            if (j < b->seen[t / 2])
                multiply_four(w->u, here, q, q + a->steps, least(NEAR_STEPS, a->steps - s), !s, to,
                              to + BLOCK_KEYS / SIDE);
        }
    }
}

/* Scores of a block, and its values as pairs. */
static void score_block(const work_rows *w, const key_block *b)
{
    for (int64_t j = 0; j < b->keys; j += DEEP) {
        tile_rows const key[2] = {find_keys(w->g, b->first + j, w->d->key),
                                  find_keys(w->g, b->first + j + SIDE, w->d->key + w->a->steps)};
        score_keys(w, b, key, j);
        pair_values(w->g, b->first + j, w->d->value + j / DEEP);
    }
}

/* ---- weights ---- */

/* How a tile of rows sees a block: `keys` of it, a multiple of DEEP; each row sees all of them, or the first `seen`. */
typedef struct {
    vec scale, seen;
    int64_t keys;
    bool all;
} view;

static view view_of(const work_rows *w, const key_block *b, int64_t t)
{
    int64_t const row = w->row + t * SIDE, keys = over(b->seen[t / 2], DEEP) * DEEP;
    view v = {.scale = vec_of(w->g->scale), .keys = keys, .all = seen_in_block(w->g, row, b->first) >= keys};
    float seen[SIDE];
    for (int i = 0; i < SIDE && !v.all; i++) seen[i] = (float)seen_in_block(w->g, row + i, b->first);
    if (!v.all) v.seen = vec_load(seen);
    return v;
}

/* Of key j, sixteen rows; -infinity where it isn't seen. */
KERNEL vec score_of(bool all, const view *v, const square *score, int64_t j)
{
    vec const s = vec_mul(vec_load(score[j / SIDE].at[j % SIDE]), v->scale);
    return all ? s : vec_choose(vec_above(v->seen, vec_of((float)j)), s, vec_of(-INFINITY));
}

KERNEL vec largest_of_block(bool all, const view *v, const square *score, vec most)
{
    for (int64_t j = 0; j < v->keys; j++) most = vec_max(score_of(all, v, score, j), most);
    return most;
}

/* Thirty-two keys' weights; returns their sum, of two chains. */
KERNEL vec weigh_step(bool all, const view *v, const square *score, int64_t j, vec shift, tile *to)
{
    vec row[SIDE], even = vec_of(0), odd = vec_of(0);
    for (int i = 0; i < SIDE; i++) {
        vec const one = vec_weight(vec_sub(score_of(all, v, score, j + 2 * i), shift));
        vec const other = vec_weight(vec_sub(score_of(all, v, score, j + 2 * i + 1), shift));
        even = vec_add(even, one), odd = vec_add(odd, other);
        row[i] = vec_of_pairs(rounded_pairs(one, other));
    }
    vec_transpose(row);
    for (int i = 0; i < SIDE; i++) memcpy(to->at[i], &row[i], sizeof to->at[i]);
    return vec_add(even, odd);
}

/* What a tile of rows has so far; factor: what that is multiplied by. */
typedef struct {
    tile_column *most, *sum, *factor;
} so_far;

KERNEL void weigh(bool all, const work_rows *w, const key_block *b, const view *v, const square *score, so_far s,
                  tile *to)
{
    vec const before = vec_load(s.most->at), after = largest_of_block(all, v, score, before);
    vec const shift =
        vec_choose(vec_equal(after, vec_of(-INFINITY)), vec_of(0), after); /* -infinity less 0 is no NaN */
    vec const moved = vec_weight(vec_sub(before, shift));
    vec total = vec_of(0);
    for (int64_t j = 0; j < v->keys; j += DEEP) {
        ask_for_keys(w, b);
        total = vec_add(total, weigh_step(all, v, score, j, shift, to + j / DEEP));
    }
    vec_store(s.most->at, after);
    vec_store(s.factor->at, moved);
    vec_store(s.sum->at, vec_fma(vec_load(s.sum->at), moved, total));
}

static void weigh_block(const work_rows *w, const key_block *b, const partial *p, tile_column *factor)
{
    for (int64_t t = 0; t < w->a->rows / SIDE; t++) {
        view const v = view_of(w, b, t);
        so_far const s = {&p->most[t], &p->sum[t], &factor[t]};
        tile *const to = w->d->weight + t * BLOCK_STEPS;
        if (v.all)
            weigh(true, w, b, &v, scores_of(w, t), s, to);
        else
            weigh(false, w, b, &v, scores_of(w, t), s, to);
    }
}

/* ---- weighted sums ---- */

KERNEL void add_square(bool fresh, const square *more, const tile_column *factor, square *o)
{
    for (int i = 0; i < SIDE; i++) {
        vec const v = vec_load(more->at[i]);
        vec_store(o->at[i], fresh ? v : vec_fma(vec_load(o->at[i]), vec_of(factor->at[i]), v));
    }
}

static void add_squares(bool fresh, const square *more, const tile_column *factor, square *o)
{
    fresh ? add_square(true, more, factor, o) : add_square(false, more, factor, o);
}

/* Tiles t and t + 1 of rows, c and c + 1 of columns. */
static void sum_four(const work_rows *w, const key_block *b, const partial *p, int64_t t, int64_t c,
                     const tile_column *factor)
{
    square more[2][2];
    const tile *const weight = w->d->weight + t * BLOCK_STEPS, *const value = w->d->value + c * VALUE_TILES;
    tile_rows const rows[2] = {{(const char *)weight, 64, sizeof *weight},
                               {(const char *)(weight + BLOCK_STEPS), 64, sizeof *weight}};
    multiply_four(w->u, rows, value, value + VALUE_TILES, over(b->seen[t / 2], DEEP), true, more[0], more[1]);
    for (int i = 0; i < 2; i++)
        for (int h = 0; h < 2; h++)
            add_squares(b->fresh, &more[h][i], &factor[t + i], p->o + (t + i) * w->a->columns + c + h);
}

static void sum_block(const work_rows *w, const key_block *b, const partial *p, const tile_column *factor)
{
    for (int64_t c = 0; c < w->a->columns; c += 2)
        for (int64_t t = 0; t < w->a->rows / SIDE; t += 2) {
            ask_for_keys(w, b);
            if (b->seen[t / 2] || b->fresh) sum_four(w, b, p, t, c, factor);
        }
}

/* ---- parts ---- */

static partial partial_at(const attention *a, int64_t slot)
{
    int64_t const tiles = a->rows / SIDE;
    return (partial){a->o + slot * tiles * a->columns, a->most + slot * tiles, a->sum + slot * tiles};
}

static void attend_part(const work_rows *w, int64_t part, const partial *p)
{
    int64_t const tiles = w->a->rows / SIDE, begin = part * PART_KEYS;
    int64_t const end = least(begin + PART_KEYS, seen_by(w->g, w->row + w->a->rows - 1));
    tile_column factor[ROW_TILES];
    w->d->asked = begin;
    find_queries(w);
    for (int64_t t = 0; t < tiles; t++) vec_store(p->most[t].at, vec_of(-INFINITY)), vec_store(p->sum[t].at, vec_of(0));
    for (int64_t first = begin; first < end; first += BLOCK_KEYS) {
        key_block const b = block_at(w, first, end);
        score_block(w, &b);
        weigh_block(w, &b, p, factor);
        sum_block(w, &b, p, factor);
    }
}

/* ---- results ---- */

/* What the parts of a tile of rows are multiplied by takes the place of their `most`. Returns the largest of that, and the sum. */
static vec join_sums(const attention *a, int64_t slot, int64_t parts, int64_t t, vec *sum)
{
    vec most = vec_of(-INFINITY);
    *sum = vec_of(0);
    for (int64_t i = 0; i < parts; i++) most = vec_max(vec_load(partial_at(a, slot + i).most[t].at), most);
    vec const shift = vec_choose(vec_equal(most, vec_of(-INFINITY)), vec_of(0), most);
    for (int64_t i = 0; i < parts; i++) {
        partial const p = partial_at(a, slot + i);
        vec const factor = vec_weight(vec_sub(vec_load(p.most[t].at), shift));
        *sum = vec_fma(vec_load(p.sum[t].at), factor, *sum);
        vec_store(p.most[t].at, factor);
    }
    return most;
}

/* Row i of a tile: of columns 32 c and on, all parts. */
KERNEL void join_row(const attention *a, int64_t slot, int64_t parts, int64_t t, int i, int64_t c, vec to[2])
{
    vec woven[2] = {vec_of(0), vec_of(0)};
    for (int64_t n = 0; n < parts; n++) {
        partial const p = partial_at(a, slot + n);
        const square *const o = p.o + t * a->columns + 2 * c;
        for (int h = 0; h < 2; h++) woven[h] = vec_fma(vec_load(o[h].at[i]), vec_of(p.most[t].at[i]), woven[h]);
    }
    unweave(woven[0], woven[1], &to[0], &to[1]);
}

/* Row i of tile t, which is row `row` of its group. */
static void finish_row(const attention *a, const square_group *g, int64_t row, int64_t slot, int64_t t, int i,
                       float most, float sum)
{
    int64_t const token = row / g->heads, head = row - token * g->heads, to = token * g->o.token + head * g->o.head;
    int64_t const seen = g->len - g->tokens + token + 1, parts = seen > 0 ? over(seen, PART_KEYS) : 0;
    vec const divisor = vec_of(parts ? sum : 1), inverse = vec_div(vec_of(1), divisor);
    for (int64_t c = 0; c < g->columns; c += DEEP) {
        vec o[2];
        join_row(a, slot, parts, t, i, c / DEEP, o);
        for (int h = 0; h < 2 && c + h * WIDTH < g->columns; h++)
            store_lanes(g->o.data, g->o.dtype, to + c + h * WIDTH, first_lanes(g->columns - c - h * WIDTH),
                        vec_quotient(o[h], divisor, inverse));
    }
    g->lse[token * g->lse_token + head] = parts ? most + logf(sum) : -INFINITY;
}

/* Tile t of the rows that begin with `row`, whose parts lie in slots from `slot` on. */
static void finish_tile(const attention *a, const square_group *g, int64_t row, int64_t slot, int64_t t)
{
    vec sum;
    float most[SIDE], sums[SIDE];
    vec_store(most, join_sums(a, slot, parts_of(a, g, row), t, &sum));
    vec_store(sums, sum);
    for (int i = 0; i < SIDE && row + t * SIDE + i < rows_of_group(g); i++)
        finish_row(a, g, row + t * SIDE + i, slot, t, i, most[i], sums[i]);
}

/* ---- work ---- */

static work_rows rows_at(const attention *a, int64_t block, int worker, unit *u)
{
    return (work_rows){a, a->group + block / a->blocks, a->desk + worker, u, block % a->blocks * a->rows};
}

/* Rows with one part of their keys. */
static void sum_part(const void *job, int64_t at, int worker)
{
    const attention *const a = job;
    unit u;
    work_rows const w = rows_at(a, at / a->parts, worker, &u);
    if (at % a->parts >= parts_of(a, w.g, w.row)) return;
    partial const p = partial_at(a, at);
    unit_open(&u, SIDE);
    attend_part(&w, at % a->parts, &p);
    unit_close(&u);
}

static void finish_part(const void *job, int64_t at, int worker)
{
    (void)worker;
    const attention *const a = job;
    int64_t const tiles = a->rows / SIDE, block = at / tiles;
    finish_tile(a, a->group + block / a->blocks, block % a->blocks * a->rows, block * a->parts, at % tiles);
}

/* Rows with all their keys. */
static void sum_rows_whole(const void *job, int64_t block, int worker)
{
    const attention *const a = job;
    unit u;
    work_rows const w = rows_at(a, block, worker, &u);
    unit_open(&u, SIDE);
    for (int64_t part = 0; part < parts_of(a, w.g, w.row); part++) {
        partial const p = partial_at(a, worker * a->parts + part);
        attend_part(&w, part, &p);
    }
    unit_close(&u);
    for (int64_t t = 0; t < a->rows / SIDE; t++) finish_tile(a, w.g, w.row, worker * a->parts, t);
}

static bool find_desks(dsv3_ctx *ctx, attention *a)
{
    int64_t const tiles = a->rows / SIDE;
    a->desk = ctx_take(ctx, ctx_workers(ctx), sizeof *a->desk);
    for (int i = 0; a->desk && i < ctx_workers(ctx); i++) {
        desk *const d = a->desk + i;
        d->packed = 0;
        d->query = ctx_take(ctx, tiles * a->steps, sizeof *d->query);
        d->key = ctx_take(ctx, 2 * a->steps, sizeof *d->key);
        d->score = ctx_take(ctx, tiles * (BLOCK_KEYS / SIDE), sizeof *d->score);
        d->weight = ctx_take(ctx, tiles * BLOCK_STEPS, sizeof *d->weight);
        d->value = ctx_take(ctx, a->columns * VALUE_TILES, sizeof *d->value);
        if (!d->query || !d->key || !d->score || !d->weight || !d->value) return false;
    }
    return a->desk;
}

static bool find_partials(dsv3_ctx *ctx, attention *a, int64_t slots)
{
    int64_t const tiles = a->rows / SIDE;
    a->o = ctx_take(ctx, slots * tiles * a->columns, sizeof *a->o);
    a->most = ctx_take(ctx, slots * tiles, sizeof *a->most);
    a->sum = ctx_take(ctx, slots * tiles, sizeof *a->sum);
    return a->o && a->most && a->sum;
}

static int64_t longest_of(const square_group *group, int64_t groups)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < groups; i++)
        if (group[i].len > longest) longest = group[i].len;
    return longest;
}

/* As few rows as leave work for all; more of them share what is made of a key. */
static int64_t rows_together(const attention *a, int64_t workers)
{
    int64_t rows = ROWS;
    while (rows > FEW_ROWS && (over(rows_of_group(a->group), rows) * a->groups * a->parts < workers ||
                               rows >= 2 * rows_of_group(a->group)))
        rows /= 2;
    return rows;
}

/* Where few rows are, their parts are work for several. Sums are the same. */
bool attend_squares(dsv3_ctx *ctx, const square_group *group, int64_t groups)
{
    if (!groups || !rows_of_group(group)) return true;
    size_t const mark = ctx_mark(ctx);
    int64_t const workers = ctx_workers(ctx);
    attention a = {.group = group, .groups = groups, .parts = over(longest_of(group, groups), PART_KEYS)};
    a.rows = rows_together(&a, workers);
    a.blocks = over(rows_of_group(group), a.rows);
    a.steps = over(group->width, DEEP);
    a.columns = 2 * over(group->columns, DEEP);
    a.few = over(BLOCK_KEYS, a.rows / SIDE * (BLOCK_STEPS + a.columns / 4));
    int64_t const blocks = a.groups * a.blocks;
    bool const by_parts = a.parts > 1 && blocks < 4 * workers;
    bool const good = find_desks(ctx, &a) && find_partials(ctx, &a, (by_parts ? blocks : workers) * a.parts);
    if (good && by_parts) {
        ctx_run(ctx, sum_part, &a, blocks * a.parts);
        ctx_run(ctx, finish_part, &a, blocks * (a.rows / SIDE));
    } else if (good) {
        ctx_run(ctx, sum_rows_whole, &a, blocks);
    }
    ctx_back(ctx, mark);
    return good;
}
