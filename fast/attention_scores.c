/* See attention_scores.h. */
#include "attention_scores.h"

#include "attention_steps.h"
#include "attention_weight.h"

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

void find_queries(const work_rows *w)
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

/* ---- scores ---- */

static void begin_block(const work_rows *w, int64_t first, key_block *b)
{
    b->first = first, b->fresh = first % PART_KEYS == 0, b->late = false,
    b->score = w->d->score[first / BLOCK_KEYS % 2];
    for (int64_t t = 0; t < w->a->rows / SIDE; t++) {
        if (!(t % 2)) b->keys = b->seen[t / 2] = seen_in_block(w->g, w->row + (t + 2) * SIDE - 1, first);
        vec_store(b->most[t].at, vec_of(-INFINITY));
    }
}

/* Of all columns, thirty-two keys from number j of the block on. */
static void pair_keys(const work_rows *w, const key_block *b, int64_t j)
{
    w->d->pairing = (pairing){j / 2, j / 2 + SIDE, j / 2, 0, w->g->columns, b->first, w->d->value};
}

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
void score_block(const work_rows *w, int64_t first, int64_t end, bool begins, key_block *b)
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
