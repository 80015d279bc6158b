/* What is read of a port's sums, as it declares it. */
#ifndef SUM_READ_H
#define SUM_READ_H

#include "judge/sum_tree.h"
#include "sum_probe.h"

/* What follows acc, "24 rn splits=16". False: no declaration says it. */
bool sum_clause(const sum_order *o, const sum_accumulator *acc, char *text, size_t cap);

/* The same of linear, products aside, if it is one for every format that the port takes; else "". */
void sum_read(port *asked, char *text, size_t cap);

#endif
