/* A table of a run: one row an op and port. */
#ifndef BY_OP_H
#define BY_OP_H

#include "report.h"

typedef struct by_op by_op;

by_op *by_op_open(const report_run *run); /* NULL: no memory */
void by_op_close(by_op *t);

/* Counts what the ports made of case `index`. False: no memory. */
bool by_op_add(by_op *t, int index, const result results[]);

/* Is the case the only one of its op? Then its own line says more than a row, and the table has none. */
bool by_op_is_single(const by_op *t, int index);

bool by_op_has_rows(const by_op *t);

/* The rows, ports one after another, ops in the order of the cases. A row with skipped cases says the most common
 * reason in a second line; the ops that a port skips wholly share one line. No rows: nothing. */
void by_op_print(FILE *f, const by_op *t);

#endif
