/* See attention_squares.h. Compiled for AMX and AVX512-BF16, called only where the latter is. */
#include "attention_squares.h"

#include "attention_desk.h"
#include "attention_scores.h"
#include "attention_steps.h"
#include "attention_sums.h"

/* ---- parts ---- */

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

/* ---- rows ---- */

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
