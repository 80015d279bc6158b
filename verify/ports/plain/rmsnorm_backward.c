/* grad_x = r (g - x_norm mean(g x_norm)), g = weight grad_y; grad_weight = sum of grad_y x_norm, in the order of tokens. */
#include "plain.h"

typedef struct {
    float r, mean; /* 1 / root; of g x_norm */
} row_numbers;

static row_numbers numbers_of(const dsv3_rmsnorm_backward_prob *p, const dsv3_rmsnorm_backward_io *io,
                              const dsv3_tensor *weight, int64_t t)
{
    float squares = 0, products = 0;
    for (int64_t i = 0; i < p->hidden_size; i++) squares += load(&io->x, t, i) * load(&io->x, t, i);
    float const r = 1 / sqrtf(squares / (float)p->hidden_size + (float)p->rms_norm_eps);
    for (int64_t i = 0; i < p->hidden_size; i++)
        products += load(weight, 0, i) * load(&io->grad_y, t, i) * (load(&io->x, t, i) * r);
    return (row_numbers){r, products / (float)p->hidden_size};
}

static void gradient_of_row(const dsv3_rmsnorm_backward_prob *p, const dsv3_rmsnorm_backward_io *io,
                            const dsv3_tensor *weight, int64_t t, float *grad_weight)
{
    row_numbers const n = numbers_of(p, io, weight, t);
    for (int64_t i = 0; i < p->hidden_size; i++) {
        float const x_norm = load(&io->x, t, i) * n.r, grad_y = load(&io->grad_y, t, i);
        float const grad = n.r * (load(weight, 0, i) * grad_y - x_norm * n.mean);
        store(&io->grad_x, t, i, p->residual ? grad + load(&io->grad_residual_out, t, i) : grad);
        grad_weight[i] += grad_y * x_norm;
    }
}

dsv3_status plain_rmsnorm_backward(dsv3_ctx *ctx, const dsv3_rmsnorm_backward_prob *p,
                                   const dsv3_rmsnorm_backward_io *io)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    if (!is_float(&io->x) || !is_float(weight)) return DSV3_UNSUPPORTED;
    float *const sum = scratch(ctx, p->hidden_size);
    if (!sum) return DSV3_NO_MEMORY;
    for (int64_t i = 0; i < p->hidden_size; i++) sum[i] = 0;
    for (int64_t t = 0; t < p->n_tokens; t++) gradient_of_row(p, io, weight, t, sum);
    for (int64_t i = 0; i < p->hidden_size; i++) store_at(&io->grad_weight, i, sum[i]);
    return DSV3_OK;
}

const char *plain_rmsnorm_backward_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 24 rn; rsqrt recip; div ieee; flush none; g f32 must; x_hat f32 must; x_norm f32 must; terms f32 must; "
           "grad_norm f32 must";
}
