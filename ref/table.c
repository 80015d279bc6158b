/* The ops of one tier; the only text that knows which tier it is in. */
#include "reading.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)
#define OP(op)      ref_##op,
const ref_table JOIN(ref_, TIER) = {CENTRE_TIER, DSV3_OPS(OP) ref_rope_turns};
#undef OP
