/* attention: docs/components/mla_decode.md and mla_prefill.md, one query at a time. */
#include "legal.h"

#include <math.h>

enum { SCORES, P, SCALE, KV };
enum { KV_F32, KV_BF16, KV_KEPT, KV_LATE };
enum { KEYS = 1 << 14, WIDTH = 1 << 12, PARTS = 8 };

/* A running maximum over blocks of keys, where the sums can go on from block to block as declared. */
static void running(legal *c, int64_t keys)
{
    static int const sizes[] = {1, 2, 3, 4, 8, 16, 64};
    bool const goes_on = c->order == TREE || (c->splits == 1 && !c->promote && c->order != LANES);
    c->keys = goes_on && c->acc.bits >= 24 && legal_draw(c, "running", 2) ? sizes[legal_draw(c, "keys", 7)] : 0;
    if (c->keys % c->block) c->keys = c->block;
    int64_t const some = (keys + c->parts - 1) / c->parts;
    if (!c->keys)
        legal_say(c, "; rescales 0");
    else if (legal_draw(c, "rescales_unsaid", 3))
        legal_say(c, "; rescales %d", (int)((some + c->keys - 1) / c->keys - (some > 0)));
    else
        legal_say(c, "; rescales any");
}

void legal_attention_config(legal *c, dsv3_dtype dtype, int64_t keys)
{
    c->parts = legal_draw(c, "parts", 2) ? 1 : 2 + legal_draw(c, "how_many_parts", PARTS - 1);
    legal_say(c, "; parts %d", c->parts);
    running(c, keys);
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

static void attention_config(legal *c, dsv3_dtype dtype, int64_t keys)
{
    legal_sums(c, false);
    legal_arithmetic(c, dtype == DSV3_BF16);
    legal_division(c);
    legal_functions(c, "exp log");
    legal_attention_config(c, dtype, keys);
    legal_output(c, "o", dtype);
}

/* Keys of width w, values of width v, in rows value_step apart. */
typedef struct {
    int64_t n, w, v, value_step;
    double const *key, *value;
} key_rows;

/* softmax_scale times q . k_j of n keys from `first` on, at the point. A sum meets BF16 arithmetic rounded or not. */
static void scores(legal const *c, double scale, key_rows k, int64_t first, int64_t n, double const *q, double *s)
{
    bool const casts = c->arith == IN_BF16 && legal_habit(c, "score_casts", 2);
    for (int64_t j = 0; j < n; j++) {
        double dot = legal_dot(c, k.w, q, k.key + (first + j) * k.w);
        if (casts) dot = legal_op(c, dot);
        if (c->late > 0) dot = legal_op(c, dot * c->late);
        s[j] = legal_at(c, c->point[SCORES], c->query_scaled ? dot : legal_op(c, dot * scale));
    }
}

static void column_of(key_rows k, int64_t first, int64_t n, int64_t i, double *column)
{
    for (int64_t j = 0; j < n; j++) column[j] = k.value[(first + j) * k.value_step + i];
}

static double largest_of(int64_t n, double const *s, double largest)
{
    for (int64_t j = 0; j < n; j++) largest = fmax(largest, s[j]);
    return largest;
}

/* e^(s_j - largest): those that are added up in s, those that meet values in p. */
static void weights(legal const *c, int64_t n, double largest, double *s, double *p)
{
    bool const adds_kept = legal_habit(c, "adds_kept", 2);
    for (int64_t j = 0; j < n; j++) {
        double const e = legal_exp(c, legal_op(c, s[j] - largest));
        p[j] = legal_at(c, c->point[P], e);
        s[j] = adds_kept ? e : p[j];
    }
}

/* Sums of codes become values. */
static double scaled_late(legal const *c, double x)
{
    return c->late > 0 ? legal_op(c, legal_cast(c, x) * c->late) : x;
}

/* BF16 arithmetic, or binary32 for what is named. */
static legal wider(legal const *c, char const *name)
{
    legal wide = *c;
    if (c->arith == IN_BF16 && !legal_habit(c, name, 2)) wide.arith = IN_F32;
    return wide;
}

static double lse_of(legal const *c, double largest, double sum)
{
    legal const wide = wider(c, "lse_bf16");
    return legal_op(&wide, largest + legal_log(&wide, sum));
}

/* The weighted values of one query over some keys, the largest score found first. Returns lse. */
static double attend_once(legal const *c, double scale, key_rows k, double const *q, double *o)
{
    bool const p_first = legal_habit(c, "p_first", 2);
    static double s[KEYS], p[KEYS], column[KEYS];
    scores(c, scale, k, 0, k.n, q, s);
    double const largest = largest_of(k.n, s, -INFINITY);
    if (p_first)
        for (int64_t j = 0; j < k.n; j++) s[j] = legal_exp(c, legal_op(c, s[j] - largest));
    else
        weights(c, k.n, largest, s, p);
    double const sum = legal_cast(c, legal_dot(c, k.n, s, NULL));
    for (int64_t j = 0; p_first && j < k.n; j++) p[j] = legal_at(c, c->point[P], legal_div(c, s[j], sum));
    for (int64_t i = 0; i < k.v; i++) {
        column_of(k, 0, k.n, i, column);
        o[i] = scaled_late(c, legal_dot(c, k.n, p, column));
        if (!p_first) o[i] = legal_div(c, o[i], sum);
    }
    return lse_of(c, largest, sum);
}

/* The same, block of keys after block: where a block has a larger score, sums so far are multiplied by e^(old - new). */
static double attend_running(legal const *c, double scale, key_rows k, double const *q, double *o)
{
    static double s[KEYS], p[KEYS], column[KEYS];
    double largest = -INFINITY, sum = 0;
    int64_t const blocks = (k.n + c->keys - 1) / c->keys;
    bool const last_first = legal_habit(c, "last_block_first", 2);
    for (int64_t b = 0; b < blocks; b++) {
        int64_t const first = (last_first ? blocks - 1 - b : b) * c->keys;
        int64_t const n = k.n - first < c->keys ? k.n - first : c->keys;
        scores(c, scale, k, first, n, q, s);
        double const before = largest;
        largest = largest_of(n, s, largest);
        if (b && largest > before) {
            double const factor = legal_exp(c, legal_op(c, before - largest));
            sum = legal_op(c, sum * factor);
            for (int64_t i = 0; i < k.v; i++) o[i] = legal_op(c, o[i] * factor);
        }
        weights(c, n, largest, s, p);
        sum = legal_dot_on(c, b ? sum : 0, n, s, NULL);
        for (int64_t i = 0; i < k.v; i++) {
            column_of(k, first, n, i, column);
            o[i] = legal_dot_on(c, b ? o[i] : 0, n, p, column);
        }
    }
    sum = legal_cast(c, sum);
    for (int64_t i = 0; i < k.v; i++) o[i] = legal_div(c, scaled_late(c, o[i]), sum);
    return lse_of(c, largest, sum);
}

static double attend(legal const *c, double scale, key_rows k, double const *q, double *o)
{
    return c->keys ? attend_running(c, scale, k, q, o) : attend_once(c, scale, k, q, o);
}

/* Outputs of parts by their lse: with weights e^(lse_p - lse), or e^(lse_p - maximum) and one division. */
static double merged(legal const *c, int parts, int64_t v, double const *lse, double part[PARTS][WIDTH], double *o)
{
    bool const divides = legal_habit(c, "merge_divides", 2);
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
    if (c->parts == 1) return attend(c, scale, (key_rows){n, w, v, value_step, key, value}, q, o);
    static double part[PARTS][WIDTH];
    double lse[PARTS];
    int parts = 0;
    int64_t const length = (n + c->parts - 1) / c->parts;
    for (int64_t at = 0; at < n; at += length, parts++) {
        int64_t const m = n - at < length ? n - at : length;
        key_rows const some = {m, w, v, value_step, key + at * w, value + at * value_step};
        lse[parts] = attend(c, scale, some, q, part[parts]);
        for (int64_t i = 0; i < v; i++) part[parts][i] = legal_cast(c, part[parts][i]);
    }
    legal const wide = wider(c, "merge_bf16");
    return merged(&wide, parts, v, lse, part, o);
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

/* FP8: a key rounded to binary32 or BF16, kept, or codes in sums that are scaled. */
static int kv_choice(legal const *c)
{
    return legal_draw(c, "kv", 4);
}

void legal_mla_decode_config(legal *c, dsv3_mla_decode_prob const *p, dsv3_mla_decode_io const *io)
{
    legal_start(c, "mla_decode", p->kv_len, p->kv_lora_rank, p->s_q, (int)(io->q.dtype * 8 + io->kv_cache.dtype));
    attention_config(c, io->q.dtype, p->kv_len);
    if (io->kv_cache.dtype != DSV3_F8_E4M3 && io->kv_cache.dtype != DSV3_U8) return;
    int const kv = kv_choice(c);
    c->point[KV] = (legal_point){kv < KV_KEPT, kv == KV_BF16 ? number_bf16 : number_f32};
    legal_say(c, "; kv %s", kv == KV_BF16 ? "bf16 must" : kv == KV_F32 ? "f32 must" : "f32 may");
}

/* Where a row of the cache begins that holds token j of sequence b. */
static int64_t cached(legal const *c, dsv3_mla_decode_prob const *p, dsv3_mla_decode_io const *io, int64_t b, int64_t j)
{
    int64_t const table = legal_row(&io->block_table, b) + j / p->page_size;
    int64_t const page = (int64_t)legal_load(c, &io->block_table, table);
    return legal_row(&io->kv_cache, page * p->page_size + j % p->page_size);
}

/* A row of bytes: codes, the scale of each 128 of them, the rotary part in BF16. */
static void from_bytes(legal const *c, dsv3_mla_decode_prob const *p, uint8_t *row, double *key)
{
    int64_t const rank = p->kv_lora_rank, tiles = (rank + 127) / 128, rope = p->qk_rope_head_dim;
    dsv3_tensor const scale = {row + rank, DSV3_F32, 1, {tiles}, {1}};
    dsv3_tensor const rotary = {row + rank + 4 * tiles, DSV3_BF16, 1, {rope}, {1}};
    for (int64_t i = 0; i < rank; i++)
        key[i] = legal_at(c, c->point[KV], number_from_e4m3(row[i]) * legal_load(c, &scale, i / 128));
    for (int64_t i = 0; i < rope; i++) key[rank + i] = legal_load(c, &rotary, i);
}

/* A row of numbers; `unit` multiplies codes. */
static void from_row(legal const *c, dsv3_tensor const *cache, int64_t row, int64_t w, double unit, double *key)
{
    for (int64_t i = 0; i < w; i++) {
        key[i] = legal_load(c, cache, row + i);
        if (cache->dtype == DSV3_F8_E4M3) key[i] = legal_at(c, c->point[KV], key[i] * unit);
    }
}

dsv3_status legal_mla_decode(dsv3_ctx *ctx, dsv3_mla_decode_prob const *p, dsv3_mla_decode_io const *io)
{
    (void)ctx;
    legal c;
    legal_mla_decode_config(&c, p, io);
    int64_t const w = p->kv_lora_rank + p->qk_rope_head_dim, v = p->kv_lora_rank, heads = p->num_attention_heads;
    double *key = legal_room(p->kv_len * w), *q = legal_room(w), *o = legal_room(v);
    double const scale = legal_constant(&c, p->softmax_scale);
    dsv3_tensor const *kv_scale = dsv3_find(&io->weights, "kv_scale");
    double unit = kv_scale ? legal_load(&c, kv_scale, 0) : 1;
    if (kv_scale && kv_choice(&c) == KV_LATE) c.late = unit, unit = 1;
    if (!key || !q || !o) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t const length = (int64_t)legal_load(&c, &io->cache_seqlens, b);
        for (int64_t j = 0; j < length; j++) {
            int64_t const row = cached(&c, p, io, b, j);
            if (io->kv_cache.dtype == DSV3_U8)
                from_bytes(&c, p, (uint8_t *)io->kv_cache.data + row, key + j * w);
            else
                from_row(&c, &io->kv_cache, row, w, unit, key + j * w);
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
    attention_config(c, io->q.dtype, p->n_keys);
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
                int64_t const row = (q0 + t) * heads + h, n = p->full ? keys : keys - queries + t + 1;
                for (int64_t i = 0; i < w; i++) q[i] = legal_load(&c, &io->q, legal_row(&io->q, row) + i);
                store(&c, &io->o, &io->lse, row, v, o, legal_attend(&c, scale, n, w, v, q, key, value, v, o));
            }
        }
    }
    return DSV3_OK;
}
