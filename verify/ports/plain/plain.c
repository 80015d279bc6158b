/*
 * A port in plain C, scalar binary32: the example to copy. It needs include/dsv3.h and nothing else:
 *
 *     cc -std=c11 -O2 -ffp-contract=off -shared -fPIC -I include -o myport.so plain.c block.c moe.c -lm
 *     build/bin/verify run @smoke --backend=./myport.so
 *
 * A port is three things: ops (functions that compute), numerics (how they round, in words), and the table at the end.
 */
#include "plain.h"

#include <math.h>
#include <stdlib.h>

enum { COLUMNS = 512, WIDEST = 1024 };

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

float load_at(const dsv3_tensor *x, int64_t at)
{
    switch (x->dtype) {
    case DSV3_F32: return ((const float *)x->data)[at];
    case DSV3_BF16: return from_bits((uint32_t)((const uint16_t *)x->data)[at] << 16);
    case DSV3_F8_E4M3: return from_e4m3(((const uint8_t *)x->data)[at]);
    default: return NAN;
    }
}

void store_at(const dsv3_tensor *y, int64_t at, float value)
{
    if (y->dtype == DSV3_F32)
        ((float *)y->data)[at] = value;
    else
        ((uint16_t *)y->data)[at] = to_bf16(value);
}

/* Element i of row t; a vector is one row. */
static float load(const dsv3_tensor *x, int64_t t, int64_t i)
{
    return load_at(x, x->ndim == 1 ? i : t * x->stride[0] + i);
}

static void store(const dsv3_tensor *y, int64_t t, int64_t i, float value)
{
    store_at(y, t * y->stride[0] + i, value);
}

int is_float(const dsv3_tensor *x)
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

/* ---- rope ---- */

double mscale(const dsv3_rope_prob *p, double m)
{
    return p->factor <= 1 ? 1 : 0.1 * m * log(p->factor) + 1;
}

/* The pair that makes n turns over the original length. */
static double pair_of_turns(const dsv3_rope_prob *p, double n)
{
    double const length = (double)p->original_max_position_embeddings;
    return (double)p->qk_rope_head_dim * log(length / (n * 2 * M_PI)) / (2 * log(p->rope_theta));
}

/* Radians a position. */
static double frequency(const dsv3_rope_prob *p, int64_t j)
{
    double const r = (double)p->qk_rope_head_dim, e = pow(p->rope_theta, -2 * (double)j / r);
    if (p->factor == 1) return e;
    double const low = fmax(floor(pair_of_turns(p, p->beta_fast)), 0);
    double high = fmin(ceil(pair_of_turns(p, p->beta_slow)), r - 1);
    if (high == low) high += 0.001;
    double const ramp = fmin(fmax(((double)j - low) / (high - low), 0), 1);
    return e * (1 - ramp) + e / p->factor * ramp;
}

static int64_t place(int32_t layout, int64_t r, int64_t j, int64_t half)
{
    return layout == DSV3_HALF ? j + half * (r / 2) : 2 * j + half;
}

void rotate(const dsv3_rope_prob *p, double position, const float *x, float *y)
{
    int64_t const r = p->qk_rope_head_dim;
    float const amplitude = (float)(mscale(p, p->mscale) / mscale(p, p->mscale_all_dim));
    for (int64_t j = 0; j < r / 2; j++) {
        double const angle = position * frequency(p, j);
        float const c = (float)cos(angle) * amplitude, s = (float)sin(angle) * amplitude;
        float const x1 = x[place(p->in_layout, r, j, 0)], x2 = x[place(p->in_layout, r, j, 1)];
        y[place(p->out_layout, r, j, 0)] = x1 * c - x2 * s;
        y[place(p->out_layout, r, j, 1)] = x2 * c + x1 * s;
    }
}

static dsv3_status rope(dsv3_ctx *ctx, const dsv3_rope_prob *p, const dsv3_rope_io *io)
{
    (void)ctx;
    float x[WIDEST], y[WIDEST];
    int64_t const r = p->qk_rope_head_dim;
    if (!is_float(&io->x) || r > WIDEST) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t h = 0; h < p->num_heads; h++) {
            int64_t const from = t * io->x.stride[0] + h * io->x.stride[1];
            int64_t const to = t * io->y.stride[0] + h * io->y.stride[1];
            for (int64_t i = 0; i < r; i++) x[i] = load_at(&io->x, from + i);
            rotate(p, ((const int32_t *)io->positions.data)[t * io->positions.stride[0]], x, y);
            for (int64_t i = 0; i < r; i++) store_at(&io->y, to + i, y[i]);
        }
    return DSV3_OK;
}

/* ---- gate ---- */

/* The index of the largest value; of equals the first. */
static int64_t largest(const float *v, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (v[i] > v[best]) best = i;
    return best;
}

/* The sum of the two largest values. */
static float top_two(const float *v, int64_t n)
{
    float first = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        float const lower = v[i] > first ? first : v[i];
        if (v[i] > first) first = v[i];
        if (lower > second) second = lower;
    }
    return n > 1 ? first + second : first;
}

/* All groups but the best get t = -infinity. */
static void mask_groups(const dsv3_gate_prob *p, float *t)
{
    if (p->topk_method == DSV3_GREEDY) return;
    int64_t const size = p->n_routed_experts / p->n_group;
    float score[MOST_GROUPS];
    int kept[MOST_GROUPS] = {0};
    for (int64_t g = 0; g < p->n_group; g++) {
        const float *const group = t + g * size;
        score[g] = p->topk_method == DSV3_NOAUX_TC ? top_two(group, size) : group[largest(group, size)];
    }
    for (int64_t m = 0; m < p->topk_group; m++) {
        int64_t const g = largest(score, p->n_group);
        kept[g] = 1;
        score[g] = -INFINITY;
    }
    for (int64_t e = 0; e < p->n_routed_experts; e++)
        if (!kept[e / size]) t[e] = -INFINITY;
}

static void gate_scores(const dsv3_gate_prob *p, const float *logits, float *s)
{
    float max = -INFINITY, sum = 0;
    for (int64_t e = 0; e < p->n_routed_experts; e++) max = fmaxf(max, logits[e]);
    for (int64_t e = 0; e < p->n_routed_experts; e++) {
        float const z = logits[e];
        s[e] = p->scoring_func == DSV3_SOFTMAX ? expf(z - max) : 1 / (1 + expf(-z));
        sum += s[e];
    }
    for (int64_t e = 0; e < p->n_routed_experts && p->scoring_func == DSV3_SOFTMAX; e++) s[e] /= sum;
}

int can_route(const dsv3_gate_prob *p)
{
    return p->n_routed_experts <= MOST_EXPERTS && p->n_group <= MOST_GROUPS;
}

void route(const dsv3_gate_prob *p, const dsv3_tensor *bias, const float *logits, int32_t *idx, float *weight)
{
    float s[MOST_EXPERTS], t[MOST_EXPERTS], sum = 0;
    gate_scores(p, logits, s);
    for (int64_t e = 0; e < p->n_routed_experts; e++) t[e] = bias ? s[e] + load_at(bias, e) : s[e];
    mask_groups(p, t);
    for (int64_t k = 0; k < p->num_experts_per_tok; k++) {
        idx[k] = (int32_t)largest(t, p->n_routed_experts);
        t[idx[k]] = -INFINITY;
        weight[k] = s[idx[k]];
        sum += weight[k];
    }
    for (int64_t k = 0; k < p->num_experts_per_tok; k++) {
        if (p->norm_topk_prob) weight[k] /= sum;
        weight[k] *= (float)p->routed_scaling_factor;
    }
}

static dsv3_status gate(dsv3_ctx *ctx, const dsv3_gate_prob *p, const dsv3_gate_io *io)
{
    (void)ctx;
    const dsv3_tensor *const bias = dsv3_find(&io->weights, "e_score_correction_bias");
    float logits[MOST_EXPERTS];
    if ((!bias && p->topk_method == DSV3_NOAUX_TC) || !is_float(&io->logits)) return DSV3_UNSUPPORTED;
    if (!can_route(p)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        for (int64_t e = 0; e < p->n_routed_experts; e++) logits[e] = load(&io->logits, t, e);
        route(p, bias, logits, (int32_t *)io->topk_idx.data + t * io->topk_idx.stride[0],
              (float *)io->topk_weight.data + t * io->topk_weight.stride[0]);
    }
    return DSV3_OK;
}

/* ---- bias_update ---- */

static dsv3_status bias_update(dsv3_ctx *ctx, const dsv3_bias_update_prob *p, const dsv3_bias_update_io *io)
{
    (void)ctx;
    const int32_t *const load = (const int32_t *)io->load.data;
    int64_t total = 0;
    for (int64_t e = 0; e < p->n_routed_experts; e++) total += load[e];
    for (int64_t e = 0; e < p->n_routed_experts; e++) {
        int64_t const shortage = total - p->n_routed_experts * load[e];
        float const sign = (float)((shortage > 0) - (shortage < 0));
        store_at(&io->bias_out, e, load_at(&io->bias, e) + sign * (float)p->bias_update_speed);
    }
    return DSV3_OK;
}

/* ---- balance_loss ---- */

/* alpha sum f P: assignments of first <= token < last, scores of from <= token < to. */
static float balance(const dsv3_balance_loss_prob *p, const dsv3_balance_loss_io *io, int64_t first, int64_t last,
                     int64_t from, int64_t to)
{
    float count[MOST_EXPERTS] = {0}, share[MOST_EXPERTS] = {0}, loss = 0;
    float const experts = (float)p->n_routed_experts, assigned = (float)(p->num_experts_per_tok * (last - first));
    for (int64_t t = first; t < last; t++)
        for (int64_t k = 0; k < p->num_experts_per_tok; k++)
            count[((const int32_t *)io->topk_idx.data)[t * io->topk_idx.stride[0] + k]]++;
    for (int64_t t = from; t < to; t++) {
        float sum = 0;
        for (int64_t e = 0; e < p->n_routed_experts; e++) sum += load(&io->scores, t, e);
        for (int64_t e = 0; e < p->n_routed_experts; e++) share[e] += load(&io->scores, t, e) / (p->seq_aux ? sum : 1);
    }
    for (int64_t e = 0; e < p->n_routed_experts; e++)
        loss += count[e] * experts / assigned * (share[e] / (float)(to - from));
    return (float)p->aux_loss_alpha * loss;
}

static dsv3_status balance_loss(dsv3_ctx *ctx, const dsv3_balance_loss_prob *p, const dsv3_balance_loss_io *io)
{
    (void)ctx;
    const int32_t *const start = (const int32_t *)io->cu_seqlens.data;
    if (p->n_routed_experts > MOST_EXPERTS) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t const from = p->seq_aux ? start[b] : 0, to = p->seq_aux ? start[b + 1] : p->n_tokens;
        store_at(&io->loss, b, from == to ? 0 : balance(p, io, from, to, from, to));
    }
    return DSV3_OK;
}

/* ---- mtp_accept ---- */

static double total(const float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)v[i];
    return sum;
}

/* Is draft x accepted? */
static int accepts(const dsv3_mtp_accept_prob *m, const float *p, const float *q, float u, int32_t x)
{
    if (m->greedy) return largest(p, m->vocab_size) == x;
    return (double)u * ((double)q[x] / total(q, m->vocab_size)) < (double)p[x] / total(p, m->vocab_size);
}

/* What token v weighs when the next token is drawn; no q: p itself. */
static double left(const float *p, const float *q, double p_sum, double q_sum, int64_t v)
{
    if (!q) return (double)p[v];
    return fmax((double)p[v] / p_sum - (double)q[v] / q_sum, 0);
}

static int64_t sample(const dsv3_mtp_accept_prob *m, const float *p, const float *q, float u)
{
    double const p_sum = total(p, m->vocab_size), q_sum = q ? total(q, m->vocab_size) : 1;
    double whole = 0, prefix = 0;
    int64_t last = 0;
    for (int64_t v = 0; v < m->vocab_size; v++) whole += left(p, q, p_sum, q_sum, v);
    for (int64_t v = 0; v < m->vocab_size; v++) {
        double const weight = left(p, q, p_sum, q_sum, v);
        prefix += weight;
        if ((double)u * whole < prefix) return v;
        if (weight > 0) last = v;
    }
    return last;
}

static dsv3_status mtp_accept(dsv3_ctx *ctx, const dsv3_mtp_accept_prob *m, const dsv3_mtp_accept_io *io)
{
    (void)ctx;
    for (int64_t b = 0; b < m->batch; b++) {
        const int32_t *const x = (const int32_t *)io->draft_tokens.data + b * io->draft_tokens.stride[0];
        const float *const q = (const float *)io->draft_probs.data + b * io->draft_probs.stride[0];
        const float *const p = (const float *)io->target_probs.data + b * io->target_probs.stride[0];
        const float *const u = (const float *)io->uniforms.data + b * io->uniforms.stride[0];
        int64_t n = 0;
        while (n < m->n_draft && accepts(m, p + n * m->vocab_size, q + n * m->vocab_size, u[n], x[n])) n++;
        const float *const at = p + n * m->vocab_size, *const rejected = n < m->n_draft ? q + n * m->vocab_size : NULL;
        ((int32_t *)io->accepted.data)[b] = (int32_t)n;
        ((int32_t *)io->next_token.data)[b] =
            (int32_t)(m->greedy ? largest(at, m->vocab_size) : sample(m, at, rejected, u[m->n_draft]));
    }
    return DSV3_OK;
}

/* ---- attention ---- */

/* One query of one head, and where its keys and values come from. */
typedef struct heads heads;
struct heads {
    const void *prob, *io;
    int64_t sequence, head, first;                        /* of its keys, where sequences lie one after the other */
    float (*key)(const heads *s, int64_t j, int64_t c);   /* entry c of key j */
    float (*value)(const heads *s, int64_t j, int64_t c); /* entry c of value j */
    const dsv3_tensor *q, *o;
    int64_t width, columns; /* entries of a key, of a value */
    float scale, kv_scale;
};

/* softmax_scale q . k for the query at q and key j. */
static float score(const heads *s, int64_t q, int64_t j)
{
    float dot = 0;
    for (int64_t c = 0; c < s->width; c++) dot += load_at(s->q, q + c) * s->key(s, j, c);
    return dot * s->scale;
}

/* One query over its first n keys; the sums in binary32, the largest score found first. Returns lse. */
static float attend(const heads *s, int64_t n, int64_t q, int64_t o)
{
    float max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) max = fmaxf(max, score(s, q, j));
    for (int64_t from = 0; from < s->columns; from += COLUMNS) {
        int64_t const columns = s->columns - from < COLUMNS ? s->columns - from : COLUMNS;
        float total[COLUMNS] = {0};
        sum = 0;
        for (int64_t j = 0; j < n; j++) {
            float const weight = expf(score(s, q, j) - max);
            sum += weight;
            for (int64_t c = 0; c < columns; c++) total[c] += weight * s->value(s, j, from + c);
        }
        for (int64_t c = 0; c < columns; c++) store_at(s->o, o + from + c, n ? total[c] / sum : 0);
    }
    return n ? max + logf(sum) : -INFINITY;
}

static int32_t whole_at(const dsv3_tensor *x, int64_t i)
{
    return ((const int32_t *)x->data)[i * x->stride[0]];
}

/* ---- mla_decode ---- */

/* Entry c of a row of bytes: E4M3 codes, a scale for each 128 of them, the rotary part in BF16. */
static float from_bytes(const uint8_t *row, int64_t rank, int64_t c)
{
    const uint8_t *const scales = row + rank, *const rope = scales + (rank + BLOCK - 1) / BLOCK * 4;
    uint16_t half;
    float scale;
    if (c < rank) {
        memcpy(&scale, scales + c / BLOCK * 4, sizeof scale);
        return from_e4m3(row[c]) * scale;
    }
    memcpy(&half, rope + (c - rank) * 2, sizeof half);
    return from_bits((uint32_t)half << 16);
}

/* Entry c of the key of token j: one key for all heads, the value is its start. */
static float cached(const heads *s, int64_t j, int64_t c)
{
    const dsv3_mla_decode_prob *const p = s->prob;
    const dsv3_tensor *const table = &((const dsv3_mla_decode_io *)s->io)->block_table;
    const dsv3_tensor *const cache = &((const dsv3_mla_decode_io *)s->io)->kv_cache;
    int64_t const page = ((const int32_t *)table->data)[s->sequence * table->stride[0] + j / p->page_size];
    int64_t const row = page * cache->stride[0] + j % p->page_size * cache->stride[1];
    if (cache->dtype == DSV3_U8) return from_bytes((const uint8_t *)cache->data + row, p->kv_lora_rank, c);
    return load_at(cache, row + c) * s->kv_scale;
}

/* Is it a cache that this port reads? kv_scale becomes what multiplies its entries. */
static int reads_cache(const dsv3_mla_decode_io *io, float *kv_scale)
{
    const dsv3_tensor *const scale = dsv3_find(&io->weights, "kv_scale");
    *kv_scale = 1;
    if (io->kv_cache.dtype == DSV3_F8_E4M3 && scale) *kv_scale = load_at(scale, 0);
    return is_float(&io->kv_cache) || io->kv_cache.dtype == DSV3_U8 || (io->kv_cache.dtype == DSV3_F8_E4M3 && scale);
}

static dsv3_status mla_decode(dsv3_ctx *ctx, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io)
{
    (void)ctx;
    heads s = {.prob = p, .io = io, .key = cached, .value = cached, .q = &io->q, .o = &io->o};
    s.width = p->kv_lora_rank + p->qk_rope_head_dim;
    s.columns = p->kv_lora_rank;
    s.scale = (float)p->softmax_scale; /* of mla_decode */
    if (!is_float(&io->q) || !reads_cache(io, &s.kv_scale)) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t i = 0; i < p->s_q; i++)
            for (int64_t h = 0; h < p->num_attention_heads; h++) {
                int64_t const length = whole_at(&io->cache_seqlens, b);
                int64_t const seen = length - p->s_q + i + 1, n = seen > 0 ? seen : 0;
                int64_t const q = b * io->q.stride[0] + i * io->q.stride[1] + h * io->q.stride[2];
                int64_t const o = b * io->o.stride[0] + i * io->o.stride[1] + h * io->o.stride[2];
                s.sequence = b;
                store_at(&io->lse, b * io->lse.stride[0] + i * io->lse.stride[1] + h, attend(&s, n, q, o));
            }
    return DSV3_OK;
}

/* ---- mla_prefill ---- */

static float key_of_head(const heads *s, int64_t j, int64_t c)
{
    const dsv3_tensor *const k = &((const dsv3_mla_prefill_io *)s->io)->k;
    return load_at(k, (s->first + j) * k->stride[0] + s->head * k->stride[1] + c);
}

static float value_of_head(const heads *s, int64_t j, int64_t c)
{
    const dsv3_tensor *const v = &((const dsv3_mla_prefill_io *)s->io)->v;
    return load_at(v, (s->first + j) * v->stride[0] + s->head * v->stride[1] + c);
}

/* How many of its keys query i of a sequence sees: the last one sees all. */
static int64_t seen_by(int64_t i, int64_t queries, int64_t keys)
{
    int64_t const n = keys - queries + i + 1;
    return n > 0 ? n : 0;
}

/* Query i of a sequence whose queries start at `from`, all heads. */
static void prefill_query(heads *s, int64_t from, int64_t i, int64_t n)
{
    const dsv3_mla_prefill_io *const io = s->io;
    int64_t const t = from + i;
    for (s->head = 0; s->head < io->q.shape[1]; s->head++) {
        int64_t const q = t * io->q.stride[0] + s->head * io->q.stride[1];
        int64_t const o = t * io->o.stride[0] + s->head * io->o.stride[1];
        store_at(&io->lse, t * io->lse.stride[0] + s->head, attend(s, n, q, o));
    }
}

static dsv3_status mla_prefill(dsv3_ctx *ctx, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io)
{
    (void)ctx;
    heads s = {.prob = p, .io = io, .key = key_of_head, .value = value_of_head, .q = &io->q, .o = &io->o};
    s.width = p->qk_nope_head_dim + p->qk_rope_head_dim;
    s.columns = p->v_head_dim;
    s.scale = (float)p->softmax_scale; /* of mla_prefill */
    if (!is_float(&io->q) || !is_float(&io->k) || !is_float(&io->v)) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t const from = whole_at(&io->cu_seqlens_q, b), queries = whole_at(&io->cu_seqlens_q, b + 1) - from;
        s.first = whole_at(&io->cu_seqlens_k, b);
        int64_t const keys = whole_at(&io->cu_seqlens_k, b + 1) - s.first;
        for (int64_t i = 0; i < queries; i++) prefill_query(&s, from, i, seen_by(i, queries, keys));
    }
    return DSV3_OK;
}

/* ---- swiglu ---- */

float silu(float gate)
{
    return gate / (1 + expf(-gate));
}

static dsv3_status swiglu(dsv3_ctx *ctx, const dsv3_swiglu_prob *p, const dsv3_swiglu_io *io)
{
    (void)ctx;
    if (!is_float(&io->gate) || !is_float(&io->up) || !is_float(&io->y)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t i = 0; i < p->intermediate_size; i++) {
            float const gate = load(&io->gate, t, i), up = load(&io->up, t, i);
            store(&io->y, t, i, silu(gate) * up);
        }
    return DSV3_OK;
}

/* ---- embed ---- */

static dsv3_status embed(dsv3_ctx *ctx, const dsv3_embed_prob *p, const dsv3_embed_io *io)
{
    (void)ctx;
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    if (!is_float(weight) || io->y.dtype != weight->dtype) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        int64_t const id = ((const int32_t *)io->input_ids.data)[t * io->input_ids.stride[0]];
        for (int64_t i = 0; i < p->hidden_size; i++) store(&io->y, t, i, load(weight, id, i));
    }
    return DSV3_OK;
}

/* ---- cross_entropy ---- */

static int32_t label_of(const dsv3_cross_entropy_io *io, int64_t t)
{
    return ((const int32_t *)io->labels.data)[t * io->labels.stride[0]];
}

/* ln of the sum of e^logits, less the label's; the maximum is found first, the sum is made in binary64. */
static float token_loss(const dsv3_cross_entropy_prob *p, const dsv3_cross_entropy_io *io, int64_t t, int32_t label)
{
    float max = -INFINITY;
    double sum = 0;
    for (int64_t j = 0; j < p->vocab_size; j++) max = fmaxf(max, load(&io->logits, t, j));
    for (int64_t j = 0; j < p->vocab_size; j++) sum += (double)expf(load(&io->logits, t, j) - max);
    return (float)log(sum) + (max - load(&io->logits, t, label));
}

static dsv3_status cross_entropy(dsv3_ctx *ctx, const dsv3_cross_entropy_prob *p, const dsv3_cross_entropy_io *io)
{
    (void)ctx;
    if (!is_float(&io->logits)) return DSV3_UNSUPPORTED;
    double sum = 0;
    int64_t counted = 0;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        int32_t const label = label_of(io, t);
        float const loss = label == DSV3_IGNORED ? 0 : token_loss(p, io, t, label);
        ((float *)io->loss.data)[t * io->loss.stride[0]] = loss;
        sum += (double)loss;
        counted += label != DSV3_IGNORED;
    }
    *(float *)io->mean.data = (float)(sum / (double)(p->divisor ? counted : p->n_tokens));
    return DSV3_OK;
}

/* ---- quant ---- */

/* To nearest, ties to even, saturating; NaN stays NaN. Multiples of 2^-9 below 2^-6, else of an eighth of the power of two. */
static uint8_t to_e4m3(float f)
{
    uint8_t const sign = signbit(f) ? 0x80 : 0;
    float const size = fminf(fabsf(f), 448);
    if (f != f) return 0x7f;
    if (size < 0x1p-6f) return (uint8_t)(sign | (int)rintf(size * 0x1p9f));
    uint32_t const bits = to_bits(size), rounded = bits + 0x7ffff + (bits >> 20 & 1);
    return (uint8_t)(sign | ((rounded >> 20) - (120 << 3)));
}

/* The scale of a tile. */
static float tile_scale(const dsv3_quant_prob *p, float amax)
{
    float const most = fmaxf(amax, (float)p->amax_floor);
    if (most == 0) return 1;
    float const scale = most / 448;
    int exponent;
    if (!p->scale_fmt) return scale;
    return frexpf(scale, &exponent) == 0.5f ? scale : ldexpf(1, exponent);
}

static dsv3_status quant(dsv3_ctx *ctx, const dsv3_quant_prob *p, const dsv3_quant_io *io)
{
    (void)ctx;
    if (!is_float(&io->x)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t first = 0; first < p->in_features; first += BLOCK) {
            int64_t const last = first + BLOCK < p->in_features ? first + BLOCK : p->in_features;
            float amax = 0;
            for (int64_t i = first; i < last; i++) amax = fmaxf(amax, fabsf(load(&io->x, t, i)));
            float const scale = tile_scale(p, amax);
            ((float *)io->scale.data)[t * io->scale.stride[0] + first / BLOCK] = scale;
            uint8_t *const q = (uint8_t *)io->q.data + t * io->q.stride[0];
            for (int64_t i = first; i < last; i++) q[i] = to_e4m3(load(&io->x, t, i) / scale);
        }
    return DSV3_OK;
}

/* ---- how these ops round ----
 *
 * Declare what the code does and no more: what is left out is assumed to be coarse. Here every operation is one binary32
 * operation, rounded to nearest, nothing fused (-ffp-contract=off), nothing flushed.
 */
static const char mla_numerics[] =
    "acc 24 rn splits=8; rsqrt ieee; div ieee; exp 2 0; rescales 0; angle f64; sincos 3; flush none; form naive; "
    "weight f32 may; q_a_proj f32 must; x_norm f32 must; q_a_layernorm f32 must; q_b_proj f32 must; "
    "cos_sin f32 must; q f32 must; kv_a_proj_with_mqa f32 must; kv_b_proj f32 must; "
    "scores f32 must; P f32 must; attn_output f32 must";

#define EXPERTS_STEPS                                                                                                  \
    "sigmoid 4; flush none; weight f32 may; gate_proj f32 must; up_proj f32 must; silu f32 must; act f32 must; "       \
    "expert_out f32 must; routed f32 must"
#define MOE_STEPS "div ieee; exp 2 0; router_logits f32 must; scores f32 must; shared_act f32 must; " EXPERTS_STEPS

/* Products with matrices are sums in LANES parts. A chain of so few terms is no longer than that. */
static const char *experts_numerics(const dsv3_experts_prob *p)
{
    int const few = p->num_experts_per_tok <= LANES;
    return few ? "acc 24 rn splits=8; " EXPERTS_STEPS : "acc 24 rn; " EXPERTS_STEPS;
}

static const char *moe_numerics(const dsv3_moe_prob *p)
{
    int const few = p->num_experts_per_tok <= LANES && p->scoring_func == DSV3_SIGMOID; /* softmax adds up all scores */
    return few ? "acc 24 rn splits=8; " MOE_STEPS : "acc 24 rn; " MOE_STEPS;
}

#define MTP_STEPS                                                                                                      \
    "rsqrt ieee; div ieee; exp 2 0; sigmoid 4; rescales 0; angle f64; sincos 3; flush none; form naive; "              \
    "x_norm f32 must; enorm f32 must; hnorm f32 must; eh_proj f32 must; input_layernorm f32 must; h1 f32 must; "       \
    "post_attention_layernorm f32 must; h2 f32 must; "                                                                 \
    "self_attn.weight f32 may; self_attn.q_a_proj f32 must; self_attn.x_norm f32 must; "                               \
    "self_attn.q_a_layernorm f32 must; self_attn.q_b_proj f32 must; self_attn.cos_sin f32 must; "                      \
    "self_attn.q f32 must; self_attn.kv_a_proj_with_mqa f32 must; self_attn.kv f32 must; "                             \
    "self_attn.kv_b_proj f32 must; self_attn.scores f32 must; self_attn.P f32 must; "                                  \
    "self_attn.attn_output f32 must; self_attn.y f32 must; "                                                           \
    "mlp.weight f32 may; mlp.router_logits f32 must; mlp.scores f32 must; mlp.gate_proj f32 must; "                    \
    "mlp.up_proj f32 must; mlp.silu f32 must; mlp.act f32 must; mlp.shared_act f32 must; mlp.expert_out f32 must; "    \
    "mlp.routed f32 must; mlp.y f32 must"

static const char *mtp_numerics(const dsv3_mtp_prob *p)
{
    int const few = p->num_experts_per_tok <= LANES && p->scoring_func == DSV3_SIGMOID; /* as in moe */
    return few ? "acc 24 rn splits=8; " MTP_STEPS : "acc 24 rn; " MTP_STEPS;
}

static const char *numerics(const char *op, const void *prob, const void *io)
{
    if (!strcmp(op, "rmsnorm")) {
        const dsv3_rmsnorm_io *const r = io;
        return r->y.dtype == DSV3_BF16 ? "acc 24 rn; rsqrt ieee; div ieee; flush none; z bf16 must; x_norm f32 must"
                                       : "acc 24 rn; rsqrt ieee; div ieee; flush none; z f32 must; x_norm f32 must";
    }
    if (!strcmp(op, "rope")) return "angle f64; sincos 3; flush none; cos_sin f32 must";
    if (!strcmp(op, "gate")) return "acc 24 rn; div ieee; sigmoid 6 2; exp 2 0; flush none; scores f32 must";
    if (!strcmp(op, "bias_update")) return "flush none";
    if (!strcmp(op, "balance_loss")) return "acc 24 rn splits=1; div ieee; flush none";
    if (!strcmp(op, "mtp_accept")) return "acc 53 rn splits=1; div ieee; flush none"; /* all in binary64 */
    if (!strcmp(op, "mla_decode"))
        return "acc 24 rn splits=1; div ieee; exp 2 0; log 2 0; rescales 0; flush none; kv f32 must; scores f32 must; "
               "P f32 must";
    if (!strcmp(op, "mla_prefill"))
        return "acc 24 rn splits=1; div ieee; exp 2 0; log 2 0; rescales 0; flush none; scores f32 must; P f32 must";
    if (!strcmp(op, "mla")) return mla_numerics;
    if (!strcmp(op, "experts")) return experts_numerics(prob);
    if (!strcmp(op, "moe")) return moe_numerics(prob);
    if (!strcmp(op, "mtp")) return mtp_numerics(prob);
    if (!strcmp(op, "swiglu")) return "sigmoid 4; flush none; silu f32 must";
    if (!strcmp(op, "cross_entropy")) return "acc 53 rn; div 1; exp 2; log 2; rescales 0; flush none; terms f32 must";
    if (!strcmp(op, "quant")) return "div ieee; quotient div; flush none";
    if (strcmp(op, "linear")) return NULL;
    /* FP8: a lane of a block gathers 16 products, then 8 lanes, then one sum a block; the weight itself is not rounded */
    const dsv3_linear_io *const l = io;
    return dsv3_find(&l->weights, "weight_scale_inv") ? "acc 24 rn promote=128; weight f32 may; flush none"
                                                      : "acc 24 rn splits=8; flush none";
}

static dsv3_status open_port(dsv3_ctx **ctx, int device)
{
    (void)device;
    *ctx = calloc(2, sizeof **ctx);
    if (!*ctx) return DSV3_NO_MEMORY;
    (*ctx)->parts = *ctx + 1;
    return DSV3_OK;
}

static void close_port(dsv3_ctx *ctx)
{
    free(ctx->scratch);
    free(ctx->parts->scratch);
    free(ctx);
}

static const dsv3_backend table = {
    .abi = DSV3_ABI,
    .size = sizeof table,
    .name = "plain",
    .open = open_port,
    .close = close_port,
    .numerics = numerics,
    .rmsnorm = rmsnorm,
    .linear = linear,
    .rope = rope,
    .gate = gate,
    .mla_decode = mla_decode,
    .mla_prefill = mla_prefill,
    .mla = mla,
    .swiglu = swiglu,
    .embed = embed,
    .cross_entropy = cross_entropy,
    .quant = quant,
    .experts = experts,
    .moe = moe,
    .bias_update = bias_update,
    .balance_loss = balance_loss,
    .mtp_accept = mtp_accept,
    .mtp = mtp,
};

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    return abi == DSV3_ABI ? &table : NULL;
}
