/* The tables of a run for people. */
#ifndef TABLE_H
#define TABLE_H

#include "by_op.h"

bool table_has_rows(const by_op *t);

/*
 * One port: a row an op. A row with skipped cases says the most common reason in a second line; the ops that it skips
 * wholly share one line. Several ports: a row an op and a column a port, then for each port what it skipped and why.
 * No rows: nothing.
 */
void table_print(FILE *f, const by_op *t);

#endif
