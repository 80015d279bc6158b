/* An answer to one call is judged: its declaration read, the reference evaluated, the outputs compared, a failure explained. */
#ifndef JUDGE_ANSWER_H
#define JUDGE_ANSWER_H

#include "case.h"
#include "case_state.h"

/* The answer is in c->data, its declaration in r->declared; bit i of left_out: the port didn't write output i.
 * wanted: see case.h. */
void judge_answer(case_state *c, unsigned left_out, unsigned wanted, result *r);

/* Of an answer that has no verdict but that elements are missing: what filters make of the others. Sets sensed. */
void name_incomplete(case_state *c, result *r);

#endif
