/* What the cases of a run see of the known mistakes, all together. */
#ifndef GLANCE_H
#define GLANCE_H

#include "case/problem.h"
#include "result.h"

/*
 * Of each PASS: which known mistakes it sees under the port's declaration, of those that aren't in seen[] of the port. So a
 * run reads the reference about twice for each mistake, not for each case. Costly cases and sequences aren't looked at.
 */
void glance(const problem *p, const ref_set seen[], int ports, result results[]);

#endif
