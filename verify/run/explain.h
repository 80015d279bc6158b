/* What is said besides a verdict: what would pass, which known mistake it is, which ones the case can't see. */
#ifndef EXPLAIN_H
#define EXPLAIN_H

#include "case_state.h"

/* Of a FAIL that declares no arithmetic: what it could have declared. Without memory there is no hint. */
void hint(const case_state *c, const ref_numerics *n, result *r);

/* Of a verdict that is still VACUOUS: what would make it one. It costs many readings of the reference, which count as its time. */
void seek_way_out(const case_state *c, result *r);

/* The known mistakes that explain an answer that fails. */
void seek_quirks(const case_state *c, const ref_numerics *n, result *r);

/* Says of an answer that fails and wasn't judged why it has no diagnosis. */
void note_undiagnosed(result *r);

/* Which known mistakes the case sees, where that takes seconds. The outputs in c->data are the reference's then. */
void look_if_cheap(const case_state *c, const ref_numerics *n, result *r);

#endif
