/*
 * A matched filter: how far what a port wrote lies along a direction, in units of how far the ports of the null do. And the
 * population: is it as scattered as theirs? docs/statistics.md.
 */
#ifndef FILTER_H
#define FILTER_H

#include "null.h"

typedef struct {
    double t;        /* sigmas, by Bernstein's tail: a few flips of the last place count as few */
    double t_of_one; /* what it would be of a port that makes just this mistake */
    double z;        /* along the direction in the metric of the null, plain: what names mistakes */
    double size, sd; /* of the direction that was found, and its error: 1 is exactly this mistake */
} filtered;

/* d (n): a direction of results before they are rounded. */
filtered filter_smooth(const null_ports *null, const double *d);

/* The same of a known mistake, whose results are rounded: where a mistake moves few last places, these tell more. */
filtered filter_rounded(const null_ports *null, const double *d);

/* The larger of both. */
filtered filter_both(const null_ports *null, const double *d);

/* chi^2 of one output over that of the most scattered port of the null, and Bernstein's t of what is too much; and over that of the
 * least scattered: a port far below rounds less. */
typedef struct {
    double ratio, t, thin;
} scattered;
scattered population(const null_ports *null, int output);

/* How far a port of the null is off at most, squared, in the metric of z. */
double farthest_port(const null_ports *null);

/* Is so much of the direction all that is off? What is left beside it is no more than a port of the null has, or than last places
 * that so much of it flips. */
bool filter_explains(const null_ports *null, const double *d, const filtered *found);

#endif
