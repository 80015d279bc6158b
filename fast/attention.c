/* See attention.h. */
#include "attention.h"

#include "elementwise.h"
#include "tile.h"

enum { ROWS = 8 * TILE }; /* that are in work together: they use a key while it is near */

typedef struct {
    const attention_group *g;
    int64_t longest; /* keys, rounded up */
    float *score;    /* (workers, ROWS, longest): scores, then weights */
} attention;

stored_row paged_row(const dsv3_tensor *cache, const dsv3_tensor *block_table, int64_t page_size, int64_t b, int64_t j)
{
    int64_t const page = ((const int32_t *)block_table->data)[b * block_table->stride[0] + j / page_size];
    return row_of(cache, page * cache->stride[0] + j % page_size * cache->stride[1]);
}

/* ---- scores ---- */

static const float *query_at(const attention_group *g, int64_t r)
{
    return g->q + r * g->q_stride;
}

/* Rows r to r + rows - 1 against keys j to j + 3; past the last key that one again. There is room
 * for TILE scores more. */
static void score_tile(const attention *a, int64_t r, int rows, int64_t j, int64_t n, float *const score[TILE])
{
    const attention_group *const g = a->g;
    const float *q[TILE];
    stored_row k[TILE];
    float dot[TILE][TILE];
    for (int i = 0; i < TILE; i++) q[i] = query_at(g, r + (i < rows ? i : 0));
    for (int c = 0; c < TILE; c++) k[c] = g->key[j + c < n ? j + c : n - 1];
    dot_rows(rows, q, k, g->width, dot);
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < TILE; c++) score[i][j + c] = dot[i][c] * g->scale;
}

/* ---- weights ---- */

/* Scores become weights; keys that the row doesn't see have none. Returns their sum. */
static float weigh(const attention *a, int64_t r, int64_t n, float *score)
{
    int64_t const seen = a->g->seen[r];
    float const most = largest_of(score, seen), sum = exponentials(score, seen, most);
    for (int64_t j = seen; j < n; j++) score[j] = 0;
    if (a->g->lse) a->g->lse[r] = seen ? most + logf(sum) : -INFINITY;
    return sum;
}

/* ---- values ---- */

/* Columns c to c + SPAN - 1 of rows r to r + rows - 1. */
static void combine(const attention *a, int64_t r, int rows, int64_t n, int64_t c, float *const score[TILE],
                    const float *sum)
{
    const attention_group *const g = a->g;
    int64_t const columns = g->columns - c < SPAN ? g->columns - c : SPAN;
    float mean[TILE][SPAN];
    sum_rows(rows, (const float *const *)score, g->value, n, c, columns, mean);
    for (int i = 0; i < rows; i++)
        for (int64_t s = 0; s < columns; s += WIDTH) {
            vec const o = g->seen[r + i] ? vec_div(vec_load(mean[i] + s), vec_of(sum[i])) : vec_of(0);
            store_lanes(g->o + (r + i) * g->columns, DSV3_F32, c + s, first_lanes(columns - s), o);
        }
}

/* ---- ROWS rows at a time ---- */

static int64_t most_seen(const attention_group *g, int64_t r, int rows)
{
    int64_t most = 0;
    for (int i = 0; i < rows; i++)
        if (g->seen[r + i] > most) most = g->seen[r + i];
    return most;
}

static void attend_rows(const void *job, int64_t part, int worker)
{
    const attention *const a = job;
    const attention_group *const g = a->g;
    int64_t const r = part * ROWS;
    int const rows = g->rows - r < ROWS ? (int)(g->rows - r) : ROWS;
    int64_t const n = most_seen(g, r, rows);
    float *score[ROWS], sum[ROWS];
    for (int i = 0; i < ROWS; i++) score[i] = a->score + (worker * ROWS + (i < rows ? i : 0)) * a->longest;
    for (int64_t j = 0; j < n; j += TILE)
        for (int i = 0; i < rows; i += TILE) score_tile(a, r + i, rows - i < TILE ? rows - i : TILE, j, n, score + i);
    for (int i = 0; i < rows; i++) sum[i] = weigh(a, r + i, n, score[i]);
    for (int64_t c = 0; c < g->columns; c += SPAN)
        for (int i = 0; i < rows; i += TILE)
            combine(a, r + i, rows - i < TILE ? rows - i : TILE, n, c, score + i, sum + i);
}

static int attend_together(dsv3_ctx *ctx, const attention_group *g)
{
    size_t const mark = ctx_mark(ctx);
    attention a = {.g = g, .longest = (g->len / WIDTH + 1) * WIDTH + WIDTH};
    a.score = ctx_take(ctx, ctx_workers(ctx) * ROWS * a.longest, sizeof *a.score);
    bool const good = a.score;
    if (good) ctx_run(ctx, attend_rows, &a, (g->rows + ROWS - 1) / ROWS);
    ctx_back(ctx, mark);
    return good;
}

/* ---- keys that not all rows see ---- */

/* Has a value that the last row sees, and the first one doesn't, a NaN or an infinity? Later rows see more. */
static bool has_wild_values(const attention_group *g)
{
    for (int64_t j = g->rows ? g->seen[0] : g->len; j < g->len; j++)
        if (!row_is_finite(&g->value[j], g->columns)) return true;
    return false;
}

/* `rows` rows from row r on, which see the same keys. */
static attention_group group_of_rows(const attention_group *g, int64_t r, int64_t rows)
{
    attention_group part = *g;
    part.rows = rows, part.len = g->seen[r], part.seen = g->seen + r;
    part.q = query_at(g, r);
    part.o = g->o + r * g->columns;
    part.lse = g->lse ? g->lse + r : NULL;
    return part;
}

/* A weight of 0 times what isn't finite is NaN: rows that see other keys stand apart then. Their bits are the same. */
int attend(dsv3_ctx *ctx, const attention_group *g)
{
    if (!has_wild_values(g)) return attend_together(ctx, g);
    for (int64_t r = 0, end; r < g->rows; r = end) {
        for (end = r + 1; end < g->rows && g->seen[end] == g->seen[r];) end++;
        attention_group const part = group_of_rows(g, r, end - r);
        if (!attend_together(ctx, &part)) return 0;
    }
    return 1;
}
