/*
 * The port at $PLAIN with a small fault of value, as the environment variable PLANT says: BY is its size. It declares what that
 * port does, or what DECLARES says.
 */
#include "on_plain.h"

#include <math.h>
#include <stdbool.h>

static double by(void)
{
    const char *const size = getenv("BY");
    return size ? atof(size) : 0;
}

/* An index among n; negative: from the end. */
static int64_t index_of(int64_t n)
{
    int64_t const at = (int64_t)by();
    return at < 0 ? n + at : at;
}

/* ---- tensors ---- */

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

/* To BF16, to nearest, or cut. */
static uint16_t to_bf16(float f)
{
    uint32_t const bits = to_bits(f);
    return (uint16_t)((planted("truncated") ? bits : bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float load(const dsv3_tensor *t, int64_t at)
{
    return t->dtype == DSV3_F32 ? ((const float *)t->data)[at]
                                : from_bits((uint32_t)((const uint16_t *)t->data)[at] << 16);
}

static void store(const dsv3_tensor *t, int64_t at, float value)
{
    if (t->dtype == DSV3_F32)
        ((float *)t->data)[at] = value;
    else
        ((uint16_t *)t->data)[at] = to_bf16(value);
}

static int64_t count_of(const dsv3_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= t->shape[i];
    return n;
}

/* Where element i of the tensor stands. */
static int64_t place(const dsv3_tensor *t, int64_t i)
{
    int64_t at = 0;
    for (int axis = t->ndim - 1; axis >= 0; axis--) {
        at += i % t->shape[axis] * t->stride[axis];
        i /= t->shape[axis];
    }
    return at;
}

/* The same in binary32, in memory of its own, or without any. */
static dsv3_tensor widened(const dsv3_tensor *t)
{
    dsv3_tensor wide = *t;
    wide.dtype = DSV3_F32;
    for (int axis = t->ndim - 1; axis >= 0; axis--)
        wide.stride[axis] = axis == t->ndim - 1 ? 1 : wide.stride[axis + 1] * t->shape[axis + 1];
    float *const data = malloc((size_t)(count_of(t) + 1) * sizeof *data);
    for (int64_t i = 0; data && i < count_of(t); i++) data[i] = load(t, place(t, i));
    wide.data = data;
    return wide;
}

/* ---- sums and arithmetic of fewer bits ---- */

/* To so many bits, to nearest or, for sums that are cut, toward zero. */
static float kept(float v, int bits, int cut)
{
    int exponent;
    double const scaled = ldexp(frexp((double)v, &exponent), bits);
    return (float)ldexp(cut ? trunc(scaled) : nearbyint(scaled), exponent - bits);
}

/* One more of a sum, of BY bits. */
static float add(float sum, float more)
{
    float const next = sum + more;
    return planted("sums") || planted("sums_cut") ? kept(next, (int)by(), planted("sums_cut")) : next;
}

static bool sums_here(void)
{
    return planted("sums") || planted("sums_cut");
}

/* An elementwise result, of BY bits. */
static float result(float v)
{
    return planted("arith") ? kept(v, (int)by(), 0) : v;
}

/* ---- faults of an output ---- */

static int compare_sizes(const void *a, const void *b)
{
    float const x = fabsf(*(const float *)a), y = fabsf(*(const float *)b);
    return (x > y) - (x < y);
}

/* So many are 0: those of least size. */
static void lose_smallest(const dsv3_tensor *t, int64_t lost)
{
    dsv3_tensor const sorted = widened(t);
    if (!sorted.data) return;
    qsort(sorted.data, (size_t)count_of(t), sizeof(float), compare_sizes);
    float const least = fabsf(load(&sorted, lost));
    for (int64_t i = 0; i < count_of(t); i++)
        if (fabsf(load(t, i)) < least) store(t, i, 0);
    free(sorted.data);
}

/* Of such a share of all numbers. */
static int is_drawn(int64_t i)
{
    return (double)((uint32_t)i * 2654435761u) < by() * 0x1p32;
}

/* Writes what was made in binary32, with the faults of any output; frees it. */
static dsv3_status finish(dsv3_status s, const dsv3_tensor *made, const dsv3_tensor *y)
{
    if (!made->data) return DSV3_NO_MEMORY;
    if (planted("smallest")) lose_smallest(made, (int64_t)(by() * (double)count_of(y)));
    for (int64_t i = 0; i < count_of(y); i++) {
        float v = load(made, i);
        if (planted("scale")) v *= (float)(1 + by());
        if (planted("signs") && is_drawn(i)) v = -v;
        store(y, place(y, i), v);
    }
    free(made->data);
    return s;
}

/* ---- rmsnorm ---- */

/* One row: eps is added to the root, or the mean is over more. */
static void normalise(const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io, int64_t t, const dsv3_tensor *y)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    float const eps = (float)p->rms_norm_eps, inside = planted("eps_outside") ? 0 : eps, outside = eps - inside;
    float const n = (float)p->hidden_size + (planted("mean") ? (float)by() : 0);
    float sum = 0;
    for (int64_t i = 0; i < p->hidden_size; i++) {
        float const x = load(&io->x, t * io->x.stride[0] + i);
        sum = add(sum, x * x);
    }
    float const root = result(sqrtf(result(result(sum / n) + inside)) + outside), r = result(1 / root);
    for (int64_t i = 0; i < p->hidden_size; i++)
        store(y, t * p->hidden_size + i, load(weight, i) * result(load(&io->x, t * io->x.stride[0] + i) * r));
}

static dsv3_status rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    dsv3_rmsnorm_prob near = *p;
    dsv3_rmsnorm_io wide = *io;
    wide.y = widened(&io->y);
    if (!wide.y.data) return DSV3_NO_MEMORY;
    if (planted("eps")) near.rms_norm_eps = by();
    dsv3_status const s = plain->rmsnorm(ctx, &near, &wide);
    bool const here = planted("eps_outside") || planted("mean") || planted("arith") || sums_here();
    for (int64_t t = 0; t < p->n_tokens && here; t++) normalise(p, io, t, &wide.y);
    return finish(s, &wide.y, &io->y);
}

/* ---- linear ---- */

/* y, by sums of BY bits. */
static void multiply(const dsv3_linear_prob *p, const dsv3_linear_io *io, const dsv3_tensor *y)
{
    const dsv3_tensor *const w = dsv3_find(&io->weights, "weight");
    for (int64_t i = 0; i < p->n_tokens * p->out_features; i++) {
        int64_t const t = i / p->out_features, o = i % p->out_features;
        float sum = 0;
        for (int64_t k = 0; k < p->in_features; k++)
            sum = add(sum, load(&io->x, t * p->in_features + k) * load(w, o * w->stride[0] + k));
        store(y, i, sum);
    }
}

static dsv3_status linear(dsv3_ctx *ctx, const dsv3_linear_prob *p, const dsv3_linear_io *io)
{
    dsv3_linear_io wide = *io;
    wide.x = widened(&io->x), wide.y = widened(&io->y);
    dsv3_status s = DSV3_NO_MEMORY;
    if (wide.x.data && wide.y.data) {
        for (int64_t t = 0; t < p->n_tokens && planted("feature"); t++)
            store(&wide.x, t * p->in_features + index_of(p->in_features), 0);
        s = plain->linear(ctx, p, &wide);
        if (sums_here()) multiply(p, &wide, &wide.y);
    }
    free(wide.x.data);
    return finish(s, &wide.y, &io->y);
}

/* ---- attention ---- */

/* Where the key of token j begins. */
static int64_t key_of(const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io, int64_t b, int64_t j)
{
    int64_t const page = ((const int32_t *)io->block_table.data)[b * io->block_table.stride[0] + j / p->page_size];
    return page * io->kv_cache.stride[0] + j % p->page_size * io->kv_cache.stride[1];
}

static float score(const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io, int64_t q, int64_t key)
{
    float dot = 0;
    for (int64_t c = 0; c < p->kv_lora_rank + p->qk_rope_head_dim; c++)
        dot += load(&io->q, q + c) * load(&io->kv_cache, key + c);
    return dot * (float)p->softmax_scale;
}

/* One query of one head over its n keys, of which one may be dropped. Returns lse. */
static float attend(const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io, int64_t b, int64_t q, float *weight,
                    float *o)
{
    int64_t const n = ((const int32_t *)io->cache_seqlens.data)[b], dropped = planted("key") ? index_of(n) : -1;
    float max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        weight[j] = j == dropped ? -INFINITY : score(p, io, q, key_of(p, io, b, j));
        max = fmaxf(max, weight[j]);
    }
    for (int64_t c = 0; c < p->kv_lora_rank; c++) o[c] = 0;
    for (int64_t j = 0; j < n; j++) {
        weight[j] = result(expf(result(weight[j] - max)));
        sum += weight[j];
        int64_t const value = key_of(p, io, b, j);
        for (int64_t c = 0; c < p->kv_lora_rank; c++) o[c] = add(o[c], weight[j] * load(&io->kv_cache, value + c));
    }
    for (int64_t c = 0; c < p->kv_lora_rank; c++) o[c] /= sum;
    return max + logf(sum);
}

/* Of one query a sequence, which sees all its keys. */
static dsv3_status attend_all(const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io, const dsv3_tensor *o)
{
    int64_t const queries = p->batch * p->num_attention_heads, width = p->kv_lora_rank;
    float *const weight = malloc((size_t)(p->kv_len + 1) * sizeof *weight);
    if (!weight || p->s_q != 1) return free(weight), DSV3_UNSUPPORTED;
    for (int64_t i = 0; i < queries; i++) {
        int64_t const q = place(&io->q, i * io->q.shape[3]);
        float const lse = attend(p, io, i / p->num_attention_heads, q, weight, (float *)o->data + i * width);
        store(&io->lse, place(&io->lse, i), lse);
    }
    free(weight);
    return DSV3_OK;
}

static dsv3_status mla_decode(dsv3_ctx *ctx, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io)
{
    dsv3_mla_decode_prob near = *p;
    dsv3_mla_decode_io wide = *io;
    wide.o = widened(&io->o);
    if (!wide.o.data) return DSV3_NO_MEMORY;
    if (planted("softmax_scale")) near.softmax_scale *= 1 + by();
    bool const here = planted("key") || planted("arith") || sums_here();
    dsv3_status const s = here ? attend_all(p, io, &wide.o) : plain->mla_decode(ctx, &near, &wide);
    for (int64_t i = 0; planted("lse") && i < count_of(&io->lse); i++)
        store(&io->lse, place(&io->lse, i), load(&io->lse, place(&io->lse, i)) + (float)by());
    return finish(s, &wide.o, &io->o);
}

/* ---- experts, gate, loss ---- */

/* The weight of the first token's first expert is off, in every token. */
static dsv3_status experts(dsv3_ctx *ctx, const dsv3_experts_prob *p, const dsv3_experts_io *io)
{
    dsv3_experts_io wide = *io;
    wide.topk_weight = widened(&io->topk_weight), wide.y = widened(&io->y);
    dsv3_status s = DSV3_NO_MEMORY;
    if (wide.topk_weight.data && wide.y.data) {
        const int32_t *const idx = io->topk_idx.data;
        for (int64_t i = 0; planted("expert") && i < count_of(&io->topk_idx); i++)
            if (idx[place(&io->topk_idx, i)] == idx[0])
                store(&wide.topk_weight, i, load(&wide.topk_weight, i) * (float)(1 + by()));
        s = plain->experts(ctx, p, &wide);
    }
    free(wide.topk_weight.data);
    return finish(s, &wide.y, &io->y);
}

static dsv3_status gate(dsv3_ctx *ctx, const dsv3_gate_prob *p, const dsv3_gate_io *io)
{
    dsv3_gate_prob near = *p;
    if (planted("routed_scaling_factor")) near.routed_scaling_factor *= 1 + by();
    return plain->gate(ctx, &near, io);
}

static dsv3_status moe(dsv3_ctx *ctx, const dsv3_moe_prob *p, const dsv3_moe_io *io)
{
    dsv3_moe_prob near = *p;
    dsv3_moe_io wide = *io;
    wide.y = widened(&io->y);
    if (!wide.y.data) return DSV3_NO_MEMORY;
    if (planted("routed_scaling_factor")) near.routed_scaling_factor *= 1 + by();
    return finish(plain->moe(ctx, &near, &wide), &wide.y, &io->y);
}

/* Each logit is scaled, one is left out, or the losses have an offset. */
static dsv3_status cross_entropy(dsv3_ctx *ctx, const dsv3_cross_entropy_prob *p, const dsv3_cross_entropy_io *io)
{
    dsv3_cross_entropy_io wide = *io;
    wide.logits = widened(&io->logits);
    if (!wide.logits.data) return DSV3_NO_MEMORY;
    for (int64_t i = 0; planted("logits") && i < count_of(&io->logits); i++)
        store(&wide.logits, i, load(&wide.logits, i) * (float)(1 + by()));
    for (int64_t t = 0; planted("logit") && t < p->n_tokens; t++)
        store(&wide.logits, t * p->vocab_size + index_of(p->vocab_size), -INFINITY);
    dsv3_status const s = plain->cross_entropy(ctx, p, &wide);
    for (int64_t t = 0; planted("loss") && t < p->n_tokens; t++)
        store(&io->loss, place(&io->loss, t), load(&io->loss, place(&io->loss, t)) + (float)by());
    if (planted("loss")) store(&io->mean, 0, load(&io->mean, 0) + (float)by());
    free(wide.logits.data);
    return s;
}

static const char *numerics(const char *op, const void *prob, const void *io)
{
    const char *const said = getenv("DECLARES");
    return said ? said : plain->numerics(op, prob, io);
}

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    dsv3_backend *const table = load_plain(abi);
    if (!table) return NULL;
    table->name = "near";
    table->numerics = numerics;
    table->rmsnorm = rmsnorm;
    table->linear = linear;
    table->mla_decode = mla_decode;
    table->experts = experts;
    table->gate = gate;
    table->moe = moe;
    table->cross_entropy = cross_entropy;
    return table;
}
