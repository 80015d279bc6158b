// A first port, of one op: rmsnorm, y = weight z / sqrt(mean of z^2 + rms_norm_eps), z = x, or x + residual.
//
//     BUILD_COMMAND
//     JUDGE_COMMAND
//
// Another op is a function and a member of the table below; dsv3.h says what it gets, `verify list OP` what its cases vary.
#include "dsv3.h"

#include <math.h>

/* Element i of row t; a vector is one row. BF16 is the upper half of binary32. */
static float load(const dsv3_tensor *x, int64_t t, int64_t i)
{
    int64_t const at = x->ndim == 1 ? i : t * x->stride[0] + i;
    if (x->dtype == DSV3_F32) return ((const float *)x->data)[at];
    uint32_t const bits = (uint32_t)((const uint16_t *)x->data)[at] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void store(const dsv3_tensor *y, int64_t t, int64_t i, float value)
{
    int64_t const at = t * y->stride[0] + i;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (y->dtype == DSV3_F32)
        ((float *)y->data)[at] = value;
    else /* to nearest, ties to even */
        ((uint16_t *)y->data)[at] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static dsv3_status rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight"), *const z =
                                                                             p->residual ? &io->residual_out : &io->x;
    int64_t const n = p->hidden_size;
    (void)ctx;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        float sum = 0;
        for (int64_t i = 0; p->residual && i < n; i++) store(z, t, i, load(&io->x, t, i) + load(&io->residual, t, i));
        for (int64_t i = 0; i < n; i++) sum += load(z, t, i) * load(z, t, i);
        float const r = 1 / sqrtf(sum / (float)n + (float)p->rms_norm_eps);
        for (int64_t i = 0; i < n; i++) store(&io->y, t, i, load(weight, 0, i) * (load(z, t, i) * r));
    }
    return DSV3_OK;
}

/* How it rounds, for a sharper verdict: here every operation is one of binary32, to nearest. NULL: it says nothing. */
static const char *numerics(const char *op, const void *prob, const void *io)
{
    (void)prob, (void)io;
    return strcmp(op, "rmsnorm") ? NULL : "acc 24 rn; rsqrt recip; div ieee; flush none; x_norm f32 must";
}

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    static const dsv3_backend port = {DSV3_ABI, sizeof port, "first", .rmsnorm = rmsnorm, .numerics = numerics};
    return abi == DSV3_ABI ? &port : NULL;
}
