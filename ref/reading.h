/*
 * The hooks through which a formula meets a reading, an evaluation of the formula. An exact reading encloses the exact
 * result, and each hook returns its argument. A conforming reading encloses the results of every port that keeps to the
 * declared arithmetic, and each hook adds what such a port may do at this place. Lemmas are proved in docs/numerics.md.
 *
 *   hook               lemma                        in the field's terms
 *   element            Flush                        denormals are zero: a subnormal operand may count as 0
 *   constant, round_op Point, Twice                 the standard model, fl(x op y) = (x op y)(1 + d), |d| <= u (Higham)
 *   sum_of             Accumulate, Exact,           |error| <= gamma_n sum |a_i b_i| for every order (Higham); none where
 *                      Underflow, Overflow          no partial sum rounds; n underflow units eta (gradual underflow)
 *   gamma_sum          Accumulate                   gamma_n = n u / (1 - n u), for the accumulator's u and block
 *   eta                Underflow                    eta, the underflow unit: what a subnormal result may lose
 *   least_exponent     Underflow                    the exponent of the least subnormal: all numbers are multiples of it
 *   quotient_of, share_of, rsqrt_of, sigmoid_of, log_of
 *                      Function                     a relative error in units of 2^-24; or correct rounding (Snap)
 *   mean_over          Returned                     a wide accumulator's sum is rounded before the division or after it
 *   exp_of             Shifted                      the absolute error of the argument is a relative one of the result
 *   sigmoid_of         Composed                     e^-z, 1 + e^-z and the quotient, each an operation of `arith`
 *   silu_of            Silu                         z times sigmoid(z), overflow of e^-z included
 *   cos_sin_of         Angle                        the error of the argument's reduction, then that of the function
 *   round_at           Point, Snap, Twice           a rounding point: half an ulp of its format, double rounding included;
 *                                                   a certain rounding is monotone, so the ball's ends are rounded
 *   code_of            Code                         the E4M3 code nearest to a quotient, or either one beside a midpoint
 *   sum_rounded_at     Partial                      gamma_n of the accumulator and of the storage format together
 *   unit_at_point      Point                        u of a rounding point: half an ulp of 1, an ulp where it truncates
 *   guarded            Function                     a divisor kept away from 0 by a small summand
 *   stage              Stage                        teacher forcing: the next step starts from the port's own values
 *
 * u is the unit roundoff of a format: 2^-p to nearest with p significant bits, twice that toward zero. Every result is
 * flushed to 0 where the declaration says so and the ball reaches the subnormal numbers (Flush). Words: docs/glossary.md.
 */
#ifndef READING_H
#define READING_H

#include "ball.h"
#include "clauses.h"

/* The formulas, one file each: a ref_op that has the reading's scratch for its memory, so that it can't run out of any. */
typedef void formula(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[]);
#define OP(op) formula ref_##op;
DSV3_OPS(OP)
#undef OP
void ref_rope_turns(const dsv3_rope_prob *prob, ref_set quirks, ref_turns *turns);

/* Numbers of this size that are so close are ties where the exact reading counts what may be chosen: binary32 and its sums can't
 * tell them apart. */
static inline double tie(const ref_reading *rd, double size)
{
    return rd->declared ? 0 : 0x1p-16 * size;
}

/* Does the reading make this known mistake? A formula asks only where the mistake may change something. */
static inline bool quirk(const ref_reading *rd, int q)
{
    if (rd->asked) ref_add(rd->asked, q);
    return ref_has(rd->quirks, q);
}

/* The declaration, for a formula that reads one clause or point of it itself; NULL in an exact reading. Notes the clause
 * in rd->called: an op's DECLARES row of points.def has the clauses that are noted. */
static inline const ref_numerics *declared(const ref_reading *rd, int clause)
{
    if (rd->called) ref_add(rd->called, clause);
    return rd->declared;
}

/* The reading of a piece of the formula: rd, or in room a copy whose arith is that of the piece, where it is declared by itself. */
typedef struct {
    ref_reading rd;
    ref_numerics port;
} reading_room;
const ref_reading *reading_of(const ref_reading *rd, ref_piece piece, reading_room *room);

/* What a port declared of a point; not in an exact reading. */
static inline ref_rounding declared_at(const ref_reading *rd, int point)
{
    return declared(rd, point)->point[point];
}

/* A stored number as a port reads it: a subnormal binary32 may count as 0. (Flush) */
ball element(const ref_reading *rd, double v);

/* Element i of row t of a tensor, likewise. */
static inline ball element_at(const ref_reading *rd, const dsv3_tensor *x, int64_t t, int64_t i)
{
    return element(rd, ref_decode(x->dtype, x->data, t * x->stride[0] + i));
}

/* A constant of the config: its decimal, which a port may round. (Point) */
ball constant(const ref_reading *rd, double decimal);

/* A sum as a port's accumulator forms it. (Accumulate, Exact, Underflow, Overflow) */
ball sum_of(const ref_reading *rd, const sum_record *sum);

/* Significant bits of a format. */
int digits_of(dsv3_dtype format);

/* The significand bits that survive both accumulators of a port. */
int kept_bits(const ref_accumulator *acc);

/* Every number that a port's arithmetic keeps is a multiple of 2^least_exponent; one operation may lose so much to that.
 * (Underflow) */
int least_exponent(const ref_numerics *port);
double eta(const ref_numerics *port);

/* One rounded operation between rounding points; `exact` is its exact result. (Point) */
ball round_op(const ref_reading *rd, ball exact);

/* a / b and 1 / sqrt(a) as a port computes them. (Function) */
ball quotient_of(const ref_reading *rd, ball a, ball b);

/* The same where one b divides several a, which a port may multiply by 1 / b instead. (Function) */
ball share_of(const ref_reading *rd, ball a, ball b);
ball unrounded_share(const ref_reading *rd, ball a, ball b); /* before the last rounding, which is left to a point */
ball rsqrt_of(const ref_reading *rd, ball a);

/* The relative error of one rounding to elementwise arithmetic that is coarser than binary32; 0: it isn't. (Returned) */
double coarseness(const ref_numerics *port);

/* Does the accumulator keep more bits than elementwise arithmetic has? Then what it hands on is rounded. (Returned) */
bool accumulates_wider(const ref_numerics *port);

/* A sum divided by the number n, by a port whose accumulator may keep more bits than its elementwise arithmetic. (Returned) */
ball mean_over(const ref_reading *rd, ball sum, double n);

/* The root of a mean square, for z / sqrt(square) as a port forms it: a product with 1 / sqrt, or a quotient by the root;
 * over_rms gives it before it is rounded. (Function) */
typedef struct {
    ball inverse, root; /* root: any unless it is divided by */
} rms;
rms rms_of(const ref_reading *rd, ball square);
ball over_rms(const ref_reading *rd, ball z, const rms *r);

/* The relative error of one division, where a formula bounds several operations at once; unit: that of one that rounds
 * correctly, of the arithmetic that keeps the quotient. (Function, Returned) */
double quotient_error(const ref_reading *rd, double unit);

/* 1 / (1 + e^-a), and cos and sin of the angle at `position`, as a port computes them. Per position its angle is off by at most
 * `spread` units of its format, in radians. (Function, Angle) */
ball sigmoid_of(const ref_reading *rd, ball a);
void cos_sin_of(const ref_reading *rd, ball turns, double position, double spread, ball *cosine, ball *sine);

/* e^(a - b) as a port computes it that finds the number b first. (Function, Shifted) */
ball exp_of(const ref_reading *rd, ball a, double b);

/* ln a as a port computes it; and the absolute error of a logarithm whose exact value is `log`. (Function) */
ball log_of(const ref_reading *rd, ball a);
double log_error(const ref_reading *rd, ball log);

/* z / (1 + e^-z), or z times sigmoid(z), as a port computes it that may round sigmoid(z) at the point. (Silu) */
ball silu_of(const ref_reading *rd, int point, dsv3_dtype output, ball z);

/* The relative error of a sum of n terms, and of each rounding to a point's format. (Accumulate, Point) */
double accumulation(const ref_accumulator *acc, int64_t n, int64_t zeros); /* so many terms are 0 */
double gamma_sum(const ref_numerics *port, int64_t n);
double unit_at_point(const ref_reading *rd, int point, dsv3_dtype output);

/* What a rounding to a point's format may be off by where that is more: among the format's subnormals. (Point) */
double floor_at_point(const ref_reading *rd, int point, dsv3_dtype output);

/* What one operation of `arith` may be off by: of itself, and by what it loses to subnormals or to flushing; bounds of several
 * operations at once are made of these. (Product) */
double product_error(const ref_reading *rd);
double product_loss(const ref_reading *rd);

/* The product of n numbers in any order, each partial product rounded but the last, which is left to a point. (Product) */
ball product_of(const ref_reading *rd, const ball *factor, int n);

/* A port may be off by so much here, which the formula knows. Not in an exact reading. */
ball off_by(const ref_reading *rd, ball exact, double radius);

/* The sum of products in blocks of SCALE_BLOCK, each of which so many scales belong to: a port may sum codes, and scale the sum of each
 * block. radius: how far that takes the sum at most. (Scale, Two-scales) */
enum { SCALE_BLOCK = 128 };
ball scaled_by_blocks(const ref_reading *rd, ball exact, const sum_record *sum, int scales, double radius);

/* What one of two ways may give, when a port may take either. choice: its number among those of a file. */
ball either(const ref_reading *rd, int choice, ball a, ball b);

/* A sum that divides: some ports add 10^-20 so that it isn't 0. */
ball guarded(const ref_reading *rd, ball sum);

/* A rounding point of points.def; `output` is the format of the op's output. (Point, Snap) */
ball round_at(const ref_reading *rd, int point, dsv3_dtype output, ball exact);

/* A stored number that a port converts at the point before it uses it: no operation, so arith doesn't round it. (Point) */
ball cast_at(const ref_reading *rd, int point, dsv3_dtype output, ball stored);

/* The E4M3 code of a number within +-448. No matter of the reading: to quantise is part of the formula. (Code) */
ball code_of(const ref_reading *rd, ball x);

/* A sum in any order whose partial sums a port rounds to the point's format or keeps in a better one. (Partial) */
ball sum_rounded_at(const ref_reading *rd, int point, dsv3_dtype output, const sum_record *sum);

/* A stage of a composition, n elements. Writes them to out unless that is NULL; in a teacher-forced reading it then replaces
 * them by the port's own values, elements `from` on of its tensor, unless the port has none. (Stage) */
void stage(const ref_reading *rd, const dsv3_tensor *port, int64_t from, ref_value *out, ball *v, int64_t n);

/* A ball as the caller of the reference gets it. */
ref_value value_of(ball b);

#endif
