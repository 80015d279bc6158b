/* See attention_sums.h. */
#include "attention_sums.h"

#include "attention_steps.h"
#include "elementwise.h"

#include <math.h>

/* ---- weights ---- */

/* Weights of a block whose scores are there; factor: what was summed before is multiplied by. */
void begin_weighing(const work_rows *w, const key_block *b, const partial *p, tile_column *factor)
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
    begin_weighing_tile(g, 0);
}

void add_weights(const work_rows *w, const partial *p, const tile_column *factor)
{
    for (int64_t t = 0; t < w->a->rows / SIDE; t++)
        vec_store(p->sum[t].at,
                  vec_fma(vec_load(p->sum[t].at), vec_load(factor[t].at), vec_load(w->d->weighing.total[t].at)));
}

/* ---- weighted sums ---- */

/* Of tiles c to c + 3 of columns, all keys. */
static void pair_columns(const work_rows *w, const key_block *b, int64_t c)
{
    int64_t const end = over(b->keys, DEEP) * SIDE;
    w->d->pairing = (pairing){0, end, 0, c * SIDE, c * SIDE + CHUNK, b->first, w->d->value + c * VALUE_TILES};
}

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
void sum_block(const work_rows *w, const key_block *b, const key_block *next, const partial *p,
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

/* ---- results ---- */

partial partial_at(const attention *a, int64_t slot)
{
    int64_t const tiles = a->rows / SIDE;
    return (partial){a->o + slot * tiles * a->columns, a->most + slot * tiles, a->sum + slot * tiles};
}

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
    g->lse[token * g->lse_token + head * g->lse_head] = parts ? most + logf(sum) : -INFINITY;
}

/* Tile t of the rows that begin with `row`, whose parts lie in slots from `slot` on. */
void finish_tile(const attention *a, const square_group *g, int64_t row, int64_t slot, int64_t t)
{
    vec sum;
    float most[SIDE], sums[SIDE];
    vec_store(most, join_sums(a, slot, parts_of(a, g, row), t, &sum));
    vec_store(sums, sum);
    for (int i = 0; i < SIDE && row + t * SIDE + i < rows_of_group(g); i++)
        finish_row(a, g, row + t * SIDE + i, slot, t, i, most[i], sums[i]);
}
