/* See coded.h. */
#include "coded.h"

#include <math.h>

dsv3_tensor float_scales(dsv3_ctx *ctx, const dsv3_tensor *scale)
{
    if (scale->dtype == DSV3_F32) return *scale;
    int64_t const rows = scale->shape[0], blocks = scale->shape[1];
    dsv3_tensor const s = tensor_in(ctx, DSV3_F32, rows, blocks);
    for (int64_t i = 0; s.data && i < rows * blocks; i++) {
        const uint8_t *const row = (const uint8_t *)scale->data + i / blocks * scale->stride[0];
        ((float *)s.data)[i] = ldexpf(1, row[i % blocks] - 127);
    }
    return s;
}

typedef struct {
    const dsv3_tensor *code, *scale;
    dsv3_tensor to;
} dequantisation;

static void dequantise_row(const void *job, int64_t t, int worker)
{
    (void)worker;
    const dequantisation *const d = job;
    stored_row row = row_of(d->code, t * d->code->stride[0]);
    row.scale = (const float *)d->scale->data + t * d->scale->stride[0];
    load_row(&row, d->code->shape[1], (float *)d->to.data + t * d->to.stride[0]);
}

dsv3_tensor dequantised(dsv3_ctx *ctx, const dsv3_tensor *code, const dsv3_tensor *scale)
{
    dequantisation const d = {code, scale, tensor_in(ctx, DSV3_F32, code->shape[0], code->shape[1])};
    if (d.to.data) ctx_run(ctx, dequantise_row, &d, code->shape[0]);
    return d.to;
}
