/*
 * The vacuity test. A mutant is a wrong result made from the truth: zero, the truth with its sign turned,
 * the truth's next row, 1.125 times the truth, each row rotated by one. If a mutant is legal, a verdict on
 * this case says little.
 */
#ifndef MUTANTS_H
#define MUTANTS_H

#include "case/problem.h"
#include "result.h"

/* Adds to s->mutants those that differ from the truth of tensor t, and to s->survivors those of them that
 * would pass. Indices have no mutants. */
void try_mutants(const tensor_info *t, const ref_value *truth, const ref_value *legal, output_stats *s);

#endif
