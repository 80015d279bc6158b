/* The sum over heads of grad_y, rotated back. */
#include "ctx.h"
#include "fast.h"
#include "matrix.h"
#include "rope.h"
#include "vec.h"

typedef struct {
    rope m; /* from y to x */
    int64_t sharing;
    const dsv3_rope_backward_io *io;
} gradient;

/* Of the heads from `first` on. */
static void sum_heads(const gradient *d, int64_t first, float *g)
{
    const dsv3_tensor *const y = &d->io->grad_y;
    int64_t const width = d->m.prob.qk_rope_head_dim;
    for (int64_t i = 0; i < width; i += WIDTH) {
        lanes const of = first_lanes(width - i);
        vec sum = vec_of(0);
        for (int64_t h = 0; h < d->sharing; h++)
            sum = vec_add(sum, load_lanes(y->data, y->dtype, first + h * y->stride[1] + i, of));
        store_lanes(g, DSV3_F32, i, of, sum);
    }
}

static void rotate_token_back(const void *job, int64_t t, int worker)
{
    (void)worker;
    const gradient *const d = job;
    const dsv3_tensor *const x = &d->io->grad_x, *const y = &d->io->grad_y, *const positions = &d->io->positions;
    float cosine[WIDEST_ROPE / 2], sine[WIDEST_ROPE / 2], g[WIDEST_ROPE];
    rope_table(&d->m, -(double)((const int32_t *)positions->data)[t * positions->stride[0]], cosine, sine);
    for (int64_t v = 0; v < x->shape[1]; v++) {
        char *const to = (char *)x->data + (t * x->stride[0] + v * x->stride[1]) * size_in(x->dtype);
        sum_heads(d, t * y->stride[0] + v * d->sharing * y->stride[1], g);
        rotate(&d->m, cosine, sine, g, DSV3_F32, to, x->dtype);
    }
}

dsv3_status fast_rope_backward(dsv3_ctx *ctx, const dsv3_rope_backward_prob *p, const dsv3_rope_backward_io *io)
{
    if (!is_float(&io->grad_y) || !is_float(&io->grad_x) || p->qk_rope_head_dim > WIDEST_ROPE) return DSV3_UNSUPPORTED;
    dsv3_rope_prob const back = {.qk_rope_head_dim = p->qk_rope_head_dim,
                                 .rope_theta = p->rope_theta,
                                 .factor = p->factor,
                                 .original_max_position_embeddings = p->original_max_position_embeddings,
                                 .beta_fast = p->beta_fast,
                                 .beta_slow = p->beta_slow,
                                 .mscale = p->mscale,
                                 .mscale_all_dim = p->mscale_all_dim,
                                 .in_layout = p->out_layout,
                                 .out_layout = p->in_layout};
    gradient const d = {rope_make(&back), p->num_heads / p->num_key_value_heads, io};
    ctx_run(ctx, rotate_token_back, &d, p->n_tokens);
    return DSV3_OK;
}

const char *fast_rope_backward_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn; angle f64; sincos 3; flush none; cos_sin f32 must; grad_sum f32 must";
}
