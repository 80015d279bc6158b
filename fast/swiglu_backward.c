/* grad_gate = grad_y up silu'(gate), grad_up = grad_y silu(gate). */
#include "ctx.h"
#include "elementwise.h"
#include "fast.h"
#include "matrix.h"

typedef struct {
    const dsv3_swiglu_backward_prob *p;
    const dsv3_swiglu_backward_io *io;
} gradients;

static vec load_at(const dsv3_tensor *x, int64_t t, int64_t i, lanes of)
{
    return load_lanes(x->data, x->dtype, t * x->stride[0] + i, of);
}

static void store_at(const dsv3_tensor *x, int64_t t, int64_t i, lanes of, vec v)
{
    store_lanes(x->data, x->dtype, t * x->stride[0] + i, of, v);
}

/* s (1 + z (1 - s)) */
static vec slope_of(vec z, vec s)
{
    vec const rest = vec_sub(vec_of(1), s);
    return vec_mul(s, vec_fma(z, rest, vec_of(1)));
}

static void gradients_of_row(const void *job, int64_t t, int worker)
{
    (void)worker;
    const gradients *const g = job;
    const dsv3_swiglu_backward_io *const io = g->io;
    for (int64_t i = 0; i < g->p->intermediate_size; i += WIDTH) {
        lanes const of = first_lanes(g->p->intermediate_size - i);
        vec const gate = load_at(&io->gate, t, i, of), grad_y = load_at(&io->grad_y, t, i, of);
        vec const s = vec_sigmoid(gate), grad_silu = vec_mul(grad_y, load_at(&io->up, t, i, of));
        store_at(&io->grad_gate, t, i, of, vec_mul(grad_silu, slope_of(gate, s)));
        store_at(&io->grad_up, t, i, of, vec_mul(grad_y, vec_mul(gate, s)));
    }
}

dsv3_status fast_swiglu_backward(dsv3_ctx *ctx, const dsv3_swiglu_backward_prob *p, const dsv3_swiglu_backward_io *io)
{
    gradients const g = {p, io};
    if (!is_float(&io->gate) || !is_float(&io->up) || !is_float(&io->grad_y)) return DSV3_UNSUPPORTED;
    ctx_run(ctx, gradients_of_row, &g, p->n_tokens);
    return DSV3_OK;
}

const char *fast_swiglu_backward_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "sigmoid 4; flush none; gate_sigmoid f32 may; silu f32 must; grad_silu f32 must";
}
