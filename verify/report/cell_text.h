/* What a port made of an op, in few words. */
#ifndef CELL_TEXT_H
#define CELL_TEXT_H

#include "by_op.h"

int cell_judged(const cell *c); /* cases */

/* "79/81": passed, of those that were judged; "-" of none. */
void cell_passed(const cell *c, char *text, size_t cap);

/* "5.1 bits", the coarsest; "exact"; "" where there is none. */
void cell_bits(const cell *c, char *text, size_t cap);

/* "12 skipped, 9 of them: why" of all ops on port b, and what it was judged without; "": neither. */
void port_rest(const by_op *t, int b, char *text, size_t cap);

/* "12 passed, 1 failed, 3 skipped", with the shard and an interruption, if there are. */
void counts_text(const report_run *run, const tally *t, char *text, size_t cap);

#endif
