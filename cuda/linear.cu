/* y = x W^T. BF16 times BF16 or E4M3, and E4M3 times E4M3, by matrix units; all else in binary32. */
#include "products.cuh"

static bool is_scale(const dsv3_tensor *t)
{
    return t && t->data && (t->dtype == DSV3_F32 || t->dtype == DSV3_U8);
}

dsv3_status cuda_linear(dsv3_ctx *ctx, const dsv3_linear_prob *p, const dsv3_linear_io *io)
{
    matrix const m = {dsv3_find(&io->weights, "weight"), dsv3_find(&io->weights, "weight_scale_inv")};
    bool const coded = io->x.dtype == DSV3_F8_E4M3 && is_scale(&io->x_scale) && is_scale(m.scale);
    if (!(coded || is_float(&io->x)) || !is_float(&io->y) || !usable(&m)) return DSV3_UNSUPPORTED;
    return coded ? multiply_codes(ctx, &m, rows_of(&io->x), &io->x_scale, p->n_tokens, rows_of(&io->y))
                 : multiply(ctx, &m, rows_of(&io->x), p->n_tokens, rows_of(&io->y));
}

const char *cuda_linear_numerics(const void *prob, const void *io)
{
    const dsv3_linear_io *const t = (const dsv3_linear_io *)io;
    const dsv3_tensor *const weight = dsv3_find(&t->weights, "weight");
    if (t->x.dtype == DSV3_F8_E4M3)
        return of_code_unit("acc %s; flush none; x f32 may; weight f32 may",
                            ((const dsv3_linear_prob *)prob)->n_tokens);
    if (!weight || !by_units(t->x.dtype, weight->dtype)) return "acc 24 rn fused splits=1; flush none; weight f32 must";
    return of_unit("acc %s splits=1 promote=128 bits2=24; flush none; weight f32 may");
}
