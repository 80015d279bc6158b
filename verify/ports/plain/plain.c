/*
 * A port in plain C, scalar binary32: the example to copy. It needs include/dsv3.h and nothing else:
 *
 *     cc -std=c11 -O2 -ffp-contract=off -shared -fPIC -I include -o myport.so plain.c -lm
 *     build/bin/verify run @smoke --backend=./myport.so
 *
 * A port is three things: ops (functions that compute), numerics (how they round, in words), and the table at the end.
 */
#include "dsv3.h"

#include <math.h>

/* ---- stored formats ---- */

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* E4M3FN: sign, 4 bits of exponent (bias 7), 3 of fraction; no infinity, 0x7f and 0xff are NaN. */
static float from_e4m3(uint8_t code)
{
    int const exponent = code >> 3 & 15, fraction = code & 7;
    float const sign = code & 0x80 ? -1.0f : 1.0f;
    if ((code & 0x7f) == 0x7f) return NAN;
    if (exponent == 0) return sign * (float)fraction * 0x1p-9f;
    return sign * from_bits((uint32_t)(exponent + 120) << 23 | (uint32_t)fraction << 20);
}

/* BF16 is the upper half of binary32; to nearest, ties to even, NaN stays NaN. */
static uint16_t to_bf16(float f)
{
    uint32_t const bits = to_bits(f);
    if (f != f) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Element i of row t; a vector is one row. */
static float load(const dsv3_tensor *x, int64_t t, int64_t i)
{
    int64_t const at = x->ndim == 1 ? i : t * x->stride[0] + i;
    switch (x->dtype) {
    case DSV3_F32: return ((const float *)x->data)[at];
    case DSV3_BF16: return from_bits((uint32_t)((const uint16_t *)x->data)[at] << 16);
    case DSV3_F8_E4M3: return from_e4m3(((const uint8_t *)x->data)[at]);
    default: return NAN;
    }
}

static void store(const dsv3_tensor *y, int64_t t, int64_t i, float value)
{
    int64_t const at = t * y->stride[0] + i;
    if (y->dtype == DSV3_F32)
        ((float *)y->data)[at] = value;
    else
        ((uint16_t *)y->data)[at] = to_bf16(value);
}

static int is_float(const dsv3_tensor *x)
{
    return x && (x->dtype == DSV3_F32 || x->dtype == DSV3_BF16);
}

/* ---- rmsnorm ---- */

/* z = x, or x + residual rounded to the format of residual_out, which is also what is handed on. */
static float norm_input(const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io, int64_t t, int64_t i)
{
    if (!p->residual) return load(&io->x, t, i);
    return load(&io->residual_out, t, i);
}

static void add_residual(const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io, int64_t t)
{
    for (int64_t i = 0; i < p->hidden_size; i++)
        store(&io->residual_out, t, i, load(&io->x, t, i) + load(&io->residual, t, i));
}

static dsv3_status rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    int64_t const n = p->hidden_size;
    (void)ctx;
    if (!is_float(&io->x) || !is_float(weight) || !is_float(&io->y)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        float sum = 0;
        if (p->residual) add_residual(p, io, t);
        for (int64_t i = 0; i < n; i++) {
            float const z = norm_input(p, io, t, i);
            sum += z * z;
        }
        float const r = 1 / sqrtf(sum / (float)n + (float)p->rms_norm_eps);
        for (int64_t i = 0; i < n; i++) store(&io->y, t, i, load(weight, 0, i) * (norm_input(p, io, t, i) * r));
    }
    return DSV3_OK;
}

/* ---- linear ---- */

enum { BLOCK = 128, LANES = 8 };

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

static dsv3_status linear(dsv3_ctx *ctx, const dsv3_linear_prob *p, const dsv3_linear_io *io)
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

/* ---- how these ops round ----
 *
 * Declare what the code does and no more: what is left out is assumed to be coarse. Here every operation is one binary32
 * operation, rounded to nearest, nothing fused (-ffp-contract=off), nothing flushed.
 */
static const char *numerics(const char *op, const void *prob, const void *io)
{
    (void)prob;
    if (!strcmp(op, "rmsnorm")) {
        const dsv3_rmsnorm_io *const r = io;
        return r->y.dtype == DSV3_BF16 ? "acc 24 rn; rsqrt ieee; div ieee; flush none; z bf16 must; x_norm f32 must"
                                       : "acc 24 rn; rsqrt ieee; div ieee; flush none; z f32 must; x_norm f32 must";
    }
    if (strcmp(op, "linear")) return NULL;
    /* FP8: a lane of a block gathers 16 products, then 8 lanes, then one sum a block; the weight itself is not rounded */
    const dsv3_linear_io *const l = io;
    return dsv3_find(&l->weights, "weight_scale_inv") ? "acc 24 rn promote=128; weight f32 may; flush none"
                                                      : "acc 24 rn splits=8; flush none";
}

static const dsv3_backend table = {
    .abi = DSV3_ABI,
    .size = sizeof table,
    .name = "plain",
    .numerics = numerics,
    .rmsnorm = rmsnorm,
    .linear = linear,
};

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    return abi == DSV3_ABI ? &table : NULL;
}
