/*
 * The gradient of a rotation:  grad_x1 = A (g1 cos + g2 sin),  grad_x2 = A (g2 cos - g1 sin),  g the sum of grad_y over
 * the heads that share the vector.
 * Source: the transpose of rope; Hugging Face transformers, models/deepseek_v3/modeling_deepseek_v3.py,
 * DeepseekV3Attention.forward, where k_rot is expanded to all heads.
 */
#include "rope.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_rope_backward_prob *prob;
    const dsv3_rope_backward_io *io;
    rotation back; /* from y to x, by the negative angle */
    ball *g, *x;   /* vectors: a sum of gradients, the result */
} gradient;

/* rope's problem, from y to x. */
static dsv3_rope_prob back_to_x(const dsv3_rope_backward_prob *p)
{
    return (dsv3_rope_prob){.n_tokens = p->n_tokens,
                            .num_heads = p->num_heads,
                            .qk_rope_head_dim = p->qk_rope_head_dim,
                            .rope_theta = p->rope_theta,
                            .factor = p->factor,
                            .original_max_position_embeddings = p->original_max_position_embeddings,
                            .beta_fast = p->beta_fast,
                            .beta_slow = p->beta_slow,
                            .mscale = p->mscale,
                            .mscale_all_dim = p->mscale_all_dim,
                            .in_layout = p->out_layout,
                            .out_layout = p->in_layout};
}

static ball stored(const gradient *d, int64_t t, int64_t h, int64_t i)
{
    const dsv3_tensor *const y = &d->io->grad_y;
    return element(d->rd, ref_decode(y->dtype, y->data, t * y->stride[0] + h * y->stride[1] + i));
}

/* How many heads, from the first of a vector on, add to its gradient. */
static int64_t heads_summed(const gradient *d)
{
    int64_t const sharing = d->prob->num_heads / d->prob->num_key_value_heads;
    return sharing > 1 && quirk(d->rd, QUIRK_D2_heads_not_summed) ? 1 : sharing;
}

/* What a port moves g by that rotates each head's gradient and then adds: its sum rounds where that of g may be exact.
 * (Lemma Shared) */
static double rotated_first(const gradient *d, const sum_record *sum)
{
    if (!d->rd->declared || declared_at(d->rd, POINT_rope_backward_grad_sum).must) return 0;
    double const unit = product_error(d->rd), lost = product_loss(d->rd) / fmin(ball_lower(d->back.amplitude), 1);
    double const share = gamma_sum(d->rd->declared, sum->n), own = unit * (2 + unit);
    return (share + own * (1 + share)) * sum->sum_abs + 4 * (double)sum->n * lost * (1 + share);
}

/* An element of the sum of `heads` heads, from the first on. */
static ball sum_of_heads(const gradient *d, int64_t t, int64_t first, int64_t heads, int64_t i)
{
    sum_record sum = empty_sum();
    for (int64_t h = first; h < first + heads; h++) add_term(&sum, stored(d, t, h, i));
    if (heads == 1) return formed_sum(&sum);
    ball const g = off_by(d->rd, sum_of(d->rd, &sum), rotated_first(d, &sum));
    return round_at(d->rd, POINT_rope_backward_grad_sum, d->io->grad_x.dtype, g);
}

/* The gradient of vector v of token t. */
static void rotate_back(const gradient *d, int64_t t, int64_t v, ref_value *out)
{
    int64_t const width = d->prob->qk_rope_head_dim, sharing = d->prob->num_heads / d->prob->num_key_value_heads;
    for (int64_t i = 0; i < width; i++) d->g[i] = sum_of_heads(d, t, v * sharing, heads_summed(d), i);
    rotate(&d->back, d->g, d->x);
    for (int64_t i = 0; i < width; i++) out[i] = value_of(d->x[i]);
}

void ref_rope_backward(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_rope_backward_prob *const p = prob;
    const dsv3_rope_backward_io *const io = io_;
    int64_t const width = p->qk_rope_head_dim, vectors = p->num_key_value_heads;
    dsv3_rope_prob const rope = back_to_x(p);
    gradient d = {.rd = rd, .prob = p, .io = io};
    d.back =
        rotation_of(rd, &rope, ref_none(), POINT_rope_backward_cos_sin, POINT_rope_backward_grad_x, io->grad_x.dtype);
    d.back.inverse = !quirk(rd, QUIRK_D2_not_inverted);
    d.g = scratch_take(rd->scratch, width, sizeof *d.g);
    d.x = scratch_take(rd->scratch, width, sizeof *d.x);
    for (int64_t t = 0; t < p->n_tokens; t++) {
        rotation_set(&d.back, ref_decode(DSV3_I32, io->positions.data, t * io->positions.stride[0]));
        for (int64_t v = 0; v < vectors; v++) rotate_back(&d, t, v, out[0] + (t * vectors + v) * width);
    }
}
