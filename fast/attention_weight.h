/* What a score is to its row. */
#ifndef ATTENTION_WEIGHT_H
#define ATTENTION_WEIGHT_H

#include "attention_desk.h"
#include "elementwise.h"

/* Scores of sixteen rows for a key; -infinity where it isn't seen. */
KERNEL vec score_of(const float *score, vec scale, vec sees, float key)
{
    return vec_choose(vec_above(sees, vec_of(key)), vec_mul(vec_load(score), scale), vec_of(-INFINITY));
}

#endif
