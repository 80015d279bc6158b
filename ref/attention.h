/*
 * Softmax attention over balls, one component for all ops that have it (mla_decode, mla_prefill, mla). For each row r:
 *   s_j = scale q_r . k_j,  lse_r = ln sum_j e^s_j,  o_r = sum_j e^(s_j - lse_r) v_j,  over the keys j < seen[r].
 * attention_error.h says what a port may do to it. The op decides which mistakes are made: in the scale, in seen, in what it hands
 * over.
 */
#ifndef ATTENTION_H
#define ATTENTION_H

#include "reading.h"

/* Rows are queries that share keys and values: those of one head, or of all heads in the absorbed form. */
typedef struct {
    const ref_reading *rd;
    int scale_q, scores, P;   /* the op's points scale, scores and P */
    dsv3_dtype output;        /* format of the op's output: what these points are rounded to unless declared */
    ball scale;               /* of q, or of q . k, as the port has it; made by the op: softmax_scale in mla.c */
    int64_t rows, len, width; /* queries, keys, entries of a value */
    const operand *query;     /* (rows) by operand_of or operand_of_balls */
    const operand *key;       /* (len) */
    const int64_t *seen;      /* (rows), each at most len */
    const double *number;     /* values as exact stored numbers; NULL: they are enclosures, in `value` */
    const ball *value;
    int64_t stride;       /* value j begins at number or value + j * stride */
    double largest_scale; /* 0: keys and values are no codes */
    /* Extra relative error of applying the FP8 scale after the dot product; 0: applied before. */
    double scale_after_sum;
} attention;

/* o (rows, width) and lse (rows) before the rounding at the op's points o and lse; NULL: not wanted. A row that sees no key has
 * o = 0; its lse is -infinity, which no ball is: that is left to the caller, and any is written. */
void attend(const attention *a, ball *o, ball *lse);

/* o and lse as attend has them; and by_weights (rows, width): how much of each radius is owed to weights that are off, not to sums. 0: little, or
 * unknown. Sums of entries of o have less of it than the sum of these: see Lemma Delta. Not in an exact reading. */
void attend_apart(const attention *a, ball *o, ball *lse, double *by_weights);

/* s (rows, len): the scores of the keys that each row sees, as a port has them; what others get is left open. */
void attention_scores(const attention *a, ball *s);

/* The lse of row r as the port writes it, at the op's point of that name. */
ref_value lse_value(const attention *a, int64_t r, int point, ball lse);

#endif
