/* attention: docs/components/mla_decode.md and mla_prefill.md, one query at a time. */
#include "legal.h"

#include <math.h>

enum { SCORES, P, SCALE };
enum { KEYS = 1 << 14, WIDTH = 1 << 12, PARTS = 8 };

void legal_attention_config(legal *c, dsv3_dtype dtype)
{
    legal_say(c, "; rescales 0");
    c->parts = legal_draw(c, "parts", 2) ? 1 : 2 + legal_draw(c, "how_many_parts", PARTS - 1);
    legal_say(c, "; parts %d", c->parts);
    c->query_scaled = legal_draw(c, "q_first", 3) == 0;
    legal_say(c, "; scaled %s", c->query_scaled ? "q" : legal_draw(c, "scaled_unsaid", 4) ? "scores" : "any");
    if (c->query_scaled) c->point[SCALE] = legal_round_at(c, "scale", dtype);
    if (c->query_scaled || c->acc.bits == 53) {
        c->point[SCORES] = (legal_point){0};
        legal_say(c, "; %sscores f32 may", c->prefix);
    } else
        c->point[SCORES] = legal_round_at(c, "scores", dtype);
    c->point[P] = legal_round_at(c, "P", dtype);
}

static void attention_config(legal *c, dsv3_dtype dtype)
{
    legal_sums(c, false);
    legal_arithmetic(c, false);
    legal_division(c);
    legal_functions(c, "exp log");
    legal_attention_config(c, dtype);
    legal_output(c, "o", dtype);
}

/* Keys of width w, values of width v, in rows value_step apart. */
typedef struct {
    int64_t n, w, v, value_step;
    double const *key, *value;
} key_rows;

/* The weighted values of one query over some keys. Returns lse. */
static double attend_once(legal const *c, double scale, key_rows k, double const *q, double *o)
{
    bool const p_first = legal_draw(c, "p_first", 2);
    static double s[KEYS], column[KEYS];
    double largest = -INFINITY;
    for (int64_t j = 0; j < k.n; j++) {
        double const dot = legal_dot(c, k.w, q, k.key + j * k.w);
        s[j] = legal_at(c, c->point[SCORES], c->query_scaled ? dot : legal_op(c, dot * scale));
        largest = fmax(largest, s[j]);
    }
    for (int64_t j = 0; j < k.n; j++) {
        s[j] = legal_exp(c, legal_op(c, s[j] - largest));
        if (!p_first) s[j] = legal_at(c, c->point[P], s[j]);
    }
    double const sum = legal_cast(c, legal_dot(c, k.n, s, NULL));
    for (int64_t j = 0; p_first && j < k.n; j++) s[j] = legal_at(c, c->point[P], legal_div(c, s[j], sum));
    for (int64_t i = 0; i < k.v; i++) {
        for (int64_t j = 0; j < k.n; j++) column[j] = k.value[j * k.value_step + i];
        o[i] = legal_dot(c, k.n, s, column);
        if (!p_first) o[i] = legal_div(c, o[i], sum);
    }
    return legal_op(c, largest + legal_log(c, sum));
}

/* Outputs of parts by their lse: with weights e^(lse_p - lse), or e^(lse_p - maximum) and one division. */
static double merged(legal const *c, int parts, int64_t v, double const *lse, double part[PARTS][WIDTH], double *o)
{
    bool const divides = legal_draw(c, "merge_divides", 2);
    double largest = -INFINITY, weight[PARTS], sum = 0;
    for (int p = 0; p < parts; p++) largest = fmax(largest, lse[p]);
    for (int p = 0; p < parts; p++) {
        weight[p] = legal_exp(c, legal_op(c, lse[p] - largest));
        sum = legal_op(c, sum + weight[p]);
    }
    double const all = legal_op(c, largest + legal_log(c, sum));
    for (int p = 0; p < parts && !divides; p++) weight[p] = legal_exp(c, legal_op(c, lse[p] - all));
    for (int64_t i = 0; i < v; i++) {
        o[i] = 0;
        for (int p = 0; p < parts; p++) o[i] = legal_op(c, o[i] + legal_op(c, weight[p] * part[p][i]));
        if (divides) o[i] = legal_div(c, o[i], sum);
    }
    return all;
}

double legal_attend(legal const *c, double scale, int64_t n, int64_t w, int64_t v, double *q, double const *key,
                    double const *value, int64_t value_step, double *o)
{
    for (int64_t i = 0; i < v; i++) o[i] = 0;
    if (n <= 0) return -INFINITY;
    for (int64_t i = 0; c->query_scaled && i < w; i++) q[i] = legal_at(c, c->point[SCALE], legal_op(c, q[i] * scale));
    if (c->parts == 1) return attend_once(c, scale, (key_rows){n, w, v, value_step, key, value}, q, o);
    static double part[PARTS][WIDTH];
    double lse[PARTS];
    int parts = 0;
    int64_t const length = (n + c->parts - 1) / c->parts;
    for (int64_t at = 0; at < n; at += length, parts++) {
        int64_t const m = n - at < length ? n - at : length;
        key_rows const some = {m, w, v, value_step, key + at * w, value + at * value_step};
        lse[parts] = attend_once(c, scale, some, q, part[parts]);
        for (int64_t i = 0; i < v; i++) part[parts][i] = legal_cast(c, part[parts][i]);
    }
    return merged(c, parts, v, lse, part, o);
}

static void store(legal *c, dsv3_tensor const *o, dsv3_tensor const *lse, int64_t row, int64_t v, double const *x,
                  double ln)
{
    for (int64_t i = 0; i < v; i++) legal_store(c, o, legal_row(o, row) + i, x[i]);
    bool const cut = c->cut_output;
    c->cut_output = false;
    int64_t const heads = lse->shape[lse->ndim - 1];
    legal_store(c, lse, legal_row(lse, row / heads) + row % heads, ln);
    c->cut_output = cut;
}

void legal_mla_decode_config(legal *c, dsv3_mla_decode_prob const *p, dsv3_mla_decode_io const *io)
{
    legal_start(c, "mla_decode", p->kv_len, p->kv_lora_rank, p->s_q, (int)(io->q.dtype * 8 + io->kv_cache.dtype));
    attention_config(c, io->q.dtype);
    if (io->kv_cache.dtype == DSV3_F8_E4M3) legal_say(c, "; kv f32 must");
}

dsv3_status legal_mla_decode(dsv3_ctx *ctx, dsv3_mla_decode_prob const *p, dsv3_mla_decode_io const *io)
{
    (void)ctx;
    legal c;
    legal_mla_decode_config(&c, p, io);
    if (io->kv_cache.dtype == DSV3_U8) return DSV3_UNSUPPORTED;
    int64_t const w = p->kv_lora_rank + p->qk_rope_head_dim, v = p->kv_lora_rank, heads = p->num_attention_heads;
    double *key = legal_room(p->kv_len * w), *q = legal_room(w), *o = legal_room(v);
    double const scale = legal_constant(&c, p->softmax_scale);
    dsv3_tensor const *kv_scale = dsv3_find(&io->weights, "kv_scale");
    double const unit = kv_scale ? legal_load(&c, kv_scale, 0) : 1;
    if (!key || !q || !o) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t const length = (int64_t)legal_load(&c, &io->cache_seqlens, b);
        for (int64_t j = 0; j < length; j++) {
            int64_t const table = legal_row(&io->block_table, b) + j / p->page_size;
            int64_t const page = (int64_t)legal_load(&c, &io->block_table, table);
            int64_t const row = legal_row(&io->kv_cache, page * p->page_size + j % p->page_size);
            for (int64_t i = 0; i < w; i++) {
                key[j * w + i] = legal_load(&c, &io->kv_cache, row + i);
                if (kv_scale) key[j * w + i] = number_round(number_f32, key[j * w + i] * unit);
            }
        }
        for (int64_t row = b * p->s_q * heads; row < (b + 1) * p->s_q * heads; row++) {
            for (int64_t i = 0; i < w; i++) q[i] = legal_load(&c, &io->q, legal_row(&io->q, row) + i);
            int64_t const n = length - p->s_q + row / heads % p->s_q + 1;
            store(&c, &io->o, &io->lse, row, v, o, legal_attend(&c, scale, n, w, v, q, key, key, w, o));
        }
    }
    return DSV3_OK;
}

void legal_mla_prefill_config(legal *c, dsv3_mla_prefill_prob const *p, dsv3_mla_prefill_io const *io)
{
    legal_start(c, "mla_prefill", p->n_tokens, p->n_keys, p->v_head_dim, (int)io->q.dtype);
    attention_config(c, io->q.dtype);
}

dsv3_status legal_mla_prefill(dsv3_ctx *ctx, dsv3_mla_prefill_prob const *p, dsv3_mla_prefill_io const *io)
{
    (void)ctx;
    legal c;
    legal_mla_prefill_config(&c, p, io);
    int64_t const w = p->qk_nope_head_dim + p->qk_rope_head_dim, v = p->v_head_dim, heads = p->num_attention_heads;
    double *key = legal_room(p->n_keys * w), *value = legal_room(p->n_keys * v), *q = legal_room(w), *o = legal_room(v);
    double const scale = legal_constant(&c, p->softmax_scale);
    if (!key || !value || !q || !o) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t const q0 = (int64_t)legal_load(&c, &io->cu_seqlens_q, b),
                      k0 = (int64_t)legal_load(&c, &io->cu_seqlens_k, b);
        int64_t const queries = (int64_t)legal_load(&c, &io->cu_seqlens_q, b + 1) - q0;
        int64_t const keys = (int64_t)legal_load(&c, &io->cu_seqlens_k, b + 1) - k0;
        for (int64_t h = 0; h < heads; h++) {
            for (int64_t j = 0; j < keys; j++) {
                int64_t const row = (k0 + j) * heads + h;
                for (int64_t i = 0; i < w; i++) key[j * w + i] = legal_load(&c, &io->k, legal_row(&io->k, row) + i);
                for (int64_t i = 0; i < v; i++) value[j * v + i] = legal_load(&c, &io->v, legal_row(&io->v, row) + i);
            }
            for (int64_t t = 0; t < queries; t++) {
                int64_t const row = (q0 + t) * heads + h, n = keys - queries + t + 1;
                for (int64_t i = 0; i < w; i++) q[i] = legal_load(&c, &io->q, legal_row(&io->q, row) + i);
                store(&c, &io->o, &io->lse, row, v, o, legal_attend(&c, scale, n, w, v, q, key, value, v, o));
            }
        }
    }
    return DSV3_OK;
}
