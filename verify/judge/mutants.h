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
 * would pass, and counts what is decided. Indices have no such mutants. */
void try_mutants(const tensor_info *t, const ref_value *truth, const ref_value *legal, output_stats *s);

/* The same of a decision, by what may be chosen besides in the exact reading and under the declaration. `choices`: the
 * most that a row may choose from besides. The one mutant is any wrong choice; a row is decided if at least half of
 * the wrong choices are illegal, and the mutant passes if no row is. */
void try_choices(const tensor_info *t, const double *truth, const double *legal, double choices, output_stats *s);

#endif
