/*
 * The ops of one tier, and the only text that knows which tier it is in. Here an evaluation begins and ends: each op opens the
 * scratch, runs its formula and returns false when memory ran out.
 */
#include "reading.h"
#include "scratch.h"

typedef struct {
    formula *of;
    const ref_reading *rd;
    const void *prob, *io;
    ref_value *const *out;
} call;

static void run(void *context)
{
    const call *const c = context;
    c->of(c->rd, c->prob, c->io, c->out);
}

static bool evaluate(formula *of, const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])
{
    scratch memory = {.allocate = rd->allocate, .user = rd->user};
    ref_reading with_memory = *rd;
    with_memory.scratch = &memory;
    return scratch_run(&memory, run, &(call){of, &with_memory, prob, io, out});
}

#define OP(op)                                                                                                         \
    static bool evaluate_##op(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])         \
    {                                                                                                                  \
        return evaluate(ref_##op, rd, prob, io, out);                                                                  \
    }
DSV3_OPS(OP)
#undef OP

#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)
#define OP(op)      evaluate_##op,
const ref_table JOIN(ref_, TIER) = {CENTRE_TIER, DSV3_OPS(OP) ref_rope_turns};
#undef OP
