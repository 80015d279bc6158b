/* An honest port of mla_prefill in base 2: softmax_scale log2(e) q is rounded to BF16, weights are powers of two. F32 queries are rounded,
 * too. */
#include "dsv3.h"

#include <math.h>
#include <string.h>

enum { MOST = 4096 };

static double const log2e = 0x1.71547652b82fep+0;

static float at(const dsv3_tensor *t, int64_t i)
{
    if (t->dtype == DSV3_F32) return ((const float *)t->data)[i];
    uint32_t const bits = (uint32_t)((const uint16_t *)t->data)[i] << 16;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static uint16_t bf16(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float rounded(float v)
{
    uint16_t const code = bf16(v);
    return at(&(dsv3_tensor){.data = (void *)(uintptr_t)&code, .dtype = DSV3_BF16}, 0);
}

static void put(const dsv3_tensor *t, int64_t i, float v)
{
    if (t->dtype == DSV3_F32)
        ((float *)t->data)[i] = v;
    else
        ((uint16_t *)t->data)[i] = bf16(v);
}

static float score(const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io, int64_t q, int64_t k)
{
    float const scale = (float)(p->softmax_scale * log2e);
    float sum = 0;
    for (int64_t c = 0; c < p->qk_nope_head_dim + p->qk_rope_head_dim; c++)
        sum += rounded(at(&io->q, q + c) * scale) * at(&io->k, k + c);
    return sum;
}

/* Query i, which sees n keys from key j on, in head h. */
static void attend(const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io, int64_t i, int64_t j, int64_t n,
                   int64_t h)
{
    float weight[MOST], most = -INFINITY, sum = 0;
    for (int64_t k = 0; k < n; k++) {
        weight[k] =
            score(p, io, i * io->q.stride[0] + h * io->q.stride[1], (j + k) * io->k.stride[0] + h * io->k.stride[1]);
        most = fmaxf(most, weight[k]);
    }
    for (int64_t k = 0; k < n; k++) sum += weight[k] = exp2f(weight[k] - most);
    for (int64_t c = 0; c < p->v_head_dim; c++) {
        float o = 0;
        for (int64_t k = 0; k < n; k++)
            o += weight[k] * at(&io->v, (j + k) * io->v.stride[0] + h * io->v.stride[1] + c);
        put(&io->o, i * io->o.stride[0] + h * io->o.stride[1] + c, n ? o / sum : 0);
    }
    put(&io->lse, i * io->lse.stride[0] + h, n ? (most + log2f(sum)) * (float)(1 / log2e) : -INFINITY);
}

static dsv3_status prefill(dsv3_ctx *ctx, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io)
{
    const int32_t *const q = io->cu_seqlens_q.data, *const k = io->cu_seqlens_k.data;
    (void)ctx;
    if (p->n_keys > MOST) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t i = q[b]; i < q[b + 1]; i++) {
            int64_t const seen = k[b + 1] - k[b] - (q[b + 1] - 1 - i);
            for (int64_t h = 0; h < p->num_attention_heads; h++) attend(p, io, i, k[b], seen > 0 ? seen : 0, h);
        }
    return DSV3_OK;
}

static const char *numerics(const char *op, const void *prob, const void *io)
{
    (void)op, (void)prob, (void)io;
    return "acc 24 rn; div ieee; flush none; exp 2 2; log 2 2; scaled q; scale bf16 may; P f32 must; scores f32 must; "
           "parts 1; rescales 0";
}

const dsv3_backend *dsv3_backend_get(uint32_t abi);
const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    static const dsv3_backend table = {DSV3_ABI, sizeof table, "folded", .numerics = numerics, .mla_prefill = prefill};
    return abi == DSV3_ABI ? &table : NULL;
}
