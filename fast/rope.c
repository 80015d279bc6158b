/* See rope.h. */
#include "rope.h"

#include "ctx.h"
#include "fast.h"
#include "matrix.h"

#include <math.h>

double mscale(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

/* The pair that makes n turns over the original length. */
static double pair_of_turns(const dsv3_rope_prob *p, double n)
{
    double const turns = (double)p->original_max_position_embeddings / (n * 6.283185307179586);
    return (double)p->qk_rope_head_dim * log(turns) / (2 * log(p->rope_theta));
}

/* Radians a position. */
static double frequency(const dsv3_rope_prob *p, int64_t j)
{
    double const r = (double)p->qk_rope_head_dim, e = pow(p->rope_theta, -2 * (double)j / r);
    double const low = fmax(floor(pair_of_turns(p, p->beta_fast)), 0);
    double const ends = fmin(ceil(pair_of_turns(p, p->beta_slow)), r - 1), high = ends == low ? ends + 0.001 : ends;
    double const ramp = fmin(fmax(((double)j - low) / (high - low), 0), 1);
    return p->factor == 1 ? e : e * (1 - ramp) + e / p->factor * ramp;
}

void rope_table(const dsv3_rope_prob *p, double position, float *cosine, float *sine)
{
    float const amplitude = (float)(mscale(p->factor, p->mscale) / mscale(p->factor, p->mscale_all_dim));
    for (int64_t j = 0; j < p->qk_rope_head_dim / 2; j++) {
        double const angle = position * frequency(p, j);
        cosine[j] = (float)cos(angle) * amplitude;
        sine[j] = (float)sin(angle) * amplitude;
    }
}

/* Where a pair's half is. */
static int64_t place(int32_t layout, int64_t r, int64_t j, int64_t half)
{
    return layout == DSV3_HALF ? j + half * (r / 2) : 2 * j + half;
}

void rotate(const dsv3_rope_prob *p, const float *cosine, const float *sine, const float *x, float *y)
{
    int64_t const r = p->qk_rope_head_dim;
    for (int64_t j = 0; j < r / 2; j++) {
        float const x1 = x[place(p->in_layout, r, j, 0)], x2 = x[place(p->in_layout, r, j, 1)];
        y[place(p->out_layout, r, j, 0)] = x1 * cosine[j] - x2 * sine[j];
        y[place(p->out_layout, r, j, 1)] = x2 * cosine[j] + x1 * sine[j];
    }
}

typedef struct {
    const dsv3_rope_prob *p;
    const dsv3_rope_io *io;
} rope;

static void rotate_token(const void *job, int64_t t, int worker)
{
    (void)worker;
    const rope *const m = job;
    const dsv3_tensor *const x = &m->io->x, *const y = &m->io->y, *const positions = &m->io->positions;
    float cosine[WIDEST_ROPE / 2], sine[WIDEST_ROPE / 2], from[WIDEST_ROPE], to[WIDEST_ROPE];
    rope_table(m->p, (double)((const int32_t *)positions->data)[t * positions->stride[0]], cosine, sine);
    for (int64_t h = 0; h < m->p->num_heads; h++) {
        stored_row const row = row_of(x, t * x->stride[0] + h * x->stride[1]);
        load_row(&row, m->p->qk_rope_head_dim, from);
        rotate(m->p, cosine, sine, from, to);
        store_row(y, t * y->stride[0] + h * y->stride[1], to, m->p->qk_rope_head_dim);
    }
}

dsv3_status fast_rope(dsv3_ctx *ctx, const dsv3_rope_prob *p, const dsv3_rope_io *io)
{
    rope const m = {p, io};
    if (!is_float(&io->x) || !is_float(&io->y) || p->qk_rope_head_dim > WIDEST_ROPE) return DSV3_UNSUPPORTED;
    ctx_run(ctx, rotate_token, &m, p->n_tokens);
    return DSV3_OK;
}

const char *fast_rope_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "angle f64; sincos 3; flush none; cos_sin f32 must";
}
