/*
 * What a port may do to softmax attention, beside the formula: Lemmas Late, Scaled, Selection, Softmax, Hull and Parts,
 * docs/numerics.md. Its o is not a quotient of two balls: an error that all weights share cancels. Lemma Softmax states it in
 * mean-value form, from the relative error E_j of each weight.
 */
#ifndef ATTENTION_ERROR_H
#define ATTENTION_ERROR_H

#include "attention.h"
#include "softmax.h"

/* Rows that are in work together, from scores to sum_j P_j v_j. */
typedef struct {
    const attention *a;
    const operand *query; /* (rows) */
    const int64_t *seen;  /* (rows) */
    int64_t rows, len;    /* keys that any of them sees */
    ball *weight;         /* (rows, len): scores, then e^(scores - maximum) */
    double *error;        /* (rows, len): E_j */
    softmax *of_row;      /* (rows); n = 0: the row has its o already */
    ball *mean;           /* (rows, width): sum_j P_j v_j */
    double *by_weights;   /* (rows, width): zeros, or NULL; see attend_apart */
} attention_rows;

/* How a port forms the scores of a row: scale (query . k_j). */
typedef struct {
    operand query; /* scaled already where scale is 1 */
    ball scale;
    int64_t zeros; /* so many entries of the query are 0 */
    bool rounded;  /* the port's own entries are the query's times the scale, rounded: Lemma Exact is no use */
} query_way;

/* What scales queries. */
typedef struct {
    const attention *a;
    ball folded; /* scale log2(e), rounded, for exponentials of base 2 */
    ball ln2;
} scaling;
scaling scaling_of(const attention *a);

/* scale v, as a port has it that scales queries, by scale or in base 2 by scale log2(e). */
ball scaled_entry(const scaling *s, ball v);

/* By scaling the sum; by scaling the query first. (Scaled) */
query_way scale_the_sum(const attention *a, const operand *q);
query_way scale_the_query(const scaling *s, const operand *q);

/* query . k_j as a port computes it, before the scale. (Accumulate, Late) */
ball dot_of(const attention *a, const query_way *q, const sum_record *product);

/* In how many parts a port may take the keys that a row sees: 1, or 2 and more where it may merge. (Parts) */
int64_t most_parts(const ref_reading *rd, int64_t seen);

/* With scores of exactly 0 for 2^k keys and vanishing ones for the others every weight is 1 or 0. Returns the number of keys
 * selected, or 0, for a row whose weights are still scores; and o, the mean of the selected values. (Selection) */
int64_t count_selected(const attention_rows *b, int64_t r);
void mean_of_selected(const attention_rows *b, int64_t r, int64_t count, ball *o);

/* A row's weights as the products with values take them, where that isn't told by a radius. */
void round_weights(const attention_rows *b, int64_t r);

/* Relative error of the sum of weights that a port rounds before it adds them: what softmax_lse takes. (Softmax) */
double rounding_of_weights(const attention *a, const softmax *m);

/* The values as numbers, and how far each may be from its number. */
typedef struct {
    const double *number;
    int64_t stride;
    const double *off;        /* (len, width); NULL: not at all */
    const double *origin;     /* (width) zeros */
    const double *largest;    /* (width): >= |v| of each column */
    const double *low, *high; /* (width): ends of each column; not in an exact reading */
} value_bounds;
value_bounds value_bounds_of(const attention *a);

/* How far a mean with weights that are off by E_j and by the rounding of P may be from the mean. (Softmax, Delta) */
typedef struct {
    double size, moved, spread; /* the sums of P |v|, P E |v - o|, P |v - o| */
    double o, largest;          /* >= |o|, >= every |v| */
} weighted_sums;
double weights_radius(const attention *a, const softmax *m, const weighted_sums *s);

/* o (rows, width) is the mean and everything that a port may make of it, for the rows that have a softmax. (Softmax) */
void widen_means(const attention_rows *b, const value_bounds *v, ball *o);

#endif
