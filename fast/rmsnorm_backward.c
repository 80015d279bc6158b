/* Gradients of a norm: rows by themselves; then grad_weight, sixteen columns a part, over the tokens in their order. */
#include "ctx.h"
#include "fast.h"
#include "matrix.h"
#include "vec.h"

#include <math.h>

typedef struct {
    const dsv3_rmsnorm_backward_prob *p;
    const dsv3_rmsnorm_backward_io *io;
    const dsv3_tensor *weight;
    float *inverse; /* (n_tokens): 1 / root */
} gradients;

static vec load_at(const dsv3_tensor *x, int64_t t, int64_t i, lanes of)
{
    return load_lanes(x->data, x->dtype, t * x->stride[0] + i, of);
}

/* weight grad_y */
static vec load_g(const gradients *d, int64_t t, int64_t i, lanes of)
{
    return vec_mul(load_lanes(d->weight->data, d->weight->dtype, i, of), load_at(&d->io->grad_y, t, i, of));
}

static float inverse_root(const gradients *d, int64_t t)
{
    int64_t const n = d->p->hidden_size;
    vec sum = vec_of(0);
    for (int64_t i = 0; i < n; i += WIDTH) {
        vec const x = load_at(&d->io->x, t, i, first_lanes(n - i));
        sum = vec_fma(x, x, sum);
    }
    return 1 / sqrtf(vec_sum(sum) / (float)n + (float)d->p->rms_norm_eps);
}

/* The mean of g x_norm. */
static float mean_along(const gradients *d, int64_t t)
{
    int64_t const n = d->p->hidden_size;
    vec const r = vec_of(d->inverse[t]);
    vec sum = vec_of(0);
    for (int64_t i = 0; i < n; i += WIDTH) {
        lanes const of = first_lanes(n - i);
        sum = vec_fma(load_g(d, t, i, of), vec_mul(load_at(&d->io->x, t, i, of), r), sum);
    }
    return vec_sum(sum) / (float)n;
}

static void gradient_of_row(const void *job, int64_t t, int worker)
{
    (void)worker;
    const gradients *const d = job;
    const dsv3_tensor *const to = &d->io->grad_x;
    int64_t const n = d->p->hidden_size;
    d->inverse[t] = inverse_root(d, t);
    vec const r = vec_of(d->inverse[t]), mean = vec_of(mean_along(d, t));
    for (int64_t i = 0; i < n; i += WIDTH) {
        lanes const of = first_lanes(n - i);
        vec const x_norm = vec_mul(load_at(&d->io->x, t, i, of), r);
        vec grad = vec_mul(r, vec_sub(load_g(d, t, i, of), vec_mul(x_norm, mean)));
        if (d->p->residual) grad = vec_add(grad, load_at(&d->io->grad_residual_out, t, i, of));
        store_lanes(to->data, to->dtype, t * to->stride[0] + i, of, grad);
    }
}

static void sum_columns(const void *job, int64_t part, int worker)
{
    (void)worker;
    const gradients *const d = job;
    const dsv3_tensor *const to = &d->io->grad_weight;
    int64_t const i = part * WIDTH;
    lanes const of = first_lanes(d->p->hidden_size - i);
    vec sum = vec_of(0);
    for (int64_t t = 0; t < d->p->n_tokens; t++) {
        vec const x_norm = vec_mul(load_at(&d->io->x, t, i, of), vec_of(d->inverse[t]));
        sum = vec_fma(load_at(&d->io->grad_y, t, i, of), x_norm, sum);
    }
    store_lanes(to->data, to->dtype, i, of, sum);
}

dsv3_status fast_rmsnorm_backward(dsv3_ctx *ctx, const dsv3_rmsnorm_backward_prob *p,
                                  const dsv3_rmsnorm_backward_io *io)
{
    gradients d = {p, io, dsv3_find(&io->weights, "weight"), NULL};
    if (!is_float(&io->x) || !is_float(d.weight) || !is_float(&io->grad_weight)) return DSV3_UNSUPPORTED;
    size_t const mark = ctx_mark(ctx);
    d.inverse = ctx_take(ctx, p->n_tokens, sizeof *d.inverse);
    if (d.inverse) {
        ctx_run(ctx, gradient_of_row, &d, p->n_tokens);
        ctx_run(ctx, sum_columns, &d, (p->hidden_size + WIDTH - 1) / WIDTH);
    }
    ctx_back(ctx, mark);
    return d.inverse ? DSV3_OK : DSV3_NO_MEMORY;
}

const char *fast_rmsnorm_backward_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn; rsqrt recip; div ieee; flush none; g f32 must; x_hat f32 must; x_norm f32 must; terms f32 may; "
           "grad_norm f32 must";
}
