/* See rope.h. */
#include "rope.h"

#include "ctx.h"
#include "fast.h"
#include "matrix.h"
#include "vec.h"

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

rope rope_make(const dsv3_rope_prob *p)
{
    rope m = {.prob = *p};
    m.amplitude = (float)(mscale(p->factor, p->mscale) / mscale(p->factor, p->mscale_all_dim));
    for (int64_t j = 0; j < p->qk_rope_head_dim / 2; j++) m.frequency[j] = frequency(p, j);
    return m;
}

void rope_table(const rope *m, double position, float *cosine, float *sine)
{
    double angle[WIDTH];
    for (int64_t j = 0; j < m->prob.qk_rope_head_dim / 2; j += WIDTH) {
        vec c, s;
        for (int l = 0; l < WIDTH; l++) angle[l] = position * m->frequency[j + l];
        vec_cos_sin(angle, &c, &s);
        vec_store(cosine + j, vec_mul(c, vec_of(m->amplitude)));
        vec_store(sine + j, vec_mul(s, vec_of(m->amplitude)));
    }
}

/* Both halves of n pairs, from pair j on. */
static inline void load_halves(int32_t layout, const void *x, dsv3_dtype dtype, int64_t r, int64_t j, int64_t n,
                               vec x12[2])
{
    if (layout == DSV3_HALF) {
        x12[0] = load_lanes(x, dtype, j, first_lanes(n));
        x12[1] = load_lanes(x, dtype, r / 2 + j, first_lanes(n));
        return;
    }
    vec const low = load_lanes(x, dtype, 2 * j, first_lanes(2 * n));
    vec const high = n > WIDTH / 2 ? load_lanes(x, dtype, 2 * j + WIDTH, first_lanes(2 * n - WIDTH)) : vec_of(0);
    vec_part(low, high, &x12[0], &x12[1]);
}

static inline void store_halves(int32_t layout, void *y, dsv3_dtype dtype, int64_t r, int64_t j, int64_t n,
                                const vec y12[2])
{
    vec low, high;
    if (layout == DSV3_HALF) {
        store_lanes(y, dtype, j, first_lanes(n), y12[0]);
        store_lanes(y, dtype, r / 2 + j, first_lanes(n), y12[1]);
        return;
    }
    vec_join(y12[0], y12[1], &low, &high);
    store_lanes(y, dtype, 2 * j, first_lanes(2 * n), low);
    if (n > WIDTH / 2) store_lanes(y, dtype, 2 * j + WIDTH, first_lanes(2 * n - WIDTH), high);
}

void rotate(const rope *m, const float *cosine, const float *sine, const void *x, dsv3_dtype from, void *y,
            dsv3_dtype to)
{
    const dsv3_rope_prob *const p = &m->prob;
    int64_t const r = p->qk_rope_head_dim;
    for (int64_t j = 0; j < r / 2; j += WIDTH) {
        int64_t const n = r / 2 - j < WIDTH ? r / 2 - j : WIDTH;
        vec const c = vec_load(cosine + j), s = vec_load(sine + j);
        vec x12[2];
        load_halves(p->in_layout, x, from, r, j, n, x12);
        vec const y12[2] = {vec_sub(vec_mul(x12[0], c), vec_mul(x12[1], s)),
                            vec_add(vec_mul(x12[1], c), vec_mul(x12[0], s))};
        store_halves(p->out_layout, y, to, r, j, n, y12);
    }
}

/* ---- the op ---- */

typedef struct {
    rope m;
    const dsv3_rope_io *io;
} job;

static void *element_at(const dsv3_tensor *t, int64_t at)
{
    return (char *)t->data + at * size_in(t->dtype);
}

static void rotate_token(const void *of, int64_t t, int worker)
{
    (void)worker;
    const job *const k = of;
    const dsv3_tensor *const x = &k->io->x, *const y = &k->io->y, *const positions = &k->io->positions;
    float cosine[WIDEST_ROPE / 2], sine[WIDEST_ROPE / 2];
    rope_table(&k->m, (double)((const int32_t *)positions->data)[t * positions->stride[0]], cosine, sine);
    for (int64_t h = 0; h < k->m.prob.num_heads; h++)
        rotate(&k->m, cosine, sine, element_at(x, t * x->stride[0] + h * x->stride[1]), x->dtype,
               element_at(y, t * y->stride[0] + h * y->stride[1]), y->dtype);
}

dsv3_status fast_rope(dsv3_ctx *ctx, const dsv3_rope_prob *p, const dsv3_rope_io *io)
{
    if (!is_float(&io->x) || !is_float(&io->y) || p->qk_rope_head_dim > WIDEST_ROPE) return DSV3_UNSUPPORTED;
    job const k = {rope_make(p), io};
    ctx_run(ctx, rotate_token, &k, p->n_tokens);
    return DSV3_OK;
}

const char *fast_rope_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "angle f64; sincos 3; flush none; cos_sin f32 must";
}
