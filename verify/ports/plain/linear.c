/* y = x W^T; W in FP8 has a scale for each 128 x 128 block, x in FP8 one for each 1 x 128. */
#include "plain.h"

dsv3_status plain_linear(dsv3_ctx *ctx, const dsv3_linear_prob *p, const dsv3_linear_io *io)
{
    matrix const w = {dsv3_find(&io->weights, "weight"), dsv3_find(&io->weights, "weight_scale_inv")};
    int const coded = io->x.dtype == DSV3_F8_E4M3 && w.scale && io->x_scale.data;
    if (!(coded || is_float(&io->x)) || !is_float(&io->y) || !usable(&w)) return DSV3_UNSUPPORTED;
    float *const x = scratch(ctx, p->in_features);
    if (!x) return DSV3_NO_MEMORY;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        load_row(&io->x, t * io->x.stride[0], x, p->in_features);
        for (int64_t o = 0; o < p->out_features; o++)
            store(&io->y, t, o,
                  coded ? coded_row_times(&w, o, x, &io->x_scale, t * io->x_scale.stride[0]) : row_times(&w, o, x));
    }
    return DSV3_OK;
}

/* FP8: a lane of a block gathers 16 products, then 8 lanes, then one sum a block; what is dequantised is not rounded. */
const char *plain_linear_numerics(const void *prob, const void *io_)
{
    const dsv3_linear_io *const io = io_;
    (void)prob;
    if (io->x.dtype == DSV3_F8_E4M3) return "acc 24 rn promote=128; x f32 may; weight f32 may; flush none";
    return dsv3_find(&io->weights, "weight_scale_inv") ? "acc 24 rn promote=128; weight f32 may; flush none"
                                                       : "acc 24 rn splits=8; flush none";
}
