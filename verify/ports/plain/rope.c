/* Rotary position embedding, its frequencies by YaRN; angles in binary64, the rest in binary32. */
#include "plain.h"

enum { WIDEST = 1024 };

static double const pi = 3.14159265358979323846;

double mscale(const dsv3_rope_prob *p, double m)
{
    return p->factor <= 1 ? 1 : 0.1 * m * log(p->factor) + 1;
}

/* The pair that makes n turns over the original length. */
static double pair_of_turns(const dsv3_rope_prob *p, double n)
{
    double const length = (double)p->original_max_position_embeddings;
    return (double)p->qk_rope_head_dim * log(length / (n * 2 * pi)) / (2 * log(p->rope_theta));
}

/* Radians a position. */
static double frequency(const dsv3_rope_prob *p, int64_t j)
{
    double const r = (double)p->qk_rope_head_dim, e = pow(p->rope_theta, -2 * (double)j / r);
    if (p->factor == 1) return e;
    double const low = fmax(floor(pair_of_turns(p, p->beta_fast)), 0);
    double high = fmin(ceil(pair_of_turns(p, p->beta_slow)), r - 1);
    if (high == low) high += 0.001;
    double const ramp = fmin(fmax(((double)j - low) / (high - low), 0), 1);
    return e * (1 - ramp) + e / p->factor * ramp;
}

static int64_t place(int32_t layout, int64_t r, int64_t j, int64_t half)
{
    return layout == DSV3_HALF ? j + half * (r / 2) : 2 * j + half;
}

void rotate(const dsv3_rope_prob *p, double position, const float *x, float *y)
{
    int64_t const r = p->qk_rope_head_dim;
    float const amplitude = (float)(mscale(p, p->mscale) / mscale(p, p->mscale_all_dim));
    for (int64_t j = 0; j < r / 2; j++) {
        double const angle = position * frequency(p, j);
        float const c = (float)cos(angle) * amplitude, s = (float)sin(angle) * amplitude;
        float const x1 = x[place(p->in_layout, r, j, 0)], x2 = x[place(p->in_layout, r, j, 1)];
        y[place(p->out_layout, r, j, 0)] = x1 * c - x2 * s;
        y[place(p->out_layout, r, j, 1)] = x2 * c + x1 * s;
    }
}

dsv3_status plain_rope(dsv3_ctx *ctx, const dsv3_rope_prob *p, const dsv3_rope_io *io)
{
    (void)ctx;
    float x[WIDEST], y[WIDEST];
    int64_t const r = p->qk_rope_head_dim;
    if (!is_float(&io->x) || r > WIDEST) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t h = 0; h < p->num_heads; h++) {
            int64_t const from = t * io->x.stride[0] + h * io->x.stride[1];
            int64_t const to = t * io->y.stride[0] + h * io->y.stride[1];
            for (int64_t i = 0; i < r; i++) x[i] = load_at(&io->x, from + i);
            rotate(p, int_at(&io->positions, t * io->positions.stride[0]), x, y);
            for (int64_t i = 0; i < r; i++) store_at(&io->y, to + i, y[i]);
        }
    return DSV3_OK;
}

const char *plain_rope_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "angle f64; sincos 3; flush none; cos_sin f32 must";
}
