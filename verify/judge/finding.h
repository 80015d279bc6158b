/* What all filters find beside the ports of one rung. */
#ifndef FINDING_H
#define FINDING_H

#include "direction.h"

typedef struct {
    const directions *all;
    senses found;
    filtered named;
    const direction *way; /* the one that it is of; NULL: none yet */
    double thin;          /* of the output that is scattered least, see population */
    int64_t lost;         /* elements that aren't numbers in all ports */
} finding;

/* Beside these ports; finds the directions first unless they are there. False: no memory. */
bool find_among(directions *all, const null_ports *null, finding *f);

/* Beside ports that are drawn from a seed and have this arithmetic. */
bool find_beside(directions *all, const ref_numerics *n, uint64_t seed, finding *f);

/* Rarer than honest ports are; and rarer than any. */
bool is_suspect(const senses *s);
bool is_wrong(const senses *s);

/* How much a rung leaves unexplained, of what makes it suspect. */
double unexplained(const senses *s);

/* Is it suspect for a direction, and not for how it is scattered? */
bool is_along(const senses *s);

#endif
