/*
 * The attention block:
 *   q = W_qb RMSNorm(W_qa x),  [c | k_pe] = W_kva x,  c = RMSNorm(c),  [k_nope | v]_h = W_kvb,h c,  q_pe and k_pe rotated,
 *   s_j = scale (q_nope . k_nope_j + q_pe . k_pe_j),  o = sum_j e^(s_j - lse) v_j,  y = W_o [o_0 | o_1 | ...].
 * Source: DeepSeek-V2 report (arXiv 2405.04434) 2.1.2, eqs. 9-19 and appendix C; DeepSeek-V3 report (arXiv 2412.19437) 2.1.1,
 * eqs. 1-11; deepseek-ai/DeepSeek-V3, inference/model.py, MLA; Hugging Face transformers,
 * models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3Attention.
 *
 * Naive: W_kvb,h c_j for every key. Absorbed: q_nope . (W_k c_j) = (W_k^T q_nope) . c_j and sum_j P_j (W_v c_j) = W_v sum_j P_j c_j,
 * so that all heads attend over [c_j | k_pe_j].
 */
#include "mla.h"

#include "attention.h"
#include "matrix.h"
#include "rmsnorm.h"
#include "rope.h"

#include <stdlib.h>

typedef struct {
    const ref_reading *rd;
    const dsv3_mla_prob *p;
    const dsv3_mla_io *io;
    dsv3_dtype format;
    int64_t heads, qk, latent; /* entries of a query head; of what is cached */
    rotation turn, turn_k;
    matrix kv_b;
    ball scale;
    const row *x;            /* (n_tokens) */
    const ball *const *past; /* of each sequence; NULL: in the cache */
    ball *q;                 /* (n_tokens, heads, qk) */
    ball *kv;                /* (n_tokens, latent) */
    ball *o;                 /* (n_tokens, heads * v_head_dim) */
} block;

/* One sequence: its new tokens, and its keys, cached ones first. */
typedef struct {
    int64_t b, first, n, len, past; /* new tokens are [first, first + n) of all; keys; of them cached */
    double *number;                 /* (len, latent): cached keys, and new ones if those are numbers */
    ball *key;                      /* (len, latent) */
    double *parts;                  /* (len, 3 latent) */
    row *key_row;                   /* (len) over the whole key */
    bool numbers;                   /* every key is one number of the cache's format */
} sequence;

static bool has_latent(const block *m)
{
    return m->p->q_lora_rank > 0;
}

static int64_t whole(const dsv3_tensor *t, int64_t i)
{
    return (int64_t)ref_decode(t->dtype, t->data, i);
}

/* ---- scale and positions ---- */

/* (qk_nope_head_dim + qk_rope_head_dim)^-1/2 (0.1 mscale_all_dim ln factor + 1)^2; a port rounds it on its way. (Scale of softmax) */
static ball softmax_scale(const ref_reading *rd, const dsv3_mla_prob *p)
{
    int64_t const width = quirk(rd, QUIRK_A1_latent_scale) ? p->kv_lora_rank + p->qk_rope_head_dim
                                                           : p->qk_nope_head_dim + p->qk_rope_head_dim;
    ball scale = ball_rsqrt(ball_of((double)width));
    if (p->factor > 1 && !quirk(rd, QUIRK_R6_no_mscale)) {
        ball const m =
            ball_mul(ball_mul(ball_decimal(0.1), ball_decimal(p->mscale_all_dim)), ball_log(ball_decimal(p->factor)));
        ball const g = ball_add(m, ball_of(1));
        scale = ball_mul(scale, ball_mul(g, g));
    }
    return rd->port ? step(rd, ball_widen(scale, 3 * 0x1.0001p-24 * ball_sup(scale))) : scale;
}

/* The rotation's own problem. */
static dsv3_rope_prob rope_of(const dsv3_mla_prob *p)
{
    return (dsv3_rope_prob){.n_tokens = 1,
                            .num_heads = 1,
                            .qk_rope_head_dim = p->qk_rope_head_dim,
                            .rope_theta = p->rope_theta,
                            .factor = p->factor,
                            .original_max_position_embeddings = p->original_max_position_embeddings,
                            .beta_fast = p->beta_fast,
                            .beta_slow = p->beta_slow,
                            .mscale = p->mscale,
                            .mscale_all_dim = p->mscale_all_dim,
                            .in_layout = DSV3_INTERLEAVED,
                            .out_layout = p->rope_layout};
}

static sequence sequence_of(const block *m, int64_t b)
{
    const dsv3_tensor *const cu = &m->io->cu_seqlens;
    sequence s = {.b = b, .first = whole(cu, b), .len = whole(&m->io->cache_seqlens, b)};
    s.n = whole(cu, b + 1) - s.first;
    s.past = s.len - s.n;
    return s;
}

/* ---- projections ---- */

/* y (n_tokens, rows of the matrix) = W x at a point. */
static bool project(const block *m, const char *name, const row *x, int point, ball *y)
{
    matrix const w = matrix_of(m->rd, &m->io->weights, name, POINT_mla_weight, m->format);
    return matrix_times(&w, x, m->p->n_tokens, point, m->format, y);
}

static void normalise(const block *m, const char *weight, int64_t width, int point, ball *z)
{
    norm const n = {m->rd,    dsv3_find(&m->io->weights, weight), width, m->p->rms_norm_eps, POINT_mla_x_norm, point,
                    m->format};
    norm_row(&n, z, z);
}

/* The query latent, normalised: rows over parts (n_tokens, 3 q_lora_rank). */
static bool query_latent(const block *m, ball *latent, row *rows, double *parts, ref_value *out)
{
    int64_t const width = m->p->q_lora_rank;
    if (!project(m, "q_a_proj", m->x, POINT_mla_q_a_proj, latent)) return false;
    for (int64_t t = 0; t < m->p->n_tokens; t++) {
        ball *const z = latent + t * width;
        if (!quirk(m->rd, QUIRK_A2_no_q_norm)) normalise(m, "q_a_layernorm.weight", width, POINT_mla_q_a_layernorm, z);
        stage(m->rd, &m->io->q_a_layernorm, t * width, out, z, width);
        rows[t] = row_of_balls(z, width, parts + 3 * t * width);
    }
    return true;
}

static bool project_queries(const block *m, ref_value *latent_out)
{
    if (!has_latent(m)) return project(m, "q_proj", m->x, POINT_mla_q_b_proj, m->q);
    size_t const cells = (size_t)(m->p->n_tokens * m->p->q_lora_rank);
    ball *const latent = malloc(cells * sizeof *latent);
    double *const parts = malloc(3 * cells * sizeof *parts);
    row *const rows = malloc((size_t)m->p->n_tokens * sizeof *rows);
    bool const good = latent && parts && rows && query_latent(m, latent, rows, parts, latent_out) &&
                      project(m, "q_b_proj", rows, POINT_mla_q_b_proj, m->q);
    free(latent);
    free(parts);
    free(rows);
    return good;
}

/* q_nope is handed on as it is, and as a stage it is rounded like the rest. */
static void rotate_queries(const block *m, int64_t t, ball *scratch)
{
    int64_t const nope = m->p->qk_nope_head_dim, pe = m->p->qk_rope_head_dim;
    for (int64_t h = 0; h < m->heads; h++) {
        ball *const q = m->q + (t * m->heads + h) * m->qk;
        for (int64_t i = 0; m->rd->stages && i < nope; i++) q[i] = at(m->rd, POINT_mla_q, m->format, q[i]);
        rotate(&m->turn, q + nope, scratch);
        memcpy(q + nope, scratch, (size_t)pe * sizeof *q);
    }
}

static void finish_latent(const block *m, ball *kv)
{
    int64_t const c = m->p->kv_lora_rank;
    if (quirk(m->rd, QUIRK_A5_latent_not_normed)) {
        for (int64_t i = 0; i < c; i++) kv[i] = at(m->rd, POINT_mla_kv, m->format, kv[i]);
        return;
    }
    if (!quirk(m->rd, QUIRK_A2_wide_norm)) {
        normalise(m, "kv_a_layernorm.weight", c, POINT_mla_kv, kv);
        return;
    }
    /* the weight of the shared key's entries is 1: it is only in the mean square, whose width is the latent's and its own */
    terms sum = terms_none();
    for (int64_t i = 0; i < m->latent; i++) terms_add(&sum, ball_mul(kv[i], kv[i]));
    ball const ms = quotient_of(m->rd, sum_of(m->rd, &sum), ball_of((double)m->latent));
    ball const r = rsqrt_of(m->rd, step(m->rd, ball_add(ms, constant(m->rd, m->p->rms_norm_eps))));
    const dsv3_tensor *const weight = dsv3_find(&m->io->weights, "kv_a_layernorm.weight");
    for (int64_t i = 0; i < c; i++) {
        ball const x_norm = at(m->rd, POINT_mla_x_norm, m->format, ball_mul(kv[i], r));
        kv[i] = at(m->rd, POINT_mla_kv, m->format,
                   ball_mul(element(m->rd, ref_decode(weight->dtype, weight->data, i)), x_norm));
    }
}

static void rotate_key(const block *m, ball *k_pe, ball *scratch)
{
    int64_t const pe = m->p->qk_rope_head_dim;
    if (quirk(m->rd, QUIRK_R14_k_not_rotated)) {
        for (int64_t i = 0; i < pe; i++) scratch[i] = at(m->rd, POINT_mla_kv, m->format, k_pe[i]);
    } else {
        rotate(&m->turn_k, k_pe, scratch);
    }
    memcpy(k_pe, scratch, (size_t)pe * sizeof *k_pe);
}

static double position_of(const block *m, const sequence *s, int64_t t)
{
    int64_t const before = quirk(m->rd, QUIRK_R15_positions_restart) ? 0 : s->past;
    return (double)(before + t - s->first + (quirk(m->rd, QUIRK_M10_position_ahead) ? 1 : 0));
}

/* Queries and what is cached, of all new tokens. */
static bool make_queries_and_keys(block *m, ref_value *latent_out, ref_value *q_out, ref_value *kv_out)
{
    ball *const scratch = malloc((size_t)m->p->qk_rope_head_dim * sizeof *scratch);
    bool const good = scratch && project_queries(m, latent_out) &&
                      project(m, "kv_a_proj_with_mqa", m->x, POINT_mla_kv_a_proj_with_mqa, m->kv);
    for (int64_t b = 0; good && b < m->p->batch; b++) {
        sequence const s = sequence_of(m, b);
        for (int64_t t = s.first; t < s.first + s.n; t++) {
            double const position = position_of(m, &s, t);
            ball *const kv = m->kv + t * m->latent;
            rotation_set(&m->turn, position);
            rotation_set(&m->turn_k, position);
            rotate_queries(m, t, scratch);
            finish_latent(m, kv);
            rotate_key(m, kv + m->p->kv_lora_rank, scratch);
            stage(m->rd, &m->io->q, t * m->heads * m->qk, q_out, m->q + t * m->heads * m->qk, m->heads * m->qk);
            stage(m->rd, &m->io->kv, t * m->latent, kv_out, kv, m->latent);
        }
    }
    free(scratch);
    return good;
}

/* ---- keys ---- */

/* Keys [from, to) are these balls. */
static void take_balls(const block *m, sequence *s, int64_t from, int64_t to, const ball *k)
{
    size_t const width = (size_t)m->latent;
    memcpy(s->key + from * m->latent, k, (size_t)(to - from) * width * sizeof *k);
    for (int64_t j = from; j < to; j++) {
        row *const r = &s->key_row[j];
        *r = row_of_balls(s->key + j * m->latent, m->latent, s->parts + 3 * j * m->latent);
        memcpy(s->number + j * m->latent, r->value, width * sizeof *s->number);
        s->numbers = s->numbers && !r->low && !r->radius && r->bits <= 24;
    }
}

static void read_cache(const block *m, const sequence *s)
{
    const dsv3_tensor *const cache = &m->io->kv_cache, *const table = &m->io->block_table;
    for (int64_t j = 0; j < s->past; j++) {
        int64_t const page = whole(table, s->b * table->stride[0] + j / m->p->page_size);
        int64_t const from = page * cache->stride[0] + j % m->p->page_size * cache->stride[1];
        double *const k = s->number + j * m->latent;
        ref_decode_all(cache->dtype, cache->data, from, m->latent, k);
        for (int64_t i = 0; i < m->latent; i++) s->key[j * m->latent + i] = element(m->rd, k[i]);
        s->key_row[j] = row_of(k, NULL, m->latent);
    }
}

static bool open_sequence(const block *m, sequence *s)
{
    size_t const keys = (size_t)(s->len + 1), width = (size_t)m->latent;
    s->number = malloc(keys * width * sizeof *s->number);
    s->key = malloc(keys * width * sizeof *s->key);
    s->parts = malloc(keys * 3 * width * sizeof *s->parts);
    s->key_row = malloc(keys * sizeof *s->key_row);
    if (!s->number || !s->key || !s->parts || !s->key_row) return false;
    s->numbers = true;
    if (m->past)
        take_balls(m, s, 0, s->past, m->past[s->b]);
    else
        read_cache(m, s);
    take_balls(m, s, s->past, s->len, m->kv + s->first * m->latent);
    return true;
}

static void close_sequence(sequence *s)
{
    free(s->number);
    free(s->key);
    free(s->parts);
    free(s->key_row);
}

/* How many keys new token i of the sequence sees. */
static int64_t visible(const block *m, const sequence *s, int64_t i)
{
    if (quirk(m->rd, QUIRK_A9_no_mask)) return s->len;
    if (quirk(m->rd, QUIRK_A10_mask_from_start)) return i + 1;
    return s->past + i + 1;
}

/* ---- kv_b_proj by heads ---- */

/* Rows of one head, kv_lora_rank wide: qk_nope_head_dim of keys, v_head_dim of values. */
typedef struct {
    double *k_parts, *v_parts; /* values, then radii */
    row *k, *v;
} head_rows;

static bool open_head(const block *m, head_rows *w)
{
    size_t const k = (size_t)m->p->qk_nope_head_dim, v = (size_t)m->p->v_head_dim, c = (size_t)m->p->kv_lora_rank;
    w->k_parts = malloc(2 * (k + v) * c * sizeof *w->k_parts);
    w->k = malloc((k + v) * sizeof *w->k);
    if (!w->k_parts || !w->k) return false;
    w->v_parts = w->k_parts + 2 * k * c;
    w->v = w->k + k;
    return true;
}

static void close_head(head_rows *w)
{
    free(w->k_parts);
    free(w->k);
}

static bool read_keys(const block *m, int64_t h, const head_rows *w)
{
    int64_t const nope = m->p->qk_nope_head_dim, v = m->p->v_head_dim;
    bool const swapped = quirk(m->rd, QUIRK_A6_halves_swapped), global = quirk(m->rd, QUIRK_A6_halves_global);
    int64_t const first = global ? h * nope : h * (nope + v) + (swapped ? v : 0);
    return matrix_rows(&m->kv_b, first, first + nope, w->k_parts, w->k_parts + nope * m->p->kv_lora_rank, w->k);
}

static bool read_values(const block *m, int64_t h, const head_rows *w)
{
    int64_t const nope = m->p->qk_nope_head_dim, v = m->p->v_head_dim;
    bool const swapped = quirk(m->rd, QUIRK_A6_halves_swapped), global = quirk(m->rd, QUIRK_A6_halves_global);
    int64_t const first = global ? m->heads * nope + h * v : h * (nope + v) + (swapped ? 0 : nope);
    return matrix_rows(&m->kv_b, first, first + v, w->v_parts, w->v_parts + v * m->p->kv_lora_rank, w->v);
}

/* ---- the absorbed form ---- */

/* Entry c of each row. False: all radii are 0. */
static bool column_of(const row *rows, int64_t n, int64_t c, double *value, double *radius)
{
    bool any = false;
    for (int64_t d = 0; d < n; d++) {
        value[d] = rows[d].value[c];
        radius[d] = rows[d].radius ? rows[d].radius[c] : 0;
        any = any || radius[d] != 0;
    }
    return any;
}

/* qt_c = sum_d q_nope_d W_k[d][c] for one head of n queries: entries [0, kv_lora_rank) of each row of `query`. */
static bool absorb_head(const block *m, const head_rows *w, const ball *q, int64_t n, int64_t h, ball *query)
{
    int64_t const nope = m->p->qk_nope_head_dim, c_width = m->p->kv_lora_rank;
    matrix turned = m->kv_b; /* only for what it says of the scales */
    double *const parts = malloc((size_t)((3 * n + 2) * nope) * sizeof *parts);
    row *const q_row = malloc((size_t)(n + 1) * sizeof *q_row);
    bool const good = parts && q_row;
    double *const value = parts + 3 * n * nope, *const radius = value + nope;
    turned.columns = nope;
    for (int64_t i = 0; good && i < n; i++)
        q_row[i] = row_of_balls(q + (i * m->heads + h) * m->qk, nope, parts + 3 * i * nope);
    for (int64_t c = 0; good && c < c_width; c++) {
        bool const any = column_of(w->k, nope, c, value, radius);
        row const column = row_of(value, any ? radius : NULL, nope);
        for (int64_t i = 0; i < n; i++) {
            terms const sum = ball_dot(&q_row[i], &column);
            query[(i * m->heads + h) * m->latent + c] =
                at(m->rd, POINT_mla_q_absorbed, m->format, scaled_sum(&turned, &q_row[i], &sum));
        }
    }
    free(parts);
    free(q_row);
    return good;
}

/* y_d = sum_c W[d][c] c_c at a point, for `rows` rows. */
static void expand(const block *m, const row *w, int64_t rows, const row *latent, int point, ball *y)
{
    for (int64_t d = 0; d < rows; d++) {
        terms const sum = ball_dot(&w[d], latent);
        y[d] = at(m->rd, point, m->format, scaled_sum(&m->kv_b, latent, &sum));
    }
}

/* o_d = sum_c W_v[d][c] latent_c for one head of n queries. */
static bool expand_head(const block *m, const head_rows *w, const ball *latent, int64_t n, int64_t h, ball *o)
{
    int64_t const v = m->p->v_head_dim, c_width = m->p->kv_lora_rank;
    double *const parts = malloc(3 * (size_t)c_width * sizeof *parts);
    for (int64_t i = 0; parts && i < n; i++) {
        row const latent_row = row_of_balls(latent + (i * m->heads + h) * c_width, c_width, parts);
        expand(m, w->v, v, &latent_row, POINT_mla_attn_output, o + (i * m->heads + h) * v);
    }
    free(parts);
    return parts != NULL;
}

static attention attention_of(const block *m)
{
    return (attention){
        .rd = m->rd, .scores = POINT_mla_scores, .P = POINT_mla_P, .output = m->format, .scale = m->scale};
}

/* All heads of one query over the latents. */
static bool attend_latents(const block *m, const sequence *s, int64_t seen, const ball *query, ball *latent)
{
    int64_t const c_width = m->p->kv_lora_rank;
    row *const rows = malloc((size_t)m->heads * sizeof *rows);
    int64_t *const limit = malloc((size_t)m->heads * sizeof *limit);
    double *const parts = malloc((size_t)(3 * m->heads * m->latent) * sizeof *parts);
    bool good = rows && limit && parts;
    for (int64_t h = 0; good && h < m->heads; h++) {
        rows[h] = row_of_balls(query + h * m->latent, m->latent, parts + 3 * h * m->latent);
        limit[h] = seen;
    }
    if (good) {
        attention a = attention_of(m);
        a.rows = m->heads, a.len = s->len, a.width = c_width;
        a.query = rows, a.key = s->key_row, a.seen = limit;
        a.number = s->numbers ? s->number : NULL, a.value = s->numbers ? NULL : s->key, a.stride = m->latent;
        good = attend(&a, latent, NULL);
    }
    for (int64_t i = 0; good && i < m->heads * c_width; i++)
        latent[i] = at(m->rd, POINT_mla_o_latent, m->format, latent[i]);
    free(rows);
    free(limit);
    free(parts);
    return good;
}

/* query and latent: room for (n, heads, latent) and (n, heads, kv_lora_rank). */
static bool absorbed_steps(const block *m, const sequence *s, head_rows *w, ball *query, ball *latent, ball *o)
{
    const ball *const q = m->q + s->first * m->heads * m->qk;
    int64_t const nope = m->p->qk_nope_head_dim, c_width = m->p->kv_lora_rank, pe = m->p->qk_rope_head_dim;
    bool good = true;
    for (int64_t h = 0; good && h < m->heads; h++) good = read_keys(m, h, w) && absorb_head(m, w, q, s->n, h, query);
    for (int64_t i = 0; good && i < s->n; i++) {
        for (int64_t h = 0; h < m->heads; h++)
            memcpy(query + (i * m->heads + h) * m->latent + c_width, q + (i * m->heads + h) * m->qk + nope,
                   (size_t)pe * sizeof *query);
        good =
            attend_latents(m, s, visible(m, s, i), query + i * m->heads * m->latent, latent + i * m->heads * c_width);
    }
    for (int64_t h = 0; good && h < m->heads; h++) good = read_values(m, h, w) && expand_head(m, w, latent, s->n, h, o);
    return good;
}

static bool absorbed(const block *m, const sequence *s, ball *o)
{
    head_rows w = {NULL};
    size_t const rows = (size_t)(s->n * m->heads) + 1;
    ball *const query = malloc(rows * (size_t)m->latent * sizeof *query);
    ball *const latent = malloc(rows * (size_t)m->p->kv_lora_rank * sizeof *latent);
    bool const good = open_head(m, &w) && query && latent && absorbed_steps(m, s, &w, query, latent, o);
    free(query);
    free(latent);
    close_head(&w);
    return good;
}

/* ---- the naive form ---- */

/* A head's keys (len, qk) and values (len, v_head_dim). */
typedef struct {
    ball *k, *v;
    double *parts; /* (len + n, 3 qk) */
    row *k_row, *q_row;
    int64_t *seen;
    ball *o; /* (n, v_head_dim) */
} head_keys;

static bool open_head_keys(const block *m, const sequence *s, head_keys *e)
{
    size_t const len = (size_t)s->len + 1, n = (size_t)s->n + 1, qk = (size_t)m->qk, v = (size_t)m->p->v_head_dim;
    e->k = malloc(len * qk * sizeof *e->k);
    e->v = malloc(len * v * sizeof *e->v);
    e->parts = malloc((len + n) * 3 * qk * sizeof *e->parts);
    e->k_row = malloc((len + n) * sizeof *e->k_row);
    e->seen = malloc(n * sizeof *e->seen);
    e->o = malloc(n * v * sizeof *e->o);
    e->q_row = e->k_row + len;
    return e->k && e->v && e->parts && e->k_row && e->seen && e->o;
}

static void close_head_keys(head_keys *e)
{
    free(e->k);
    free(e->v);
    free(e->parts);
    free(e->k_row);
    free(e->seen);
    free(e->o);
}

static bool expand_keys(const block *m, const sequence *s, const head_rows *w, head_keys *e)
{
    int64_t const nope = m->p->qk_nope_head_dim, v = m->p->v_head_dim, c_width = m->p->kv_lora_rank;
    double *const parts = malloc(3 * (size_t)c_width * sizeof *parts);
    for (int64_t j = 0; parts && j < s->len; j++) {
        const ball *const key = s->key + j * m->latent;
        row const latent = row_of_balls(key, c_width, parts);
        expand(m, w->k, nope, &latent, POINT_mla_kv_b_proj, e->k + j * m->qk);
        expand(m, w->v, v, &latent, POINT_mla_kv_b_proj, e->v + j * v);
        memcpy(e->k + j * m->qk + nope, key + c_width, (size_t)m->p->qk_rope_head_dim * sizeof *key);
        e->k_row[j] = row_of_balls(e->k + j * m->qk, m->qk, e->parts + 3 * j * m->qk);
    }
    free(parts);
    return parts != NULL;
}

static bool naive_head(const block *m, const sequence *s, int64_t h, const head_rows *w, head_keys *e, ball *o)
{
    int64_t const v = m->p->v_head_dim;
    if (!expand_keys(m, s, w, e)) return false;
    for (int64_t i = 0; i < s->n; i++) {
        const ball *const q = m->q + ((s->first + i) * m->heads + h) * m->qk;
        e->q_row[i] = row_of_balls(q, m->qk, e->parts + 3 * (s->len + i) * m->qk);
        e->seen[i] = visible(m, s, i);
    }
    attention a = attention_of(m);
    a.rows = s->n, a.len = s->len, a.width = v;
    a.query = e->q_row, a.key = e->k_row, a.seen = e->seen, a.value = e->v, a.stride = v;
    if (!attend(&a, e->o, NULL)) return false;
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t d = 0; d < v; d++)
            o[(i * m->heads + h) * v + d] = at(m->rd, POINT_mla_attn_output, m->format, e->o[i * v + d]);
    return true;
}

static bool naive(const block *m, const sequence *s, ball *o)
{
    head_rows w = {NULL};
    head_keys e = {NULL};
    bool good = open_head(m, &w) && open_head_keys(m, s, &e);
    for (int64_t h = 0; good && h < m->heads; h++)
        good = read_keys(m, h, &w) && read_values(m, h, &w) && naive_head(m, s, h, &w, &e, o);
    close_head_keys(&e);
    close_head(&w);
    return good;
}

/* ---- the block ---- */

/* What either form may give. */
static ball either(ball a, ball b)
{
    return ball_hull(fmin(ball_lower(a), ball_lower(b)), fmax(ball_upper(a), ball_upper(b)));
}

static bool both_forms(const block *m, const sequence *s, ball *o)
{
    int64_t const cells = s->n * m->heads * m->p->v_head_dim;
    ball *const other = malloc((size_t)(cells + 1) * sizeof *other);
    bool const good = other && absorbed(m, s, o) && naive(m, s, other);
    for (int64_t i = 0; good && i < cells; i++) o[i] = either(o[i], other[i]);
    free(other);
    return good;
}

static bool attend_sequence(const block *m, int64_t b)
{
    sequence s = sequence_of(m, b);
    const ref_numerics *const port = declared(m->rd, CLAUSE_FORM);
    ref_form const form = port ? port->form : m->rd->naive ? REF_FORM_NAIVE : REF_FORM_ABSORBED;
    ball *const o = m->o + s.first * m->heads * m->p->v_head_dim;
    bool good = open_sequence(m, &s);
    if (good)
        good = form == REF_FORM_ANY     ? both_forms(m, &s, o)
               : form == REF_FORM_NAIVE ? naive(m, &s, o)
                                        : absorbed(m, &s, o);
    close_sequence(&s);
    return good;
}

static bool project_output(const block *m, ref_value *o_out, ball *y)
{
    int64_t const width = m->heads * m->p->v_head_dim, n = m->p->n_tokens;
    double *const parts = malloc((size_t)(3 * n * width) * sizeof *parts);
    row *const rows = malloc((size_t)n * sizeof *rows);
    bool good = parts && rows;
    for (int64_t t = 0; good && t < n; t++) {
        stage(m->rd, &m->io->attn_output, t * width, o_out, m->o + t * width, width);
        rows[t] = row_of_balls(m->o + t * width, width, parts + 3 * t * width);
    }
    good = good && project(m, "o_proj", rows, POINT_mla_y, y);
    free(parts);
    free(rows);
    return good;
}

static bool open_block(block *m, const dsv3_rope_prob *rope)
{
    size_t const n = (size_t)m->p->n_tokens;
    ref_set const k_quirks = quirk(m->rd, QUIRK_R2_k_half_split) ? (ref_set)1 << QUIRK_R1_half_split : 0;
    bool const turns = rotation_open(&m->turn, m->rd, rope, 0, POINT_mla_cos_sin, POINT_mla_q, m->format);
    bool const turns_k = rotation_open(&m->turn_k, m->rd, rope, k_quirks, POINT_mla_cos_sin, POINT_mla_kv, m->format);
    m->q = malloc(n * (size_t)(m->heads * m->qk) * sizeof *m->q);
    m->o = malloc(n * (size_t)(m->heads * m->p->v_head_dim) * sizeof *m->o);
    return turns && turns_k && m->q && m->o;
}

static void close_block(block *m)
{
    rotation_close(&m->turn);
    rotation_close(&m->turn_k);
    free(m->q);
    free(m->o);
}

bool attention_block(const ref_reading *rd, const dsv3_mla_prob *p, const dsv3_mla_io *io, const row *x,
                     const ball *const *past, ball *kv, ball *y, ref_value *const out[])
{
    ref_reading staged = *rd;
    dsv3_rope_prob const rope = rope_of(p);
    staged.stages = p->stages;
    block m = {.rd = &staged,
               .p = p,
               .io = io,
               .x = x,
               .past = past,
               .kv = kv,
               .format = io->y.dtype,
               .heads = p->num_attention_heads};
    m.qk = p->qk_nope_head_dim + p->qk_rope_head_dim;
    m.latent = p->kv_lora_rank + p->qk_rope_head_dim;
    m.scale = softmax_scale(&staged, p);
    m.kv_b = matrix_of(&staged, &io->weights, "kv_b_proj", POINT_mla_weight, m.format);
    bool good = open_block(&m, &rope) && make_queries_and_keys(&m, out[0], out[1], out[2]);
    for (int64_t b = 0; good && b < p->batch; b++) good = attend_sequence(&m, b);
    good = good && project_output(&m, out[3], y);
    for (int64_t i = 0; good && out[4] && i < p->n_tokens * p->hidden_size; i++) out[4][i] = value_of(y[i]);
    close_block(&m);
    return good;
}

/* ---- the op ---- */

bool ref_mla(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_mla_prob *const p = prob;
    const dsv3_mla_io *const io = io_;
    int64_t const n = p->n_tokens, hidden = p->hidden_size, latent = p->kv_lora_rank + p->qk_rope_head_dim;
    double *const values = malloc((size_t)(n * hidden) * sizeof *values);
    row *const x = malloc((size_t)n * sizeof *x);
    ball *const kv = malloc((size_t)(n * (latent + hidden)) * sizeof *kv);
    bool good = values && x && kv;
    if (good) rows_of(&io->hidden_states, n, hidden, values, x);
    good = good && attention_block(rd, p, io, x, NULL, kv, kv + n * latent, out);
    free(values);
    free(x);
    free(kv);
    return good;
}
