/* Sixteen binary32 numbers at a time: masked loads and stores of f32 and bf16. Nothing outside the mask is touched. */
#ifndef VEC_H
#define VEC_H

#include "dsv3.h"

#include <immintrin.h>

enum { WIDTH = 16 };

/* The first n of sixteen lanes, all for n >= 16. */
static inline __mmask16 first_lanes(int64_t n)
{
    return (__mmask16)(n >= WIDTH ? 0xffffu : (1u << n) - 1);
}

/* Elements at, at + 1, ... of an f32 or bf16 array; 0 outside the mask. */
static inline __m512 load_lanes(const void *data, dsv3_dtype dtype, int64_t at, __mmask16 lanes)
{
    if (dtype == DSV3_F32) return _mm512_maskz_loadu_ps(lanes, (const float *)data + at);
    __m256i const half = _mm256_maskz_loadu_epi16(lanes, (const uint16_t *)data + at);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* To BF16, nearest, ties to even; NaN stays NaN. Subnormals are kept, unlike in the BF16 instructions. */
static inline __m256i to_bf16(__m512 v)
{
    __m512i const bits = _mm512_castps_si512(v);
    __m512i const odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i const nearest = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __m512i const quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    __mmask16 const nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(nearest, nan, quiet), 16));
}

static inline void store_lanes(void *data, dsv3_dtype dtype, int64_t at, __mmask16 lanes, __m512 v)
{
    if (dtype == DSV3_F32)
        _mm512_mask_storeu_ps((float *)data + at, lanes, v);
    else
        _mm256_mask_storeu_epi16((uint16_t *)data + at, lanes, to_bf16(v));
}

#endif
