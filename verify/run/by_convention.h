/* Is an answer that fails as a public reference has it? */
#ifndef BY_CONVENTION_H
#define BY_CONVENTION_H

#include "case_state.h"
#include "profile.h"

/* Of a FAIL or SUSPECT. The verdict becomes CONVENTION, and the statistics of outputs are those by the reference's formulas, if the
 * answer passes by them: with one of the profile's departures, else with all that the formula asks for here; or, where filters alone
 * refuse it, if one of these and nothing else is what they find. Else the reason says which keys of the case the reference has with
 * another value. */
void seek_convention(const case_state *c, const ref_numerics *declared, const profile *followed, result *r);

#endif
