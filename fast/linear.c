/* y = x W^T. */
#include "coded.h"
#include "fast.h"
#include "matrix.h"

#include <stdbool.h>

/* x in FP8: dequantised first. */
static bool multiply_codes(dsv3_ctx *ctx, const dsv3_linear_io *io, const matrix *m)
{
    size_t const mark = ctx_mark(ctx);
    dsv3_tensor const of_x = float_scales(ctx, &io->x_scale), of_weight = float_scales(ctx, m->scale);
    matrix const w = {m->weight, &of_weight};
    bool good = of_x.data && of_weight.data;
    dsv3_tensor const x = good ? dequantised(ctx, &io->x, &of_x) : (dsv3_tensor){.data = NULL};
    good = x.data && multiply(ctx, &w, rows_of(&x), io->x.shape[0], rows_of(&io->y));
    ctx_back(ctx, mark);
    return good;
}

static bool is_coded(const dsv3_linear_io *io, const matrix *m)
{
    return io->x.dtype == DSV3_F8_E4M3 && io->x_scale.dtype != DSV3_NONE && m->scale;
}

dsv3_status fast_linear(dsv3_ctx *ctx, const dsv3_linear_prob *p, const dsv3_linear_io *io)
{
    matrix const m = {dsv3_find(&io->weights, "weight"), dsv3_find(&io->weights, "weight_scale_inv")};
    if (!is_float(&io->y) || !usable(&m)) return DSV3_UNSUPPORTED;
    if (is_coded(io, &m)) return multiply_codes(ctx, io, &m) ? DSV3_OK : DSV3_NO_MEMORY;
    if (!is_float(&io->x)) return DSV3_UNSUPPORTED;
    return multiply(ctx, &m, rows_of(&io->x), p->n_tokens, rows_of(&io->y)) ? DSV3_OK : DSV3_NO_MEMORY;
}

const char *fast_linear_numerics(const void *prob, const void *io)
{
    const dsv3_linear_io *const t = io;
    const dsv3_tensor *const weight = dsv3_find(&t->weights, "weight");
    bool const pairs = weight && weight->dtype != DSV3_F32 && (by_pairs(t->x.dtype) || by_amx(t->x.dtype));
    if (t->x.dtype == DSV3_F8_E4M3) return "acc 24 rn fused splits=16; flush none; x f32 must; weight f32 must";
    if (weight && all_by_amx(t->x.dtype, ((const dsv3_linear_prob *)prob)->n_tokens, &t->weights))
        return "acc amx.bf16; flush daz; weight f32 may";
    return pairs ? "acc avx512.bf16 promote=128 bits2=24; flush daz; weight f32 may"
                 : "acc 24 rn fused splits=16; flush none; weight f32 must";
}
