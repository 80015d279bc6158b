/*
 * Which of two nulls an answer belongs to. What the ports of one null would write that make one mistake, more of it or less, is a
 * line among all answers. A port of a wider null, whose roundings it can't leave out, lies beside that line.
 */
#ifndef NEARNESS_H
#define NEARNESS_H

#include "null.h"

/* How far the answer lies from the line: the share of its elements that differ from it, or aren't foretold. */
double distance_of_answer(const null_ports *narrow, const double *d, const double *got);

/* The chance that a port of the wider null differs from the line in as few elements as the answer: those counts are taken as a gamma
 * variable, with the mean and variance of its ports (Satterthwaite); or as that of its nearest port, whose elements move one by one
 * (Chernoff). The larger is told. d (n): the mistake; got (n): the answer. Both are of the same outputs; the wider one has its ports
 * yet. */
double chance_of_nearness(const null_ports *narrow, const double *d, const double *got, const null_ports *wider);

#endif
