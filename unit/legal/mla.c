/* mla: docs/components/mla.md, naive and absorbed. */
#include "parts.h"

#include <math.h>
#include <stdio.h>

void legal_mla_points(legal *c, legal_mla_parts *m, dsv3_mla_prob const *p, dsv3_dtype x, bool fp8)
{
    *m = (legal_mla_parts){0};
    m->absorbed = legal_draw(c, "absorbed", 2);
    legal_say(c, "; form %s", m->absorbed ? "absorbed" : "naive");
    if (fp8) m->weights.point[LEGAL_WEIGHT] = legal_round_at(c, "weight", DSV3_BF16);
    if (p->q_lora_rank) m->q_a = legal_round_at(c, "q_a_proj", x);
    m->norm = legal_round_at(c, "x_norm", x);
    if (p->q_lora_rank && !p->stages) m->q_a_normed = legal_round_at(c, "q_a_layernorm", x);
    m->q_b = legal_round_at(c, "q_b_proj", x);
    m->cos_sin = legal_round_at(c, "cos_sin", x);
    if (!p->stages) m->q = legal_round_at(c, "q", x);
    m->kv_a = legal_round_at(c, "kv_a_proj_with_mqa", x);
    if (m->absorbed) {
        m->q_absorbed = legal_round_at(c, "q_absorbed", x);
        m->o_latent = legal_round_at(c, "o_latent", x);
    } else
        m->kv_b = legal_round_at(c, "kv_b_proj", x);
    legal_attention_config(c, x, p->kv_len);
    if (!p->stages) m->attn = legal_round_at(c, "attn_output", x);
    if (*c->prefix && !p->stages) {
        m->kv = legal_round_at(c, "kv", x);
        m->y = legal_round_at(c, "y", x);
        return;
    }
    legal_output(c, "y", x);
    m->y_cut = c->cut_output;
    c->cut_output = false;
}

static void config(legal *c, legal_mla_parts *m, dsv3_mla_prob const *p, dsv3_mla_io const *io)
{
    dsv3_dtype const x = io->hidden_states.dtype;
    dsv3_tensor const *w = dsv3_find(&io->weights, "o_proj.weight");
    legal_start(c, "mla", p->hidden_size, p->q_lora_rank, p->stages * 2 + p->rope_layout, (int)(x * 8 + w->dtype));
    legal_sums(c, false);
    legal_arithmetic(c, x == DSV3_BF16);
    legal_division(c);
    legal_functions(c, "exp log sincos rsqrt");
    legal_say(c, "; angle f64");
    legal_mla_points(c, m, p, x, w->dtype == DSV3_F8_E4M3);
}

void legal_mla_config(legal *c, dsv3_mla_prob const *p, dsv3_mla_io const *io)
{
    legal_mla_parts m;
    config(c, &m, p, io);
}

/* n elements from t on, row by row of the tensor, stored where it exists and read again. */
static void stage(legal const *c, dsv3_tensor const *t, int64_t row, int64_t n, double *x)
{
    for (int64_t i = 0; i < n && t->dtype != DSV3_NONE; i++) {
        legal_store(c, t, legal_row(t, row) + i, x[i]);
        x[i] = legal_load(c, t, legal_row(t, row) + i);
    }
}

void legal_normalise(legal const *c, legal_point point, dsv3_tensor const *weight, double eps, int64_t n, double *x)
{
    bool const wide = c->acc.bits == 53 && c->div == 0;
    double const sum = legal_cast(c, legal_dot(c, n, x, x));
    double const mean = wide ? sum / (double)n : legal_div(c, sum, (double)n);
    double const root = legal_rsqrt(c, legal_cast(c, mean + (c->acc.bits == 53 ? eps : legal_constant(c, eps))));
    for (int64_t i = 0; i < n; i++)
        x[i] = legal_op(c, legal_load(c, weight, i) * legal_at(c, point, legal_op(c, x[i] * root)));
}

static dsv3_rope_prob rope_of(dsv3_mla_prob const *p)
{
    return (dsv3_rope_prob){.qk_rope_head_dim = p->qk_rope_head_dim,
                            .rope_theta = p->rope_theta,
                            .factor = p->factor,
                            .original_max_position_embeddings = p->original_max_position_embeddings,
                            .beta_fast = p->beta_fast,
                            .beta_slow = p->beta_slow};
}

/* Interleaved pairs in, the layout of the problem out. */
static void rotate(legal const *c, legal_mla_parts const *m, dsv3_mla_prob const *p, int64_t position, double *x)
{
    dsv3_rope_prob const rope = rope_of(p);
    int64_t const half = p->qk_rope_head_dim / 2;
    bool const halves = p->rope_layout == DSV3_HALF;
    double const a =
        legal_constant(c, (double)(legal_mscale(p->mscale, p->factor) / legal_mscale(p->mscale_all_dim, p->factor)));
    double y[1024];
    for (int64_t j = 0; j < half; j++) {
        double const angle = (double)position * (double)legal_frequency(&rope, j);
        legal_error const error = angle != 0 ? c->sincos : (legal_error){0};
        double const cosine = legal_at(c, m->cos_sin, legal_op(c, a * legal_shift(c, cosl(angle), error, 0)));
        double const sine = legal_at(c, m->cos_sin, legal_op(c, a * legal_shift(c, sinl(angle), error, 0)));
        double const x1 = x[2 * j], x2 = x[2 * j + 1];
        y[halves ? j : 2 * j] = legal_op(c, legal_op(c, x1 * cosine) - legal_op(c, x2 * sine));
        y[halves ? j + half : 2 * j + 1] = legal_op(c, legal_op(c, x2 * cosine) + legal_op(c, x1 * sine));
    }
    for (int64_t i = 0; i < 2 * half; i++) x[i] = y[i];
}

static void at_point(legal const *c, legal_point point, int64_t n, double *x)
{
    for (int64_t i = 0; i < n; i++) x[i] = legal_at(c, point, x[i]);
}

/* Queries of token t, rotated, heads side by side. */
static void queries(legal const *c, legal_mla_parts const *m, dsv3_mla_prob const *p, dsv3_mla_io const *io, int64_t t,
                    int64_t position, double const *x, double *latent, double *q)
{
    int64_t const head = p->qk_nope_head_dim + p->qk_rope_head_dim, heads = p->num_attention_heads;
    int64_t const rank = p->q_lora_rank;
    if (rank) {
        legal_project(c, &m->weights, &io->weights, "q_a_proj", rank, p->hidden_size, x, latent);
        at_point(c, m->q_a, rank, latent);
        legal_normalise(c, m->norm, dsv3_find(&io->weights, "q_a_layernorm.weight"), p->rms_norm_eps, rank, latent);
        at_point(c, m->q_a_normed, rank, latent);
        stage(c, &io->q_a_layernorm, t, rank, latent);
    }
    legal_project(c, &m->weights, &io->weights, rank ? "q_b_proj" : "q_proj", heads * head,
                  rank ? rank : p->hidden_size, rank ? latent : x, q);
    at_point(c, m->q_b, heads * head, q);
    for (int64_t h = 0; h < heads; h++) {
        rotate(c, m, p, position, q + h * head + p->qk_nope_head_dim);
        at_point(c, m->q, p->qk_rope_head_dim, q + h * head + p->qk_nope_head_dim);
        at_point(c, m->q, p->qk_nope_head_dim, q + h * head);
        stage(c, &io->q, t * heads + h, head, q + h * head);
    }
}

static void cached(legal const *c, legal_mla_parts const *m, dsv3_mla_prob const *p, dsv3_mla_io const *io, int64_t t,
                   int64_t position, double const *x, double *kv)
{
    int64_t const rank = p->kv_lora_rank, width = rank + p->qk_rope_head_dim;
    legal_project(c, &m->weights, &io->weights, "kv_a_proj_with_mqa", width, p->hidden_size, x, kv);
    at_point(c, m->kv_a, width, kv);
    legal_normalise(c, m->norm, dsv3_find(&io->weights, "kv_a_layernorm.weight"), p->rms_norm_eps, rank, kv);
    rotate(c, m, p, position, kv + rank);
    stage(c, &io->kv, t, width, kv);
}

/* kv_b_proj as doubles, row by row. */
static void expand(legal const *c, legal_mla_parts const *m, dsv3_mla_prob const *p, dsv3_mla_io const *io, double *b)
{
    dsv3_tensor const *w = dsv3_find(&io->weights, "kv_b_proj.weight");
    dsv3_tensor const *scale = dsv3_find(&io->weights, "kv_b_proj.weight_scale_inv");
    int64_t const rows = p->num_attention_heads * (p->qk_nope_head_dim + p->v_head_dim), rank = p->kv_lora_rank;
    for (int64_t o = 0; o < rows; o++)
        for (int64_t i = 0; i < rank; i++) {
            double x = legal_load(c, w, legal_row(w, o) + i);
            if (scale)
                x = legal_at(c, m->weights.point[LEGAL_WEIGHT],
                             x * legal_load(c, scale, legal_row(scale, o / 128) + i / 128));
            b[o * rank + i] = x;
        }
}

/* One head with keys and values expanded: b holds its rows of kv_b_proj. */
static void naive(legal const *c, legal_mla_parts const *m, dsv3_mla_prob const *p, double scale, int64_t n,
                  double const *b, double const *kv, double *q, double *room, double *o)
{
    int64_t const nope = p->qk_nope_head_dim, rope = p->qk_rope_head_dim, v = p->v_head_dim, rank = p->kv_lora_rank;
    double *key = room, *value = room + n * (nope + rope);
    for (int64_t j = 0; j < n; j++) {
        double const *latent = kv + j * (rank + rope);
        for (int64_t i = 0; i < nope; i++)
            key[j * (nope + rope) + i] = legal_at(c, m->kv_b, legal_dot(c, rank, latent, b + i * rank));
        for (int64_t i = 0; i < rope; i++) key[j * (nope + rope) + nope + i] = latent[rank + i];
        for (int64_t i = 0; i < v; i++)
            value[j * v + i] = legal_at(c, m->kv_b, legal_dot(c, rank, latent, b + (nope + i) * rank));
    }
    legal_attend(c, scale, n, nope + rope, v, q, key, value, v, o);
}

/* One head with the query brought to the latent. */
static void absorbed(legal const *c, legal_mla_parts const *m, dsv3_mla_prob const *p, double scale, int64_t n,
                     double const *b, double const *kv, double const *q, double *room, double *o)
{
    int64_t const nope = p->qk_nope_head_dim, rope = p->qk_rope_head_dim, rank = p->kv_lora_rank;
    double *brought = room, *latent = room + rank + rope, *column = latent + rank;
    for (int64_t i = 0; i < rank; i++) {
        for (int64_t k = 0; k < nope; k++) column[k] = b[k * rank + i];
        brought[i] = legal_at(c, m->q_absorbed, legal_dot(c, nope, q, column));
    }
    for (int64_t i = 0; i < rope; i++) brought[rank + i] = q[nope + i];
    legal_attend(c, scale, n, rank + rope, rank, brought, kv, kv, rank + rope, latent);
    at_point(c, m->o_latent, rank, latent);
    for (int64_t i = 0; i < p->v_head_dim; i++) o[i] = legal_dot(c, rank, latent, b + (nope + i) * rank);
}

static void past(legal const *c, dsv3_mla_prob const *p, dsv3_mla_io const *io, int64_t b, int64_t n, double *kv)
{
    int64_t const width = p->kv_lora_rank + p->qk_rope_head_dim;
    for (int64_t j = 0; j < n; j++) {
        int64_t const table = legal_row(&io->block_table, b) + j / p->page_size;
        int64_t const page = (int64_t)legal_load(c, &io->block_table, table);
        int64_t const row = legal_row(&io->kv_cache, page * p->page_size + j % p->page_size);
        for (int64_t i = 0; i < width; i++) kv[j * width + i] = legal_load(c, &io->kv_cache, row + i);
    }
}

dsv3_status legal_mla_run(legal *c, legal_mla_parts const *m, dsv3_mla_prob const *p, dsv3_mla_io const *io)
{
    int64_t const heads = p->num_attention_heads, head = p->qk_nope_head_dim + p->qk_rope_head_dim;
    int64_t const v = p->v_head_dim, rank = p->kv_lora_rank, width = rank + p->qk_rope_head_dim;
    int64_t const of_head = (p->qk_nope_head_dim + v) * rank;
    double *b = legal_room(heads * of_head), *kv = legal_room(p->kv_len * width), *x = legal_room(p->hidden_size);
    double *latent = legal_room(p->q_lora_rank + 1), *q = legal_room(heads * head), *o = legal_room(heads * v);
    double *room = legal_room((p->kv_len + 4) * (head + v + 2 * width)), *y = legal_room(p->hidden_size);
    if (!b || !kv || !x || !latent || !q || !o || !room || !y) return DSV3_UNSUPPORTED;
    expand(c, m, p, io, b);
    long double const g = legal_mscale(p->mscale_all_dim, p->factor);
    double const scale = legal_constant(c, (double)(g * g / sqrtl((long double)head)));
    for (int64_t s = 0; s < p->batch; s++) {
        int64_t const first = (int64_t)legal_load(c, &io->cu_seqlens, s);
        int64_t const last = (int64_t)legal_load(c, &io->cu_seqlens, s + 1);
        int64_t const old = (int64_t)legal_load(c, &io->cache_seqlens, s) - (last - first);
        past(c, p, io, s, old, kv);
        for (int64_t t = first; t < last; t++) {
            int64_t const position = old + t - first;
            for (int64_t i = 0; i < p->hidden_size; i++)
                x[i] = legal_load(c, &io->hidden_states, legal_row(&io->hidden_states, t) + i);
            cached(c, m, p, io, t, position, x, kv + position * width);
            queries(c, m, p, io, t, position, x, latent, q);
            for (int64_t h = 0; h < heads; h++)
                if (m->absorbed)
                    absorbed(c, m, p, scale, position + 1, b + h * of_head, kv, q + h * head, room, o + h * v);
                else
                    naive(c, m, p, scale, position + 1, b + h * of_head, kv, q + h * head, room, o + h * v);
            at_point(c, m->attn, heads * v, o);
            stage(c, &io->attn_output, t, heads * v, o);
            legal_project(c, &m->weights, &io->weights, "o_proj", p->hidden_size, heads * v, o, y);
            c->cut_output = m->y_cut;
            for (int64_t i = 0; i < p->hidden_size; i++) legal_store(c, &io->y, legal_row(&io->y, t) + i, y[i]);
            c->cut_output = false;
        }
    }
    return DSV3_OK;
}

dsv3_status legal_mla(dsv3_ctx *ctx, dsv3_mla_prob const *p, dsv3_mla_io const *io)
{
    (void)ctx;
    legal c;
    legal_mla_parts m;
    config(&c, &m, p, io);
    return legal_mla_run(&c, &m, p, io);
}
