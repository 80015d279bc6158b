/* mla_prefill_backward: docs/components/mla_prefill_backward.md, a head of a sequence at a time. */
#include "legal.h"

#include <math.h>

enum { SCORES, P_V, SCALE, P, O, LSE, DP, D, DS }; /* the first three as legal_attend has them */
enum { READ, MADE, DIVIDED, WAYS };                /* P by an lse that is read or made, or by a division */
enum { SUMS, LATE, EARLY, QUERIES };               /* what softmax_scale multiplies */

/* An o that is read has the format in which it is stored. */
static legal_point point_of_o(legal *c, dsv3_dtype dtype)
{
    if (!legal_draw(c, "o_read", 2)) return legal_round_at(c, "o", dtype);
    legal_say(c, "; o output must");
    return (legal_point){true, dtype == DSV3_BF16 ? number_bf16 : number_f32};
}

void legal_mla_prefill_backward_config(legal *c, dsv3_mla_prefill_backward_prob const *p,
                                       dsv3_mla_prefill_backward_io const *io)
{
    dsv3_dtype const dtype = io->q.dtype;
    legal_start(c, "mla_prefill_backward", p->n_tokens, p->n_keys, p->v_head_dim, (int)dtype);
    legal_sums(c, false);
    legal_arithmetic(c, dtype == DSV3_BF16);
    legal_division(c);
    legal_functions(c, "exp log");
    legal_attention_config(c, dtype, p->n_keys);
    c->point[P] = c->point[P_V]; /* it was declared by that name */
    c->point[P_V] = legal_round_at(c, "P_v", dtype);
    c->point[O] = point_of_o(c, dtype);
    c->point[LSE] = legal_round_at(c, "lse", legal_draw(c, "lse_bf16_too", 3) ? DSV3_F32 : dtype);
    c->point[DP] = legal_round_at(c, "dP", dtype);
    c->point[D] = legal_round_at(c, "D", dtype);
    c->point[DS] = legal_round_at(c, "dS", dtype);
    legal_output(c, "grad_q", dtype);
    char const *const format = dtype == DSV3_BF16 ? "bf16" : "f32", *const way = c->cut_output ? "rz" : "rn";
    legal_say(c, "; grad_k %s must %s; grad_v %s must %s", format, way, format, way);
}

/* One head of one sequence; squares are (queries, keys). */
typedef struct {
    int64_t n, len, w, v, h, heads, q0, k0;
    double scale;
    double *q, *scaled_q, *key, *value, *grad_o;
    double *P, *dS, *scaled_k, *scaled; /* for grad_v; dS; softmax_scale dS for grad_q and grad_k */
    double *score, *p, *dP, *o, *a, *b; /* rows in work */
} head;

static int64_t row_of(head const *s, int64_t first, int64_t i)
{
    return (first + i) * s->heads + s->h;
}

static void read_rows(legal const *c, head const *s, dsv3_tensor const *t, int64_t first, int64_t n, int64_t w,
                      double *to)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t x = 0; x < w; x++) to[i * w + x] = legal_load(c, t, legal_row(t, row_of(s, first, i)) + x);
}

static int64_t seen_by(head const *s, int64_t i)
{
    int64_t const n = s->len - s->n + i + 1;
    return n > 0 ? n : 0;
}

/* ---- P ---- */

/* A sum on its way to elementwise arithmetic, rounded or not. */
static double dot(legal const *c, char const *casts, int64_t n, double const *a, double const *b)
{
    double const sum = legal_dot(c, n, a, b);
    return c->arith == IN_BF16 && legal_habit(c, casts, 2) ? legal_op(c, sum) : sum;
}

static void score_row(legal const *c, head const *s, int64_t i)
{
    double const *const q = (c->query_scaled ? s->scaled_q : s->q) + i * s->w;
    for (int64_t j = 0; j < seen_by(s, i); j++) {
        double const sum = dot(c, "score_casts", s->w, q, s->key + j * s->w);
        s->score[j] = legal_at(c, c->point[SCORES], c->query_scaled ? sum : legal_op(c, sum * s->scale));
    }
}

static double from_lse(legal const *c, double score, double lse)
{
    float const log2_e = 1.44269504f;
    if (c->arith == IN_BF16 || !legal_habit(c, "base_2", 3)) return legal_exp(c, legal_op(c, score - lse));
    return legal_exp(c, legal_op(c, legal_op(c, score * log2_e) - legal_op(c, lse * log2_e)) * 0.69314718055994531);
}

static void divide_row(legal const *c, head const *s, int64_t n)
{
    double largest = -INFINITY;
    for (int64_t j = 0; j < n; j++) largest = fmax(largest, s->score[j]);
    for (int64_t j = 0; j < n; j++) s->p[j] = legal_exp(c, legal_op(c, s->score[j] - largest));
    double const sum = legal_cast(c, legal_dot(c, n, s->p, NULL));
    for (int64_t j = 0; j < n; j++) s->p[j] = legal_div(c, s->p[j], sum);
}

/* P of query i before its points, and o as D takes it: read, or made again. */
static void weigh(legal const *c, head const *s, dsv3_mla_prefill_backward_io const *io, int64_t i)
{
    int const way = legal_habit(c, "way", WAYS);
    int64_t const n = seen_by(s, i), row = row_of(s, s->q0, i);
    for (int64_t x = 0; x < s->w; x++) s->a[x] = s->q[i * s->w + x];
    double lse = legal_attend(c, s->scale, n, s->w, s->v, s->a, s->key, s->value, s->v, s->o);
    if (way == READ) lse = legal_load(c, &io->lse, legal_row(&io->lse, row / s->heads) + s->h);
    lse = legal_at(c, c->point[LSE], lse);
    if (way == DIVIDED) divide_row(c, s, n);
    for (int64_t j = 0; j < n && way != DIVIDED; j++) s->p[j] = from_lse(c, s->score[j], lse);
    if (legal_draw(c, "o_read", 2)) read_rows(c, s, &io->o, s->q0 + i, 1, s->v, s->o);
    for (int64_t x = 0; x < s->v; x++) s->o[x] = legal_at(c, c->point[O], s->o[x]);
}

/* ---- D and dS ---- */

/* sum a b; arithmetic in BF16 may round the products first. */
static double of_products(legal const *c, head const *s, int64_t n, double const *a, double const *b)
{
    if (c->arith != IN_BF16 || !legal_habit(c, "products_first", 2)) return legal_dot(c, n, a, b);
    for (int64_t j = 0; j < n; j++) s->b[j] = legal_op(c, a[j] * b[j]);
    return legal_dot(c, n, s->b, NULL);
}

static double D_of(legal const *c, head const *s, int64_t i)
{
    bool const by_keys = legal_habit(c, "D_by_keys", 2);
    int64_t const n = seen_by(s, i);
    double const sum =
        by_keys ? of_products(c, s, n, s->p, s->dP) : of_products(c, s, s->v, s->grad_o + i * s->v, s->o);
    return legal_at(c, c->point[D], legal_habit(c, "D_casts", 2) ? legal_cast(c, sum) : sum);
}

static double scaled(legal const *c, head const *s, int way, double p, double less, double dS)
{
    if (way == LATE) return legal_at(c, c->point[DS], legal_op(c, s->scale * dS));
    return legal_at(c, c->point[DS], legal_product(c, "dS_product", 3, (double[]){s->scale, p, less}));
}

static void differentiate(legal const *c, head const *s, int64_t i)
{
    int64_t const n = seen_by(s, i);
    int const q_way = legal_draw(c, "q_way", 3), k_way = legal_habit(c, "k_way", 3);
    for (int64_t j = 0; j < n; j++) {
        double const sum = dot(c, "dP_casts", s->v, s->grad_o + i * s->v, s->value + j * s->v);
        s->dP[j] = legal_at(c, c->point[DP], sum);
        s->P[i * s->len + j] = legal_at(c, c->point[P_V], s->p[j]);
        s->p[j] = legal_at(c, c->point[P], s->p[j]);
    }
    double const of_row = D_of(c, s, i);
    for (int64_t j = 0; j < n; j++) {
        double const less = legal_op(c, s->dP[j] - of_row), p = s->p[j];
        double const apart = legal_op(c, p * s->dP[j]) - legal_op(c, p * of_row);
        double const dS = legal_at(c, c->point[DS], legal_op(c, legal_habit(c, "apart", 2) ? apart : p * less));
        s->dS[i * s->len + j] = dS;
        s->scaled[i * s->len + j] = scaled(c, s, q_way == EARLY ? EARLY : LATE, p, less, dS);
        s->scaled_k[i * s->len + j] = scaled(c, s, k_way == EARLY ? EARLY : LATE, p, less, dS);
    }
}

/* ---- sums ---- */

static void grad_q(legal *c, head const *s, dsv3_tensor const *out, int64_t i)
{
    bool const late = legal_draw(c, "q_way", 3) == SUMS, zeros = legal_habit(c, "adds_zeros", 2);
    int64_t const n = zeros ? s->len : seen_by(s, i);
    for (int64_t x = 0; x < s->w; x++) {
        for (int64_t j = 0; j < n; j++) s->a[j] = s->key[j * s->w + x];
        double const sum = legal_dot(c, n, (late ? s->dS : s->scaled) + i * s->len, s->a);
        legal_store(c, out, legal_row(out, row_of(s, s->q0, i)) + x,
                    late ? legal_op(c, legal_cast(c, sum) * s->scale) : sum);
    }
}

/* Column j of a square times column x of rows of w, over all queries or those that see the key. */
static double over_queries(legal const *c, head const *s, double const *square, int64_t j, double const *rows,
                           int64_t w, int64_t x)
{
    int64_t const from = j - (s->len - s->n), first = legal_habit(c, "adds_zeros", 2) || from < 0 ? 0 : from;
    int64_t const n = s->n > first ? s->n - first : 0;
    for (int64_t i = 0; i < n; i++) s->a[i] = square[(first + i) * s->len + j], s->b[i] = rows[(first + i) * w + x];
    return legal_dot(c, n, s->a, s->b);
}

static void grad_k(legal *c, head const *s, dsv3_tensor const *out, int64_t j)
{
    bool const by_queries = c->query_scaled && legal_habit(c, "k_by_queries", 2);
    int const way = by_queries ? QUERIES : legal_habit(c, "k_way", 3);
    double const *const square = way == LATE || way == EARLY ? s->scaled_k : s->dS;
    for (int64_t x = 0; x < s->w; x++) {
        double const sum = over_queries(c, s, square, j, way == QUERIES ? s->scaled_q : s->q, s->w, x);
        legal_store(c, out, legal_row(out, row_of(s, s->k0, j)) + x,
                    way == SUMS ? legal_op(c, legal_cast(c, sum) * s->scale) : sum);
    }
}

static void grad_v(legal *c, head const *s, dsv3_tensor const *out, int64_t j)
{
    for (int64_t x = 0; x < s->v; x++)
        legal_store(c, out, legal_row(out, row_of(s, s->k0, j)) + x, over_queries(c, s, s->P, j, s->grad_o, s->v, x));
}

/* ---- the op ---- */

static bool take_rooms(head *s)
{
    int64_t const n = s->n, len = s->len, cells = n * len, most = len + n + s->w + s->v;
    s->q = legal_room(n * s->w), s->scaled_q = legal_room(n * s->w), s->key = legal_room(len * s->w);
    s->value = legal_room(len * s->v), s->grad_o = legal_room(n * s->v);
    s->P = legal_room(cells), s->dS = legal_room(cells), s->scaled = legal_room(cells), s->scaled_k = legal_room(cells);
    s->score = legal_room(len), s->p = legal_room(len), s->dP = legal_room(len), s->o = legal_room(s->v);
    s->a = legal_room(most), s->b = legal_room(most);
    return s->b && s->a && s->o && s->scaled_k;
}

static void make_head(legal *c, head *s, dsv3_mla_prefill_backward_io const *io)
{
    read_rows(c, s, &io->q, s->q0, s->n, s->w, s->q);
    read_rows(c, s, &io->k, s->k0, s->len, s->w, s->key);
    read_rows(c, s, &io->v, s->k0, s->len, s->v, s->value);
    read_rows(c, s, &io->grad_o, s->q0, s->n, s->v, s->grad_o);
    for (int64_t i = 0; i < s->n * s->w; i++)
        s->scaled_q[i] = c->query_scaled ? legal_at(c, c->point[SCALE], legal_op(c, s->q[i] * s->scale)) : 0;
    for (int64_t i = 0; i < s->n * s->len; i++) s->P[i] = s->dS[i] = s->scaled[i] = s->scaled_k[i] = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (!seen_by(s, i)) continue;
        score_row(c, s, i);
        weigh(c, s, io, i);
        differentiate(c, s, i);
    }
    for (int64_t i = 0; i < s->n; i++) grad_q(c, s, &io->grad_q, i);
    for (int64_t j = 0; j < s->len; j++) grad_k(c, s, &io->grad_k, j), grad_v(c, s, &io->grad_v, j);
}

dsv3_status legal_mla_prefill_backward(dsv3_ctx *ctx, dsv3_mla_prefill_backward_prob const *p,
                                       dsv3_mla_prefill_backward_io const *io)
{
    (void)ctx;
    legal c;
    legal_mla_prefill_backward_config(&c, p, io);
    head s = {.w = p->qk_nope_head_dim + p->qk_rope_head_dim, .v = p->v_head_dim, .heads = p->num_attention_heads};
    s.scale = legal_constant(&c, p->softmax_scale);
    for (int64_t b = 0; b < p->batch; b++) {
        legal_reset();
        s.q0 = (int64_t)legal_load(&c, &io->cu_seqlens_q, b), s.k0 = (int64_t)legal_load(&c, &io->cu_seqlens_k, b);
        s.n = (int64_t)legal_load(&c, &io->cu_seqlens_q, b + 1) - s.q0;
        s.len = (int64_t)legal_load(&c, &io->cu_seqlens_k, b + 1) - s.k0;
        if (!take_rooms(&s)) return DSV3_UNSUPPORTED;
        for (s.h = 0; s.h < s.heads; s.h++) make_head(&c, &s, io);
    }
    return DSV3_OK;
}
