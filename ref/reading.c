/* The hooks: everything that a port may do to a result. See reading.h. */
#include "reading.h"

#include "binary64.h"

static const double normal_f32 = 0x1p-126;
static const double overflow_f32 = 0x1.ffffffp127; /* rounds to infinity */

static double max_abs(double a, double b)
{
    return fmax(fabs(a), fabs(b));
}

/* Lemma Flush: a result smaller than every normal number, before or after it is rounded, may come out as 0. */
static ball flushed(const ref_reading *rd, ball b)
{
    if (declared(rd, CLAUSE_FLUSH)->flush == REF_FLUSH_NONE || ball_is_any(b)) return b;
    double const lo = ball_lower(b), hi = ball_upper(b);
    bool const reaches_subnormals = lo <= normal_f32 && hi >= -normal_f32;
    if (!reaches_subnormals || (lo == 0 && hi == 0) || (lo <= 0 && hi >= 0)) return b;
    return ball_hull(fmin(lo, 0), fmax(hi, 0));
}

/* Lemma Snap: rounding is monotone, so the image of [lo, hi] is [R(lo), R(hi)]. */
static ball must_round(dsv3_dtype format, bool truncates, ball b)
{
    if (ball_is_any(b)) return b;
    double (*const rounding)(dsv3_dtype, double) = truncates ? ref_truncate : ref_round;
    return ball_hull(rounding(format, ball_lower(b)), rounding(format, ball_upper(b)));
}

/* Lemma Point: any format that contains this one moves an end no further than R does; what lies between stays between. */
static ball may_round(dsv3_dtype format, bool truncates, ball b)
{
    if (ball_is_any(b)) return b;
    double (*const rounding)(dsv3_dtype, double) = truncates ? ref_truncate : ref_round;
    double const lo = ball_lower(b), hi = ball_upper(b);
    double const rlo = rounding(format, lo), rhi = rounding(format, hi);
    if (!isfinite(rlo) || !isfinite(rhi)) return ball_any();
    return ball_widen(ball_hull(lo, hi), max_abs(rlo - lo, rhi - hi));
}

/* Lemma Twice: the result of an operation in a better format, which is then rounded to this one. */
static ball computed_better(dsv3_dtype format, ball exact)
{
    return format == DSV3_F32 ? exact : may_round(DSV3_F32, false, exact);
}

ball element(const ref_reading *rd, double v)
{
    bool const subnormal = v != 0 && fabs(v) < normal_f32;
    if (!subnormal || !rd->declared || declared(rd, CLAUSE_FLUSH)->flush != REF_FLUSH_DAZ) return ball_of(v);
    return ball_hull(fmin(v, 0), fmax(v, 0));
}

ball round_op(const ref_reading *rd, ball exact)
{
    if (!rd->declared) return exact;
    return flushed(rd, may_round(declared(rd, CLAUSE_ARITH)->arith, false, exact));
}

ball constant(const ref_reading *rd, double decimal)
{
    return round_op(rd, ball_decimal(decimal));
}

/* Lemma Exact: every term is a multiple of 2^lsb and sum |term| fits the accumulator above it: no order rounds. */
static bool order_free(const ref_numerics *port, const sum_record *sum)
{
    if (sum->lsb == INT_MAX) return true;            /* all terms are 0 */
    double const most = sum->flushed + sum->sum_abs; /* a unit may align a subnormal factor as if it were 2^-126 */
    bool const fits = sum->lsb >= least_exponent(port) && most <= two_to(sum->lsb + kept_bits(&port->acc));
    return fits && most < overflow_f32 && (port->flush != REF_FLUSH_DAZ || sum->flushed == 0);
}

/* Lemma Underflow: each product and, when flushing, each addition may lose one subnormal. */
static double underflow(const ref_numerics *port, const sum_record *sum)
{
    double const n = (double)sum->n * eta(port);
    return port->flush == REF_FLUSH_NONE ? n : 2 * n + (port->flush == REF_FLUSH_DAZ ? sum->flushed : 0);
}

ball sum_of(const ref_reading *rd, const sum_record *sum)
{
    const ref_numerics *const port = declared(rd, CLAUSE_ACC);
    if (!port || order_free(port, sum)) return formed_sum(sum);
    double const share = accumulation(&port->acc, sum->n, sum->zeros);
    if (!(sum->sum_abs * (1 + share) < overflow_f32)) return ball_any();
    double const lost = underflow(port, sum) * (1 + share); /* what is lost early is rounded with the rest */
    double const size = sum->sum_abs + sum->flushed; /* a unit may align a subnormal factor as if it were 2^-126 */
    return flushed(rd, ball_widen(sum->total, share * size + lost));
}

/* Lemma Function: the exact value times 1 + d, |d| <= rel * 2^-24; where that is subnormal, rel half units of it. */
static ball with_error(const ref_reading *rd, const ref_function *fn, ball exact)
{
    return flushed(rd, ball_widen(exact, fn->rel * 0x1p-24 * ball_sup(exact) + fmax(fn->rel, 1) * 0x1p-149));
}

/* Lemma Returned: what a function returns, as elementwise arithmetic keeps it. */
static ball returned(const ref_reading *rd, ball b)
{
    return declared(rd, CLAUSE_ARITH)->arith == DSV3_BF16 ? round_op(rd, b) : b;
}

/* The result of a correctly rounded operation of `arith`. */
static ball rounded_once(const ref_reading *rd, ball exact)
{
    dsv3_dtype const arith = declared(rd, CLAUSE_ARITH)->arith;
    return arith == DSV3_BF16 ? round_op(rd, exact) : flushed(rd, must_round(arith, false, exact));
}

ball quotient_of(const ref_reading *rd, ball a, ball b)
{
    const ref_numerics *const port = declared(rd, CLAUSE_DIV);
    ball const exact = ball_div(a, b);
    if (!port) return exact;
    return port->div.ieee ? rounded_once(rd, exact) : returned(rd, with_error(rd, &port->div, exact));
}

/* Lemma Function: a / b, or a times 1 / b, which is rounded. */
ball unrounded_share(const ref_reading *rd, ball a, ball b)
{
    const ref_numerics *const port = declared(rd, CLAUSE_DIV);
    ball const quotient = ball_div(a, b);
    if (!port || ball_is_any(quotient)) return quotient;
    if (!port->div.ieee) return with_error(rd, &port->div, quotient);
    ball const product = ball_mul(a, quotient_of(rd, ball_of(1), b));
    return ball_is_any(product) ? product : either(rd, 0, quotient, product);
}

ball share_of(const ref_reading *rd, ball a, ball b)
{
    ball const share = unrounded_share(rd, a, b);
    if (!rd->declared) return share;
    return rd->declared->div.ieee ? rounded_once(rd, share) : returned(rd, share);
}

/* Lemma Returned: the accumulator's more bits are rounded before the division, after it, or later. */
ball mean_over(const ref_reading *rd, ball sum, double n)
{
    const ref_numerics *const port = declared(rd, CLAUSE_ACC);
    if (!port || !accumulates_wider(port)) return quotient_of(rd, sum, ball_of(n));
    ball const cast = round_op(rd, sum), exact = ball_div(cast, ball_of(n));
    const ref_function *const div = &declared(rd, CLAUSE_DIV)->div;
    return round_op(rd, div->ieee ? exact : with_error(rd, div, exact));
}

ball rsqrt_of(const ref_reading *rd, ball a)
{
    const ref_numerics *const port = declared(rd, CLAUSE_RSQRT);
    if (!port) return ball_rsqrt(a);
    if (!port->rsqrt.ieee) return returned(rd, with_error(rd, &port->rsqrt, ball_rsqrt(a)));
    return rounded_once(rd, ball_div(ball_of(1), rounded_once(rd, ball_sqrt(a))));
}

rms rms_of(const ref_reading *rd, ball square)
{
    const ref_numerics *const port = declared(rd, CLAUSE_RSQRT);
    rms r = {rsqrt_of(rd, square), ball_any()};
    if (port && port->rsqrt.ieee && port->root != REF_ROOT_RECIP) r.root = rounded_once(rd, ball_sqrt(square));
    return r;
}

/* Lemma Function: the product with 1 / sqrt, or the quotient by the root. */
ball over_rms(const ref_reading *rd, ball z, const rms *r)
{
    const ref_numerics *const port = declared(rd, CLAUSE_DIV);
    ball const product = ball_mul(z, r->inverse);
    if (!port || !port->rsqrt.ieee || port->root == REF_ROOT_RECIP) return product;
    ball const exact = ball_div(z, r->root), quotient = port->div.ieee ? exact : with_error(rd, &port->div, exact);
    if (port->root == REF_ROOT_DIVIDED || ball_is_any(quotient)) return quotient;
    if (ball_is_any(product)) return product;
    return ball_hull(fmin(ball_lower(product), ball_lower(quotient)), fmax(ball_upper(product), ball_upper(quotient)));
}

/* The error of a sigmoid over a ball of arguments. */
static ref_function sigmoid_error(const ref_reading *rd, ball a)
{
    ref_function fn = declared(rd, CLAUSE_SIGMOID)->sigmoid;
    fn.rel += fn.more * fmax(-ball_lower(a), 0);
    return fn;
}

/* Below -88.7 e^-a overflows binary32 and 0 is what comes out. */
static ball sigmoid_with_error(const ref_reading *rd, ball a)
{
    ref_function const fn = sigmoid_error(rd, a);
    ball const s = with_error(rd, &fn, ball_sigmoid(a));
    return ball_is_any(a) || ball_lower(a) > -87 ? s : ball_widen(s, normal_f32);
}

/* Lemma Composed: e^-z and 1 + e^-z rounded move s by factors of at most 1 + v (1 - s) and 1 + v; then the quotient is rounded. */
static ball composed(const ref_reading *rd, ball s)
{
    double const v = coarseness(declared(rd, CLAUSE_ARITH));
    if (v == 0 || ball_is_any(s)) return s;
    double const others = fmin(1 - ball_lower(s), 1); /* what e^-z is of 1 + e^-z */
    return returned(rd, ball_widen(s, (v + (1 + v) * v * others) * ball_sup(s)));
}

ball sigmoid_of(const ref_reading *rd, ball a)
{
    return rd->declared ? composed(rd, sigmoid_with_error(rd, a)) : ball_sigmoid(a);
}

/* Lemma Shifted: the argument may be formed as a log2(e) - b log2(e), each rounded; what vanishes in binary64 is 0. */
ball exp_of(const ref_reading *rd, ball a, double b)
{
    ball const difference = ball_sub(a, ball_of(b));
    if (!rd->declared || ball_is_any(difference)) return ball_exp(difference);
    ball const x = returned(rd, difference);
    if (ball_is_point(a) && ball_sup(a) == 0 && b == 0) return ball_of(1);
    double const formed = ball_sup(a) + fabs(b);
    if (ball_upper(x) <= -800 && formed < 0x1p20) return ball_of(0);
    ref_function fn = declared(rd, CLAUSE_EXP)->exp;
    fn.rel += fn.more * fmax(ball_sup(x), ball_sup(a));
    ball const e = with_error(rd, &fn, ball_exp(ball_widen(x, 5 * 0x1p-24 * formed)));
    return returned(rd, ball_lower(x) > -87 ? e : ball_widen(e, normal_f32));
}

double log_error(const ref_reading *rd, ball log)
{
    const ref_function *const fn = &declared(rd, CLAUSE_LOG)->log;
    return 0x1p-24 * (fn->rel * ball_sup(log) + fn->more);
}

ball log_of(const ref_reading *rd, ball a)
{
    ball const exact = ball_log(a);
    if (!rd->declared || ball_is_any(exact)) return exact;
    double const floor = fmax(rd->declared->log.rel, 1) * 0x1p-149;
    return returned(rd, flushed(rd, ball_widen(exact, log_error(rd, exact) + floor)));
}

/* Lemma Silu: at the centre, and the slope over the ball. */
static ball exact_silu(ball z)
{
    ball const point = {z.c, 0}, silu = ball_mul(point, ball_sigmoid(point));
    if (ball_is_point(z)) return silu;
    double const steepest = ball_upper(ball_sigmoid(ball_of(ball_upper(z)))) * (1 + ball_sup(z));
    return ball_widen(silu, fmin(1.1, steepest) * z.r);
}

/* Lemma Silu: where e^-z overflows binary32, or sigmoid(z) is subnormal, 0 is legal too. */
static ball silu_with_error(const ref_reading *rd, ball z)
{
    ref_function const fn = sigmoid_error(rd, z);
    ball const silu = with_error(rd, &fn, exact_silu(z));
    if (ball_lower(z) > -87) return silu;
    ball const coarse = ball_widen(silu, fmax(fn.rel, 1) * 0x1p-149 * ball_sup(z));
    return ball_hull(fmin(ball_lower(coarse), 0), fmax(ball_upper(coarse), 0));
}

/* Lemma Silu: a port that multiplies by sigmoid(z) may round it to the point's format or to that of `arith` first. */
static ball silu_of_rounded(const ref_reading *rd, dsv3_dtype format, bool truncates, ball z)
{
    ball const silu = silu_with_error(rd, z), s = sigmoid_with_error(rd, z);
    bool const narrow = declared(rd, CLAUSE_ARITH)->arith == DSV3_BF16 || digits_of(format) < 24 || truncates;
    if (!narrow || ball_is_any(s)) return silu;
    ball const rounded = may_round(format, truncates, composed(rd, s));
    if (ball_is_any(rounded)) return rounded;
    double const moved = fmax(ball_upper(rounded) - ball_upper(s), ball_lower(s) - ball_lower(rounded));
    return flushed(rd, ball_widen(silu, ball_sup(z) * (fmax(moved, 0) + 0x1p-50 * ball_sup(s)) * (1 + 0x1p-40)));
}

ball silu_of(const ref_reading *rd, int point, dsv3_dtype output, ball z)
{
    if (ball_is_any(z)) return ball_any();
    if (!rd->declared) return exact_silu(z);
    ref_rounding const r = declared_at(rd, point);
    dsv3_dtype const format = r.format ? r.format : output;
    if (!r.must) return silu_of_rounded(rd, format, r.truncates, z);
    return flushed(rd, ball_mul(z, flushed(rd, must_round(format, r.truncates, sigmoid_of(rd, z)))));
}

/* Lemma Angle: the angle moves by position * spread units; cos and sin move no further. */
void cos_sin_of(const ref_reading *rd, ball turns, double position, double spread, ball *cosine, ball *sine)
{
    ball_cos_sin(turns, cosine, sine);
    if (!rd->declared || position == 0) return;
    double const unit = declared(rd, CLAUSE_ANGLE)->angle_f64 ? 0x1p-53 : 0x1p-24;
    double const moved = fmin(fabs(position) * spread * unit * (1 + 0x1p-18), 2);
    double const off = moved + declared(rd, CLAUSE_SINCOS)->sincos * 0x1p-24;
    *cosine = ball_widen(*cosine, off);
    *sine = ball_widen(*sine, off);
}

ball off_by(const ref_reading *rd, ball exact, double radius)
{
    (void)rd;
    return ball_widen(exact, radius);
}

ball either(const ref_reading *rd, int choice, ball a, ball b)
{
    (void)rd, (void)choice;
    return ball_hull(fmin(ball_lower(a), ball_lower(b)), fmax(ball_upper(a), ball_upper(b)));
}

ball scaled_by_blocks(const ref_reading *rd, ball exact, const sum_record *sum, int scales, double radius)
{
    (void)sum, (void)scales; /* radius says all */
    return off_by(rd, exact, radius);
}

ball guarded(const ref_reading *rd, ball sum)
{
    return rd->declared && !(ball_lower(sum) > 1e-8) ? ball_add(sum, ball_hull(0, 1.0001e-20)) : sum;
}

/* Lemma Product: n - 2 roundings, each of which may also lose a subnormal number that later factors enlarge. */
ball product_of(const ref_reading *rd, const ball *factor, int n)
{
    ball product = factor[0];
    double largest = fmax(ball_sup(factor[0]), 1); /* >= every partial product */
    for (int i = 1; i < n; i++) {
        product = ball_mul(product, factor[i]);
        largest *= fmax(ball_sup(factor[i]), 1);
    }
    if (!rd->declared || n < 3 || ball_is_any(product)) return product;
    if (!(largest < 0x1p127)) return ball_any();
    double const inner = n - 2, unit = product_error(rd);
    return ball_widen(product, inner * (unit * (1 + n * unit) * ball_sup(product) + 2 * product_loss(rd) * largest));
}

ball round_at(const ref_reading *rd, int point, dsv3_dtype output, ball exact)
{
    if (!rd->declared) return exact;
    ref_rounding const r = declared_at(rd, point);
    bool const hidden = ref_has(rd->hidden, point);
    bool const out = !hidden && (ref_point(point)->output || (ref_point(point)->stage && rd->stages));
    bool const must = r.must || out;
    dsv3_dtype const format = r.format && !out ? r.format : output;
    bool const same = format == declared(rd, CLAUSE_ARITH)->arith && !r.truncates; /* then one rounding is both */
    ball const computed = same ? computed_better(format, exact) : round_op(rd, exact);
    ball const rounded = must ? must_round(format, r.truncates, computed) : may_round(format, r.truncates, computed);
    return flushed(rd, rounded);
}

ball cast_at(const ref_reading *rd, int point, dsv3_dtype output, ball stored)
{
    if (!rd->declared) return stored;
    ref_rounding const r = declared_at(rd, point);
    dsv3_dtype const format = r.format ? r.format : output;
    return flushed(rd, (r.must ? must_round : may_round)(format, r.truncates, stored));
}

ball code_of(const ref_reading *rd, ball x)
{
    (void)rd;
    return must_round(DSV3_F8_E4M3, false, x);
}

/* Lemma Partial: what n terms lose in partial sums that are subnormal in the point's format, besides their own roundings. */
static double lost_by_partial_sums(const ref_numerics *port, ref_rounding r, dsv3_dtype format, double n)
{
    double const half = ref_half_ulp(format, 0);
    return r.truncates ? 2 * n * half : n * fmin(eta(port), half) + half;
}

/* Lemma Partial: every partial sum is rounded by the accumulator and then to the point's format. */
ball sum_rounded_at(const ref_reading *rd, int point, dsv3_dtype output, const sum_record *sum)
{
    const ref_numerics *const port = declared(rd, CLAUSE_ACC);
    if (!port || ball_is_any(sum->total)) return sum->total;
    ref_rounding const r = declared_at(rd, point);
    dsv3_dtype const format = r.format ? r.format : output;
    double const n = (double)sum->n, th = n * unit_at_point(rd, point, output);
    if (!(th < 0.5)) return ball_any();
    double const acc = gamma_sum(port, sum->n), rounded = th / (1 - th) * (1 + 0x1p-40);
    double const share = acc + rounded + acc * rounded, largest = sum->sum_abs * (1 + share);
    if (!(largest < 0x1p127) || !isfinite(ref_round(format, largest))) return ball_any();
    double const lost = underflow(port, sum) + lost_by_partial_sums(port, r, format, n);
    return flushed(rd, ball_widen(sum->total, share * sum->sum_abs + lost * (1 + share)));
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
    ref_value v;
    double rest;
    if (!(b.r >= 0 && b.r <= 0x1p1000)) return (ref_value){0, 0, INFINITY};
    centre_split(b.c, &v.hi, &v.lo, &rest);
    if (!isfinite(v.hi)) return (ref_value){0, 0, INFINITY};
    v.radius = rest == 0 ? b.r : ball_widen(b, rest).r;
    return v;
}
