/* y = x W^T; W in FP8 has a scale for each 128 x 128 block. */
#include "plain.h"

/* sum of x[t][k] * weight[o][k] over first <= k < last, in LANES partial sums; weights as they are stored. */
static float dot(const dsv3_tensor *x, int64_t t, const dsv3_tensor *weight, int64_t o, int64_t first, int64_t last)
{
    float lane[LANES] = {0}, sum = 0;
    for (int64_t k = first; k < last; k++) lane[(k - first) % LANES] += load(x, t, k) * load(weight, o, k);
    for (int l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

/* FP8 weights: the codes of a block of 128 are summed, then scaled. The last block may be shorter. */
static float scaled_dot(const dsv3_linear_prob *p, const dsv3_linear_io *io, const dsv3_tensor *weight,
                        const dsv3_tensor *scale, int64_t t, int64_t o)
{
    float sum = 0;
    for (int64_t k = 0; k < p->in_features; k += BLOCK) {
        int64_t const last = k + BLOCK < p->in_features ? k + BLOCK : p->in_features;
        sum += dot(&io->x, t, weight, o, k, last) * load(scale, o / BLOCK, k / BLOCK);
    }
    return sum;
}

dsv3_status plain_linear(dsv3_ctx *ctx, const dsv3_linear_prob *p, const dsv3_linear_io *io)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    const dsv3_tensor *const scale = dsv3_find(&io->weights, "weight_scale_inv");
    (void)ctx;
    if (!is_float(&io->x) || !is_float(&io->y) || !weight) return DSV3_UNSUPPORTED;
    if (weight->dtype == DSV3_F8_E4M3 ? !scale : !is_float(weight)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t o = 0; o < p->out_features; o++)
            store(&io->y, t, o,
                  scale ? scaled_dot(p, io, weight, scale, t, o) : dot(&io->x, t, weight, o, 0, p->in_features));
    return DSV3_OK;
}

/* FP8: a lane of a block gathers 16 products, then 8 lanes, then one sum a block; the weight itself is not rounded. */
const char *plain_linear_numerics(const dsv3_linear_io *io)
{
    return dsv3_find(&io->weights, "weight_scale_inv") ? "acc 24 rn promote=128; weight f32 may; flush none"
                                                       : "acc 24 rn splits=8; flush none";
}
