/* See attention_steps.h. */
#include "attention_steps.h"

#include "attention_weight.h"

/* ---- values ---- */

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

void finish_pairing(const work_rows *w)
{
    pairing *const p = &w->d->pairing;
    while (p->column < p->columns) pair_next(w->g, p);
}

/* ---- weights ---- */

/* Goes to the next tile of rows that sees a key, from tile t on. */
void begin_weighing_tile(weighing *g, int64_t t)
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
    if (g->j == g->keys[g->t]) begin_weighing_tile(g, g->t + 1);
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

void finish_weighing(const work_rows *w)
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
    bool const joins = !weighs && d->pairing.column < d->pairing.columns;
    for (int64_t i = 0; weighs && i < w->a->weighed; i++) weigh_two(&d->weighing, d->number);
    for (int64_t i = 0; joins && i < w->a->paired; i++) pair_next(w->g, &d->pairing);
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
KERNEL void multiply_by_pairs(beside what, const work_rows *w, const tile_rows a[2], int64_t rows, const tile *b,
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
void score_two(const work_rows *w, const tile_rows key[2], int64_t keys, int64_t t, int64_t s, square *to)
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
void sum_two(const work_rows *w, const tile_rows weight[2], int64_t t, const tile *value, int64_t steps,
             square more[2][2])
{
    if (w->a->pairs)
        multiply_by_pairs(PAIR, w, weight, rows_from(w, t), value, value + VALUE_TILES, steps, true, more[0], more[1]);
    else
        sum_four(w, weight, value, steps, more);
}
