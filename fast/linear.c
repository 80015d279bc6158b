/* y = x W^T: binary32, codes times scales rounded first. */
#include "fast.h"
#include "matrix.h"

dsv3_status fast_linear(dsv3_ctx *ctx, const dsv3_linear_prob *p, const dsv3_linear_io *io)
{
    matrix const m = {dsv3_find(&io->weights, "weight"), dsv3_find(&io->weights, "weight_scale_inv")};
    if (!is_float(&io->x) || !is_float(&io->y) || !usable(&m)) return DSV3_UNSUPPORTED;
    size_t const mark = ctx_mark(ctx);
    int64_t stride;
    const float *const x = rows_of(ctx, &io->x, p->n_tokens, p->in_features, &stride);
    if (x) multiply(ctx, &m, x, stride, p->n_tokens, (target){io->y.data, io->y.dtype, io->y.stride[0]});
    ctx_back(ctx, mark);
    return x ? DSV3_OK : DSV3_NO_MEMORY;
}

const char *fast_linear_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn fused splits=16; flush none; weight f32 must";
}
