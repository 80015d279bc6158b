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
#include "hidden.h"
#include "matrix.h"
#include "rmsnorm.h"
#include "rope.h"
#include "vectors.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_mla_prob *p;
    const dsv3_mla_io *io;
    dsv3_dtype format;
    int64_t heads, nope, pe, qk; /* entries of q_nope and q_pe, and of both: a query of one head */
    int64_t c, latent, v;        /* of the latent; of [c | k_pe], which is cached; of a value */
    ball scale;
    matrix kv_b;
    rotation rope_q, rope_k;
} block;

/* One sequence: its new tokens are [first, first + n) of all, its keys [0, len), of which `past` were cached before. */
typedef struct {
    int64_t b, first, n, len, past;
} sequence;

/* The keys [c_j | k_pe_j] of a sequence, prepared. */
typedef struct {
    vectors of;     /* (len, latent) */
    double *number; /* (len, latent): the nearest ones */
    bool numbers;   /* every one is a number of the cache's format */
} keys;

static int64_t index_at(const dsv3_tensor *t, int64_t i)
{
    return (int64_t)ref_decode(t->dtype, t->data, i);
}

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* Entries of a query head; the mistakes: of a latent with its key, with YaRN's factor or without it, or of k_nope. */
static int64_t width_of_scale(const ref_reading *rd, const dsv3_mla_prob *p)
{
    bool const differs = p->kv_lora_rank != p->qk_nope_head_dim;
    bool const of_latent =
        differs && (quirk(rd, QUIRK_A1_latent_scale) || (p->factor > 1 && quirk(rd, QUIRK_A1_absorbed_scale)));
    if (quirk(rd, QUIRK_A1_nope_scale_prefill)) return p->qk_nope_head_dim;
    return (of_latent ? p->kv_lora_rank : p->qk_nope_head_dim) + p->qk_rope_head_dim;
}

static bool has_mscale(const ref_reading *rd, const dsv3_mla_prob *p)
{
    if (p->factor <= 1 || quirk(rd, QUIRK_R6_no_mscale)) return false;
    bool const differs = p->kv_lora_rank != p->qk_nope_head_dim;
    return !(differs && quirk(rd, QUIRK_A1_absorbed_scale)) && !quirk(rd, QUIRK_A1_nope_scale_prefill);
}

/* (qk_nope_head_dim + qk_rope_head_dim)^-1/2 (0.1 mscale_all_dim ln factor + 1)^2; the port computes it in up to three rounded steps. (Scale of softmax) */
static ball softmax_scale(const ref_reading *rd, const dsv3_mla_prob *p)
{
    ball scale = ball_rsqrt(ball_of((double)width_of_scale(rd, p)));
    if (has_mscale(rd, p)) {
        ball const m =
            ball_mul(ball_mul(ball_decimal(0.1), ball_decimal(p->mscale_all_dim)), ball_log(ball_decimal(p->factor)));
        ball const g = ball_add(m, ball_of(1));
        scale = ball_mul(scale, ball_mul(g, g));
    }
    return rd->declared ? round_op(rd, off_by(rd, scale, 3 * 0x1.0001p-24 * ball_sup(scale))) : scale;
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

/* The mistakes of the rotation of keys, as the rope op names them; queries have them but for R2. */
static ref_set quirks_of_rope_k(const ref_reading *rd, const dsv3_rope_prob *rope)
{
    ref_set quirks = rotation_quirks(rd, rope);
    if (quirk(rd, QUIRK_R2_k_half_split)) ref_add(&quirks, QUIRK_R1_half_split);
    return quirks;
}

/* Of new token i of the sequence. */
static double position_of(const block *m, const sequence *s, int64_t i)
{
    int64_t const before = s->past && quirk(m->rd, QUIRK_R15_positions_restart) ? 0 : s->past;
    return (double)(before + i + (quirk(m->rd, QUIRK_M10_position_ahead) ? 1 : 0));
}

/* How many keys new token i of the sequence sees. */
static int64_t visible(const block *m, const sequence *s, int64_t i)
{
    int64_t const n = s->past + i + 1;
    if (n < s->len && quirk(m->rd, QUIRK_A9_no_mask)) return s->len;
    if (s->past && quirk(m->rd, QUIRK_A10_mask_from_start)) return i + 1;
    return quirk(m->rd, QUIRK_A9_not_itself_prefill) ? n - 1 : n;
}

/* Where head h's W_k begins among the rows of kv_b_proj, [W_k | W_v] head by head; and its W_v. */
static int64_t first_of_keys(const block *m, int64_t h)
{
    if (m->heads > 1 && quirk(m->rd, QUIRK_A6_halves_global)) return h * m->nope;
    return h * (m->nope + m->v) + (quirk(m->rd, QUIRK_A6_halves_swapped) ? m->v : 0);
}

static int64_t first_of_values(const block *m, int64_t h)
{
    if (m->heads > 1 && quirk(m->rd, QUIRK_A6_halves_global)) return m->heads * m->nope + h * m->v;
    return h * (m->nope + m->v) + (quirk(m->rd, QUIRK_A6_halves_swapped) ? 0 : m->nope);
}

static ref_form form_of(const ref_reading *rd)
{
    const ref_numerics *const port = declared(rd, CLAUSE_FORM);
    return port ? port->form : rd->naive ? REF_FORM_NAIVE : REF_FORM_ABSORBED;
}

static sequence sequence_of(const block *m, int64_t b)
{
    int64_t const first = index_at(&m->io->cu_seqlens, b), n = index_at(&m->io->cu_seqlens, b + 1) - first;
    int64_t const len = index_at(&m->io->cache_seqlens, b);
    return (sequence){.b = b, .first = first, .n = n, .len = len, .past = len - n};
}

/* ---- steps on the vectors of all tokens ---- */

static vectors room(const block *m, int64_t width)
{
    return vectors_take(m->rd->scratch, m->p->n_tokens, width);
}

/* y = W x at a point. */
static void linear(const block *m, const char *name, vectors x, int point, vectors y)
{
    scratch_piece *const mark = scratch_mark(m->rd->scratch);
    matrix const w = matrix_of(m->rd, &m->io->weights, name, POINT_mla_weight, m->format);
    if (!x.row) vectors_prepare(m->rd->scratch, &x);
    matrix_times(&w, x.row, x.n, point, m->format, y.ball);
    scratch_back(m->rd->scratch, mark);
}

static void round_each(const block *m, int point, int64_t n, ball *x)
{
    for (int64_t i = 0; i < n; i++) x[i] = round_at(m->rd, point, m->format, x[i]);
}

/* The first `width` entries of each vector. */
static void normalise(const block *m, const char *weight, int64_t width, int point, vectors x)
{
    norm const n = {m->rd,    dsv3_find(&m->io->weights, weight), width, m->p->rms_norm_eps, POINT_mla_x_norm, point,
                    m->format};
    for (int64_t t = 0; t < x.n; t++) norm_row(&n, x.ball + t * x.width, x.ball + t * x.width);
}

/* The mistake: the mean square is over [c | k_pe], of which k_pe has no weight. */
static void normalise_too_wide(const block *m, ball *kv)
{
    sum_record sum = empty_sum();
    for (int64_t i = 0; i < m->latent; i++) add_term(&sum, ball_mul(kv[i], kv[i]));
    ball const ms = mean_over(m->rd, sum_of(m->rd, &sum), (double)m->latent);
    ball const r = rsqrt_of(m->rd, round_op(m->rd, ball_add(ms, constant(m->rd, m->p->rms_norm_eps))));
    const dsv3_tensor *const weight = dsv3_find(&m->io->weights, "kv_a_layernorm.weight");
    for (int64_t i = 0; i < m->c; i++) {
        ball const x_norm = round_at(m->rd, POINT_mla_x_norm, m->format, ball_mul(kv[i], r));
        kv[i] = round_at(m->rd, POINT_mla_kv, m->format,
                         ball_mul(element(m->rd, ref_decode(weight->dtype, weight->data, i)), x_norm));
    }
}

static void normalise_latents(const block *m, vectors kv)
{
    bool const left_out = quirk(m->rd, QUIRK_A5_latent_not_normed), too_wide = quirk(m->rd, QUIRK_A2_wide_norm);
    if (!left_out && !too_wide) normalise(m, "kv_a_layernorm.weight", m->c, POINT_mla_kv, kv);
    for (int64_t t = 0; left_out && t < kv.n; t++) round_each(m, POINT_mla_kv, m->c, kv.ball + t * kv.width);
    for (int64_t t = 0; !left_out && too_wide && t < kv.n; t++) normalise_too_wide(m, kv.ball + t * kv.width);
}

static void rotate_in_place(const block *m, const rotation *rope, ball *pe)
{
    scratch_piece *const mark = scratch_mark(m->rd->scratch);
    ball *const rotated = scratch_take(m->rd->scratch, m->pe, sizeof *rotated);
    rotate(rope, pe, rotated);
    memcpy(pe, rotated, (size_t)m->pe * sizeof *pe);
    scratch_back(m->rd->scratch, mark);
}

/* q_pe of every head. Point q is the whole query: q_nope is rounded there too. */
static void rope_q(const block *m, const sequence *s, vectors q)
{
    for (int64_t i = 0; i < s->n; i++) {
        ball *const token = q.ball + (s->first + i) * q.width;
        rotation_set(&m->rope_q, position_of(m, s, i));
        for (int64_t h = 0; h < m->heads; h++) {
            round_each(m, POINT_mla_q, m->nope, token + h * m->qk);
            rotate_in_place(m, &m->rope_q, token + h * m->qk + m->nope);
        }
    }
}

static void rope_k(const block *m, const sequence *s, vectors kv)
{
    for (int64_t i = 0; i < s->n; i++) {
        ball *const k_pe = kv.ball + (s->first + i) * kv.width + m->c;
        rotation_set(&m->rope_k, position_of(m, s, i));
        if (quirk(m->rd, QUIRK_R14_k_not_rotated))
            round_each(m, POINT_mla_kv, m->pe, k_pe);
        else
            rotate_in_place(m, &m->rope_k, k_pe);
    }
}

/* ---- keys ---- */

/* Keys [from, to) are these balls. */
static void take_balls(const block *m, keys *k, int64_t from, int64_t to, const ball *kv)
{
    vectors part = vectors_slice(k->of, from, to - from);
    memcpy(part.ball, kv, (size_t)(part.n * part.width) * sizeof *kv);
    vectors_prepare(m->rd->scratch, &part);
    for (int64_t j = 0; j < part.n; j++) {
        memcpy(k->number + (from + j) * m->latent, part.row[j].value, (size_t)m->latent * sizeof *k->number);
        k->numbers = k->numbers && !part.row[j].low && !part.row[j].radius && part.row[j].bits <= 24;
    }
}

static void read_cache(const block *m, const sequence *s, const keys *k)
{
    const dsv3_tensor *const cache = &m->io->kv_cache, *const table = &m->io->block_table;
    for (int64_t j = 0; j < s->past; j++) {
        int64_t const page = index_at(table, s->b * table->stride[0] + j / m->p->page_size);
        int64_t const from = page * cache->stride[0] + j % m->p->page_size * cache->stride[1];
        double *const number = k->number + j * m->latent;
        ref_decode_all(cache->dtype, cache->data, from, m->latent, number);
        for (int64_t i = 0; i < m->latent; i++) k->of.ball[j * m->latent + i] = element(m->rd, number[i]);
        k->of.row[j] = operand_of(number, NULL, m->latent);
    }
}

/* Cached ones first. past: as balls; NULL: they are in the io's cache. */
static keys keys_of(const block *m, const sequence *s, const ball *const *past, vectors kv)
{
    keys k = {.of = vectors_take(m->rd->scratch, s->len, m->latent), .numbers = true};
    k.number = scratch_take(m->rd->scratch, s->len * m->latent, sizeof *k.number);
    vectors_room(m->rd->scratch, &k.of);
    if (past)
        take_balls(m, &k, 0, s->past, past[s->b]);
    else
        read_cache(m, s, &k);
    take_balls(m, &k, s->past, s->len, kv.ball + s->first * m->latent);
    return k;
}

/* ---- attention: kv_b_proj by heads, in either form ---- */

static const operand *W_k(const block *m, int64_t h)
{
    return matrix_rows(&m->kv_b, first_of_keys(m, h), m->nope);
}

static const operand *W_v(const block *m, int64_t h)
{
    return matrix_rows(&m->kv_b, first_of_values(m, h), m->v);
}

/* y_d = w_d . c for `rows` rows of kv_b_proj, at a point. */
static void times(const block *m, const operand *w, int64_t rows, const operand *c, int point, ball *y)
{
    for (int64_t d = 0; d < rows; d++) {
        sum_record const sum = ball_dot(&w[d], c);
        y[d] = round_at(m->rd, point, m->format, scaled_sum(&m->kv_b, c, &sum));
    }
}

/* Entry c of each row. False: all radii are 0. */
static bool column_of(const operand *rows, int64_t n, int64_t c, double *value, double *radius)
{
    bool any = false;
    for (int64_t d = 0; d < n; d++) {
        value[d] = rows[d].value[c];
        radius[d] = rows[d].radius ? rows[d].radius[c] : 0;
        any = any || radius[d] != 0;
    }
    return any;
}

/* y_c = sum_d w_d[c] q_d for the q of each new token; the results are `stride` apart. */
static void transposed_times(const block *m, const operand *w, vectors q, int point, int64_t stride, ball *y)
{
    double *const value = scratch_take(m->rd->scratch, 2 * m->nope, sizeof *value), *const radius = value + m->nope;
    matrix transposed = m->kv_b; /* only for what it says of the scales */
    transposed.columns = m->nope;
    for (int64_t c = 0; c < m->c; c++) {
        bool const any = column_of(w, m->nope, c, value, radius);
        operand const column = operand_of(value, any ? radius : NULL, m->nope);
        for (int64_t i = 0; i < q.n; i++) {
            sum_record const sum = ball_dot(&q.row[i], &column);
            y[i * stride + c] = round_at(m->rd, point, m->format, scaled_sum(&transposed, &q.row[i], &sum));
        }
    }
}

/* Entries [from, from + width) of head h's queries. */
static vectors queries_of(const block *m, const sequence *s, vectors q, int64_t h, int64_t from, int64_t width)
{
    return vectors_strided(m->rd->scratch, q.ball + s->first * q.width + h * m->qk + from, s->n, q.width, width);
}

static attention attention_of(const block *m, const sequence *s, vectors q, const int64_t *seen)
{
    return (attention){.rd = m->rd,
                       .scale_q = POINT_mla_scale,
                       .scores = POINT_mla_scores,
                       .P = POINT_mla_P,
                       .output = m->format,
                       .scale = m->scale,
                       .rows = q.n,
                       .len = s->len,
                       .query = q.row,
                       .seen = seen};
}

/* u = sum_j P_j c_j of new token i, all heads: they share the keys. */
static void attend_latents(const block *m, const sequence *s, int64_t i, const keys *k, vectors qt, ball *u)
{
    scratch_piece *const mark = scratch_mark(m->rd->scratch);
    int64_t *const seen = scratch_take(m->rd->scratch, m->heads, sizeof *seen);
    vectors q = vectors_slice(qt, i * m->heads, m->heads);
    vectors_prepare(m->rd->scratch, &q);
    for (int64_t h = 0; h < m->heads; h++) seen[h] = visible(m, s, i);
    attention a = attention_of(m, s, q, seen);
    a.key = k->of.row, a.width = m->c;
    if (k->numbers)
        a.number = k->number, a.stride = m->latent;
    else
        a.value = k->of.ball, a.stride = m->latent;
    attend(&a, u, NULL);
    round_each(m, POINT_mla_o_latent, m->heads * m->c, u);
    scratch_back(m->rd->scratch, mark);
}

/* qt = [W_k^T q_nope | q_pe],  u = sum_j P_j c_j,  o = W_v u. */
static void absorbed(const block *m, const sequence *s, vectors q, const keys *k, ball *o)
{
    scratch *const memory = m->rd->scratch;
    vectors const qt = vectors_take(memory, s->n * m->heads, m->latent), u = vectors_take(memory, qt.n, m->c);
    scratch_piece *const mark = scratch_mark(memory);
    for (int64_t h = 0; h < m->heads; h++, scratch_back(memory, mark)) {
        vectors const q_nope = queries_of(m, s, q, h, 0, m->nope);
        transposed_times(m, W_k(m, h), q_nope, POINT_mla_q_absorbed, m->heads * m->latent, qt.ball + h * m->latent);
        for (int64_t i = 0; i < s->n; i++)
            memcpy(qt.ball + (i * m->heads + h) * m->latent + m->c,
                   q.ball + (s->first + i) * q.width + h * m->qk + m->nope, (size_t)m->pe * sizeof *o);
    }
    for (int64_t i = 0; i < s->n; i++) attend_latents(m, s, i, k, qt, u.ball + i * m->heads * m->c);
    for (int64_t h = 0; h < m->heads; h++, scratch_back(memory, mark)) {
        const operand *const w = W_v(m, h);
        vectors const of_head = vectors_strided(memory, u.ball + h * m->c, s->n, m->heads * m->c, m->c);
        for (int64_t i = 0; i < s->n; i++)
            times(m, w, m->v, &of_head.row[i], POINT_mla_attn_output, o + (i * m->heads + h) * m->v);
    }
}

/* k_j = [W_k c_j | k_pe_j],  v_j = W_v c_j,  o = sum_j P_j v_j, head by head. */
static void naive(const block *m, const sequence *s, vectors q, const keys *k, ball *o)
{
    scratch *const memory = m->rd->scratch;
    vectors const c = vectors_strided(memory, k->of.ball, s->len, m->latent, m->c);
    int64_t *const seen = scratch_take(memory, s->n, sizeof *seen);
    for (int64_t i = 0; i < s->n; i++) seen[i] = visible(m, s, i);
    scratch_piece *const mark = scratch_mark(memory);
    for (int64_t h = 0; h < m->heads; h++, scratch_back(memory, mark)) {
        const operand *const w_k = W_k(m, h), *const w_v = W_v(m, h);
        vectors key = vectors_take(memory, s->len, m->qk), value = vectors_take(memory, s->len, m->v);
        vectors const of_head = vectors_take(memory, s->n, m->v);
        for (int64_t j = 0; j < s->len; j++) {
            times(m, w_k, m->nope, &c.row[j], POINT_mla_kv_b_proj, key.ball + j * m->qk);
            memcpy(key.ball + j * m->qk + m->nope, k->of.ball + j * m->latent + m->c, (size_t)m->pe * sizeof *o);
            times(m, w_v, m->v, &c.row[j], POINT_mla_kv_b_proj, value.ball + j * m->v);
        }
        vectors_prepare(memory, &key);
        attention a = attention_of(m, s, queries_of(m, s, q, h, 0, m->qk), seen);
        a.key = key.row, a.value = value.ball, a.stride = a.width = m->v;
        attend(&a, of_head.ball, NULL);
        round_each(m, POINT_mla_attn_output, s->n * m->v, of_head.ball);
        for (int64_t i = 0; i < s->n; i++)
            memcpy(o + (i * m->heads + h) * m->v, of_head.ball + i * m->v, (size_t)m->v * sizeof *o);
    }
}

/* o of a sequence's new tokens, all heads, in the form that is asked for. */
static void attend_sequence(const block *m, const sequence *s, vectors q, const keys *k, ball *o)
{
    ref_form const form = form_of(m->rd);
    int64_t const cells = s->n * m->heads * m->v;
    if (form != REF_FORM_NAIVE) absorbed(m, s, q, k, o);
    if (form == REF_FORM_NAIVE) naive(m, s, q, k, o);
    if (form != REF_FORM_ANY) return;
    ball *const other = scratch_take(m->rd->scratch, cells, sizeof *other);
    naive(m, s, q, k, other);
    for (int64_t i = 0; i < cells; i++) o[i] = either(m->rd, 1, o[i], other[i]);
}

/* ---- the block ---- */

static block block_of(const ref_reading *rd, const dsv3_mla_prob *p, const dsv3_mla_io *io)
{
    block m = {.rd = rd, .p = p, .io = io, .format = io->y.dtype, .heads = p->num_attention_heads};
    m.nope = p->qk_nope_head_dim, m.pe = p->qk_rope_head_dim, m.qk = m.nope + m.pe;
    m.c = p->kv_lora_rank, m.latent = m.c + m.pe, m.v = p->v_head_dim;
    m.scale = softmax_scale(rd, p);
    m.kv_b = matrix_of(rd, &io->weights, "kv_b_proj", POINT_mla_weight, m.format);
    return m;
}

/* The block as it is read here: some stages may have no tensor. */
static ref_reading staged_reading(const ref_reading *rd, const dsv3_mla_prob *p, const dsv3_mla_io *io)
{
    ref_reading staged = *rd;
    staged.stages = p->stages;
    hide_absent(&staged, POINT_mla_q_a_layernorm, &io->q_a_layernorm);
    hide_absent(&staged, POINT_mla_q, &io->q);
    hide_absent(&staged, POINT_mla_kv, &io->kv);
    hide_absent(&staged, POINT_mla_attn_output, &io->attn_output);
    return staged;
}

static void hand_on(const block *m, const dsv3_tensor *port, ref_value *out, vectors v)
{
    stage(m->rd, port, 0, out, v.ball, v.n * v.width);
}

/* A stage that nobody asks for and that the port's own replaces need not be computed. */
static bool is_given(const block *m, const dsv3_tensor *port, const ref_value *out)
{
    return m->rd->teacher_forced && port->data && !out;
}

/* q before its rotation. The numbers of equations are those of the V3 report. */
static void project_queries(const block *m, vectors x, ref_value *c_q_out, vectors q)
{
    scratch_piece *const mark = scratch_mark(m->rd->scratch);
    vectors const c_q = room(m, m->p->q_lora_rank);
    if (m->p->q_lora_rank) {
        linear(m, "q_a_proj", x, POINT_mla_q_a_proj, c_q); /* (6)  c_q = RMSNorm(W_qa x) */
        if (!quirk(m->rd, QUIRK_A2_no_q_norm))
            normalise(m, "q_a_layernorm.weight", c_q.width, POINT_mla_q_a_layernorm, c_q);
        hand_on(m, &m->io->q_a_layernorm, c_q_out, c_q);
        linear(m, "q_b_proj", c_q, POINT_mla_q_b_proj, q); /* (7, 8)  q_h = [q_nope | q_pe] = W_qb c_q */
    } else {
        linear(m, "q_proj", x, POINT_mla_q_b_proj, q);
    }
    scratch_back(m->rd->scratch, mark);
}

/* (2, 5, 10)  o_h = sum_j softmax_j(scale q_h . k_j) v_j */
static void attend_all(const block *m, const ball *const *past, vectors q, vectors kv, vectors o)
{
    for (int64_t b = 0; b < m->p->batch; b++) {
        scratch_piece *const of_sequence = scratch_mark(m->rd->scratch);
        sequence const s = sequence_of(m, b);
        keys const k = keys_of(m, &s, past, kv);
        attend_sequence(m, &s, q, &k, o.ball + s.first * o.width);
        scratch_back(m->rd->scratch, of_sequence);
    }
}

/* [a | b]: side by side. */
void attention_block(const ref_reading *rd, const dsv3_mla_prob *p, const dsv3_mla_io *io, vectors x,
                     const ball *const *past, ball *kv_, ball *y_, ref_value *const out[])
{
    scratch_piece *const mark = scratch_mark(rd->scratch);
    ref_reading const staged = staged_reading(rd, p, io);
    dsv3_rope_prob const rope = rope_of(p);
    block m = block_of(&staged, p, io);
    vectors const q = room(&m, m.heads * m.qk), o = room(&m, m.heads * m.v);
    vectors const kv = {p->n_tokens, m.latent, kv_, NULL, NULL}, y = {p->n_tokens, p->hidden_size, y_, NULL, NULL};
    bool const o_wanted = out[3] || (y_ && !is_given(&m, &io->attn_output, out[3]));
    bool const q_wanted = out[0] || out[1] || (o_wanted && !is_given(&m, &io->q, out[1]));
    bool const kv_wanted = !is_given(&m, &io->kv, out[2]);

    if (q_wanted)
        m.rope_q = rotation_of(&staged, &rope, rotation_quirks(rd, &rope), POINT_mla_cos_sin, POINT_mla_q, m.format);
    if (kv_wanted)
        m.rope_k = rotation_of(&staged, &rope, quirks_of_rope_k(rd, &rope), POINT_mla_cos_sin, POINT_mla_kv, m.format);
    if (q_wanted) project_queries(&m, x, out[0], q);
    if (kv_wanted)
        linear(&m, "kv_a_proj_with_mqa", x, POINT_mla_kv_a_proj_with_mqa, kv); /* (1, 3)  [c | k_pe] = W_kva x */
    if (kv_wanted) normalise_latents(&m, kv);                                  /* (1)  c = RMSNorm(c) */
    for (int64_t b = 0; b < p->batch; b++) {
        sequence const s = sequence_of(&m, b);
        if (q_wanted) rope_q(&m, &s, q);   /* (8, 9)  q_pe = RoPE(q_pe) */
        if (kv_wanted) rope_k(&m, &s, kv); /* (3, 4)  k_pe = RoPE(k_pe) */
    }
    hand_on(&m, &io->q, out[1], q);
    hand_on(&m, &io->kv, out[2], kv);
    if (o_wanted) attend_all(&m, past, q, kv, o);
    hand_on(&m, &io->attn_output, out[3], o);
    if (y_) linear(&m, "o_proj", o, POINT_mla_y, y); /* (11)  y = W_o [o_0 | o_1 | ...] */
    for (int64_t i = 0; out[4] && i < y.n * y.width; i++) out[4][i] = value_of(y.ball[i]);
    scratch_back(rd->scratch, mark);
}

/* ---- the op ---- */

void ref_mla(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_mla_prob *const p = prob;
    const dsv3_mla_io *const io = io_;
    vectors const x = vectors_read(rd->scratch, &io->hidden_states, p->n_tokens, p->hidden_size);
    vectors const kv = vectors_take(rd->scratch, p->n_tokens, p->kv_lora_rank + p->qk_rope_head_dim);
    ball *const y = out[4] ? vectors_take(rd->scratch, p->n_tokens, p->hidden_size).ball : NULL;
    attention_block(rd, p, io, x, NULL, kv.ball, y, out);
}
