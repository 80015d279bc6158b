/*
 * The order and the accumulator of a port's sums, read from outside: linear is asked for sums of ones among which 2^100 and -2^100
 * stand. What is added to the first before it meets the second is lost, so that the result tells how many terms are below the
 * step at which they meet.
 */
#ifndef SUM_PROBE_H
#define SUM_PROBE_H

#include "case/problem.h"
#include "port/port.h"

enum { MAX_ROWS_OF_PROBE = 256 };

/* One shape of linear: every row is a sum. */
typedef struct {
    port *asked;
    problem p;
    void **data;
    const tensor_info *x, *weight, *y;
    int terms, rows;
    skip_reason skip; /* why it was not answered, of a port that skips it */
} sum_probe;

/* False: one sentence in why. Close either way. */
bool sum_probe_open(sum_probe *s, port *asked, const char *x, const char *weight, int terms, int rows, int columns,
                    complaint *why);
void sum_probe_close(sum_probe *s);

/* Sums of the rows of x, (rows, terms). False: the port gives none, or one that depends on the column; one sentence in why. */
bool sum_probe_ask(sum_probe *s, const double *x, double *sums, complaint *why);

/* under[]: see sum_tree.h; 0 where the sum is no number of ones. */
bool sum_probe_pairs(sum_probe *s, int *under, complaint *why);

/* The same of term 0 and each other one. */
bool sum_probe_row(sum_probe *s, int *under, complaint *why);

/* What adds. */
typedef struct {
    int bits;             /* of what is kept from step to step; 0: it isn't told */
    const char *rounding; /* "rn", "rz", "rd", "ru" */
    int guard;            /* bits beyond these in which the terms of a step are aligned; -1: it isn't told */
    bool fused, products; /* products enter unrounded; they were tried */
} sum_accumulator;

bool sum_probe_accumulator(sum_probe *s, const int *under, sum_accumulator *acc, complaint *why);

#endif
