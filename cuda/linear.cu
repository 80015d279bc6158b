/* y = x W^T. BF16 times BF16 or E4M3 by mma.sync; all else in binary32. */
#include "products.cuh"

dsv3_status cuda_linear(dsv3_ctx *ctx, const dsv3_linear_prob *p, const dsv3_linear_io *io)
{
    matrix const m = {dsv3_find(&io->weights, "weight"), dsv3_find(&io->weights, "weight_scale_inv")};
    if (!is_float(&io->x) || !is_float(&io->y) || !usable(&m)) return DSV3_UNSUPPORTED;
    return multiply(ctx, &m, rows_of(&io->x), p->n_tokens, rows_of(&io->y));
}

const char *cuda_linear_numerics(const void *, const void *io)
{
    const dsv3_linear_io *const t = (const dsv3_linear_io *)io;
    const dsv3_tensor *const weight = dsv3_find(&t->weights, "weight");
    if (!weight || !by_units(t->x.dtype, weight->dtype)) return "acc 24 rn fused splits=1; flush none; weight f32 must";
    return of_unit("acc %s splits=1 promote=128 bits2=24; flush none; weight f32 may");
}
