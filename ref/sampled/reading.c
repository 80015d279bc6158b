/* The hooks of a port that is drawn: each returns one result that the port may have. See ../reading.h, and docs/statistics.md. */
#include "../reading.h"

#include "../binary64.h"
#include "../kernel.h"
#include "accumulate.h"
#include "draw.h"

static const double u = 0x1p-24;

/* Before a rounding inside, where a port's own error decides which way it goes: so much wider, lest no port that is drawn goes the
 * other way. */
static const double wider = 0x1p-15;

/* Is a port drawn? Else the formula is evaluated as it is. */
static bool drawn(const ref_reading *rd)
{
    return rd->declared && rd->sample;
}

/* v, off by at most so much, relative; what: tells this operation from others on the same number. */
static ball off(const ref_reading *rd, ball v, double relative, int what)
{
    if (!drawn(rd) || ball_is_any(v) || relative == 0) return v;
    double const d = draw(rd->sample, key_with(key_of(v.c.hi), (uint64_t)what));
    return ball_of(v.c.hi * (1 + relative * d));
}

/* The same of a function, whose errors may be of one sign, or lead one way. */
static ball off_leaning(const ref_reading *rd, ball v, double relative, int clause)
{
    if (!drawn(rd) || ball_is_any(v) || relative == 0) return v;
    double const size = way_of(rd->sample, MATTER_UP, 2) ? fabs(v.c.hi) : v.c.hi;
    return ball_of(v.c.hi + size * relative * leaning(rd->sample, clause, key_with(key_of(v.c.hi), (uint64_t)clause)));
}

ball off_by(const ref_reading *rd, ball exact, double radius)
{
    if (!drawn(rd) || ball_is_any(exact)) return exact;
    return ball_of(exact.c.hi + radius * leaning(rd->sample, 0, key_with(key_of(exact.c.hi), key_of(radius))));
}

/* What scaling the sum of one block rounds: the sum in `arith`, its product with each scale; of two scales a port may form the product
 * first, which is off alike wherever the same row of x meets this block. */
enum { SCALES_TERMS, SCALES_SUMS, SCALES_BY_PRODUCT, WAYS_TO_SCALE };

static double draw_of_block(const ref_sample *port, int way, int scales, uint64_t row, double sum)
{
    uint64_t const own = key_of(sum);
    double const rounded = draw(port, key_with(own, SCALES_TERMS)), scaled = draw(port, key_with(own, SCALES_SUMS));
    if (scales == 1) return rounded + scaled;
    return rounded + scaled + draw(port, way == SCALES_BY_PRODUCT ? row : key_with(own, SCALES_BY_PRODUCT));
}

/* Terms that came one by one are taken as one block. */
static double off_by_blocks(const ref_sample *port, int way, int scales, double total, const sum_parts *of)
{
    const operand *const a = of->a, *const b = of->b;
    double off = 0;
    if (!a) return total * draw_of_block(port, way, scales, 0, total);
    for (int64_t from = 0; from < a->n; from += SCALE_BLOCK) {
        int64_t const left = a->n - from, n = left < SCALE_BLOCK ? left : SCALE_BLOCK;
        double const sum = kernels_for_this_cpu()->terms(a->value + from, b->value + from, n);
        off += sum * draw_of_block(port, way, scales, key_with(a->key, (uint64_t)from), sum);
    }
    return off;
}

ball scaled_by_blocks(const ref_reading *rd, ball exact, const sum_record *sum, int scales, double radius)
{
    (void)radius;
    if (!drawn(rd) || ball_is_any(exact)) return exact;
    int const way = way_of(rd->sample, MATTER_SCALES, WAYS_TO_SCALE);
    if (way == SCALES_TERMS) return exact;
    double const unit = ref_half_ulp(declared(rd, CLAUSE_ARITH)->arith, 1);
    return ball_of(exact.c.hi + unit * off_by_blocks(rd->sample, way, scales, exact.c.hi, &sum->of));
}

static double rounded(dsv3_dtype format, bool truncates, double v)
{
    return truncates ? ref_truncate(format, v) : ref_round(format, v);
}

/* Some ports are taken to round this very number, which has biases of its own near powers of two; others one that is near, for
 * operations may come in another order. */
static ball in_binary32(const ref_reading *rd, bool truncates, ball v, int what)
{
    if (v.c.hi == (double)(float)v.c.hi) return v;
    if (rounds_nearby(rd->sample)) return off(rd, v, truncates ? 2 * u : u, what);
    return ball_of(rounded(DSV3_F32, truncates, v.c.hi));
}

/* A result at a format of the port: of binary32 and better ones any error of a rounding; of coarser ones the rounding itself. */
static ball at_format(const ref_reading *rd, dsv3_dtype format, bool truncates, ball v, int what)
{
    if (!drawn(rd) || ball_is_any(v)) return v;
    if (digits_of(format) > 24) return v;
    if (digits_of(format) == 24) return in_binary32(rd, truncates, v, what);
    double const near = v.c.hi * (1 + wider * draw_normal(rd->sample, key_with(key_of(v.c.hi), (uint64_t)what)));
    return ball_of(rounded(format, truncates, near));
}

/* May a port round here, one that does so always does. */
static bool rounds(const ref_reading *rd, int matter, bool must)
{
    return must || way_of(rd->sample, matter, 2);
}

ball element(const ref_reading *rd, double v)
{
    (void)rd;
    return ball_of(v);
}

/* Also beside coarser arithmetic constants of the problem may be in binary32. */
ball constant(const ref_reading *rd, double decimal)
{
    bool const kept =
        drawn(rd) && digits_of(declared(rd, CLAUSE_ARITH)->arith) < 24 && way_of(rd->sample, MATTER_CONSTANTS, 2);
    return kept ? ball_of((double)(float)decimal) : round_op(rd, ball_of(decimal));
}

enum { ROUND_OP = 1, QUOTIENT, RECIPROCAL, ROOT, EXP, LOG, SIGMOID, SILU, COS, SIN, AT_POINT, PARTIAL };

/* Coarse arithmetic may be better than it says. */
static ball operation(const ref_reading *rd, ball exact, int what)
{
    if (!drawn(rd)) return exact;
    dsv3_dtype const arith = declared(rd, CLAUSE_ARITH)->arith;
    bool const coarse = digits_of(arith) < 24 && rounds(rd, MATTER_CLAUSES + CLAUSE_ARITH, false);
    return at_format(rd, coarse || digits_of(arith) > 24 ? arith : DSV3_F32, false, exact, what);
}

ball round_op(const ref_reading *rd, ball exact)
{
    return operation(rd, exact, ROUND_OP);
}

ball sum_of(const ref_reading *rd, const sum_record *sum)
{
    if (!drawn(rd)) return formed_sum(sum);
    if (ball_is_any(sum->total)) return sum->total;
    const ref_accumulator *const acc = &declared(rd, CLAUSE_ACC)->acc;
    moments const m = moments_of_sum(sum, rd->sample->sums, order_of(rd->sample, acc, sum->n));
    return ball_of(accumulated(rd->sample, acc, &m));
}

/* A function: as it was declared, or as libraries have it: 2 units, and of an exponential one more for each unit of |argument|. */
double function_error(const ref_reading *rd, int clause, const ref_function *fn, double argument)
{
    bool const known = ref_has(rd->declared->declared, clause);
    double const rel = known ? fn->rel : fmin(fn->rel, 2), more = known ? fn->more : fmin(fn->more, 1);
    return u * (rel + more * argument);
}

static ball result_of(const ref_reading *rd, int clause, const ref_function *fn, double argument, ball exact, int what)
{
    if (fn->ieee) return operation(rd, exact, what);
    ball const r = off_leaning(rd, exact, function_error(rd, clause, fn, argument), clause);
    return digits_of(rd->declared->arith) < 24 ? operation(rd, r, what) : r;
}

ball quotient_of(const ref_reading *rd, ball a, ball b)
{
    ball const exact = ball_div(a, b);
    const ref_numerics *const port = declared(rd, CLAUSE_DIV);
    return drawn(rd) ? result_of(rd, CLAUSE_DIV, &port->div, 0, exact, QUOTIENT) : exact;
}

ball unrounded_share(const ref_reading *rd, ball a, ball b)
{
    if (!drawn(rd)) return ball_div(a, b);
    if (way_of(rd->sample, MATTER_CLAUSES + CLAUSE_DIV, 2)) return ball_mul(a, quotient_of(rd, ball_of(1), b));
    return declared(rd, CLAUSE_DIV)->div.ieee ? ball_div(a, b) : quotient_of(rd, a, b);
}

ball share_of(const ref_reading *rd, ball a, ball b)
{
    return round_op(rd, unrounded_share(rd, a, b));
}

/* The sum of a wider accumulator is rounded before it is divided, or not. */
ball mean_over(const ref_reading *rd, ball sum, double n)
{
    bool const kept = drawn(rd) && accumulates_wider(rd->declared);
    bool const first = kept && way_of(rd->sample, MATTER_CLAUSES + CLAUSE_ACC, 2);
    return quotient_of(rd, first ? round_op(rd, sum) : sum, ball_of(n));
}

ball rsqrt_of(const ref_reading *rd, ball a)
{
    const ref_numerics *const port = declared(rd, CLAUSE_RSQRT);
    if (!drawn(rd)) return ball_rsqrt(a);
    if (port->rsqrt.ieee) return operation(rd, ball_div(ball_of(1), operation(rd, ball_sqrt(a), ROOT)), RECIPROCAL);
    return result_of(rd, CLAUSE_RSQRT, &port->rsqrt, 0, ball_rsqrt(a), ROOT);
}

rms rms_of(const ref_reading *rd, ball square)
{
    return (rms){rsqrt_of(rd, square), drawn(rd) ? operation(rd, ball_sqrt(square), ROOT) : ball_any()};
}

ball over_rms(const ref_reading *rd, ball z, const rms *r)
{
    const ref_numerics *const port = declared(rd, CLAUSE_DIV);
    if (!drawn(rd) || !port->rsqrt.ieee || port->root == REF_ROOT_RECIP) return ball_mul(z, r->inverse);
    bool const divided = port->root == REF_ROOT_DIVIDED || way_of(rd->sample, MATTER_CLAUSES + CLAUSE_RSQRT, 2);
    return divided ? ball_div(z, r->root) : ball_mul(z, r->inverse);
}

ball sigmoid_of(const ref_reading *rd, ball a)
{
    ball const exact = ball_sigmoid(a);
    const ref_numerics *const port = declared(rd, CLAUSE_SIGMOID);
    return drawn(rd) ? result_of(rd, CLAUSE_SIGMOID, &port->sigmoid, fabs(a.c.hi), exact, SIGMOID) : exact;
}

ball exp_of(const ref_reading *rd, ball a, double b)
{
    ball const difference = round_op(rd, ball_sub(a, ball_of(b))), exact = ball_exp(difference);
    const ref_numerics *const port = declared(rd, CLAUSE_EXP);
    if (!drawn(rd)) return exact;
    double const shifted = u * fabs(b) * draw(rd->sample, key_of(b)); /* of all that have this b */
    return ball_mul(result_of(rd, CLAUSE_EXP, &port->exp, fabs(difference.c.hi), exact, EXP), ball_of(exp(shifted)));
}

double log_error(const ref_reading *rd, ball log)
{
    const ref_function *const fn = &declared(rd, CLAUSE_LOG)->log;
    bool const known = ref_has(rd->declared->declared, CLAUSE_LOG);
    return u * (known ? fn->rel * ball_sup(log) + fn->more : 2 * ball_sup(log));
}

ball log_of(const ref_reading *rd, ball a)
{
    ball const exact = ball_log(a);
    return drawn(rd) ? off_by(rd, exact, log_error(rd, exact)) : exact;
}

/* z times sigmoid(z), which is rounded at its point, or z / (1 + e^-z). */
ball silu_of(const ref_reading *rd, int point, dsv3_dtype output, ball z)
{
    if (!drawn(rd)) return ball_mul(z, ball_sigmoid(z));
    ref_rounding const r = declared_at(rd, point);
    ball const s = sigmoid_of(rd, z);
    return ball_mul(z, rounds(rd, MATTER_POINTS + point, r.must)
                           ? at_format(rd, r.format ? r.format : output, r.truncates, s, SILU)
                           : s);
}

/* The frequency of a pair is off by the same at every position: its spread tells pairs apart. */
void cos_sin_of(const ref_reading *rd, ball turns, double position, double spread, ball *cosine, ball *sine)
{
    static const double pi = 0x1.921fb54442d18p+1;
    if (drawn(rd) && position != 0) {
        double const unit = declared(rd, CLAUSE_ANGLE)->angle_f64 ? 0x1p-53 : u;
        double const moved = position * spread * unit * draw(rd->sample, key_of(spread));
        turns = ball_of(turns.c.hi + moved / (2 * pi));
    }
    ball_cos_sin(turns, cosine, sine);
    if (!drawn(rd)) return;
    double const sincos = declared(rd, CLAUSE_SINCOS)->sincos;
    double const radius = (ref_has(rd->declared->declared, CLAUSE_SINCOS) ? sincos : fmin(sincos, 2)) * u;
    *cosine = off_by(rd, *cosine, radius);
    *sine = off_by(rd, *sine, radius);
}

/* A port takes the same way always, but for one of five, which goes by the bits of both. */
ball either(const ref_reading *rd, int choice, ball a, ball b)
{
    int const way = drawn(rd) ? way_of(rd->sample, MATTER_CHOICES + choice, 5) : 0;
    if (way == 4) return (key_of(a.c.hi) ^ key_of(b.c.hi)) & 1 ? a : b;
    return way % 2 ? b : a;
}

ball guarded(const ref_reading *rd, ball sum)
{
    (void)rd;
    return sum;
}

ball product_of(const ref_reading *rd, const ball *factor, int n)
{
    ball product = factor[0];
    for (int i = 1; i < n; i++)
        product = i > 1 ? ball_mul(round_op(rd, product), factor[i]) : ball_mul(product, factor[i]);
    return product;
}

static bool is_output(const ref_reading *rd, int point)
{
    bool const hidden = ref_has(rd->hidden, point);
    return !hidden && (ref_point(point)->output || (ref_point(point)->stage && rd->stages));
}

/* Outputs stay as they are before they are rounded for the last time; a result of coarser arithmetic was rounded to that. */
ball round_at(const ref_reading *rd, int point, dsv3_dtype output, ball exact)
{
    if (!is_output(rd, point)) return cast_at(rd, point, output, round_op(rd, exact));
    bool const coarser = drawn(rd) && digits_of(declared(rd, CLAUSE_ARITH)->arith) < digits_of(output);
    return coarser ? round_op(rd, exact) : exact;
}

ball cast_at(const ref_reading *rd, int point, dsv3_dtype output, ball stored)
{
    if (!drawn(rd)) return stored;
    ref_rounding const r = declared_at(rd, point);
    if (!rounds(rd, MATTER_POINTS + point, r.must)) return stored;
    return at_format(rd, r.format ? r.format : output, r.truncates, stored, AT_POINT);
}

ball code_of(const ref_reading *rd, ball x)
{
    if (drawn(rd)) return at_format(rd, DSV3_F8_E4M3, false, x, AT_POINT);
    return ball_is_any(x) ? x : ball_of(ref_round(DSV3_F8_E4M3, x.c.hi));
}

/* Each partial sum rounded to the format: another walk, of its unit. */
ball sum_rounded_at(const ref_reading *rd, int point, dsv3_dtype output, const sum_record *sum)
{
    ball const total = sum_of(rd, sum);
    if (!drawn(rd) || ball_is_any(total)) return total;
    ref_rounding const r = declared_at(rd, point);
    dsv3_dtype const format = r.format ? r.format : output;
    if (digits_of(format) >= 24 || !rounds(rd, MATTER_POINTS + point, r.must)) return total;
    ref_accumulator const coarse = {.bits = digits_of(format),
                                    .rounding = r.truncates ? REF_RZ : REF_RN,
                                    .block = 1,
                                    .guard = 255, /* terms aren't aligned */
                                    .fused = true};
    moments m = moments_of_sum(sum, NULL, NO_ORDER);
    m.total = total.c.hi;
    return ball_of(accumulated(rd->sample, &coarse, &m));
}

void stage(const ref_reading *rd, const dsv3_tensor *port, int64_t from, ref_value *out, ball *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (out) out[from + i] = value_of(v[i]);
        if (rd->teacher_forced && port->data) v[i] = element(rd, ref_decode(port->dtype, port->data, from + i));
    }
}

ref_value value_of(ball b)
{
    return ball_is_any(b) ? (ref_value){0, 0, INFINITY} : (ref_value){b.c.hi, 0, 0};
}
