/*
 * Twins: elements that are the same number, or that number times a power of two. A port is a function, and rounds equal numbers alike:
 * beside the middle between two results all of them go one way, so that their flips are one event and not many. docs/statistics.md.
 */
#ifndef TWINS_H
#define TWINS_H

#include "null.h"

/* Those of a null that may flip, behind one another: first tells where others begin. False: no memory. */
bool twins_find(null_ports *null);

/* Of those from twin i on, weighed by w, or each by its last place, away from 0 (NULL): what they add when all flip, the variance of
 * that, and what it would be if each flipped by itself. Returns the first of the next. */
typedef struct {
    double flip, variance, apart;
} twin_sums;
int64_t twins_weigh(const null_ports *null, int64_t i, const double *w, twin_sums *sums);

#endif
