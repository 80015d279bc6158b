/*
 * The hooks through which a formula meets a reading. Exact: each returns its argument. Conforming: each adds what the
 * declared arithmetic may do at this place. The lemma behind each is in docs/numerics.md under the name given here.
 * Words: docs/glossary.md.
 */
#ifndef READING_H
#define READING_H

#include "ball.h"
#include "ref.h"

/* The formulas, one file each. */
#define OP(op) ref_op ref_##op;
DSV3_OPS(OP)
#undef OP
ref_turns ref_rope_turns(const dsv3_rope_prob *prob, ref_set quirks, int64_t j);

/* Is this mistake made? */
static inline bool quirk(const ref_reading *rd, int q)
{
    return rd->quirks >> q & 1;
}

/* A stored number as the port reads it: a subnormal binary32 may count as 0. (Flush) */
ball element(const ref_reading *rd, double v);

/* A constant of the config: the decimal; the port may round it. (Point) */
ball constant(const ref_reading *rd, double decimal);

/* A sum as the port's accumulator makes it. (Accumulate, Exact, Flush, Overflow) */
ball sum_of(const ref_reading *rd, const terms *sum);

/* Significant bits of a format. */
int digits_of(dsv3_dtype format);

/* Every number that the port's arithmetic keeps is a multiple of 2^this; and what one operation may lose to that. (Underflow) */
int least_exponent(const ref_numerics *port);
double lost_in_one(const ref_numerics *port);

/* One rounded operation between named points; the argument is its exact result. (Point) */
ball step(const ref_reading *rd, ball exact);

/* a / b and 1 / sqrt(a) as the port computes them. (Function) */
ball quotient_of(const ref_reading *rd, ball a, ball b);
ball rsqrt_of(const ref_reading *rd, ball a);

/* 1 / (1 + e^-a), and cos and sin of the angle at `position`, as the port computes them. spread: what its angle is off by for
 * each position, in units of its format and radians. (Function, Angle) */
ball sigmoid_of(const ref_reading *rd, ball a);
void cos_sin_of(const ref_reading *rd, ball turns, double position, double spread, ball *cosine, ball *sine);

/* e^(a - b) as the port computes it, b a number that it finds first. (Function, Shifted) */
ball exp_of(const ref_reading *rd, ball a, double b);

/* z / (1 + e^-z), or z times sigmoid(z), as the port computes it. (Silu) */
ball silu_of(const ref_reading *rd, ball z);

/* The relative error of a sum of n terms, and of each rounding to a point's format. (Accumulate, Point) */
double share_of(const ref_numerics *port, int64_t n);
double unit_at_point(const ref_reading *rd, int point, dsv3_dtype output);

/* A sum that divides: some add 10^-20 so that it isn't 0. */
ball guarded(const ref_reading *rd, ball sum);

/* A named rounding point; `output` is the format of the op's output. (Point, Snap) */
ball at(const ref_reading *rd, int point, dsv3_dtype output, ball exact);

/* A sum whose partial sums are rounded to a point's format, or any better one, in any order. (Partial) */
ball sum_at(const ref_reading *rd, int point, dsv3_dtype output, const terms *sum);

/* A stage of a composition, n elements: handed to out unless that is NULL; in a forced reading what goes on is what the port made of
 * it, elements `from` on of its tensor, unless it has none. (Stage) */
void stage(const ref_reading *rd, const dsv3_tensor *port, int64_t from, ref_value *out, ball *v, int64_t n);

/* What the caller of the reference gets. */
ref_value value_of(ball b);

#endif
