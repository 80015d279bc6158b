/* See attention_squares.h. Compiled for AMX and AVX512-BF16, called only where the latter is. */
#include "attention_squares.h"

#include "squares.h"

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
    FEW_LINES = 16, /* are asked for while two steps of sixteen queries are paired */
    VALUE_TILES =
        BLOCK_STEPS + 1 /* of a column: one is left free, or all columns would want the same sets of a cache */
};

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

/* Weights of a block in the making: those of tile t of rows from key j on are missing. */
typedef struct {
    int64_t tiles, t, j;
    const square *block; /* scores: (tiles, BLOCK_KEYS / SIDE) */
    const float *score;  /* of that key: sixteen rows */
    tile *weight;        /* (tiles, BLOCK_STEPS) */
    tile pairs;          /* thirty-two keys' weights, [pair of keys][row] */
    tile_column even, odd, scale;
    tile_column shift[ROW_TILES], sees[ROW_TILES]; /* what is subtracted from scores; how many keys rows see */
    tile_column total[ROW_TILES];
    int64_t keys[ROW_TILES]; /* how many are weighed, a multiple of DEEP */
} weighing;

/* Values of a block that are being paired, four tiles of columns after the other: pairs of keys from `begin` to `end`, of which number i is
 * next, of columns from `column` to `columns`. */
typedef struct {
    int64_t begin, end, i, column, columns;
    int64_t first; /* the block's first key */
    tile *to;      /* of those columns */
} pairing;

/* Keys that memory is asked for: from some line of a key on, until another key. */
typedef struct {
    const square_group *g;
    int64_t key, line, until;
} asking;

/* What a worker works on. */
typedef struct {
    _Alignas(64) int64_t packed; /* the rows whose queries are here, from 1 on; 0: none */
    tile *query;                 /* (tiles of rows, steps): pairs of queries */
    tile *key;                   /* (2, steps): keys that can't be taken as they lie */
    square *score[2];            /* (tiles of rows, BLOCK_KEYS / SIDE): [key][row], of two blocks */
    tile *weight;                /* (tiles of rows, BLOCK_STEPS): [row][key] */
    tile *value;                 /* (tiles of columns, VALUE_TILES): pairs of keys, [pair of keys][column] */
    int64_t gathered;            /* the group whose keys and values lie together here, from 1 on; 0: none */
    char *near;                  /* (longest, bytes of a key and of a value) */
    square_group group;          /* that group, with its keys and values there */
    asking asking;
    weighing weighing;
    pairing pairing;
    tile_column sees[ROW_TILES]; /* how many keys rows see of the block whose scores are made */
    float number[BLOCK_KEYS];    /* 0, 1, ... */
} desk;

typedef struct {
    const square_group *group;
    bool pairs; /* by vdpbf16ps, else by the unit */
    int64_t workers;
    int64_t groups, rows, blocks; /* rows in work together; such blocks of a group's rows */
    int64_t steps, columns;       /* of a key, thirty-two numbers each; tiles of columns, a multiple of four */
    int64_t parts;                /* of the longest keys */
    /* What is done between two steps of tiles, so that it is done when they are: pairs of keys that are weighed, or whose values are
     * paired; lines of memory that are asked for. */
    int64_t weighed, paired, lines;
    int64_t run, runs;       /* parts that a worker takes at once; such runs of a block of rows */
    int64_t longest;         /* keys */
    bool gathers;            /* keys and values that lie far from one another are brought together */
    desk *desk;              /* (workers) */
    square *o;               /* (slots, tiles of rows, columns) */
    tile_column *most, *sum; /* (slots, tiles of rows) */
} attention;

/* Rows of a group from `row` on. */
typedef struct {
    const attention *a;
    const square_group *g;
    desk *d;
    unit *u;            /* NULL: by pairs */
    int64_t block, row; /* their number among all blocks of rows */
    /* What this worker is likely to do next: a group from some key on. NULL: nothing is known. */
    const square_group *then;
    int64_t then_key;
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

/* Rows of the group from tile t of those in work on. */
static int64_t rows_from(const work_rows *w, int64_t t)
{
    return rows_of_group(w->g) - w->row - t * SIDE;
}

/* Keys that have one maximum. */
typedef struct {
    int64_t first, keys;         /* where they begin; how many any row sees */
    int64_t seen[ROW_TILES / 2]; /* how many tiles 2 i and 2 i + 1 of rows see */
    tile_column most[ROW_TILES]; /* the largest score */
    bool fresh;                  /* no keys came before in this part */
    bool late;                   /* scores of two tiles of rows for thirty-two keys aren't among the largest yet */
    int64_t late_t, late_j;
    square *score;
} key_block;

static int64_t seen_in_block(const square_group *g, int64_t r, int64_t first)
{
    int64_t const seen = seen_by(g, r) - first;
    return seen < 0 ? 0 : least(seen, BLOCK_KEYS);
}

static void begin_block(const work_rows *w, int64_t first, key_block *b)
{
    b->first = first, b->fresh = first % PART_KEYS == 0, b->late = false,
    b->score = w->d->score[first / BLOCK_KEYS % 2];
    for (int64_t t = 0; t < w->a->rows / SIDE; t++) {
        if (!(t % 2)) b->keys = b->seen[t / 2] = seen_in_block(w->g, w->row + (t + 2) * SIDE - 1, first);
        vec_store(b->most[t].at, vec_of(-INFINITY));
    }
}

/* Keys that any row of a block of rows sees, in parts. */
static int64_t parts_of(const attention *a, const square_group *g, int64_t row)
{
    return over(seen_by(g, row + a->rows - 1), PART_KEYS);
}

/* ---- where keys and values lie ---- */

static const char *row_at(const key_rows *rows, int64_t j)
{
    return rows->row ? rows->row[j].data : rows->first + j * rows->pitch;
}

static void begin_asking(desk *d, const square_group *g, int64_t first)
{
    d->asking = (asking){g, first, 0, g ? least(first + BLOCK_KEYS, g->len) : 0};
}

/* The next few lines of keys and their values. */
KERNEL void ask_ahead(asking *a, int64_t few)
{
    if (a->key >= a->until) return;
    const square_group *const g = a->g;
    const char *const key = row_at(&g->key, a->key), *const value = row_at(&g->value, a->key);
    int64_t const lines = over(2 * g->width, 64), more = value == key ? 0 : over(2 * g->columns, 64);
    for (int64_t i = 0; i < few; i++, a->line++)
        __builtin_prefetch(a->line < lines ? key + 64 * a->line : value + 64 * least(a->line - lines, more), 0, 2);
    if (a->line >= lines + more) a->key++, a->line = 0;
}

static key_rows gather_rows(key_rows from, int64_t n, int64_t bytes, char *to)
{
    enum { AHEAD = 12 }; /* rows */
    for (int64_t j = 0; j < n; j++) {
        for (int64_t at = 0; j + AHEAD < n && at < bytes; at += 64) __builtin_prefetch(row_at(&from, j + AHEAD) + at);
        memcpy(to + j * bytes, row_at(&from, j), (size_t)bytes);
    }
    return (key_rows){NULL, to, bytes};
}

/* Heads of a token lie side by side, so that all tokens of a head want few sets of a cache. */
static const square_group *find_group(const attention *a, int64_t index, desk *d)
{
    const square_group *const g = a->group + index;
    if (!a->gathers) return g;
    if (d->gathered == index + 1) return &d->group;
    d->gathered = index + 1, d->group = *g;
    d->group.key = gather_rows(g->key, g->len, 2 * g->width, d->near);
    d->group.value = gather_rows(g->value, g->len, 2 * g->columns, d->near + a->longest * 2 * g->width);
    return &d->group;
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
    int64_t const these = 1 + w->block;
    if (w->d->packed == these) return;
    w->d->packed = these;
    for (int64_t t = 0; t < a->rows / SIDE; t++)
        for (int64_t s = 0; s < a->steps; s += 2) {
            pair_queries(w->g, w->row + t * SIDE, s * DEEP, w->d->query + t * a->steps + s);
            ask_ahead(&w->d->asking, FEW_LINES);
        }
}

/* ---- keys ---- */

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

static const uint16_t *value_at(const square_group *g, int64_t j, int64_t column)
{
    return j < g->len ? (const uint16_t *)row_at(&g->value, j) + column : NULL;
}

/* Two keys become a row of four tiles; zeros in place of one that isn't there, and behind the last column. */
KERNEL void pair_two(bool whole, const uint16_t *first, const uint16_t *second, int64_t columns, tile *to, int64_t row)
{
    pairs one[2] = {0}, other[2] = {0};
    if (whole || first) load_pairs(first, DSV3_BF16, whole ? CHUNK : columns, one);
    if (whole || second) load_pairs(second, DSV3_BF16, whole ? CHUNK : columns, other);
    for (int h = 0; h < 2; h++, to += 2 * VALUE_TILES) {
        pairs low, high;
        weave(one[h], other[h], &low, &high);
        store_pairs(to[0].at[row], first_paired(PAIRED), low);
        store_pairs(to[VALUE_TILES].at[row], first_paired(PAIRED), high);
    }
}

KERNEL void pair_next(const square_group *g, pairing *p)
{
    if (p->column >= p->columns) return;
    int64_t const j = p->first + 2 * p->i, columns = g->columns - p->column;
    const uint16_t *const first = value_at(g, j, p->column), *const second = value_at(g, j + 1, p->column);
    if (columns >= CHUNK && first && second)
        pair_two(true, first, second, CHUNK, p->to + p->i / SIDE, p->i % SIDE);
    else
        pair_two(false, first, second, columns, p->to + p->i / SIDE, p->i % SIDE);
    if (++p->i == p->end) p->i = p->begin, p->column += CHUNK, p->to += 4 * VALUE_TILES;
}

/* Of tiles c to c + 3 of columns, all keys. */
static void pair_columns(const work_rows *w, const key_block *b, int64_t c)
{
    int64_t const end = over(b->keys, DEEP) * SIDE;
    w->d->pairing = (pairing){0, end, 0, c * SIDE, c * SIDE + CHUNK, b->first, w->d->value + c * VALUE_TILES};
}

/* Of all columns, thirty-two keys from number j of the block on. */
static void pair_keys(const work_rows *w, const key_block *b, int64_t j)
{
    w->d->pairing = (pairing){j / 2, j / 2 + SIDE, j / 2, 0, w->g->columns, b->first, w->d->value};
}

static void finish_pairing(const work_rows *w)
{
    pairing *const p = &w->d->pairing;
    while (p->column < p->columns) pair_next(w->g, p);
}

/* ---- weights ---- */

/* Scores of sixteen rows for a key; -infinity where it isn't seen. */
KERNEL vec score_of(const float *score, vec scale, vec sees, float key)
{
    return vec_choose(vec_above(sees, vec_of(key)), vec_mul(vec_load(score), scale), vec_of(-INFINITY));
}

/* Goes to the next tile of rows that sees a key, from tile t on. */
static void begin_tile(weighing *g, int64_t t)
{
    while (t < g->tiles && !g->keys[t]) t++;
    g->t = t, g->j = 0, g->score = g->block->at[0] + t * BLOCK_KEYS * SIDE;
}

/* Thirty-two keys are weighed: their weights are turned, and added to those before. */
static void end_step(weighing *g)
{
    vec row[SIDE];
    tile *const to = g->weight + g->t * BLOCK_STEPS + g->j / DEEP - 1;
    for (int i = 0; i < SIDE; i++) memcpy(&row[i], g->pairs.at[i], sizeof row[i]);
    vec_transpose(row);
    for (int i = 0; i < SIDE; i++) memcpy(to->at[i], &row[i], sizeof to->at[i]);
    vec const step = vec_add(vec_load(g->even.at), vec_load(g->odd.at));
    vec_store(g->total[g->t].at, vec_add(vec_load(g->total[g->t].at), step));
    vec_store(g->even.at, vec_of(0)), vec_store(g->odd.at, vec_of(0));
    if (g->j == g->keys[g->t]) begin_tile(g, g->t + 1);
}

/* Two keys of sixteen rows. */
KERNEL void weigh_two(weighing *g, const float *number)
{
    if (g->t == g->tiles) return;
    vec const scale = vec_load(g->scale.at), sees = vec_load(g->sees[g->t].at), shift = vec_load(g->shift[g->t].at);
    vec const one = vec_weight(vec_sub(score_of(g->score, scale, sees, number[g->j]), shift));
    vec const other = vec_weight(vec_sub(score_of(g->score + SIDE, scale, sees, number[g->j + 1]), shift));
    vec_store(g->even.at, vec_add(vec_load(g->even.at), one));
    vec_store(g->odd.at, vec_add(vec_load(g->odd.at), other));
    store_pairs(g->pairs.at[g->j % DEEP / 2], first_paired(PAIRED), rounded_pairs(one, other));
    g->j += 2, g->score += 2 * SIDE;
    if (g->j % DEEP == 0) end_step(g);
}

static void finish_weighing(const work_rows *w)
{
    weighing *const g = &w->d->weighing;
    while (g->t < g->tiles) weigh_two(g, w->d->number);
}

/* ---- squares ---- */

typedef enum { WEIGH, PAIR } beside;

/* What is done beside the tiles' work. Where there is nothing to weigh the values of a run's first block are paired. */
KERNEL void work_beside(beside what, const work_rows *w)
{
    desk *const d = w->d;
    bool const weighs = what == WEIGH && d->weighing.t < d->weighing.tiles;
    for (int64_t i = 0; weighs && i < w->a->weighed; i++) weigh_two(&d->weighing, d->number);
    for (int64_t i = 0; !weighs && i < w->a->paired; i++) pair_next(w->g, &d->pairing);
    ask_ahead(&d->asking, w->a->lines);
}

/* Two tiles of rows with two of pairs: to[i] += a[i] b, next[i] += a[i] c; fresh: to 0. */
KERNEL USES_UNIT void multiply_four(beside what, const work_rows *w, const tile_rows a[2], const tile *b, const tile *c,
                                    int64_t steps, bool fresh, square to[2], square next[2])
{
    unit *const u = w->u;
    const char *one = a[0].data, *other = a[1].data;
    int64_t const pitch = a[0].pitch, step = a[0].step, other_pitch = a[1].pitch, other_step = a[1].step;
    unit_begin_four(u, fresh, to, next);
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
        work_beside(what, w);
    }
    unit_end_four(u, to, next);
}

static USES_UNIT void score_four(const work_rows *w, const tile_rows key[2], const tile *q, int64_t steps, bool fresh,
                                 square *to)
{
    multiply_four(WEIGH, w, key, q, q + w->a->steps, steps, fresh, to, to + BLOCK_KEYS / SIDE);
}

static USES_UNIT void sum_four(const work_rows *w, const tile_rows weight[2], const tile *value, int64_t steps,
                               square more[2][2])
{
    multiply_four(PAIR, w, weight, value, value + VALUE_TILES, steps, true, more[0], more[1]);
}

/* The same by pairs, eight rows of a after the other; only as many as there are. c NULL: b alone. */
static void multiply_by_pairs(beside what, const work_rows *w, const tile_rows a[2], int64_t rows, const tile *b,
                              const tile *c, int64_t steps, bool fresh, square to[2], square next[2])
{
    for (int64_t i = 0; i < rows && i < 2 * SIDE; i += EIGHT) {
        int64_t const h = i / SIDE, r = i % SIDE;
        tile_rows const eight = {a[h].data + r * a[h].pitch, a[h].pitch, a[h].step};
        dot_eight(eight, b, c, steps, fresh, to[h].at + r, next[h].at + r);
        for (int64_t s = 0; s < steps; s++) work_beside(what, w);
    }
}

/* Two tiles of keys, of which there are so many, with tiles t and t + 1 of queries. */
static void score_two(const work_rows *w, const tile_rows key[2], int64_t keys, int64_t t, int64_t s, square *to)
{
    const attention *const a = w->a;
    const tile *const q = w->d->query + t * a->steps + s;
    int64_t const steps = least(NEAR_STEPS, a->steps - s);
    if (a->pairs)
        multiply_by_pairs(WEIGH, w, key, keys, q, rows_from(w, t) > SIDE ? q + a->steps : NULL, steps, !s, to,
                          to + BLOCK_KEYS / SIDE);
    else
        score_four(w, key, q, steps, !s, to);
}

/* Tiles t and t + 1 of rows of weights with two of columns. */
static void sum_two(const work_rows *w, const tile_rows weight[2], int64_t t, const tile *value, int64_t steps,
                    square more[2][2])
{
    if (w->a->pairs)
        multiply_by_pairs(PAIR, w, weight, rows_from(w, t), value, value + VALUE_TILES, steps, true, more[0], more[1]);
    else
        sum_four(w, weight, value, steps, more);
}

/* ---- scores ---- */

/* How many keys of the block rows of tile t see. */
static vec sees_of(const work_rows *w, const key_block *b, int64_t t)
{
    int64_t const row = w->row + t * SIDE, first = seen_in_block(w->g, row, b->first);
    float sees[SIDE];
    if (first == b->keys) return vec_of((float)first);
    for (int i = 0; i < SIDE; i++) sees[i] = (float)seen_in_block(w->g, row + i, b->first);
    return vec_load(sees);
}

/* Thirty-two keys from j on of tile t of rows. */
static void raise_tile(const work_rows *w, key_block *b, int64_t t, int64_t j)
{
    const float *const score = b->score[t * (BLOCK_KEYS / SIDE) + j / SIDE].at[0];
    vec const scale = vec_of(w->g->scale), sees = vec_load(w->d->sees[t].at);
    vec most = vec_load(b->most[t].at);
    for (int64_t i = 0; i < DEEP; i++)
        most = vec_max(score_of(score + i * SIDE, scale, sees, w->d->number[j + i]), most);
    vec_store(b->most[t].at, most);
}

/* Tiles t and t + 1 of rows have their scores soon: those before are looked at, which the unit doesn't work on any more. */
static void raise_most(const work_rows *w, key_block *b, int64_t t, int64_t j)
{
    if (b->late) raise_tile(w, b, b->late_t, b->late_j), raise_tile(w, b, b->late_t + 1, b->late_j);
    b->late = true, b->late_t = t, b->late_j = j;
}

/* The same from step s on. */
static tile_rows skip(tile_rows rows, int64_t s)
{
    return (tile_rows){rows.data + s * rows.step, rows.pitch, rows.step};
}

/* Scores of thirty-two keys from number j of a block on. Few steps at a time stay near while all rows pass. */
static void score_keys(const work_rows *w, key_block *b, const tile_rows key[2], int64_t j)
{
    const attention *const a = w->a;
    for (int64_t s = 0; s < a->steps; s += NEAR_STEPS) {
        tile_rows const here[2] = {skip(key[0], s), skip(key[1], s)};
        for (int64_t t = 0; t < a->rows / SIDE; t += 2) {
            if (j >= b->seen[t / 2]) continue;
            score_two(w, here, b->keys - j, t, s, b->score + t * (BLOCK_KEYS / SIDE) + j / SIDE);
            if (s + NEAR_STEPS >= a->steps) raise_most(w, b, t, j);
        }
    }
}

/* The block that begins with key `first`. Of a run's first block the values of keys that were scored are paired. */
static void score_block(const work_rows *w, int64_t first, int64_t end, bool begins, key_block *b)
{
    bool const more = first + BLOCK_KEYS < end;
    begin_asking(w->d, more ? w->g : w->then, more ? first + BLOCK_KEYS : w->then_key);
    begin_block(w, first, b);
    for (int64_t t = 0; t < w->a->rows / SIDE; t++) vec_store(w->d->sees[t].at, sees_of(w, b, t));
    for (int64_t j = 0; j < b->keys; j += DEEP) {
        tile_rows const key[2] = {find_keys(w->g, b->first + j, w->d->key),
                                  find_keys(w->g, b->first + j + SIDE, w->d->key + w->a->steps)};
        score_keys(w, b, key, j);
        finish_pairing(w);
        if (begins) pair_keys(w, b, j);
    }
    finish_pairing(w);
    raise_most(w, b, 0, 0);
}

/* Weights of a block whose scores are there; factor: what was summed before is multiplied by. */
static void begin_weighing(const work_rows *w, const key_block *b, const partial *p, tile_column *factor)
{
    weighing *const g = &w->d->weighing;
    g->tiles = w->a->rows / SIDE, g->block = b->score, g->weight = w->d->weight;
    vec_store(g->even.at, vec_of(0)), vec_store(g->odd.at, vec_of(0));
    vec_store(g->scale.at, vec_of(w->g->scale));
    for (int64_t t = 0; t < g->tiles; t++) {
        vec const before = vec_load(p->most[t].at), after = vec_max(vec_load(b->most[t].at), before);
        vec const shift = vec_choose(vec_equal(after, vec_of(-INFINITY)), vec_of(0), after); /* else NaN */
        g->sees[t] = w->d->sees[t], g->keys[t] = over(b->seen[t / 2], DEEP) * DEEP;
        vec_store(g->shift[t].at, shift), vec_store(g->total[t].at, vec_of(0));
        vec_store(factor[t].at, vec_weight(vec_sub(before, shift)));
        vec_store(p->most[t].at, after);
    }
    begin_tile(g, 0);
}

static void add_weights(const work_rows *w, const partial *p, const tile_column *factor)
{
    for (int64_t t = 0; t < w->a->rows / SIDE; t++)
        vec_store(p->sum[t].at,
                  vec_fma(vec_load(p->sum[t].at), vec_load(factor[t].at), vec_load(w->d->weighing.total[t].at)));
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

/* Weighted sums of a block in the making. Two sets of squares: one is added while the unit makes the other. */
typedef struct {
    square more[2][2][2]; /* [set][column][row] */
    int64_t made, t, c;   /* sets so far; where the last one belongs */
    bool fresh;
    const tile_column *factor;
    const partial *p;
} summing;

static void add_last(const work_rows *w, const summing *s)
{
    for (int i = 0; s->made && i < 2; i++)
        for (int h = 0; h < 2; h++)
            add_squares(s->fresh, &s->more[(s->made - 1) % 2][h][i], &s->factor[s->t + i],
                        s->p->o + (s->t + i) * w->a->columns + s->c + h);
}

/* Tiles t and t + 1 of rows, c and c + 1 of columns. */
static void sum_values(const work_rows *w, summing *s, int64_t t, int64_t c, int64_t keys)
{
    const tile *const weight = w->d->weight + t * BLOCK_STEPS;
    tile_rows const rows[2] = {{(const char *)weight, 64, sizeof *weight},
                               {(const char *)(weight + BLOCK_STEPS), 64, sizeof *weight}};
    sum_two(w, rows, t, w->d->value + c * VALUE_TILES, over(keys, DEEP), s->more[s->made % 2]);
    add_last(w, s);
    s->made++, s->t = t, s->c = c;
}

/* Values of the next block take the place of those that were used. */
static void sum_block(const work_rows *w, const key_block *b, const key_block *next, const partial *p,
                      const tile_column *factor)
{
    summing s = {.made = 0, .fresh = b->fresh, .factor = factor, .p = p};
    for (int64_t c = 0; c < w->a->columns; c += 2) {
        for (int64_t t = 0; t < w->a->rows / SIDE; t += 2)
            if (b->seen[t / 2] || b->fresh) sum_values(w, &s, t, c, b->seen[t / 2]);
        if (c % 4 == 0) continue;
        finish_pairing(w);
        if (next) pair_columns(w, next, c - 2);
    }
    add_last(w, &s);
    finish_pairing(w);
}

/* ---- parts ---- */

static partial partial_at(const attention *a, int64_t slot)
{
    int64_t const tiles = a->rows / SIDE;
    return (partial){a->o + slot * tiles * a->columns, a->most + slot * tiles, a->sum + slot * tiles};
}

static void begin_parts(const work_rows *w, int64_t begin, int64_t parts, int64_t slot)
{
    begin_asking(w->d, w->g, begin);
    w->d->pairing.column = w->d->pairing.columns = w->d->weighing.t = w->d->weighing.tiles = 0;
    find_queries(w);
    for (int64_t i = 0; i < parts * (w->a->rows / SIDE); i++) {
        partial const p = partial_at(w->a, slot);
        vec_store(p.most[i].at, vec_of(-INFINITY)), vec_store(p.sum[i].at, vec_of(0));
    }
}

/* Parts from one on, to slots from `slot` on. The next block is scored while one is weighed, and its values are paired while those are
 * summed. */
static void attend_parts(const work_rows *w, int64_t part, int64_t parts, int64_t slot)
{
    int64_t const begin = part * PART_KEYS;
    int64_t const end = least(begin + parts * PART_KEYS, seen_by(w->g, w->row + w->a->rows - 1));
    tile_column factor[ROW_TILES];
    key_block blocks[2], *b = &blocks[0], *next = &blocks[1];
    begin_parts(w, begin, parts, slot);
    score_block(w, begin, end, true, b);
    for (int64_t first = begin; first < end; first += BLOCK_KEYS) {
        bool const more = first + BLOCK_KEYS < end;
        partial const p = partial_at(w->a, slot + first / PART_KEYS - part);
        begin_weighing(w, b, &p, factor);
        if (more) score_block(w, first + BLOCK_KEYS, end, false, next);
        finish_weighing(w);
        add_weights(w, &p, factor);
        sum_block(w, b, more ? next : NULL, &p, factor);
        key_block *const done = b;
        b = next, next = done;
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
    desk *const d = a->desk + worker;
    return (work_rows){a, find_group(a, block / a->blocks, d), d, u, block, block % a->blocks * a->rows, NULL, 0};
}

/* Rows with a run of parts of their keys. Where there are many every worker takes one after the other. */
static void sum_run(const void *job, int64_t at, int worker)
{
    const attention *const a = job;
    unit u;
    work_rows w = rows_at(a, at / a->runs, worker, a->pairs ? NULL : &u);
    int64_t const part = at % a->runs * a->run, then = at + a->workers;
    int64_t const parts = least(a->run, parts_of(a, w.g, w.row) - part);
    if (parts <= 0) return;
    if (then < a->groups * a->blocks * a->runs)
        w.then = a->group + then / a->runs / a->blocks, w.then_key = then % a->runs * a->run * PART_KEYS;
    if (w.u) unit_open(&u, SIDE);
    attend_parts(&w, part, parts, w.block * a->parts + part);
    if (w.u) unit_close(&u);
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
    work_rows const w = rows_at(a, block, worker, a->pairs ? NULL : &u);
    int64_t const parts = parts_of(a, w.g, w.row);
    if (w.u) unit_open(&u, SIDE);
    if (parts) attend_parts(&w, 0, parts, worker * a->parts);
    if (w.u) unit_close(&u);
    for (int64_t t = 0; t < a->rows / SIDE; t++) finish_tile(a, w.g, w.row, worker * a->parts, t);
}

/* And of its value. */
static int64_t bytes_of_key(const square_group *g)
{
    return 2 * (g->width + g->columns);
}

static bool find_desks(dsv3_ctx *ctx, attention *a)
{
    int64_t const tiles = a->rows / SIDE;
    a->desk = ctx_take(ctx, ctx_workers(ctx), sizeof *a->desk);
    for (int i = 0; a->desk && i < ctx_workers(ctx); i++) {
        desk *const d = a->desk + i;
        d->packed = d->gathered = 0;
        for (int n = 0; n < BLOCK_KEYS; n++) d->number[n] = (float)n;
        d->query = ctx_take(ctx, tiles * a->steps, sizeof *d->query);
        d->key = ctx_take(ctx, 2 * a->steps, sizeof *d->key);
        for (int n = 0; n < 2; n++) d->score[n] = ctx_take(ctx, tiles * (BLOCK_KEYS / SIDE), sizeof *d->score[n]);
        d->weight = ctx_take(ctx, tiles * BLOCK_STEPS, sizeof *d->weight);
        d->value = ctx_take(ctx, a->columns * VALUE_TILES, sizeof *d->value);
        d->near = a->gathers ? ctx_take(ctx, a->longest, (size_t)bytes_of_key(a->group)) : NULL;
        if (a->gathers && !d->near) return false;
        if (!d->query || !d->key || !d->score[0] || !d->score[1] || !d->weight || !d->value) return false;
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

/* A block's weights are made while steps / 32 of its scores are; its values are paired while its weighted sums are made. */
static void find_rates(attention *a)
{
    bool const apart = !a->group->value.row || a->group->value.row != a->group->key.row;
    int64_t const twos = a->rows / (2 * SIDE), times = a->pairs ? 2 * SIDE / EIGHT : 1; /* that work is done beside */
    int64_t const lines = over(2 * a->group->width, 64) + (apart ? over(2 * a->group->columns, 64) : 0);
    a->weighed = over(DEEP, times * a->steps);
    a->paired = over(SIDE, 2 * times * twos);
    a->lines = over(BLOCK_KEYS * lines, times * twos * BLOCK_STEPS * (a->steps + a->columns / 2));
}

/* A worker gets eight parts at once, or what makes the shares equal: of whole parts, or one more key would make them 3 and 2. */
static void find_runs(attention *a)
{
    int64_t all = 0;
    for (int64_t i = 0; i < a->groups; i++) all += a->group[i].len / PART_KEYS * a->blocks;
    a->run = all ? over(all, a->workers * over(all, 8 * a->workers)) : 1;
    a->runs = over(a->parts, a->run);
}

/* Where few rows are, their parts are work for several. Sums are the same. */
static bool attend_together(dsv3_ctx *ctx, const square_group *group, int64_t groups)
{
    size_t const mark = ctx_mark(ctx);
    int64_t const workers = ctx_workers(ctx);
    attention a = {.workers = workers, .group = group, .groups = groups, .longest = longest_of(group, groups)};
    a.pairs = ctx_path(ctx) != PATH_AMX;
    a.parts = over(a.longest, PART_KEYS);
    a.rows = rows_together(&a, workers);
    a.blocks = over(rows_of_group(group), a.rows);
    a.steps = over(group->width, DEEP);
    a.columns = 4 * over(group->columns, CHUNK);
    find_rates(&a);
    int64_t const blocks = a.groups * a.blocks;
    bool const by_parts = a.parts > 1 && blocks < 4 * workers;
    a.gathers = !by_parts && !group->key.row && group->key.pitch != 2 * group->width;
    find_runs(&a);
    bool const good = find_desks(ctx, &a) && find_partials(ctx, &a, (by_parts ? blocks : workers) * a.parts);
    if (good && by_parts) {
        ctx_run(ctx, sum_run, &a, blocks * a.runs);
        ctx_run(ctx, finish_part, &a, blocks * (a.rows / SIDE));
    } else if (good) {
        ctx_run(ctx, sum_rows_whole, &a, blocks);
    }
    ctx_back(ctx, mark);
    return good;
}

/* ---- keys that not all tokens see ---- */

typedef struct {
    const square_group *group;
    bool *wild;
} search;

/* Has a value that the last token sees, and the first one doesn't, a NaN or an infinity? */
static void search_group(const void *job, int64_t at, int worker)
{
    (void)worker;
    const search *const s = job;
    const square_group *const g = s->group + at;
    int64_t j = g->len - g->tokens + 1;
    for (j = j > 0 ? j : 0; j < g->len && row_is_finite(&(stored_row){value_at(g, j, 0), DSV3_BF16, NULL}, g->columns);)
        j++;
    s->wild[at] = j < g->len;
}

static square_group group_of_token(const square_group *g, int64_t token)
{
    square_group one = *g;
    int64_t const seen = g->len - g->tokens + token + 1;
    one.tokens = 1, one.len = seen > 0 ? seen : 0;
    one.q.data = (uint16_t *)g->q.data + token * g->q.token;
    one.o.data = (char *)g->o.data + token * g->o.token * (g->o.dtype == DSV3_F32 ? 4 : 2);
    one.lse = g->lse + token * g->lse_token;
    return one;
}

/* A weight of 0 times what isn't finite is NaN, so that tokens stand alone there. */
static bool attend_apart(dsv3_ctx *ctx, const square_group *g, bool wild)
{
    bool good = wild || attend_together(ctx, g, 1);
    for (int64_t token = 0; good && wild && token < g->tokens; token++) {
        square_group const one = group_of_token(g, token);
        good = attend_together(ctx, &one, 1);
    }
    return good;
}

bool attend_squares(dsv3_ctx *ctx, const square_group *group, int64_t groups)
{
    if (!groups || !rows_of_group(group)) return true;
    if (group->tokens == 1) return attend_together(ctx, group, groups);
    size_t const mark = ctx_mark(ctx);
    search const s = {group, ctx_take(ctx, groups, sizeof *s.wild)};
    if (!s.wild) return false;
    ctx_run(ctx, search_group, &s, groups);
    bool const any = memchr(s.wild, true, (size_t)groups);
    bool good = any || attend_together(ctx, group, groups);
    for (int64_t i = 0; any && good && i < groups; i++) good = attend_apart(ctx, &group[i], s.wild[i]);
    ctx_back(ctx, mark);
    return good;
}
