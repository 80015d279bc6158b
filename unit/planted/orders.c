/* linear alone, whose sums go as ORDER says: sequential, backward, lanes, halves, pairwise, blocks, cutting, double or counted.
 * Each product is rounded to binary32, but for double; cutting adds four products at once, toward zero. */
#include "dsv3.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 8192, LANES = 8, BLOCK = 32, STEP = 4 };

static int is(const char *order)
{
    const char *const said = getenv("ORDER");
    return said && !strcmp(said, order);
}

static double element(const dsv3_tensor *t, int64_t row, int64_t i)
{
    int64_t const at = row * t->stride[0] + i * t->stride[1];
    if (t->dtype == DSV3_F32) return ((const float *)t->data)[at];
    uint32_t const bits = (uint32_t)((const uint16_t *)t->data)[at] << 16;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static float chain(const float *p, int64_t n, int64_t step)
{
    float sum = p[0];
    for (int64_t i = 1; i < n; i++) sum += p[i * step];
    return sum;
}

static float lanes(const float *p, int64_t n)
{
    float sum = chain(p, n / LANES, LANES);
    for (int64_t l = 1; l < LANES; l++) sum += chain(p + l, n / LANES, LANES);
    return sum;
}

/* By neighbours, or by halves. */
static float pairwise(float *p, int64_t n, int by_halves)
{
    for (int64_t half = (n + 1) / 2; n > 1; n = half, half = (n + 1) / 2)
        for (int64_t i = 0; i < half; i++) {
            int64_t const a = by_halves ? i : 2 * i, b = by_halves ? i + half : 2 * i + 1;
            p[i] = b < n ? p[a] + p[b] : p[a];
        }
    return p[0];
}

static float halves(const float *p, int64_t n)
{
    float sum[LANES];
    for (int64_t l = 0; l < LANES; l++) sum[l] = chain(p + l, n / LANES, LANES);
    return pairwise(sum, LANES, 1);
}

static float blocks(const float *p, int64_t n)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i += BLOCK) sum += chain(p + i, n - i < BLOCK ? n - i : BLOCK, 1);
    return sum;
}

/* To `bits` bits below the largest, toward zero. */
static double cut(double v, int exponent, int bits)
{
    double const unit = ldexp(1, exponent - bits);
    return trunc(v / unit) * unit;
}

static int exponent_of(double v)
{
    int e = -200;
    if (v != 0) frexp(v, &e);
    return e;
}

static float cutting(const float *p, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += STEP) {
        int largest = exponent_of(sum);
        double next = 0;
        for (int64_t k = i; k < i + STEP && k < n; k++)
            if (exponent_of(p[k]) > largest) largest = exponent_of(p[k]);
        for (int64_t k = i; k < i + STEP && k < n; k++) next += cut(p[k], largest, 24);
        next += cut(sum, largest, 24);
        sum = cut(next, exponent_of(next), 24);
    }
    return (float)sum;
}

static double sum_of(const dsv3_tensor *x, int64_t t, const dsv3_tensor *w, int64_t o, int64_t n, int64_t n_tokens)
{
    float p[MOST];
    double exact = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t const at = is("backward") ? n - 1 - i : i;
        double const product = element(x, t, at) * element(w, o, at);
        exact += product;
        p[i] = (float)product;
    }
    if (is("double")) return exact;
    if (is("lanes") && n % LANES == 0) return lanes(p, n);
    if (is("halves") && n % LANES == 0) return halves(p, n);
    if (is("pairwise")) return pairwise(p, n, 0);
    if (is("blocks")) return blocks(p, n);
    if (is("cutting")) return cutting(p, n);
    if (is("counted") && n_tokens == 1) return lanes(p, n);
    return chain(p, n, 1);
}

static void store(const dsv3_tensor *y, int64_t t, int64_t o, double v)
{
    int64_t const at = t * y->stride[0] + o * y->stride[1];
    float const f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (y->dtype == DSV3_F32)
        ((float *)y->data)[at] = f;
    else
        ((uint16_t *)y->data)[at] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static int is_real(const dsv3_tensor *t)
{
    return t->dtype == DSV3_F32 || t->dtype == DSV3_BF16;
}

static dsv3_status linear(dsv3_ctx *ctx, const dsv3_linear_prob *p, const dsv3_linear_io *io)
{
    (void)ctx;
    const dsv3_tensor *const w = dsv3_find(&io->weights, "weight");
    if (!w || !is_real(w) || !is_real(&io->x) || !is_real(&io->y) || p->in_features > MOST) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t o = 0; o < p->out_features; o++)
            store(&io->y, t, o, sum_of(&io->x, t, w, o, p->in_features, p->n_tokens));
    return DSV3_OK;
}

const dsv3_backend *dsv3_backend_get(uint32_t abi);
const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    static const dsv3_backend table = {DSV3_ABI, sizeof table, "orders", .linear = linear};
    return abi == DSV3_ABI ? &table : NULL;
}
