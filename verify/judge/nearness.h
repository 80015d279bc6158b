/*
 * Which of two nulls an answer belongs to. What the ports of one null would write that make one mistake, more of it or less, is a
 * line among all answers. A port of a wider null, whose roundings it can't leave out, lies beside that line.
 */
#ifndef NEARNESS_H
#define NEARNESS_H

#include "null.h"

/* How far the answer lies from the line, squared, in last places of an element in the mean: 1 for each that isn't foretold to
 * one. */
double distance_of_answer(const null_ports *narrow, const double *d, const double *got);

/* The chance that a port of the wider null is as near to the line as the answer: squared distances are taken as gamma variables, with
 * the mean and variance of its ports (Satterthwaite). d (n): the mistake; got (n): the answer. Both are of the same outputs; the wider
 * one has its ports yet. */
double chance_of_nearness(const null_ports *narrow, const double *d, const double *got, const null_ports *wider);

#endif
