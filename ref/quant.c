/*
 * Activations to FP8, a tile of 128 at a time:  s = max(max_i |x_i|, floor) / 448,  ue8m0: s = 2^ceil(log2 s),  q_i = E4M3(x_i / s).
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 3.3.2; deepseek-ai/DeepSeek-V3, inference/kernel.py, act_quant;
 * a tile of zeros as Hugging Face transformers, integrations/finegrained_fp8.py, Fp8Quantize, has it: s = 1.
 *
 * The codes follow from the scale: in a teacher-forced reading from the port's own.
 */
#include "quant.h"

/* max(a, b) and min(a, b) */
static ball larger(ball a, ball b)
{
    if (ball_lower(a) >= ball_upper(b)) return a;
    if (ball_lower(b) >= ball_upper(a)) return b;
    return ball_hull(fmax(ball_lower(a), ball_lower(b)), fmax(ball_upper(a), ball_upper(b)));
}

static ball smaller(ball a, ball b)
{
    return ball_neg(larger(ball_neg(a), ball_neg(b)));
}

/* ceil(log2 v) of v > 0, from its bits. */
static int exponent_above(double v)
{
    int e;
    return frexp(v, &e) == 0.5 ? e - 1 : e;
}

/* log2 in binary32 falls onto the whole number when v is near a power of two. */
static int rounded_exponent(double v)
{
    ball const log2 = ball_div(ball_log(ball_of(v)), ball_log(ball_of(2)));
    return ball_is_any(log2) ? exponent_above(v) : (int)ceil(ref_round(DSV3_F32, ball_upper(log2)));
}

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

static ball largest_code(const quantiser *z)
{
    return ball_of(quirk(z->rd, QUIRK_F5_max_240) ? 240 : 448);
}

static ball scale_of_zeros(const quantiser *z)
{
    return ball_of(quirk(z->rd, QUIRK_F6_zero_tile) ? 0 : 1);
}

/* max(amax, floor) */
static ball floored(const quantiser *z, ball amax)
{
    if (z->amax_floor == 0 || ball_is_any(amax)) return amax;
    if (quirk(z->rd, QUIRK_F7_no_floor) || quirk(z->rd, QUIRK_F7_floor_of_scale)) return amax;
    ball const floor = constant(z->rd, z->amax_floor);
    return quirk(z->rd, QUIRK_F7_min_for_max) ? smaller(amax, floor) : larger(amax, floor);
}

/* ceil(log2 v) */
static int raised_exponent(const quantiser *z, double v)
{
    return quirk(z->rd, QUIRK_F10_rounded_log2) ? rounded_exponent(v) : exponent_above(v);
}

/* The scale that the codes are made with: in a teacher-forced reading the port's own. */
static ball scale_in_use(const quantiser *z, const double *own, ball unraised, ball scale)
{
    if (quirk(z->rd, QUIRK_F9_unrounded_scale)) return unraised;
    return own ? ball_of(*own) : scale;
}

static bool loses_subnormals(const quantiser *z)
{
    return quirk(z->rd, QUIRK_F18_subnormals_lost);
}

/* ---- the scale ---- */

/* max_i |x_i| */
static ball amax_of(const ball *x, int64_t n)
{
    ball most = ball_of(0);
    for (int64_t i = 0; i < n; i++) {
        if (ball_is_any(x[i])) return x[i];
        most = larger(most, larger(x[i], ball_neg(x[i])));
    }
    return most;
}

/* max(amax, floor) / 448, or the floor of that, before it is raised to a power of two */
static ball unraised_scale(const quantiser *z, ball amax)
{
    ball const most = floored(z, amax);
    if (ball_is_any(most)) return most;
    if (z->scale_floor > 0) return larger(quotient_of(z->rd, most, largest_code(z)), constant(z->rd, z->scale_floor));
    if (ball_upper(most) == 0) return scale_of_zeros(z);
    ball const scale = quotient_of(z->rd, most, largest_code(z));
    if (quirk(z->rd, QUIRK_F7_floor_of_scale)) return larger(scale, constant(z->rd, z->amax_floor));
    return ball_lower(most) > 0 ? scale : larger(scale, ball_hull(0, 1)); /* a port that flushes may read amax as 0 */
}

/* 2^ceil(log2 s). ceil(log2) is monotone; of several legal powers the port's own is taken, if it is one. (Lemma Raise) */
static ball raised(const quantiser *z, const double *own, ball scale)
{
    if (ball_is_any(scale) || !(ball_lower(scale) > 0)) return ball_is_point(scale) ? scale : ball_any();
    double const low = ldexp(1, raised_exponent(z, ball_lower(scale)));
    double const high = ldexp(1, raised_exponent(z, ball_upper(scale)));
    if (!own) return ball_hull(low, high);
    int ignored;
    bool const legal = low <= *own && *own <= high && frexp(*own, &ignored) == 0.5; /* a power of two */
    return ball_of(legal ? *own : low);
}

/* ---- codes ---- */

static bool is_power_of_two(ball b)
{
    int ignored;
    return ball_is_point(b) && ball_lower(b) == ball_upper(b) && frexp(ball_lower(b), &ignored) == 0.5;
}

/* How far the reciprocal in use may be from 1 / s, relative: 448 / amax beside s = amax / 448 is a second division, unless
 * both are exact or s was raised. */
static double second_division(const quantiser *z, ball amax)
{
    bool const same = z->scale_fmt || is_power_of_two(ball_div(floored(z, amax), largest_code(z)));
    if (!z->rd->declared || same) return 0;
    return quotient_error(z->rd, fmax(0x1p-24, coarseness(z->rd->declared)));
}

/* x / s in the declared way; undeclared, in any of them; apart: that of second_division. (Lemma Code) */
static ball ratio(const quantiser *z, ball x, ball s, double apart)
{
    const ref_numerics *const port = declared(z->rd, CLAUSE_QUOTIENT);
    ball const exact = ball_div(x, s);
    if (!port || port->quotient == REF_QUOTIENT_EXACT) return exact;
    if (port->quotient == REF_QUOTIENT_DIV) return quotient_of(z->rd, x, s);
    ball const inverse = quotient_of(z->rd, ball_of(1), s);
    if (ball_is_any(inverse)) return inverse;
    ball const either = off_by(z->rd, inverse, 3 * apart * ball_sup(inverse));
    if (port->quotient == REF_QUOTIENT_RECIP) return round_op(z->rd, ball_mul(x, either));
    double const units = (port->div.ieee ? 2 : port->div.rel + 1) + apart * 0x1p24;
    if (ball_is_any(exact) || !(ball_sup(inverse) < 0x1p127)) return ball_any();
    return off_by(z->rd, exact, (units * (1 + 0x1p-20) * 0x1p-24) * ball_sup(exact) + 2 * eta(port));
}

ball quant_code(const quantiser *z, ball x, const quant_scale *scale)
{
    ball const r = ratio(z, x, scale->used, scale->apart);
    if (ball_is_any(r)) return r;
    ball const inside = smaller(larger(r, ball_of(-448)), ball_of(448));
    if (loses_subnormals(z) && ball_sup(inside) < 0x1p-6) return ball_of(0);
    return z->rd->declared ? round_at(z->rd, z->q, DSV3_F8_E4M3, inside) : inside;
}

/* ---- a tile ---- */

quant_scale quant_scale_of(const quantiser *z, const ball *x, int64_t n, const double *own)
{
    ball const amax = amax_of(x, n), unraised = unraised_scale(z, amax);   /* s = max(amax, floor) / 448 */
    ball const exact = z->scale_fmt ? raised(z, own, unraised) : unraised; /* ue8m0: s = 2^ceil(log2 s) */
    ball const s = round_at(z->rd, z->scale, DSV3_F32, exact);
    return (quant_scale){s, scale_in_use(z, own, unraised, s), second_division(z, amax)};
}

ball quantise(const quantiser *z, const ball *x, int64_t n, const double *own, ball *q)
{
    quant_scale const s = quant_scale_of(z, x, n, own);
    for (int64_t i = 0; q && i < n; i++) q[i] = quant_code(z, x[i], &s); /* q_i = E4M3(x_i / s) */
    return s.s;
}

/* ---- the op ---- */

/* Entries [first, first + n) of row t. */
static void quantise_stored(const quantiser *z, const dsv3_quant_io *io, int64_t t, int64_t first, int64_t n,
                            ref_value *scale, ref_value *q)
{
    ball x[QUANT_TILE], codes[QUANT_TILE];
    double own;
    for (int64_t i = 0; i < n; i++) x[i] = element_at(z->rd, &io->x, t, first + i);
    if (z->rd->teacher_forced) own = ref_decode(DSV3_F32, io->scale.data, t * io->scale.stride[0] + first / QUANT_TILE);
    ball const s = quantise(z, x, n, z->rd->teacher_forced ? &own : NULL, q ? codes : NULL);
    if (scale) *scale = value_of(s);
    for (int64_t i = 0; q && i < n; i++) q[i] = value_of(codes[i]);
}

void ref_quant(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])
{
    const dsv3_quant_prob *const p = prob;
    int64_t const width = p->in_features, tiles = (width + QUANT_TILE - 1) / QUANT_TILE;
    quantiser const z = {rd, p->amax_floor, 0, p->scale_fmt, POINT_quant_scale, POINT_quant_q};
    for (int64_t i = 0; i < p->n_tokens * tiles; i++) {
        int64_t const t = i / tiles, first = i % tiles * QUANT_TILE,
                      n = first + QUANT_TILE < width ? QUANT_TILE : width - first;
        quantise_stored(&z, io, t, first, n, out[0] ? out[0] + i : NULL, out[1] ? out[1] + t * width + first : NULL);
    }
}
