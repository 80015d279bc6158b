/* What all filters find beside the ports of one rung. */
#ifndef FINDING_H
#define FINDING_H

#include "nulls.h"

typedef struct {
    const problem *p;
    const null_ports *beside; /* until another is asked for */
    senses found;
    filtered named;
    const direction *way;           /* the one that it is of; NULL: none yet */
    double thin;                    /* of the output that is scattered least, see population */
    int64_t lost;                   /* elements that aren't numbers in all ports */
    double left;                    /* what makes it suspect, of all outputs: 0 if it isn't */
    double figure[MAX_OUTPUTS + 1]; /* of each output, how it is scattered, and behind them t */
    unsigned suspects;              /* a bit for each figure that is suspect */
} finding;

/* Beside ports that are drawn from a seed and have this arithmetic. False: no memory. */
bool find_beside(nulls *s, const ref_numerics *n, uint64_t seed, finding *f);

/* Of the answer that find_beside saw last, which no direction of the case explains alone: another one (its d NULL: there is none), or two
 * known mistakes, if that explains it, gets the name. False: no memory. */
bool find_other(nulls *s, const ref_numerics *n, uint64_t seed, const direction *way, senses *found);

/* Rarer than honest ports are; and rarer than any. */
bool is_suspect(const senses *s);
bool is_wrong(const senses *s);

/* The chance that so many sigmas are suspect for nothing. */
double chance_of_suspicion(void);

/* Is what is named there once, as far as its size can be told? */
bool is_once(const senses *s);

/* Is it suspect for a direction, and not for how it is scattered? */
bool is_along(const senses *s);

#endif
