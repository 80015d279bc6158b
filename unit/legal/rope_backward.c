/* rope_backward: docs/components/rope_backward.md. */
#include "legal.h"

#include <math.h>

enum { COS_SIN, GRAD_SUM };

/* Each head is rotated, then they are added; else added first, and the sum has a point. */
static bool rotates_first(legal const *c)
{
    return legal_draw(c, "rotates_first", 2);
}

static dsv3_rope_prob rotation_of(dsv3_rope_backward_prob const *p)
{
    return (dsv3_rope_prob){.qk_rope_head_dim = p->qk_rope_head_dim,
                            .rope_theta = p->rope_theta,
                            .factor = p->factor,
                            .original_max_position_embeddings = p->original_max_position_embeddings,
                            .beta_fast = p->beta_fast,
                            .beta_slow = p->beta_slow,
                            .mscale = p->mscale,
                            .mscale_all_dim = p->mscale_all_dim};
}

void legal_rope_backward_config(legal *c, dsv3_rope_backward_prob const *p, dsv3_rope_backward_io const *io)
{
    dsv3_dtype const dtype = io->grad_y.dtype;
    legal_start(c, "rope_backward", p->n_tokens, p->num_heads, p->qk_rope_head_dim, (int)dtype);
    legal_sums(c, false);
    legal_arithmetic(c, dtype == DSV3_BF16);
    legal_functions(c, "sincos");
    legal_say(c, "; angle %s", legal_draw(c, "angle", 2) ? "f64" : "f32");
    c->point[COS_SIN] = legal_round_at(c, "cos_sin", dtype);
    if (!rotates_first(c)) c->point[GRAD_SUM] = legal_round_at(c, "grad_sum", dtype);
    if (rotates_first(c)) legal_say(c, "; grad_sum f32 may");
    legal_output(c, "grad_x", dtype);
}

typedef struct {
    double cosine, sine;
} turn;

/* In BF16 a function returns BF16. */
static double returned(legal const *c, double x)
{
    return c->arith == IN_BF16 ? legal_op(c, x) : x;
}

static turn turn_of(legal const *c, dsv3_rope_prob const *p, double position, int64_t j)
{
    double const f = (double)legal_frequency(p, j);
    double const a =
        legal_constant(c, (double)(legal_mscale(p->mscale, p->factor) / legal_mscale(p->mscale_all_dim, p->factor)));
    bool const wide = legal_draw(c, "angle", 2);
    double const angle = wide ? position * f : number_round(number_f32, number_round(number_f32, f) * position);
    legal_error const error = angle != 0 ? c->sincos : (legal_error){0};
    turn const raw = {returned(c, legal_shift(c, cosl(angle), error, 0)),
                      returned(c, legal_shift(c, sinl(angle), error, 0))};
    return (turn){legal_at(c, c->point[COS_SIN], legal_op(c, a * raw.cosine)),
                  legal_at(c, c->point[COS_SIN], legal_op(c, a * raw.sine))};
}

/* c a + s b, with a product that is rounded or fused. */
static double rotated(legal const *c, double cosine, double a, double sine, double b)
{
    switch (legal_habit(c, "fma", 3)) {
    case 0: return legal_op(c, cosine * a + legal_op(c, sine * b));
    case 1: return legal_op(c, legal_op(c, cosine * a) + sine * b);
    default: return legal_op(c, legal_op(c, cosine * a) + legal_op(c, sine * b));
    }
}

/* A pair of the gradient of n heads that share a vector. */
static void pair_of(legal const *c, turn r, int64_t n, double *a, double *b, double *x)
{
    if (n == 1) { /* no sum */
        x[0] = rotated(c, r.cosine, *a, r.sine, *b);
        x[1] = rotated(c, r.cosine, *b, -r.sine, *a);
        return;
    }
    if (!rotates_first(c)) {
        double const first = legal_at(c, c->point[GRAD_SUM], legal_cast(c, legal_dot(c, n, a, NULL)));
        double const second = legal_at(c, c->point[GRAD_SUM], legal_cast(c, legal_dot(c, n, b, NULL)));
        x[0] = rotated(c, r.cosine, first, r.sine, second);
        x[1] = rotated(c, r.cosine, second, -r.sine, first);
        return;
    }
    for (int64_t h = 0; h < n; h++) {
        double const first = rotated(c, r.cosine, a[h], r.sine, b[h]);
        b[h] = rotated(c, r.cosine, b[h], -r.sine, a[h]);
        a[h] = first;
    }
    x[0] = legal_dot(c, n, a, NULL);
    x[1] = legal_dot(c, n, b, NULL);
}

dsv3_status legal_rope_backward(dsv3_ctx *ctx, dsv3_rope_backward_prob const *p, dsv3_rope_backward_io const *io)
{
    (void)ctx;
    legal c;
    legal_rope_backward_config(&c, p, io);
    dsv3_rope_prob const rotation = rotation_of(p);
    int64_t const half = p->qk_rope_head_dim / 2, n = p->num_heads / p->num_key_value_heads;
    bool const in = p->in_layout == DSV3_HALF, out = p->out_layout == DSV3_HALF;
    double *a = legal_room(n), *b = legal_room(n), x[2];
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t j = 0; j < half; j++) {
            turn const r = turn_of(&c, &rotation, legal_load(&c, &io->positions, t), j);
            for (int64_t k = 0; k < p->num_key_value_heads; k++) {
                for (int64_t h = 0; h < n; h++) {
                    int64_t const from = legal_row(&io->grad_y, t * p->num_heads + k * n + h);
                    a[h] = legal_load(&c, &io->grad_y, from + (out ? j : 2 * j));
                    b[h] = legal_load(&c, &io->grad_y, from + (out ? j + half : 2 * j + 1));
                }
                pair_of(&c, r, n, a, b, x);
                int64_t const to = legal_row(&io->grad_x, t * p->num_key_value_heads + k);
                legal_store(&c, &io->grad_x, to + (in ? j : 2 * j), x[0]);
                legal_store(&c, &io->grad_x, to + (in ? j + half : 2 * j + 1), x[1]);
            }
        }
    return DSV3_OK;
}
