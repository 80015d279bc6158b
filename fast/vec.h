/*
 * Sixteen binary32 numbers at a time: every intrinsic of the backend stands here. Loads and stores touch nothing outside
 * their mask, convert from bf16 and E4M3 exactly, and to bf16 to nearest.
 */
#ifndef VEC_H
#define VEC_H
#ifdef PORTABLE
#include "vec_portable.h"
#else

#include "dsv3.h"

#include <immintrin.h>
#include <math.h>
#include <sleef.h>
#include <stdbool.h>

enum { WIDTH = 16 };

#define UNROLL         _Pragma("GCC unroll 4") /* sums stay in registers */
#define UNROLL_EIGHT   _Pragma("GCC unroll 8")
#define UNROLL_SIXTEEN _Pragma("GCC unroll 16")

typedef __m512 vec;
typedef __mmask16 lanes;

/* The first n of sixteen lanes, all for n >= 16. */
static inline lanes first_lanes(int64_t n)
{
    return (lanes)(n >= WIDTH ? 0xffffu : (1u << n) - 1);
}

static inline vec vec_of(float v)
{
    return _mm512_set1_ps(v);
}

static inline vec vec_load(const float *from)
{
    return _mm512_loadu_ps(from);
}

static inline void vec_store(float *to, vec v)
{
    _mm512_storeu_ps(to, v);
}

static inline vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

static inline vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

/* a b + c, rounded once. */
static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* The larger; b where a is NaN. */
static inline vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

/* The smaller; b where a is NaN. */
static inline vec vec_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

static inline vec vec_abs(vec a)
{
    return _mm512_abs_ps(a);
}

/* Where they are equal. */
static inline lanes vec_equal(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

/* Where a is larger. */
static inline lanes vec_above(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}

/* Where a isn't smaller; NaN isn't. */
static inline lanes vec_not_below(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ);
}

/* Of 32 numbers, a and then b: those at even places, those at odd ones. */
static inline void vec_part(vec a, vec b, vec *even, vec *odd)
{
    __m512i const first = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *even = _mm512_permutex2var_ps(a, first, b);
    *odd = _mm512_permutex2var_ps(a, _mm512_or_si512(first, _mm512_set1_epi32(1)), b);
}

/* The way back. */
static inline void vec_join(vec even, vec odd, vec *a, vec *b)
{
    __m512i const first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    *a = _mm512_permutex2var_ps(even, first, odd);
    *b = _mm512_permutex2var_ps(even, _mm512_or_si512(first, _mm512_set1_epi32(8)), odd);
}

/* Sixteen rows of sixteen become columns: four times the first half meets the second one by one. */
static inline void vec_transpose(vec v[WIDTH])
{
#pragma GCC unroll 4
    for (int round = 0; round < 4; round++) {
        vec joined[WIDTH];
#pragma GCC unroll 8
        for (int i = 0; i < WIDTH / 2; i++) vec_join(v[i], v[i + WIDTH / 2], &joined[2 * i], &joined[2 * i + 1]);
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH; i++) v[i] = joined[i];
    }
}

/* v in the lanes, `other` elsewhere. */
static inline vec vec_choose(lanes of, vec v, vec other)
{
    return _mm512_mask_mov_ps(other, of, v);
}

/* Halves are added, four times: a tree of four levels. */
static inline float vec_sum(vec v)
{
    return _mm512_reduce_add_ps(v);
}

/* Lane i is vec_sum(v[i]): the same four levels, two vectors at a time. */
static inline vec vec_sums(const vec *v)
{
    vec eight[8], four[4], two[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) { /* halves: of v[i], then of v[i + 8] */
        vec const low = _mm512_shuffle_f32x4(v[i], v[i + 8], _MM_SHUFFLE(1, 0, 1, 0));
        eight[i] = vec_add(low, _mm512_shuffle_f32x4(v[i], v[i + 8], _MM_SHUFFLE(3, 2, 3, 2)));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* quarters: of i, i + 8, i + 4, i + 12 */
        vec const low = _mm512_shuffle_f32x4(eight[i], eight[i + 4], _MM_SHUFFLE(2, 0, 2, 0));
        four[i] = vec_add(low, _mm512_shuffle_f32x4(eight[i], eight[i + 4], _MM_SHUFFLE(3, 1, 3, 1)));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) { /* pairs: of i, then of i + 2, in each quarter */
        vec const low = _mm512_shuffle_ps(four[i], four[i + 2], _MM_SHUFFLE(1, 0, 1, 0));
        two[i] = vec_add(low, _mm512_shuffle_ps(four[i], four[i + 2], _MM_SHUFFLE(3, 2, 3, 2)));
    }
    vec const low = _mm512_shuffle_ps(two[0], two[1], _MM_SHUFFLE(2, 0, 2, 0));
    vec const sums = vec_add(low, _mm512_shuffle_ps(two[0], two[1], _MM_SHUFFLE(3, 1, 3, 1)));
    __m512i const order = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
    return _mm512_permutexvar_ps(order, sums);
}

static inline float vec_largest(vec v)
{
    return _mm512_reduce_max_ps(v);
}

/* e^v within 1 ulp. */
static inline vec vec_exp(vec v)
{
    return Sleef_finz_expf16_u10avx512f(v);
}

/* v 2^n, where t is n + 1.5 2^23 and the result is normal; 0 outside the lanes. */
static inline vec vec_times_power(vec v, vec t, lanes of)
{
    __m512i const exponent = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_maskz_add_epi32(of, _mm512_castps_si512(v), exponent));
}

/* cos and sin of sixteen angles, each within 1 ulp of binary64 and then rounded. */
static inline void vec_cos_sin(const double angle[16], vec *cosine, vec *sine)
{
    __m512d const low = _mm512_loadu_pd(angle), high = _mm512_loadu_pd(angle + 8);
    __m512 const c = _mm512_castps256_ps512(_mm512_cvtpd_ps(Sleef_finz_cosd8_u10avx512f(low)));
    __m512 const s = _mm512_castps256_ps512(_mm512_cvtpd_ps(Sleef_finz_sind8_u10avx512f(low)));
    __m256d const c_high = _mm256_castps_pd(_mm512_cvtpd_ps(Sleef_finz_cosd8_u10avx512f(high)));
    __m256d const s_high = _mm256_castps_pd(_mm512_cvtpd_ps(Sleef_finz_sind8_u10avx512f(high)));
    *cosine = _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castps_pd(c), c_high, 1));
    *sine = _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castps_pd(s), s_high, 1));
}

/* Sixteen E4M3 codes times 2^-8: a code's bits are those of a binary16 number, whose exponent has another bias. */
static inline vec vec_of_codes(__m128i codes)
{
    __m256i const wide = _mm256_slli_epi16(_mm256_cvtepi8_epi16(codes), 7);
    return _mm512_cvtph_ps(_mm256_and_si256(wide, _mm256_set1_epi16((short)0xbfff)));
}

/* Elements at, at + 1, ... of an f32, bf16 or f8_e4m3 array, codes times 2^-8; 0 outside the mask. */
static inline vec load_lanes(const void *data, dsv3_dtype dtype, int64_t at, lanes of)
{
    if (dtype == DSV3_F32) return _mm512_maskz_loadu_ps(of, (const float *)data + at);
    if (dtype == DSV3_F8_E4M3) return vec_of_codes(_mm_maskz_loadu_epi8(of, (const uint8_t *)data + at));
    __m256i const half = _mm256_maskz_loadu_epi16(of, (const uint16_t *)data + at);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* To BF16, nearest, ties to even; NaN stays NaN. Subnormals are kept, unlike in the BF16 instructions. */
static inline __m256i to_bf16(vec v)
{
    __m512i const bits = _mm512_castps_si512(v);
    __m512i const odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i const nearest = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __m512i const quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    lanes const nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(nearest, nan, quiet), 16));
}

static inline void store_lanes(void *data, dsv3_dtype dtype, int64_t at, lanes of, vec v)
{
    if (dtype == DSV3_F32)
        _mm512_mask_storeu_ps((float *)data + at, of, v);
    else
        _mm256_mask_storeu_epi16((uint16_t *)data + at, of, to_bf16(v));
}

/* To E4M3, nearest, ties to even, saturating; NaN stays NaN. Below 2^-6 codes are multiples of 2^-9, else of an eighth of a
 * power of two. */
static inline void store_codes(uint8_t *to, lanes of, vec v)
{
    __m512i const sign = _mm512_and_si512(_mm512_srli_epi32(_mm512_castps_si512(v), 24), _mm512_set1_epi32(0x80));
    vec const size = _mm512_min_ps(vec_abs(v), vec_of(448));
    __m512i const bits = _mm512_castps_si512(size);
    __m512i const odd = _mm512_and_si512(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(1));
    __m512i const nearest = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7ffff)));
    __m512i const normal = _mm512_sub_epi32(_mm512_srli_epi32(nearest, 20), _mm512_set1_epi32(120 << 3));
    __m512i const subnormal = _mm512_cvtps_epi32(vec_mul(size, vec_of(0x1p9f)));
    lanes const small = _mm512_cmp_ps_mask(size, vec_of(0x1p-6f), _CMP_LT_OQ),
                nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    __m512i const code = _mm512_or_si512(_mm512_mask_mov_epi32(normal, small, subnormal), sign);
    _mm512_mask_cvtepi32_storeu_epi8(to, of, _mm512_mask_mov_epi32(code, nan, _mm512_set1_epi32(0x7f)));
}

/* ---- pairs of BF16: where the processor multiplies them ---- */

#if defined(__AVX512BF16__) && defined(__AVX512VBMI__)

enum { PAIRED = 32 };

/* The BF16 numbers of the codes 0 to 127: lower bytes, then upper ones. Normal codes have another bias and a longer fraction,
 * subnormal ones are multiples of 2^-9. */
#define EIGHT_LOW(e)                                                                                                   \
    (e) << 7 & 0x80, ((e) << 7 & 0x80) + 0x10, ((e) << 7 & 0x80) + 0x20, ((e) << 7 & 0x80) + 0x30,                     \
        ((e) << 7 & 0x80) + 0x40, ((e) << 7 & 0x80) + 0x50, ((e) << 7 & 0x80) + 0x60, ((e) << 7 & 0x80) + 0x70
#define EIGHT_HIGH(e)                                                                                                  \
    (e + 120) >> 1, (e + 120) >> 1, (e + 120) >> 1, (e + 120) >> 1, (e + 120) >> 1, (e + 120) >> 1, (e + 120) >> 1,    \
        (e + 120) >> 1
static const unsigned char bf16_of_code[4][64]
    __attribute__((aligned(64))) = {{0x00, 0x00, 0x80, 0xc0, 0x00, 0x20, 0x40, 0x60, EIGHT_LOW(1), EIGHT_LOW(2),
                                     EIGHT_LOW(3), EIGHT_LOW(4), EIGHT_LOW(5), EIGHT_LOW(6), EIGHT_LOW(7)},
                                    {EIGHT_LOW(8), EIGHT_LOW(9), EIGHT_LOW(10), EIGHT_LOW(11), EIGHT_LOW(12),
                                     EIGHT_LOW(13), EIGHT_LOW(14), EIGHT_LOW(15)},
                                    {0x00, 0x3b, 0x3b, 0x3b, 0x3c, 0x3c, 0x3c, 0x3c, EIGHT_HIGH(1), EIGHT_HIGH(2),
                                     EIGHT_HIGH(3), EIGHT_HIGH(4), EIGHT_HIGH(5), EIGHT_HIGH(6), EIGHT_HIGH(7)},
                                    {EIGHT_HIGH(8), EIGHT_HIGH(9), EIGHT_HIGH(10), EIGHT_HIGH(11), EIGHT_HIGH(12),
                                     EIGHT_HIGH(13), EIGHT_HIGH(14), EIGHT_HIGH(15)}};

typedef __m512i pairs; /* 32 BF16 numbers */
typedef __mmask32 paired_lanes;

static inline paired_lanes first_paired(int64_t n)
{
    return (paired_lanes)(n >= PAIRED ? 0xffffffffu : (1u << n) - 1);
}

/* 64 numbers of a bf16 or f8_e4m3 array, codes as they are: the first 32, the others; 0 from the n-th on. */
static inline void load_pairs(const void *data, dsv3_dtype dtype, int64_t n, pairs to[2])
{
    if (dtype == DSV3_BF16) {
        const uint16_t *const from = data;
        to[0] = _mm512_maskz_loadu_epi16(first_paired(n), from);
        to[1] = n > PAIRED ? _mm512_maskz_loadu_epi16(first_paired(n - PAIRED), from + PAIRED) : _mm512_setzero_si512();
        return;
    }
    __mmask64 const of = n >= 2 * PAIRED ? ~0ull : (1ull << n) - 1;
    /* Halves of a code's number lie in tables: the lower ones, the upper ones without sign. Neighbours are joined within
     * lanes of sixteen bytes, so that codes go there first. */
    __m512i const order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    __m512i const codes = _mm512_permutexvar_epi64(order, _mm512_maskz_loadu_epi8(of, data));
    const unsigned char(*const table)[64] = bf16_of_code;
    __m512i const low = _mm512_permutex2var_epi8(_mm512_load_si512(table[0]), codes, _mm512_load_si512(table[1]));
    __m512i const size = _mm512_permutex2var_epi8(_mm512_load_si512(table[2]), codes, _mm512_load_si512(table[3]));
    __m512i const high = _mm512_ternarylogic_epi64(size, codes, _mm512_set1_epi8((char)0x80), 0xf8); /* a | (b & c) */
    to[0] = _mm512_unpacklo_epi8(low, high);
    to[1] = _mm512_unpackhi_epi8(low, high);
}

static inline void store_pairs(uint16_t *to, paired_lanes of, pairs p)
{
    _mm512_mask_storeu_epi16(to, of, p);
}

/* One pair, sixteen times. */
static inline pairs pairs_of(const uint16_t pair[2])
{
    int32_t both;
    memcpy(&both, pair, sizeof both);
    return _mm512_set1_epi32(both);
}

/* Sixteen pairs as they lie. */
static inline vec vec_of_pairs(pairs p)
{
    return _mm512_castsi512_ps(p);
}

/* The first numbers of sixteen pairs, the second ones. */
static inline void split_pairs(pairs p, vec *even, vec *odd)
{
    *even = _mm512_castsi512_ps(_mm512_slli_epi32(p, 16));
    *odd = _mm512_castsi512_ps(_mm512_and_si512(p, _mm512_set1_epi32((int)0xffff0000)));
}

/* Pairs (a[i], b[i]) of numbers rounded to BF16, nearest, ties to even; subnormal ones are 0. */
static inline pairs rounded_pairs(vec a, vec b)
{
    static const uint16_t order[PAIRED] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                           8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), (__m512i)_mm512_cvtne2ps_pbh(b, a));
}

/* Pairs (a[i], b[i]) of 32 numbers each. low has those of i % 8 < 4, high the others. */
static inline void weave(pairs a, pairs b, pairs *low, pairs *high)
{
    *low = _mm512_unpacklo_epi16(a, b);
    *high = _mm512_unpackhi_epi16(a, b);
}

/* Numbers of sixteen pairs each that weave() made, as they were: the first sixteen, the others. */
static inline void unweave(vec low, vec high, vec *a, vec *b)
{
    __m512i const first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    *a = _mm512_permutex2var_ps(low, first, high);
    *b = _mm512_permutex2var_ps(low, _mm512_or_si512(first, _mm512_set1_epi32(8)), high);
}

/* Sixteen sums: the product of the odd numbers is added, then that of the even ones, each rounded; subnormals are 0. */
static inline vec vec_dot(pairs a, pairs b, vec sum)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

#endif
#endif
#endif
