/* The operations of vec.h for any processor, lane by lane, bit for bit: unit/fast/fast.c compares the two. (The exponential
 * of a processor without FMA has other bits, within 1 ulp too.) */
#ifndef VEC_PORTABLE_H
#define VEC_PORTABLE_H

#include "bf16_model.h"
#include "dsv3.h"

#include <math.h>
#ifndef FP_FAST_FMA
#define FP_FAST_FMA /* sleef.h hides its finz functions where fma() is slow */
#endif
#include <sleef.h>
#include <stdbool.h>

enum { WIDTH = 16, PAIRED = 32 };

#define UNROLL_EIGHT
#define UNROLL_SIXTEEN
#define UNROLL /* loops stay loops: half a minute of compiling less */

typedef struct {
    float lane[16];
} vec;
typedef uint16_t lanes;
typedef struct {
    uint16_t lane[32];
} pairs;
typedef uint32_t paired_lanes;

#define EACH(expression)                                                                                               \
    vec r;                                                                                                             \
    for (int l = 0; l < WIDTH; l++) r.lane[l] = (expression);                                                          \
    return r

static inline uint32_t bits_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline float of_bits(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline lanes first_lanes(int64_t n)
{
    return (lanes)(n >= WIDTH ? 0xffffu : (1u << n) - 1);
}

static inline vec vec_of(float v)
{
    EACH(v);
}

static inline vec vec_load(const float *from)
{
    EACH(from[l]);
}

static inline void vec_store(float *to, vec v)
{
    memcpy(to, v.lane, sizeof v.lane);
}

static inline vec vec_add(vec a, vec b)
{
    EACH(a.lane[l] + b.lane[l]);
}

static inline vec vec_sub(vec a, vec b)
{
    EACH(a.lane[l] - b.lane[l]);
}

static inline vec vec_mul(vec a, vec b)
{
    EACH(a.lane[l] * b.lane[l]);
}

static inline vec vec_div(vec a, vec b)
{
    EACH(a.lane[l] / b.lane[l]);
}

static inline vec vec_fma(vec a, vec b, vec c)
{
    EACH(fmaf(a.lane[l], b.lane[l], c.lane[l]));
}

static inline vec vec_max(vec a, vec b)
{
    EACH(a.lane[l] > b.lane[l] ? a.lane[l] : b.lane[l]);
}

static inline vec vec_min(vec a, vec b)
{
    EACH(a.lane[l] < b.lane[l] ? a.lane[l] : b.lane[l]);
}

static inline vec vec_abs(vec a)
{
    EACH(fabsf(a.lane[l]));
}

static inline lanes vec_equal(vec a, vec b)
{
    lanes equal = 0;
    for (int l = 0; l < WIDTH; l++) equal |= (lanes)((a.lane[l] == b.lane[l]) << l);
    return equal;
}

static inline lanes vec_above(vec a, vec b)
{
    lanes above = 0;
    for (int l = 0; l < WIDTH; l++) above |= (lanes)((a.lane[l] > b.lane[l]) << l);
    return above;
}

static inline lanes vec_not_below(vec a, vec b)
{
    return (lanes)~vec_above(b, a);
}

static inline void vec_part(vec a, vec b, vec *even, vec *odd)
{
    for (int l = 0; l < WIDTH; l++) {
        const vec *const from = l < WIDTH / 2 ? &a : &b;
        even->lane[l] = from->lane[2 * l % WIDTH];
        odd->lane[l] = from->lane[2 * l % WIDTH + 1];
    }
}

static inline void vec_join(vec even, vec odd, vec *a, vec *b)
{
    for (int l = 0; l < WIDTH; l++) {
        vec *const to = l < WIDTH / 2 ? a : b;
        to->lane[2 * l % WIDTH] = even.lane[l];
        to->lane[2 * l % WIDTH + 1] = odd.lane[l];
    }
}

static inline void vec_transpose(vec v[WIDTH])
{
    vec was[WIDTH];
    memcpy(was, v, sizeof was);
    for (int i = 0; i < WIDTH; i++)
        for (int l = 0; l < WIDTH; l++) v[i].lane[l] = was[l].lane[i];
}

static inline vec vec_choose(lanes of, vec v, vec other)
{
    EACH(of >> l & 1 ? v.lane[l] : other.lane[l]);
}

static inline float vec_sum(vec v)
{
    for (int half = WIDTH / 2; half; half /= 2)
        for (int l = 0; l < half; l++) v.lane[l] += v.lane[l + half];
    return v.lane[0];
}

static inline vec vec_sums(const vec *v)
{
    EACH(vec_sum(v[l]));
}

static inline float vec_largest(vec v)
{
    for (int half = WIDTH / 2; half; half /= 2)
        for (int l = 0; l < half; l++) v.lane[l] = v.lane[l] > v.lane[l + half] ? v.lane[l] : v.lane[l + half];
    return v.lane[0];
}

static inline vec vec_exp(vec v)
{
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("fma")) {
        EACH(Sleef_cinz_expf1_u10purec(v.lane[l]));
    }
#endif
    EACH(Sleef_finz_expf1_u10purecfma(v.lane[l]));
}

static inline vec vec_times_power(vec v, vec t, lanes of)
{
    EACH(of >> l & 1 ? of_bits(bits_of(v.lane[l]) + (bits_of(t.lane[l]) << 23)) : 0);
}

static inline void vec_cos_sin(const double angle[16], vec *cosine, vec *sine)
{
    for (int l = 0; l < WIDTH; l++) {
#if defined(__x86_64__)
        if (!__builtin_cpu_supports("fma")) {
            cosine->lane[l] = (float)Sleef_cinz_cosd1_u10purec(angle[l]);
            sine->lane[l] = (float)Sleef_cinz_sind1_u10purec(angle[l]);
            continue;
        }
#endif
        cosine->lane[l] = (float)Sleef_finz_cosd1_u10purecfma(angle[l]);
        sine->lane[l] = (float)Sleef_finz_sind1_u10purecfma(angle[l]);
    }
}

/* E4M3: sign, four bits of exponent, three of fraction. */
static inline float of_code(uint8_t code)
{
    int const exponent = code >> 3 & 15, fraction = code & 7;
    float const size =
        exponent ? of_bits((uint32_t)(exponent + 120) << 23 | (uint32_t)fraction << 20) : (float)fraction * 0x1p-9f;
    return code & 0x80 ? -size : size;
}

/* From any address: a row of bytes has numbers of BF16 behind its codes. */
static inline float load_lane(const void *data, dsv3_dtype dtype, int64_t at)
{
    float single;
    uint16_t half;
    if (dtype == DSV3_F8_E4M3) return of_code(((const uint8_t *)data)[at]) * 0x1p-8f;
    if (dtype == DSV3_F32) return memcpy(&single, (const float *)data + at, sizeof single), single;
    memcpy(&half, (const uint16_t *)data + at, sizeof half);
    return of_bits((uint32_t)half << 16);
}

static inline vec load_lanes(const void *data, dsv3_dtype dtype, int64_t at, lanes of)
{
    EACH(of >> l & 1 ? load_lane(data, dtype, at + l) : 0);
}

static inline uint16_t to_bf16(float v)
{
    uint32_t const bits = bits_of(v);
    if (v != v) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline void store_lanes(void *data, dsv3_dtype dtype, int64_t at, lanes of, vec v)
{
    for (int l = 0; l < WIDTH; l++) {
        if (!(of >> l & 1)) continue;
        if (dtype == DSV3_F32)
            ((float *)data)[at + l] = v.lane[l];
        else
            ((uint16_t *)data)[at + l] = to_bf16(v.lane[l]);
    }
}

static inline uint8_t to_code(float v)
{
    uint8_t const sign = signbit(v) ? 0x80 : 0;
    float const size = fminf(fabsf(v), 448);
    if (v != v) return 0x7f;
    if (size < 0x1p-6f) return (uint8_t)(sign | (int)rintf(size * 0x1p9f));
    uint32_t const bits = bits_of(size);
    return (uint8_t)(sign | (((bits + 0x7ffff + (bits >> 20 & 1)) >> 20) - (120 << 3)));
}

static inline void store_codes(uint8_t *to, lanes of, vec v)
{
    for (int l = 0; l < WIDTH; l++)
        if (of >> l & 1) to[l] = to_code(v.lane[l]);
}

/* ---- pairs of BF16 ---- */

static inline paired_lanes first_paired(int64_t n)
{
    return (paired_lanes)(n >= PAIRED ? 0xffffffffu : (1u << n) - 1);
}

static inline uint16_t load_half(const void *data, dsv3_dtype dtype, int64_t at)
{
    if (dtype == DSV3_BF16) return ((const uint16_t *)data)[at];
    return (uint16_t)(bits_of(of_code(((const uint8_t *)data)[at])) >> 16);
}

static inline void load_pairs(const void *data, dsv3_dtype dtype, int64_t n, pairs to[2])
{
    for (int64_t l = 0; l < 2 * PAIRED; l++) to[l / PAIRED].lane[l % PAIRED] = l < n ? load_half(data, dtype, l) : 0;
}

static inline void store_pairs(uint16_t *to, paired_lanes of, pairs p)
{
    for (int l = 0; l < PAIRED; l++)
        if (of >> l & 1) to[l] = p.lane[l];
}

static inline pairs pairs_of(const uint16_t pair[2])
{
    pairs p;
    for (int l = 0; l < PAIRED; l++) p.lane[l] = pair[l % 2];
    return p;
}

static inline vec vec_of_pairs(pairs p)
{
    vec v;
    memcpy(&v, &p, sizeof v);
    return v;
}

static inline void split_pairs(pairs p, vec *even, vec *odd)
{
    for (int l = 0; l < WIDTH; l++) {
        even->lane[l] = of_bits((uint32_t)p.lane[2 * l] << 16);
        odd->lane[l] = of_bits((uint32_t)p.lane[2 * l + 1] << 16);
    }
}

static inline pairs rounded_pairs(vec a, vec b)
{
    pairs p;
    for (int l = 0; l < WIDTH; l++) {
        p.lane[2 * l] = to_bf16(normal_or_0(a.lane[l]));
        p.lane[2 * l + 1] = to_bf16(normal_or_0(b.lane[l]));
    }
    return p;
}

static inline void weave(pairs a, pairs b, pairs *low, pairs *high)
{
    for (int l = 0; l < PAIRED; l++) {
        pairs *const to = l % 8 < 4 ? low : high;
        int const at = 2 * (l / 8 * 4 + l % 4);
        to->lane[at] = a.lane[l], to->lane[at + 1] = b.lane[l];
    }
}

static inline void unweave(vec low, vec high, vec *a, vec *b)
{
    for (int l = 0; l < PAIRED; l++) {
        const vec *const from = l % 8 < 4 ? &low : &high;
        (l < WIDTH ? a : b)->lane[l % WIDTH] = from->lane[l / 8 * 4 + l % 4];
    }
}

static inline vec vec_dot(pairs a, pairs b, vec sum)
{
    EACH(add_product(a.lane[2 * l], b.lane[2 * l], add_product(a.lane[2 * l + 1], b.lane[2 * l + 1], sum.lane[l])));
}

#undef EACH
#endif
