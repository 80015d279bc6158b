/*
 * A matched filter: how far what a port wrote lies along a direction, in units of how far the ports of the null do. And the
 * population: is it as scattered as theirs? docs/statistics.md.
 */
#ifndef FILTER_H
#define FILTER_H

#include "null.h"

typedef struct {
    double t;    /* sigmas, by Bernstein's tail: a few flips of the last place count as few */
    double z;    /* along the direction in the metric of the null, plain: what names mistakes */
    double size; /* of the direction that was found: 1 is exactly this mistake */
} filtered;

/* Of y, what a port's errors add up to along a direction. */
typedef struct {
    double variance; /* among the ports of the null */
    double largest;  /* that one last place adds */
    double of_one;   /* y, if the direction is there once */
} weighing;

/* A direction beside the ports of a null. Smooth: of results before they are rounded. Rounded: where a mistake moves few last
 * places, those tell more. */
typedef struct {
    weighing smooth, rounded;
    double squared;  /* the direction, in the metric of the null */
    double t_of_one; /* what t would be of a port that makes just this mistake */
} filter;

/* d (n): a direction of results before they are rounded; room (2, n). */
filter filter_open(const null_ports *null, const double *d, double *room);

/* off (n): what a port wrote, less mu. t is the larger of both, the rest is that of smooth results. */
filtered filter_apply(const null_ports *null, const filter *f, const double *d, const double *off, double *room);

/* The standard error of the size. */
double filter_error(const null_ports *null, const filter *f, const double *d, double size);

/* What a port wrote, less mu; 0 where that counts nowhere. */
void filter_subtract(const null_ports *null, const double *got, double *off);

/* ---- population ---- */

/* chi^2 of one output, of so many elements: what is expected, its variance, and that of the most and of the least scattered port of
 * the null. */
typedef struct {
    int64_t elements;
    double expected, variance, most, least;
} scatter;
scatter scatter_of_ports(const null_ports *null, int output);

/* chi^2 of an answer over that of the most scattered port, and Bernstein's t of what is too much; and over that of the
 * least scattered: a port far below rounds less. Of few elements: 0, 0 and 1, they are no population. */
typedef struct {
    double ratio, t, thin;
} scattered;
scattered population(const null_ports *null, int output, const scatter *ports, const double *off);

/* ---- all of it ---- */

/* The most that a port of the null is off, in its metric. */
double filter_most(const null_ports *null);

/* What is no more than this is chance; most: that of the null. */
double filter_enough(double most);

/* Is so much of the direction all that is off? What is left beside it is no more than a port of the null has, or than last places
 * that so much of it flips. */
bool filter_explains(const null_ports *null, const double *d, const filtered *found, double most, const double *off);

#endif
