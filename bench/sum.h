/* The sum of cases that follow one another, as the ops of a layer do: their times beside their limits. */
#ifndef SUM_H
#define SUM_H

#include "cost.h"

typedef struct {
    int cases; /* that have a time */
    double seconds, floor, operations, bytes;
} time_sum;

void sum_add(time_sum *s, double seconds, double floor, const cost *needs);

/* Has each of `cases` a time on the port? Else there is no sum, and why says so. */
bool sum_is_whole(const time_sum *s, int cases, const char *port, complaint *why);

/* As a row of bench run. first: no row was printed before. */
typedef struct {
    const char *port, *cpu;
    int threads;
    bool first;
} sum_place;

void sum_print(const time_sum *s, const sum_place *at, const char *format);

#endif
