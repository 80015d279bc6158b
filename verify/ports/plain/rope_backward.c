/* The sum over heads of grad_y, rotated back. */
#include "plain.h"

enum { WIDEST = 1024 };

/* rope's problem, from y to x. */
static dsv3_rope_prob back_to_x(const dsv3_rope_backward_prob *p)
{
    return (dsv3_rope_prob){.qk_rope_head_dim = p->qk_rope_head_dim,
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

static void sum_heads(const dsv3_tensor *grad_y, int64_t t, int64_t first, int64_t sharing, int64_t width, float *g)
{
    for (int64_t i = 0; i < width; i++) g[i] = 0;
    for (int64_t h = first; h < first + sharing; h++)
        for (int64_t i = 0; i < width; i++) g[i] += load_at(grad_y, t * grad_y->stride[0] + h * grad_y->stride[1] + i);
}

dsv3_status plain_rope_backward(dsv3_ctx *ctx, const dsv3_rope_backward_prob *p, const dsv3_rope_backward_io *io)
{
    (void)ctx;
    float g[WIDEST], x[WIDEST];
    int64_t const width = p->qk_rope_head_dim, sharing = p->num_heads / p->num_key_value_heads;
    dsv3_rope_prob const back = back_to_x(p);
    if (!is_float(&io->grad_y) || width > WIDEST) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t v = 0; v < p->num_key_value_heads; v++) {
            int64_t const to = t * io->grad_x.stride[0] + v * io->grad_x.stride[1];
            int32_t const position = int_at(&io->positions, t * io->positions.stride[0]);
            sum_heads(&io->grad_y, t, v * sharing, sharing, width, g);
            rotate(&back, -(double)position, g, x);
            for (int64_t i = 0; i < width; i++) store_at(&io->grad_x, to + i, x[i]);
        }
    return DSV3_OK;
}

const char *plain_rope_backward_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn fused; angle f64; sincos 3; flush none; cos_sin f32 must; grad_sum f32 must";
}
