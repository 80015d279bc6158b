/*
 * Attention of the absorbed form over a paged cache, one key k_j for all heads, its first kv_lora_rank entries the value v_j:
 *   s_j = softmax_scale q . k_j,  lse = ln sum_j e^s_j,  o = sum_j P_j v_j,  P_j = e^(s_j - lse).
 * Source: DeepSeek-V2 report (arXiv 2405.04434) 2.1.2; DeepSeek-V3 report (arXiv 2412.19437) 2.1.1;
 * deepseek-ai/DeepSeek-V3, inference/model.py, MLA, absorb; deepseek-ai/FlashMLA, tests/ref.py.
 *
 * What a port may do to o is not a quotient of two balls: an error that all weights share cancels. Lemma Softmax states it in
 * mean-value form, from the relative error E_j of each weight.
 */
#include "softmax.h"

#include "kernel.h"

#include <stdlib.h>

static const double u = 0x1p-24;         /* the softmax runs in binary32, or better */
static const double smallest = 0x1p-126; /* what flushing may remove */

/* One sequence. A row is one query of one head. */
typedef struct {
    const ref_reading *rd;
    const dsv3_mla_decode_prob *prob;
    const dsv3_mla_decode_io *io;
    int64_t b, len, rows, width; /* keys; s_q * heads; entries of a key */
    double *key;                 /* (len, width) */
    double *query;               /* (rows, width) */
    row *key_row, *query_row;
    terms *product; /* (rows, len): q . k */
    ball *weight;   /* (rows, len): scores, then e^(scores - maximum) */
    double *error;  /* (rows, len): E_j */
} sequence;

static ball scale_of(const ref_reading *rd, const dsv3_mla_decode_prob *p)
{
    if (quirk(rd, QUIRK_A1_absorbed_scale)) return ball_rsqrt(ball_of((double)(p->kv_lora_rank + p->qk_rope_head_dim)));
    if (quirk(rd, QUIRK_R6_mscale_missing))
        return ball_rsqrt(ball_of((double)(p->qk_nope_head_dim + p->qk_rope_head_dim)));
    return constant(rd, p->softmax_scale);
}

/* How many keys query i of the sequence sees. */
static int64_t visible(const sequence *s, int64_t i)
{
    int64_t const s_q = s->prob->s_q;
    if (quirk(s->rd, QUIRK_A9_not_causal)) return s->len;
    if (quirk(s->rd, QUIRK_A10_square_mask) && s_q > 1) return i + 1 < s->len ? i + 1 : s->len;
    int64_t const n = s->len - s_q + i + 1;
    return n > 0 ? n : 0;
}

static int64_t length_of(const ref_reading *rd, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io, int64_t b)
{
    int64_t const len = (int64_t)ref_decode(DSV3_I32, io->cache_seqlens.data, b * io->cache_seqlens.stride[0]);
    if (!quirk(rd, QUIRK_A16_last_page_whole)) return len;
    return (len + p->page_size - 1) / p->page_size * p->page_size;
}

/* ---- scores ---- */

static void read_keys(const sequence *s)
{
    const dsv3_tensor *const cache = &s->io->kv_cache, *const table = &s->io->block_table;
    for (int64_t j = 0; j < s->len; j++) {
        int64_t const page =
            (int64_t)ref_decode(DSV3_I32, table->data, s->b * table->stride[0] + j / s->prob->page_size);
        int64_t const at_row = page * cache->stride[0] + j % s->prob->page_size * cache->stride[1];
        double *const k = s->key + j * s->width;
        ref_decode_all(cache->dtype, cache->data, at_row, s->width, k);
        s->key_row[j] = row_of(k, NULL, s->width);
    }
}

static void read_queries(const sequence *s)
{
    const dsv3_tensor *const q = &s->io->q;
    for (int64_t r = 0; r < s->rows; r++) {
        int64_t const i = r / s->prob->num_attention_heads, h = r % s->prob->num_attention_heads;
        double *const query = s->query + r * s->width;
        for (int64_t c = 0; c < s->width; c++)
            query[c] = ref_decode(q->dtype, q->data, s->b * q->stride[0] + i * q->stride[1] + h * q->stride[2] + c);
        s->query_row[r] = row_of(query, NULL, s->width);
    }
}

/* softmax_scale q . k_j. A port may scale q first: that rounds each product, unless q is made of powers of two. */
static ball score(const sequence *s, int64_t r, int64_t j, ball scale)
{
    const terms *const t = &s->product[r * s->len + j];
    ball dot = sum_of(s->rd, t);
    if (s->rd->port) {
        if (s->query_row[r].bits > 1) dot = ball_widen(dot, u * t->sum_abs);
        dot = step(s->rd, dot);
    }
    return at(s->rd, POINT_mla_decode_scores, s->io->q.dtype, ball_mul(dot, scale));
}

/* Scores become weights e^(score - maximum); their errors go to s->error. */
static softmax weigh_row(const sequence *s, int64_t r)
{
    ball *const w = s->weight + r * s->len;
    double *const error = s->error + r * s->len;
    int64_t const n = visible(s, r / s->prob->num_attention_heads);
    for (int64_t j = n; j < s->len; j++) w[j] = ball_of(0), error[j] = 0;
    return softmax_weigh(s->rd, w, error, n);
}

/* ---- a row of outputs ---- */

static ref_value lse_of(const sequence *s, const softmax *m)
{
    if (m->n == 0) return (ref_value){-HUGE_VAL, 0, 0};
    double const rounded =
        s->rd->port && m->gathered > 0 ? unit_at_point(s->rd, POINT_mla_decode_P, s->io->q.dtype) : 0;
    ball lse = softmax_lse(s->rd, m, rounded);
    if (quirk(s->rd, QUIRK_A12_lse_base_2)) lse = ball_div(lse, ball_log(ball_of(2)));
    return value_of(at(s->rd, POINT_mla_decode_lse, DSV3_F32, lse));
}

/* Sums over the keys for one column of one row: of P |v|, P E |v - o|, P |v - o|. */
typedef struct {
    double size, moved, spread;
} deviation;

/* Lemma Softmax: how far the port's o may be from o. */
static double softmax_radius(const sequence *s, const softmax *m, double o, const deviation *d, double largest)
{
    const ref_numerics *const port = s->rd->port;
    double const n = (double)m->n, tiny = n * m->floor * 2 * largest;
    if (!port) return (d->moved + tiny) / (1 - m->E);
    double const unit = unit_at_point(s->rd, POINT_mla_decode_P, s->io->q.dtype);
    double const div = port->div.ieee ? u : port->div.rel * u;
    if (!(m->E + unit < 0.9) || !(m->gathered < 0.5)) return (double)INFINITY;
    double const size = d->size + d->moved + m->E * fabs(o); /* >= the sum of |weight v| as the port has them */
    double const rounded = unit * fmax(size, d->spread + d->moved) + (m->gathered * (1 + unit) + div + u) * size;
    double const first = (d->moved + rounded) / (1 - m->E - unit);
    double const lost = (2 * n * lost_in_one(port) + 4 * smallest + tiny) * 2;
    return (first + 2 * m->gathered * (fabs(o) + first) + lost) * (1 + 0x1p-40);
}

static bool is_zero(ball b)
{
    return ball_is_point(b) && ball_sup(b) == 0;
}

/* Lemma Selection: with scores of exactly 0 for 2^k keys and vanishing ones for the others every weight is 1 or 0. Returns the
 * number of keys selected, or 0. The scores are still in s->weight. */
static int64_t selected(const sequence *s, int64_t r)
{
    const ball *const score = s->weight + r * s->len;
    int64_t const n = visible(s, r / s->prob->num_attention_heads);
    int64_t count = 0;
    if (!s->rd->port || !s->rd->port->div.ieee) return 0;
    for (int64_t j = 0; j < n; j++) {
        bool const zero = is_zero(score[j]);
        if (!zero && !(ball_upper(score[j]) <= SOFTMAX_VANISHING)) return 0;
        count += zero;
    }
    return (count & (count - 1)) == 0 ? count : 0;
}

/* The mean of the selected values. */
static void mean_row(const sequence *s, int64_t r, int64_t count, ref_value *o, ref_value *lse)
{
    const ball *const score = s->weight + r * s->len;
    int64_t const n = visible(s, r / s->prob->num_attention_heads);
    for (int64_t c = 0; o && c < s->prob->kv_lora_rank; c++) {
        terms sum = terms_none();
        for (int64_t j = 0; j < n; j++)
            if (is_zero(score[j])) terms_add(&sum, element(s->rd, s->key[j * s->width + c]));
        ball const mean = quotient_of(s->rd, sum_of(s->rd, &sum), ball_of((double)count));
        o[c] = value_of(at(s->rd, POINT_mla_decode_o, s->io->q.dtype, mean));
    }
    softmax const m = {.n = n, .maximum = ball_of(0), .sum = ball_of((double)count)};
    if (lse) *lse = lse_of(s, &m);
}

/* All rows whose weights are ready: m[r].n > 0. */
typedef struct {
    softmax *m;
    ball *mean;        /* (rows, kv_lora_rank) */
    double *centre;    /* of mean, as doubles */
    deviation *spread; /* like mean */
    double *largest;   /* |v| of each column */
    double *P, *PE;    /* one row's, a tile of keys */
} outputs;

enum { TILE = 64 };

/* One tile of keys and one row. */
static void deviate(const sequence *s, const outputs *w, int64_t r, int64_t from, int64_t to)
{
    int64_t const width = s->prob->kv_lora_rank;
    double const l = 1 / ball_lower(w->m[r].sum) * (1 + 0x1p-40);
    for (int64_t j = from; j < to; j++) {
        w->P[j - from] = ball_sup(s->weight[r * s->len + j]) * l;
        w->PE[j - from] = w->P[j - from] * s->error[r * s->len + j];
    }
    kernels_for_this_cpu()->deviate(w->P, w->PE, s->key + from * s->width, to - from, s->width, width,
                                    w->centre + r * width, (double *)(w->spread + r * width));
}

/* In the exact reading E is so small that a crude bound does. */
static void crude_spread(const sequence *s, const outputs *w, int64_t r)
{
    int64_t const width = s->prob->kv_lora_rank;
    for (int64_t c = 0; c < width; c++)
        w->spread[r * width + c] = (deviation){w->largest[c], 2 * w->largest[c] * w->m[r].E, 2 * w->largest[c]};
}

static void find_spread(const sequence *s, const outputs *w)
{
    for (int64_t from = 0; from < s->len; from += TILE)
        for (int64_t r = 0; r < s->rows; r++) {
            int64_t const to = w->m[r].n < from + TILE ? w->m[r].n : from + TILE;
            if (s->rd->port && from < to) deviate(s, w, r, from, to);
        }
    for (int64_t r = 0; r < s->rows && !s->rd->port; r++) crude_spread(s, w, r);
}

static void finish_row(const sequence *s, const outputs *w, int64_t r, ref_value *o)
{
    int64_t const width = s->prob->kv_lora_rank;
    const softmax *const m = &w->m[r];
    double const slack = 1 + 0x1p-50 * (double)(m->n + 8);
    for (int64_t c = 0; c < width; c++) {
        ball const mean = w->mean[r * width + c];
        deviation d = w->spread[r * width + c];
        double const blur = 2 * mean.r + 0x1p-50 * fabs(w->centre[r * width + c]); /* of |v - o| */
        d.size *= slack;
        d.moved = d.moved * slack + m->E * (s->rd->port ? blur : 0);
        d.spread = d.spread * slack + blur;
        ball const legal = ball_widen(mean, softmax_radius(s, m, ball_sup(mean), &d, w->largest[c]));
        o[c] = value_of(at(s->rd, POINT_mla_decode_o, s->io->q.dtype, legal));
    }
}

static bool open_outputs(const sequence *s, outputs *w)
{
    size_t const cells = (size_t)(s->rows * s->prob->kv_lora_rank), rows = (size_t)s->rows;
    w->m = calloc(rows, sizeof *w->m);
    w->mean = calloc(cells, sizeof *w->mean);
    w->centre = calloc(cells + (size_t)s->prob->kv_lora_rank + 2 * TILE, sizeof *w->centre);
    w->spread = calloc(cells, sizeof *w->spread);
    if (!w->m || !w->mean || !w->centre || !w->spread) return false;
    w->largest = w->centre + cells;
    w->P = w->largest + s->prob->kv_lora_rank;
    w->PE = w->P + TILE;
    return true;
}

static void close_outputs(outputs *w)
{
    free(w->m);
    free(w->mean);
    free(w->centre);
    free(w->spread);
}

static void column_largest(const sequence *s, double *largest)
{
    for (int64_t j = 0; j < s->len; j++)
        for (int64_t c = 0; c < s->prob->kv_lora_rank; c++)
            largest[c] = fmax(largest[c], fabs(s->key[j * s->width + c]));
}

/* Rows that see no key, and rows that select; the others get their weights. */
static void begin_row(const sequence *s, outputs *w, int64_t r, ref_value *o, ref_value *lse)
{
    int64_t const width = s->prob->kv_lora_rank, n = visible(s, r / s->prob->num_attention_heads);
    int64_t const count = selected(s, r);
    if (n == 0 || count) {
        if (count) mean_row(s, r, count, o ? o + r * width : NULL, lse ? lse + r : NULL);
        for (int64_t c = 0; !count && o && c < width; c++) o[r * width + c] = (ref_value){0, 0, 0};
        if (!count && lse) lse[r] = (ref_value){-HUGE_VAL, 0, 0};
        for (int64_t j = 0; j < s->len; j++) s->weight[r * s->len + j] = ball_of(0);
        return;
    }
    w->m[r] = weigh_row(s, r);
    if (lse) lse[r] = lse_of(s, &w->m[r]);
}

/* o and lse of every row, from the scores. */
static bool attend(const sequence *s, ref_value *o, ref_value *lse)
{
    outputs w = {NULL};
    int64_t const width = s->prob->kv_lora_rank;
    bool good = open_outputs(s, &w);
    for (int64_t r = 0; good && r < s->rows; r++) begin_row(s, &w, r, o, lse);
    good = good && (!o || ball_combine(s->weight, s->rows, s->len, s->key, s->width, width, w.mean));
    if (good && o) {
        column_largest(s, w.largest);
        for (int64_t r = 0; r < s->rows; r++)
            for (int64_t c = 0; c < width && w.m[r].n; c++) {
                ball *const mean = &w.mean[r * width + c];
                *mean = ball_div(*mean, w.m[r].sum);
                w.centre[r * width + c] = (ball_lower(*mean) + ball_upper(*mean)) / 2;
            }
        find_spread(s, &w);
        for (int64_t r = 0; r < s->rows; r++)
            if (w.m[r].n) finish_row(s, &w, r, o + r * width);
    }
    close_outputs(&w);
    return good;
}

static bool open_sequence(sequence *s)
{
    size_t const keys = (size_t)s->len + 1, rows = (size_t)s->rows, width = (size_t)s->width;
    s->key = malloc(keys * width * sizeof *s->key);
    s->query = malloc(rows * width * sizeof *s->query);
    s->key_row = malloc(keys * sizeof *s->key_row);
    s->query_row = malloc(rows * sizeof *s->query_row);
    s->product = malloc(rows * keys * sizeof *s->product);
    s->weight = malloc(rows * keys * sizeof *s->weight);
    s->error = malloc(rows * keys * sizeof *s->error);
    return s->key && s->query && s->key_row && s->query_row && s->product && s->weight && s->error;
}

static void close_sequence(sequence *s)
{
    free(s->key);
    free(s->query);
    free(s->key_row);
    free(s->query_row);
    free(s->product);
    free(s->weight);
    free(s->error);
}

bool ref_mla_decode(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_mla_decode_prob *const p = prob;
    const dsv3_mla_decode_io *const io = io_;
    ball const scale = scale_of(rd, p);
    bool good = true;
    for (int64_t b = 0; good && b < p->batch; b++) {
        int64_t const rows = p->s_q * p->num_attention_heads;
        sequence s = {.rd = rd, .prob = p, .io = io, .b = b, .len = length_of(rd, p, io, b), .rows = rows};
        s.width = p->kv_lora_rank + p->qk_rope_head_dim;
        good = open_sequence(&s);
        if (good) {
            read_keys(&s);
            read_queries(&s);
            ball_dots(s.query_row, rows, s.key_row, s.len, s.product);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t j = 0; j < s.len; j++) s.weight[r * s.len + j] = score(&s, r, j, scale);
            good = attend(&s, out[0] ? out[0] + b * rows * p->kv_lora_rank : NULL, out[1] ? out[1] + b * rows : NULL);
        }
        close_sequence(&s);
    }
    return good;
}
