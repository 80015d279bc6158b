/*
 * What a weight of an engine is made of: weights of the checkpoint, one above the other, and several such matrices if they are
 * stacked. The rules, which are about names alone, are in weight_source.c; docs/engines.md, "Weights".
 */
#ifndef WEIGHT_SOURCE_H
#define WEIGHT_SOURCE_H

#include "files/checkpoint.h"
#include "files/config.h"
#include "ref.h"

enum { MOST_PARTS = 2 };

/* Rows `first` to first + rows of a tensor; a vector is a column. */
typedef struct {
    const safetensor *t, *scale; /* scale: of 128 x 128 blocks; NULL: none */
    int64_t first, rows, columns;
} weight_part;

typedef struct {
    int64_t stack;     /* matrices */
    int parts;         /* of each */
    weight_part *part; /* (stack, parts) */
    int64_t rows, columns;
    bool fused, heads; /* it has several parts; it is cut out by heads */
} weight_source;

/* By the engine's name of a weight. False: no rule leads to tensors that the checkpoint has, or (then a sentence is in why) there is no
 * memory. Close in any case. */
bool weight_source_find(const checkpoint *c, const dsv3_config *config, const char *name, weight_source *out,
                        complaint *why);
void weight_source_close(weight_source *s);

/* An element of matrix `at`, dequantised if the part has a scale; in `once` the product is rounded to binary32 first, as engines
 * have it. */
double weight_source_value(const weight_source *s, int64_t at, int64_t row, int64_t column, bool once);

#endif
