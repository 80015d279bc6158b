/* y = x W^T. */
#include "fast.h"
#include "matrix.h"

#include <stdbool.h>

dsv3_status fast_linear(dsv3_ctx *ctx, const dsv3_linear_prob *p, const dsv3_linear_io *io)
{
    matrix const m = {dsv3_find(&io->weights, "weight"), dsv3_find(&io->weights, "weight_scale_inv")};
    if (!is_float(&io->x) || !is_float(&io->y) || !usable(&m)) return DSV3_UNSUPPORTED;
    return multiply(ctx, &m, rows_of(&io->x), p->n_tokens, rows_of(&io->y)) ? DSV3_OK : DSV3_NO_MEMORY;
}

const char *fast_linear_numerics(const void *prob, const void *io)
{
    const dsv3_linear_io *const t = io;
    const dsv3_tensor *const weight = dsv3_find(&t->weights, "weight");
    bool const pairs = weight && weight->dtype != DSV3_F32 && (by_pairs(t->x.dtype) || by_amx(t->x.dtype));
    if (weight && all_by_amx(t->x.dtype, ((const dsv3_linear_prob *)prob)->n_tokens, &t->weights))
        return "acc amx.bf16; flush daz; weight f32 may";
    return pairs ? "acc avx512.bf16 promote=128 bits2=24; flush daz; weight f32 may"
                 : "acc 24 rn fused splits=16; flush none; weight f32 must";
}
