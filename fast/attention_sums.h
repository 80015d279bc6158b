/* Weights of a block whose scores are there, their sums and those of values; and what comes out of all parts. */
#ifndef ATTENTION_SUMS_H
#define ATTENTION_SUMS_H

#include "attention_desk.h"

partial partial_at(const attention *a, int64_t slot);

/* factor: what was summed before is multiplied by. Weights are made while the next block is scored; add_weights follows them. */
void begin_weighing(const work_rows *w, const key_block *b, const partial *p, tile_column *factor);
void add_weights(const work_rows *w, const partial *p, const tile_column *factor);

/* Values of the next block (NULL: there is none) take the place of those that were used. */
void sum_block(const work_rows *w, const key_block *b, const key_block *next, const partial *p,
               const tile_column *factor);

/* Tile t of the rows that begin with `row`, whose parts lie in slots from `slot` on. */
void finish_tile(const attention *a, const square_group *g, int64_t row, int64_t slot, int64_t t);

#endif
