/*
 * Rotary embedding with YaRN:  y1 = A (x1 cos a - x2 sin a),  y2 = A (x2 cos a + x1 sin a),  a = position * f_j.
 * Source: Su et al., arXiv 2104.09864, eq. 34; Peng et al. (YaRN), arXiv 2309.00071, 3.2 and 3.4; deepseek-ai/DeepSeek-V3,
 * inference/model.py, precompute_freqs_cis; Hugging Face transformers, modeling_rope_utils.py, _compute_yarn_parameters.
 */
#include "rope.h"

#include "scratch.h"

/* 1 if factor <= 1, else 0.1 m ln(factor) + 1 */
static ball mscale(const dsv3_rope_prob *p, double m)
{
    if (p->factor <= 1) return ball_of(1);
    ball const grown = ball_mul(ball_mul(ball_decimal(0.1), ball_decimal(m)), ball_log(ball_decimal(p->factor)));
    return ball_add(grown, ball_of(1));
}

/* A = g(mscale) / g(mscale_all_dim) */
static ball amplitude(const dsv3_rope_prob *p, ref_set quirks)
{
    if (ref_has(quirks, QUIRK_R7_mscale_on_cos)) return mscale(p, p->mscale);
    if (p->mscale == p->mscale_all_dim) return ball_of(1);
    return ball_div(mscale(p, p->mscale), mscale(p, p->mscale_all_dim));
}

/* c(n): the pair that makes n turns over the original length. */
static ball pair_of_turns(const dsv3_rope_prob *p, double n)
{
    ball const length = ball_of((double)p->original_max_position_embeddings);
    ball const wavelength = ball_div(length, ball_mul(ball_mul(ball_of(2), ball_pi()), ball_decimal(n)));
    ball const ratio = ball_div(ball_log(wavelength), ball_log(ball_decimal(p->rope_theta)));
    return ball_mul(ball_of((double)p->qk_rope_head_dim / 2), ratio);
}

/* What the frequencies of all pairs share. */
typedef struct {
    dsv3_rope_prob p;
    bool scaled; /* by YaRN */
    ball factor, log_theta;
    ball low, high; /* where the ramp from untouched to divided frequencies begins and ends, in pairs */
} yarn;

static void ramp_ends(const dsv3_rope_prob *p, ref_set quirks, ball *low, ball *high)
{
    double const last = (double)p->qk_rope_head_dim - 1;
    *low = pair_of_turns(p, p->beta_fast);
    *high = pair_of_turns(p, p->beta_slow);
    if (!ref_has(quirks, QUIRK_R10_untruncated)) {
        *low = ball_of(floor(ball_lower(*low)));
        *high = ball_of(ceil(ball_upper(*high)));
    }
    double const most = ref_has(quirks, QUIRK_R10_clamp_half) ? (last - 1) / 2 : last;
    if (ball_upper(*low) < 0) *low = ball_of(0);
    if (ball_lower(*high) > most) *high = ball_of(most);
    if (ball_is_point(*low) && ball_is_point(*high) && ball_lower(*low) == ball_lower(*high))
        *high = ball_add(*high, ball_decimal(0.001));
}

/* p as it is read from a config. */
static dsv3_rope_prob as_read(const dsv3_rope_prob *p, ref_set quirks)
{
    dsv3_rope_prob read = *p;
    if (!ref_has(quirks, QUIRK_R9_keys_unknown)) return read;
    read.rope_theta = 10000;
    read.factor = 1;
    return read;
}

static yarn yarn_of(const dsv3_rope_prob *p, ref_set quirks)
{
    yarn y = {.p = as_read(p, quirks)};
    y.scaled = y.p.factor != 1 && !ref_has(quirks, QUIRK_R9_yarn_off);
    y.factor = ball_decimal(y.p.factor);
    y.log_theta = ball_log(ball_decimal(y.p.rope_theta));
    if (y.scaled) ramp_ends(&y.p, quirks, &y.low, &y.high);
    return y;
}

/* clamp((j - low) / (high - low), 0, 1) */
static ball ramp(const yarn *y, int64_t j)
{
    ball const r = ball_div(ball_sub(ball_of((double)j), y->low), ball_sub(y->high, y->low));
    if (ball_upper(r) <= 0) return ball_of(0);
    return ball_lower(r) >= 1 ? ball_of(1) : r;
}

/* e_j = theta^(-2j/r); in radians a position. */
static ball power(const yarn *y, int64_t j)
{
    ball const exponent = ball_div(ball_of(-2 * (double)j), ball_of((double)y->p.qk_rope_head_dim));
    return j ? ball_exp(ball_mul(exponent, y->log_theta)) : ball_of(1);
}

/* f_j = e_j (1 - ramp_j) + e_j / factor * ramp_j */
static ball frequency(const yarn *y, int64_t j)
{
    ball const e = power(y, j);
    if (!y->scaled) return e;
    ball const r = ramp(y, j);
    ball const divided = ball_mul(ball_div(e, y->factor), r);
    return ball_add(ball_mul(e, ball_sub(ball_of(1), r)), divided);
}

/* f / (2 pi), cut into pieces until nothing is left but the ball's own radius. */
static ref_turns turns_of(ball f)
{
    ball left = ball_div(f, ball_mul(ball_of(2), ball_pi()));
    ref_turns t = {0};
    double unit = 0x1p-20;
    for (; t.parts < REF_TURN_PARTS && ball_lower(left) > 2 * left.r && unit > 0x1p-990; unit *= 0x1p-20) {
        t.part[t.parts] = floor(ball_lower(left) / unit);
        left = ball_sub(left, ball_of(t.part[t.parts++] * unit));
    }
    t.rest = ball_sup(left);
    return t;
}

void ref_rope_turns(const dsv3_rope_prob *p, ref_set quirks, ref_turns *turns)
{
    yarn const y = yarn_of(p, quirks);
    for (int64_t j = 0; j < p->qk_rope_head_dim / 2; j++) turns[j] = turns_of(frequency(&y, j));
}

/* position * f_j / (2 pi), less whole turns. */
static ball turns_at(const ref_turns *t, double position)
{
    ball sum = ball_of(0);
    double unit = 0x1p-20;
    for (int k = 0; k < t->parts; k++, unit *= 0x1p-20) {
        double const product = t->part[k] * position * unit;
        sum = ball_add(sum, ball_of(product - rint(product)));
    }
    return ball_widen(sum, fabs(position) * t->rest * (1 + 0x1p-50));
}

/* Lemma Angle: what the constants of a power round: ln(theta) 2j/r where 2j/r rounds, one unit where theta does, in units. */
static double power_error(const dsv3_rope_prob *p, int64_t j)
{
    double const theta = p->rope_theta, x = 2 * (double)j / (double)p->qk_rope_head_dim;
    bool const dyadic = ball_is_point(ball_div(ball_of(2 * (double)j), ball_of((double)p->qk_rope_head_dim)));
    bool const stored = ref_round(DSV3_F32, theta) == theta && ball_is_point(ball_decimal(theta));
    return (dyadic ? 0 : x * fabs(log(theta))) + (stored ? 0 : x);
}

/* Lemma Angle: how far a port's angle is off for each position, in units of its format. f_j is built in six roundings, those of
 * theta^(-2j/r)'s arguments apart, and where both parts of it are blended the rounding of the ramp counts against all of e_j. */
static double angle_spread(const ref_reading *rd, const yarn *y, int64_t j)
{
    const dsv3_rope_prob *const p = &y->p;
    const ref_numerics *const port = declared(rd, CLAUSE_ANGLE);
    if (!port) return 0;
    ball const f = frequency(y, j), e = power(y, j);
    if (port->frequency >= 0) return (port->frequency + 1) * ball_sup(f);
    bool const blended = ball_sup(f) < 0.999999 * ball_sup(e) && ball_sup(f) * p->factor > 1.000001 * ball_sup(e);
    return (7 + power_error(p, j)) * ball_sup(f) + (blended ? 2 * ball_sup(e) : 0);
}

static const ref_table *tier_above(void)
{
    return CENTRE_BITS < 256 ? &ref_256 : CENTRE_BITS < 512 ? &ref_512 : &ref_1024;
}

/* Where element `half` (0, 1) of pair j is. */
static int64_t place(int32_t layout, int64_t r, int64_t j, int half)
{
    return layout == DSV3_HALF ? j + half * (r / 2) : 2 * j + half;
}

/* Without YaRN four of them change nothing. */
ref_set rotation_quirks(const ref_reading *rd, const dsv3_rope_prob *p)
{
    static int const all[] = {QUIRK_R1_half_split, QUIRK_R4_sign_flipped, QUIRK_R9_keys_unknown, QUIRK_R7_mscale_on_cos,
                              QUIRK_R9_yarn_off,   QUIRK_R10_untruncated, QUIRK_R10_clamp_half};
    ref_set set = ref_none();
    for (int i = 0; i < (p->factor == 1 ? 3 : 7); i++)
        if (quirk(rd, all[i])) ref_add(&set, all[i]);
    return set;
}

rotation rotation_of(const ref_reading *rd, const dsv3_rope_prob *p, ref_set quirks, int point_cos_sin, int point_y,
                     dsv3_dtype format)
{
    int64_t const pairs = p->qk_rope_head_dim / 2;
    yarn const y = yarn_of(p, quirks);
    ball const a = amplitude(&y.p, quirks);
    rotation r = {rd, p, point_cos_sin, point_y, format, quirks, false, a, NULL, NULL, NULL, NULL};
    r.turns = scratch_take(rd->scratch, pairs, sizeof *r.turns);
    r.spread = scratch_take(rd->scratch, pairs, sizeof *r.spread);
    r.cosine = scratch_take(rd->scratch, pairs, sizeof *r.cosine);
    r.sine = scratch_take(rd->scratch, pairs, sizeof *r.sine);
    tier_above()->rope_turns(p, quirks, r.turns);
    for (int64_t j = 0; j < pairs; j++) r.spread[j] = angle_spread(rd, &y, j);
    return r;
}

/* A cos or A sin, as the table holds it. */
static ball in_table(const rotation *r, ball c)
{
    ball const a = r->amplitude;
    bool const one = ball_is_point(a) && ball_lower(a) == 1;
    bool const coarse = r->rd->declared && coarseness(r->rd->declared) > 0; /* then cos returns a rounded number */
    ball const product = ball_mul(coarse ? round_op(r->rd, c) : c, round_op(r->rd, a));
    return round_at(r->rd, r->point_cos_sin, r->format, one ? c : product);
}

void rotation_set(const rotation *r, double position)
{
    for (int64_t j = 0; j < r->prob->qk_rope_head_dim / 2; j++) {
        ball c, s;
        cos_sin_of(r->rd, turns_at(&r->turns[j], position), position, r->spread[j], &c, &s);
        if ((ref_has(r->quirks, QUIRK_R4_sign_flipped)) != r->inverse) s = ball_neg(s);
        r->cosine[j] = in_table(r, c);
        r->sine[j] = in_table(r, s);
    }
}

void rotate(const rotation *n, const ball *x, ball *y)
{
    int64_t const r = n->prob->qk_rope_head_dim;
    int32_t const out = n->prob->out_layout;
    int32_t const in = ref_has(n->quirks, QUIRK_R1_half_split) ? !n->prob->in_layout : n->prob->in_layout;
    for (int64_t j = 0; j < r / 2; j++) {
        ball const x1 = x[place(in, r, j, 0)], x2 = x[place(in, r, j, 1)], c = n->cosine[j], s = n->sine[j];
        ball const y1 = ball_sub(round_op(n->rd, ball_mul(x1, c)), round_op(n->rd, ball_mul(x2, s)));
        ball const y2 = ball_add(round_op(n->rd, ball_mul(x2, c)), round_op(n->rd, ball_mul(x1, s)));
        y[place(out, r, j, 0)] = round_at(n->rd, n->point_y, n->format, y1);
        y[place(out, r, j, 1)] = round_at(n->rd, n->point_y, n->format, y2);
    }
}

/* ---- the op ---- */

/* One head of one token; x and y: room for two vectors. */
static void rotate_head(const rotation *r, const dsv3_tensor *in, int64_t t, int64_t h, ball *x, ref_value *out)
{
    int64_t const width = r->prob->qk_rope_head_dim;
    ball *const y = x + width;
    for (int64_t i = 0; i < width; i++)
        x[i] = element(r->rd, ref_decode(in->dtype, in->data, t * in->stride[0] + h * in->stride[1] + i));
    rotate(r, x, y);
    for (int64_t i = 0; i < width; i++) out[i] = value_of(y[i]);
}

void ref_rope(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_rope_prob *const p = prob;
    const dsv3_rope_io *const io = io_;
    int64_t const width = p->qk_rope_head_dim;
    rotation const r = rotation_of(rd, p, rotation_quirks(rd, p), POINT_rope_cos_sin, POINT_rope_y, io->y.dtype);
    ball *const x = scratch_take(rd->scratch, 2 * width, sizeof *x);
    for (int64_t t = 0; t < p->n_tokens; t++) {
        rotation_set(&r, ref_decode(DSV3_I32, io->positions.data, t * io->positions.stride[0]));
        for (int64_t h = 0; h < p->num_heads; h++)
            rotate_head(&r, &io->x, t, h, x, out[0] + (t * p->num_heads + h) * width);
    }
}
