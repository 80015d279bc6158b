/* rope: docs/components/rope.md. */
#include "legal.h"

#include <math.h>

static long double turns(dsv3_rope_prob const *p, double n)
{
    long double const pi = 3.14159265358979323846264338327950288L, r = (long double)p->qk_rope_head_dim;
    return r * logl((long double)p->original_max_position_embeddings / (2 * pi * n)) / (2 * logl(p->rope_theta));
}

long double legal_mscale(double m, double factor)
{
    return factor <= 1 ? 1 : 0.1L * m * logl(factor) + 1;
}

static long double blended(dsv3_rope_prob const *p, int64_t j, long double e)
{
    long double const low = fmaxl(floorl(turns(p, p->beta_fast)), 0);
    long double high = fminl(ceill(turns(p, p->beta_slow)), (long double)(p->qk_rope_head_dim - 1));
    if (high == low) high += 0.001L;
    long double const ramp = fminl(fmaxl(((long double)j - low) / (high - low), 0), 1);
    return e * (1 - ramp) + e / p->factor * ramp;
}

long double legal_frequency(dsv3_rope_prob const *p, int64_t j)
{
    return blended(p, j, powl(p->rope_theta, -2.0L * (long double)j / (long double)p->qk_rope_head_dim));
}

/* theta^(-2j/r) as a product of j equal factors, each rounded to the format of angles. */
static double running(dsv3_rope_prob const *p, int64_t j, bool wide)
{
    double const ratio = (double)powl(p->rope_theta, -2.0L / (long double)p->qk_rope_head_dim);
    double const factor = wide ? ratio : number_round(number_f32, ratio);
    double e = 1;
    for (int64_t i = 0; i < j; i++) e = wide ? e * factor : number_round(number_f32, e * factor);
    double const f = (double)blended(p, j, e);
    return wide ? f : number_round(number_f32, f);
}

/* The largest relative error of a frequency so formed, in units of the format. */
static long double running_error(dsv3_rope_prob const *p, bool wide)
{
    long double most = 0;
    for (int64_t j = 0; j < p->qk_rope_head_dim / 2; j++) {
        long double const f = legal_frequency(p, j);
        most = fmaxl(most, fabsl(running(p, j, wide) - f) / f);
    }
    return ldexpl(most, wide ? 53 : 24);
}

void legal_rope_config(legal *c, dsv3_rope_prob const *p, dsv3_rope_io const *io)
{
    legal_start(c, "rope", p->n_tokens, p->num_heads, p->qk_rope_head_dim, (int)io->x.dtype);
    c->acc = number_accumulator(53, false);
    legal_say(c, "acc 53 rn");
    legal_arithmetic(c, false);
    legal_functions(c, "sincos");
    bool const wide = legal_draw(c, "angle", 2);
    legal_say(c, "; angle %s", wide ? "f64" : "f32");
    if (legal_draw(c, "running", 3) == 0) legal_say(c, " %.17g", ceil((double)running_error(p, wide)) + 1);
    c->point[0] = legal_round_at(c, "cos_sin", io->x.dtype);
    legal_output(c, "y", io->y.dtype);
}

dsv3_status legal_rope(dsv3_ctx *ctx, dsv3_rope_prob const *p, dsv3_rope_io const *io)
{
    (void)ctx;
    legal c;
    legal_rope_config(&c, p, io);
    bool const wide = legal_draw(&c, "angle", 2), fused = legal_habit(&c, "fma", 2);
    bool const product = legal_draw(&c, "running", 3) == 0;
    int64_t const half = p->qk_rope_head_dim / 2;
    double const a =
        legal_constant(&c, (double)(legal_mscale(p->mscale, p->factor) / legal_mscale(p->mscale_all_dim, p->factor)));
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t j = 0; j < half; j++) {
            double const f = product ? running(p, j, wide) : (double)legal_frequency(p, j),
                         position = legal_load(&c, &io->positions, t);
            double const angle = wide ? position * f : number_round(number_f32, number_round(number_f32, f) * position);
            legal_error const error = angle != 0 ? c.sincos : (legal_error){0};
            double const cosine = legal_at(&c, c.point[0], legal_op(&c, a * legal_shift(&c, cosl(angle), error, 0)));
            double const sine = legal_at(&c, c.point[0], legal_op(&c, a * legal_shift(&c, sinl(angle), error, 0)));
            for (int64_t h = 0; h < p->num_heads; h++) {
                int64_t const from = legal_row(&io->x, t * p->num_heads + h),
                              to = legal_row(&io->y, t * p->num_heads + h);
                bool const in = p->in_layout == DSV3_HALF, out = p->out_layout == DSV3_HALF;
                double const x1 = legal_load(&c, &io->x, from + (in ? j : 2 * j));
                double const x2 = legal_load(&c, &io->x, from + (in ? j + half : 2 * j + 1));
                double const m1 = legal_op(&c, x2 * sine), m2 = legal_op(&c, x1 * sine);
                double y1 = 0, y2 = 0;
                if (fused && c.arith == IN_F32) {
                    y1 = legal_op(&c, (double)fmaf((float)x1, (float)cosine, -(float)m1));
                    y2 = legal_op(&c, (double)fmaf((float)x2, (float)cosine, (float)m2));
                } else {
                    y1 = legal_op(&c, legal_op(&c, x1 * cosine) - m1);
                    y2 = legal_op(&c, legal_op(&c, x2 * cosine) + m2);
                }
                legal_store(&c, &io->y, to + (out ? j : 2 * j), y1);
                legal_store(&c, &io->y, to + (out ? j + half : 2 * j + 1), y2);
            }
        }
    return DSV3_OK;
}
