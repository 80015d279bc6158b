/* See attention.h. */
#include "attention.h"

#include "elementwise.h"

#include <math.h>

/* All tiles of all groups: part i is tile i % tiles of group i / tiles. */
typedef struct {
    const attention_group *group;
    int64_t tiles, longest;
    float *weight; /* (workers, TILE, longest): scores, then weights */
} attention;

static int64_t most_seen(const attention_group *g, int64_t r, int rows)
{
    int64_t most = 0;
    for (int i = 0; i < rows; i++)
        if (g->seen[r + i] > most) most = g->seen[r + i];
    return most;
}

/* weight[i][j] = scale q_i . k_j */
static void score_tile(const attention_group *g, int64_t r, int rows, int64_t n, float *const weight[TILE])
{
    const float *q[TILE];
    for (int i = 0; i < TILE; i++) q[i] = g->q + (r + (i < rows ? i : 0)) * g->q_stride;
    for (int64_t j = 0; j < n; j += TILE) {
        stored_row k[TILE];
        float dot[TILE][TILE];
        for (int c = 0; c < TILE; c++) k[c] = g->key[j + c < n ? j + c : n - 1];
        dot_rows(rows, q, k, g->width, dot);
        for (int i = 0; i < rows; i++)
            for (int c = 0; c < TILE && j + c < n; c++) weight[i][j + c] = dot[i][c] * g->scale;
    }
}

/* Scores become weights; keys that the row doesn't see have none. */
static float weigh(const attention_group *g, int64_t r, int64_t n, float *weight)
{
    int64_t const seen = g->seen[r];
    float const most = largest_of(weight, seen), sum = exponentials(weight, seen, most);
    for (int64_t j = seen; j < n; j++) weight[j] = 0;
    if (g->lse) g->lse[r] = seen ? most + logf(sum) : -INFINITY;
    return sum;
}

static void combine(const attention_group *g, int64_t r, int rows, int64_t n, float *const weight[TILE],
                    const float sum[TILE])
{
    for (int64_t c = 0; c < g->columns; c += SPAN) {
        int64_t const columns = g->columns - c < SPAN ? g->columns - c : SPAN;
        float mean[TILE][SPAN];
        sum_rows(rows, (const float *const *)weight, g->value, n, c, columns, mean);
        for (int i = 0; i < rows; i++)
            for (int64_t s = 0; s < columns; s += WIDTH) {
                vec const o = g->seen[r + i] ? vec_div(vec_load(mean[i] + s), vec_of(sum[i])) : vec_of(0);
                store_lanes(g->o + (r + i) * g->o_stride, DSV3_F32, c + s, first_lanes(columns - s), o);
            }
    }
}

static void attend_tile(const void *job, int64_t part, int worker)
{
    const attention *const a = job;
    const attention_group *const g = &a->group[part / a->tiles];
    int64_t const r = part % a->tiles * TILE;
    int const rows = g->rows - r < TILE ? (int)(g->rows - r) : TILE;
    float *weight[TILE], sum[TILE];
    if (rows <= 0) return;
    int64_t const n = most_seen(g, r, rows);
    for (int i = 0; i < TILE; i++) weight[i] = a->weight + (worker * TILE + (i < rows ? i : 0)) * a->longest;
    score_tile(g, r, rows, n, weight);
    for (int i = 0; i < rows; i++) sum[i] = weigh(g, r + i, n, weight[i]);
    combine(g, r, rows, n, weight, sum);
}

int attend(dsv3_ctx *ctx, const attention_group *group, int64_t groups)
{
    size_t const mark = ctx_mark(ctx);
    attention a = {group, 0, 0, NULL};
    for (int64_t i = 0; i < groups; i++) {
        int64_t const tiles = (group[i].rows + TILE - 1) / TILE;
        if (tiles > a.tiles) a.tiles = tiles;
        if (group[i].len > a.longest) a.longest = group[i].len;
    }
    a.longest = (a.longest + WIDTH) / WIDTH * WIDTH;
    a.weight = ctx_take(ctx, ctx_workers(ctx) * TILE * a.longest, sizeof(float));
    if (a.weight) ctx_run(ctx, attend_tile, &a, groups * a.tiles);
    ctx_back(ctx, mark);
    return a.weight != NULL;
}
