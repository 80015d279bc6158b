/* E4M3: to the nearest code and back. unit/cuda/formats.cpp compiles it for this processor. */
#ifndef E4M3_CUH
#define E4M3_CUH

#include <stdint.h>

/* To nearest, ties to even, saturating; NaN stays NaN. Multiples of 2^-9 below 2^-6, else eighths of a power of 2. */
__device__ inline uint8_t to_e4m3(float v)
{
    unsigned const sign = __float_as_uint(v) >> 24 & 0x80;
    float const size = fabsf(v) > 448 ? 448 : fabsf(v);
    unsigned const bits = __float_as_uint(size);
    if (v != v) return 0x7f;
    if (size < 0x1p-6f) return (uint8_t)(sign | (__float_as_uint(size + 0x1p14f) & 15)); /* 2^-9 is its last bit */
    return (uint8_t)(sign | (((bits + 0x7ffff + (bits >> 20 & 1)) >> 20) - (120 << 3)));
}

/* E4M3 as binary32, exactly. Its subnormal numbers are, bits moved into place, binary32's. */
__device__ inline float of_e4m3(uint32_t code)
{
    float const size = __uint_as_float((code & 0x7f) << 20) * 0x1p120f;
    float const number = (code & 0x7f) == 0x7f ? __uint_as_float(0x7fffffff) : size;
    return code & 0x80 ? -number : number;
}

__device__ inline uint16_t bf16_of_e4m3(uint32_t code)
{
    return (uint16_t)(__float_as_uint(of_e4m3(code)) >> 16);
}

#endif
