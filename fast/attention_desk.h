/*
 * What attention by squares works on: rows of queries with blocks of their keys. Which rows see what, and where keys and values lie.
 * Of attention_*.c alone, which are compiled for AMX and AVX512-BF16.
 */
#ifndef ATTENTION_DESK_H
#define ATTENTION_DESK_H

#include "attention_squares.h"
#include "squares.h"

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

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t over(int64_t n, int64_t each)
{
    return (n + each - 1) / each;
}

/* ---- who sees what ---- */

static inline int64_t rows_of_group(const square_group *g)
{
    return g->tokens * g->heads;
}

/* Keys that row r sees, or the last row if there is no such one. Later rows see more. */
static inline int64_t seen_by(const square_group *g, int64_t r)
{
    int64_t const seen = g->len - g->tokens + least(r, rows_of_group(g) - 1) / g->heads + 1;
    return seen > 0 ? seen : 0;
}

/* Rows of the group from tile t of those in work on. */
static inline int64_t rows_from(const work_rows *w, int64_t t)
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

static inline int64_t seen_in_block(const square_group *g, int64_t r, int64_t first)
{
    int64_t const seen = seen_by(g, r) - first;
    return seen < 0 ? 0 : least(seen, BLOCK_KEYS);
}

/* Keys that any row of a block of rows sees, in parts. */
static inline int64_t parts_of(const attention *a, const square_group *g, int64_t row)
{
    return over(seen_by(g, row + a->rows - 1), PART_KEYS);
}

/* ---- where keys and values lie ---- */

static inline const char *row_at(const key_rows *rows, int64_t j)
{
    return rows->row ? rows->row[j].data : rows->first + j * rows->pitch;
}

static inline const uint16_t *value_at(const square_group *g, int64_t j, int64_t column)
{
    return j < g->len ? (const uint16_t *)row_at(&g->value, j) + column : NULL;
}

static inline void begin_asking(desk *d, const square_group *g, int64_t first)
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

#endif
