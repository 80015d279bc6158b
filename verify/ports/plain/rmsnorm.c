/* y = weight x / sqrt(mean of x^2 + eps), x + residual first where there is one. */
#include "plain.h"

/* z = x, or x + residual rounded to the format of residual_out, which is also what is handed on. */
static float norm_input(const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io, int64_t t, int64_t i)
{
    if (!p->residual) return load(&io->x, t, i);
    return load(&io->residual_out, t, i);
}

static void add_residual(const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io, int64_t t)
{
    for (int64_t i = 0; i < p->hidden_size; i++)
        store(&io->residual_out, t, i, load(&io->x, t, i) + load(&io->residual, t, i));
}

dsv3_status plain_rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    int64_t const n = p->hidden_size;
    (void)ctx;
    if (!is_float(&io->x) || !is_float(weight) || !is_float(&io->y)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        float sum = 0;
        if (p->residual) add_residual(p, io, t);
        for (int64_t i = 0; i < n; i++) {
            float const z = norm_input(p, io, t, i);
            sum += z * z;
        }
        float const r = 1 / sqrtf(sum / (float)n + (float)p->rms_norm_eps);
        for (int64_t i = 0; i < n; i++) store(&io->y, t, i, load(weight, 0, i) * (norm_input(p, io, t, i) * r));
    }
    return DSV3_OK;
}

const char *plain_rmsnorm_numerics(const void *prob, const void *io_)
{
    const dsv3_rmsnorm_io *const io = io_;
    (void)prob;
    return io->y.dtype == DSV3_BF16 ? "acc 24 rn; rsqrt recip; div ieee; flush none; z bf16 must; x_norm f32 must"
                                    : "acc 24 rn; rsqrt recip; div ieee; flush none; z f32 must; x_norm f32 must";
}
