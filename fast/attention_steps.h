/*
 * Steps of tiles, and what is done between two of them, so that it is done when they are: memory is asked for, scores of the block
 * before become weights, values are paired.
 */
#ifndef ATTENTION_STEPS_H
#define ATTENTION_STEPS_H

#include "attention_desk.h"

/* Two tiles of keys, of which there are so many, with tiles t and t + 1 of queries, from step s on. */
void score_two(const work_rows *w, const tile_rows key[2], int64_t keys, int64_t t, int64_t s, square *to);

/* Tiles t and t + 1 of rows of weights with two of columns. */
void sum_two(const work_rows *w, const tile_rows weight[2], int64_t t, const tile *value, int64_t steps,
             square more[2][2]);

/* The next tile of rows that sees a key, from tile t on. */
void begin_weighing_tile(weighing *g, int64_t t);

/* What steps left to do. */
void finish_weighing(const work_rows *w);
void finish_pairing(const work_rows *w);

#endif
