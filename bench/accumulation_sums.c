/* See accumulation_sums.h. */
#include "accumulation_sums.h"

#include "../cuda/emu/tensor.h"

#include <math.h>
#include <string.h>

enum { STEP = 32, PROMOTE = 128 };

/* ---- E4M3 ---- */

static double value_of(uint8_t code)
{
    int const exponent = code >> 3 & 15, fraction = code & 7;
    double const size = ldexp((exponent ? 8 : 0) + fraction, (exponent ? exponent : 1) - 10);
    return code & 0x80 ? -size : size;
}

/* To nearest, ties to even, of a number below 448 in size. */
static uint8_t code_of(double v)
{
    int exponent;
    frexp(v, &exponent); /* v = m 2^exponent, 1/2 <= m < 1 */
    if (v == 0 || exponent < -5) exponent = -5;
    int const eighths = (int)rint(ldexp(fabs(v), 4 - exponent)); /* 8 to 16, or fewer of a subnormal number */
    return (uint8_t)((signbit(v) ? 0x80 : 0) | (eighths + (exponent + 5) * 8));
}

static double uniform(uint64_t *random)
{
    *random ^= *random << 13, *random ^= *random >> 7, *random ^= *random << 17;
    return (double)(*random >> 40) * 0x1p-24;
}

void sums_fill(uint8_t *codes, size_t n, bool is_signed, uint64_t *random)
{
    for (size_t i = 0; i < n; i++) codes[i] = code_of(448 * (is_signed ? 2 * uniform(random) - 1 : uniform(random)));
}

/* ---- sums ---- */

/* sum += a b, of products `from` to `from` + 31, by the unit. */
static void add_step(int k, int from, const uint8_t *a, const uint8_t *b, uint32_t *sum)
{
    tensor_unit const wgmma = {GPU_HOPPER, CODE_E4M3, STEP, true};
    uint8_t left[SUMS_ROWS][TENSOR_DEPTH], right[SUMS_COLUMNS][TENSOR_DEPTH];
    for (int i = 0; i < SUMS_ROWS; i++) memcpy(left[i], a + (size_t)i * (size_t)k + from, STEP);
    for (int j = 0; j < SUMS_COLUMNS; j++) memcpy(right[j], b + (size_t)j * (size_t)k + from, STEP);
    tensor_multiply(&wgmma, SUMS_ROWS, SUMS_COLUMNS, left[0], right[0], sum, sum);
}

static void multiply_by_unit(bool promotes, int k, const uint8_t *a, const uint8_t *b, float *total)
{
    static uint32_t sum[SUMS];
    memset(sum, 0, sizeof sum), memset(total, 0, SUMS * sizeof *total);
    for (int from = 0; from < k; from += STEP) {
        add_step(k, from, a, b, sum);
        if (from + STEP < k && (!promotes || (from + STEP) % PROMOTE)) continue;
        for (int i = 0; i < SUMS; i++) {
            float part;
            memcpy(&part, &sum[i], sizeof part);
            total[i] += part;
        }
        memset(sum, 0, sizeof sum);
    }
}

/* A product of two codes has eight bits: it is exact. */
static float chain(int k, const uint8_t *a, const uint8_t *b, const float value[256])
{
    float sum = 0;
    for (int i = 0; i < k; i++) sum += value[a[i]] * value[b[i]];
    return sum;
}

void sums_multiply(sum_way way, int k, const uint8_t *a, const uint8_t *b, float *sum)
{
    float value[256];
    for (int i = 0; i < 256; i++) value[i] = (float)value_of((uint8_t)i);
    if (way != SUM_BINARY32) multiply_by_unit(way == SUM_PROMOTED, k, a, b, sum);
    for (int i = 0; way == SUM_BINARY32 && i < SUMS; i++)
        sum[i] =
            chain(k, a + (size_t)(i / SUMS_COLUMNS) * (size_t)k, b + (size_t)(i % SUMS_COLUMNS) * (size_t)k, value);
}

/* All products are multiples of 2^-18 and below 2^18: 65536 of them have 52 bits together. */
double sums_exact(int k, const uint8_t *a, const uint8_t *b)
{
    double value[256], sum = 0;
    for (int i = 0; i < 256; i++) value[i] = value_of((uint8_t)i);
    for (int i = 0; i < k; i++) sum += value[a[i]] * value[b[i]];
    return sum;
}
