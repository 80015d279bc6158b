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
static float tile_scale(double amax_floor, int scale_fmt, float amax)
{
    float const most = fmaxf(amax, (float)amax_floor);
    if (most == 0) return 1;
    float const scale = most / 448;
    int exponent;
    if (!scale_fmt) return scale;
    return frexpf(scale, &exponent) == 0.5f ? scale : ldexpf(1, exponent);
}

void quantise_row(double amax_floor, int scale_fmt, const float *x, int64_t n, float *scale, uint8_t *q)
{
    for (int64_t first = 0; first < n; first += BLOCK) {
        int64_t const last = first + BLOCK < n ? first + BLOCK : n;
        float amax = 0;
        for (int64_t i = first; i < last; i++) amax = fmaxf(amax, fabsf(x[i]));
        float const s = tile_scale(amax_floor, scale_fmt, amax);
        scale[first / BLOCK] = s;
        for (int64_t i = first; i < last; i++) q[i] = to_e4m3(x[i] / s);
    }
}

dsv3_status plain_quant(dsv3_ctx *ctx, const dsv3_quant_prob *p, const dsv3_quant_io *io)
{
    if (!is_float(&io->x)) return DSV3_UNSUPPORTED;
    float *const x = scratch(ctx, p->in_features);
    if (!x) return DSV3_NO_MEMORY;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        load_row(&io->x, t * io->x.stride[0], x, p->in_features);
        quantise_row(p->amax_floor, p->scale_fmt, x, p->in_features, (float *)io->scale.data + t * io->scale.stride[0],
                     (uint8_t *)io->q.data + t * io->q.stride[0]);
    }
    return DSV3_OK;
}

const char *plain_quant_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "div ieee; quotient div; flush none";
}
