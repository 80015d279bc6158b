/*
 * What the instructions for BF16 compute, in plain C: vdpbf16ps and tdpbf16ps as Intel's manual has them. Products enter
 * fused and rounded to nearest; a subnormal number counts as 0, as operand and as result, whatever MXCSR says.
 */
#ifndef BF16_MODEL_H
#define BF16_MODEL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* 0 where it is subnormal. */
static inline float normal_or_0(float v)
{
    return fabsf(v) < 0x1p-126f ? copysignf(0, v) : v;
}

static inline float of_bf16(uint16_t half)
{
    uint32_t const bits = (uint32_t)half << 16;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline float add_product(uint16_t a, uint16_t b, float sum)
{
    return normal_or_0(fmaf(normal_or_0(of_bf16(a)), normal_or_0(of_bf16(b)), normal_or_0(sum)));
}

static inline float add_normal(float a, float b)
{
    return normal_or_0(normal_or_0(a) + normal_or_0(b));
}

/* sum[i][t] += row i of a times row t of b, thirty-two numbers each, for t < columns: a chain over those at even places from
 * 0, one over those at odd ones, and then the sum of both. b: pairs of sixteen rows side by side. */
static inline void tile_model(const uint16_t a[16][32], const uint16_t b[16][32], int columns, float sum[16][16])
{
    for (int i = 0; i < 16; i++) {
        float even[16] = {0}, odd[16] = {0};
        for (int k = 0; k < 16; k++)
            for (int t = 0; t < columns; t++) {
                even[t] = add_product(a[i][2 * k], b[k][2 * t], even[t]);
                odd[t] = add_product(a[i][2 * k + 1], b[k][2 * t + 1], odd[t]);
            }
        for (int t = 0; t < columns; t++) sum[i][t] = add_normal(sum[i][t], add_normal(even[t], odd[t]));
    }
}

#endif
