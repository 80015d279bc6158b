/*
 * What theorems can't see: matched filters for every known mistake and every constant of the op, beside ports that are drawn.
 * docs/statistics.md.
 */
#ifndef SENSE_H
#define SENSE_H

#include "nulls.h"
#include "watcher.h"

/* Of the outputs in data; legal: what the balls allow; NULL: no excerpt is taken. Sets r->sensed, and where they allow the outputs, v,
 * why and statistical if filters decide. Where rows stand for themselves and are many, they are sensed in an excerpt.
 * kept: what earlier answers to the same problem left, excerpts taken or not. watched, who is told before each rung, may be NULL.
 * False: no memory. */
bool sense(nulls *kept, const problem *p, const ref_numerics *declared, const enclosures *legal, void *const data[],
           const watcher *watched, result *r);

/* Of each known mistake, by its number: so many sigmas is a port from honest ones that makes just this mistake and declares this
 * arithmetic, beside the plain rung that hides it best. NAN: no filter of it is tried here. The outputs in data are an honest port's.
 * False: no memory. */
bool sense_mistakes(const problem *p, const ref_numerics *declared, const enclosures *legal, void *const data[],
                    double sigmas[]);

#endif
