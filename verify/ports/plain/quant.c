/* Activations to FP8, a scale for each tile of 1 x 128. */
#include "plain.h"

/* To nearest, ties to even, saturating; NaN stays NaN. Multiples of 2^-9 below 2^-6, else eighths of a power of 2. */
uint8_t to_e4m3(float f)
{
    uint8_t const sign = signbit(f) ? 0x80 : 0;
    float const size = fminf(fabsf(f), 448);
    if (f != f) return 0x7f;
    if (size < 0x1p-6f) return (uint8_t)(sign | (int)rintf(size * 0x1p9f));
    uint32_t const bits = to_bits(size), rounded = bits + 0x7ffff + (bits >> 20 & 1);
    return (uint8_t)(sign | ((rounded >> 20) - (120 << 3)));
}

/* The scale of a tile. */
static float tile_scale(const dsv3_quant_prob *p, float amax)
{
    float const most = fmaxf(amax, (float)p->amax_floor);
    if (most == 0) return 1;
    float const scale = most / 448;
    int exponent;
    if (!p->scale_fmt) return scale;
    return frexpf(scale, &exponent) == 0.5f ? scale : ldexpf(1, exponent);
}

dsv3_status plain_quant(dsv3_ctx *ctx, const dsv3_quant_prob *p, const dsv3_quant_io *io)
{
    (void)ctx;
    if (!is_float(&io->x)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t first = 0; first < p->in_features; first += BLOCK) {
            int64_t const last = first + BLOCK < p->in_features ? first + BLOCK : p->in_features;
            float amax = 0;
            for (int64_t i = first; i < last; i++) amax = fmaxf(amax, fabsf(load(&io->x, t, i)));
            float const scale = tile_scale(p, amax);
            ((float *)io->scale.data)[t * io->scale.stride[0] + first / BLOCK] = scale;
            uint8_t *const q = (uint8_t *)io->q.data + t * io->q.stride[0];
            for (int64_t i = first; i < last; i++) q[i] = to_e4m3(load(&io->x, t, i) / scale);
        }
    return DSV3_OK;
}

const char *plain_quant_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "div ieee; quotient div; flush none";
}
