/*
 * The gradients of causal attention, of each head and sequence:
 *   P_ij = e^(s_ij - lse_i),  dP_ij = grad_o_i . v_j,  D_i = sum_j P_ij dP_ij = grad_o_i . o_i,  dS_ij = P_ij (dP_ij - D_i),
 *   grad_q_i = softmax_scale sum_j dS_ij k_j,  grad_k_j = softmax_scale sum_i dS_ij q_i,  grad_v_j = sum_i P_ij grad_o_i.
 * Source: the derivative of mla_prefill; Dao et al. (arXiv 2205.14135), appendix B.2; Dao (arXiv 2307.08691), algorithm 2.
 *
 * The truth is a function of q, k, v and grad_o. A port may read o and lse, or make its own: points o and lse hold both.
 */
#include "attention.h"
#include "attention_error.h"
#include "probability.h"
#include "sequence.h"
#include "vectors.h"

/* One head of one sequence. P and what comes of it are 0 where a query doesn't see a key. */
typedef struct {
    const ref_reading *rd, *inner;  /* inner: of the softmax */
    dsv3_dtype format;              /* of all but lse */
    int64_t n, len, width, columns; /* queries, keys; entries of a query, of a value */
    vectors q, k, v, grad_o;        /* rows */
    vectors q_of, k_of, grad_o_of;  /* columns */
    const ball *scaled_q;           /* (width, n): columns of softmax_scale q; NULL: no port has them */
    double softmax_scale;
    ball scale;
    int64_t *seen, *used, *most;      /* keys of a query: that it sees, that its gradient takes, the more of both */
    ball *scores, *P_v, *dS, *scaled; /* (n, len); scaled: softmax_scale dS, not in an exact reading */
    ball *o, *lse;                    /* (n, columns), (n); these five not in an exact reading */
    ball *read_o, *read_lse;          /* what mla_prefill makes, without an error */
    double *by_weights;               /* (n, columns): what of o's radius is owed to weights */
    ball *P, *dP;                     /* (len): of the query in work, as the port has them */
    ball *weight, *exact;             /* (len): P and dP themselves */
    double *error;                    /* (len): E_j of the weights */
} head;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* How many keys query i sees. */
static int64_t visible(const head *h, int64_t i)
{
    int64_t const n = h->len - h->n + i + 1;
    return n > 0 ? n : 0;
}

/* How many of them its gradient takes. */
static int64_t taken(const head *h, int64_t i)
{
    int64_t n = h->seen[i];
    if (n == 0) return 0;
    if (n < h->len && quirk(h->rd, QUIRK_D10_not_masked)) n = h->len;
    if (h->n < h->len && quirk(h->rd, QUIRK_D10_square_mask)) n = i + 1;
    return n;
}

static ball by_scale_of_k(const head *h, ball sum)
{
    return quirk(h->rd, QUIRK_D10_scale_missing_k) ? sum : ball_mul(h->scale, sum);
}

static ball less_D(const head *h, ball dP, ball D)
{
    return quirk(h->rd, QUIRK_D10_no_D) ? dP : round_op(h->inner, ball_sub(dP, D));
}

static bool takes_base_2(const head *h)
{
    return quirk(h->rd, QUIRK_D10_lse_base_2);
}

/* ---- P ---- */

static attention attention_of(const ref_reading *rd, const head *h, const int64_t *seen)
{
    return (attention){.rd = rd,
                       .scale_q = POINT_mla_prefill_backward_scale,
                       .scores = POINT_mla_prefill_backward_scores,
                       .P = POINT_mla_prefill_backward_P_v,
                       .output = h->format,
                       .scale = constant(rd, h->softmax_scale),
                       .rows = h->n,
                       .len = h->len,
                       .width = h->columns,
                       .query = h->q.row,
                       .key = h->k.row,
                       .seen = seen,
                       .number = h->v.parts,
                       .stride = h->columns};
}

typedef struct {
    softmax m;
    ball lse, read; /* as the port makes it, and as it reads it */
} normaliser;

static ball from_lse(const head *h, const softmax *m, ball score, ball lse)
{
    return h->rd->declared ? probability_from_lse(h->inner, m, score, lse) : ball_exp(ball_sub(score, lse));
}

static normaliser normaliser_of(const head *h, int64_t i, softmax m)
{
    int const point = POINT_mla_prefill_backward_lse;
    if (!h->rd->declared) return (normaliser){m, softmax_lse(h->rd, &m, 0), ball_any()};
    ball const made = round_at(h->inner, point, DSV3_F32, h->lse[i]);
    return (normaliser){m, made, cast_at(h->inner, point, DSV3_F32, h->read_lse[i])};
}

/* P of a port that has the maximum and the sum, lse of its own, or lse that it reads. */
static ball by_any(const head *h, const normaliser *z, ball divided, ball score)
{
    if (!h->rd->declared) return divided;
    return either(h->rd, 1, divided,
                  either(h->rd, 2, from_lse(h, &z->m, score, z->lse), from_lse(h, &z->m, score, z->read)));
}

/* One key has all the weight. (Selection) */
static normaliser select_one(const head *h, int64_t i)
{
    normaliser const z = normaliser_of(h, i, softmax_of_zeros(h->rd, 1, 1));
    ball const one = by_any(h, &z, probability_selected(h->rd, h->inner), ball_of(0));
    for (int64_t j = 0; j < h->seen[i]; j++) {
        bool const selected = ball_sup(h->P[j]) == 0;
        h->P[j] = selected ? one : ball_of(0), h->weight[j] = ball_of(selected), h->error[j] = 0;
    }
    return z;
}

/* The scores of query i become P, before its points. */
static normaliser weigh(const head *h, int64_t i)
{
    const ref_reading *const rd = h->rd;
    int64_t const n = h->seen[i];
    const ball *const score = h->scores + i * h->len;
    for (int64_t j = 0; j < n; j++) h->P[j] = score[j];
    int64_t const parts = most_parts(rd, n);
    if (rd->declared && parts <= 1 && softmax_selects_one(h->P, n)) return select_one(h, i);
    normaliser const z = normaliser_of(h, i, softmax_weigh(rd, h->P, h->error, n, parts));
    for (int64_t j = 0; j < n; j++) {
        ball const divided = probability_divided(h->inner, &z.m, h->P[j], h->error[j]);
        h->weight[j] = ball_div(h->P[j], z.m.sum);
        h->P[j] = by_any(h, &z, divided, score[j]);
    }
    return z;
}

/* What mistakes make of it: P of keys that the query doesn't see, or P by another lse. */
static void mistake(const head *h, int64_t i, const normaliser *z)
{
    bool const base_2 = takes_base_2(h);
    ball const lse = base_2 ? ball_div(z->lse, ball_log(ball_of(2))) : z->lse;
    for (int64_t j = base_2 ? 0 : h->seen[i]; j < h->used[i]; j++)
        h->P[j] = from_lse(h, &z->m, h->scores[i * h->len + j], lse);
}

static ball at_point(const head *h, int point, ball P)
{
    return round_at(h->inner, point, h->format, P);
}

/* ---- dP and D ---- */

/* One term of a sum, which arithmetic coarser than binary32 rounds before it is added. */
static ball product(const ref_reading *rd, ball a, ball b)
{
    ball const exact = ball_mul(a, b);
    return rd->declared && coarseness(rd->declared) > 0 ? round_op(rd, exact) : exact;
}

static ball D_by_keys(const head *h, int64_t i)
{
    sum_record sum = empty_sum();
    for (int64_t j = 0; j < h->seen[i]; j++)
        add_term(&sum, product(h->inner, at_point(h, POINT_mla_prefill_backward_P, h->P[j]), h->dP[j]));
    sum.zeros = h->len - sum.n, sum.n = h->len;
    return sum_of(h->inner, &sum);
}

/* What D owes to weights of o that are off: as o would, were it the mean of the dP. (Delta) */
static double D_by_weights(const head *h, int64_t i, const softmax *m)
{
    attention const a = attention_of(h->rd, h, h->seen);
    weighted_sums s = {0};
    ball D = ball_of(0);
    for (int64_t j = 0; j < h->seen[i]; j++) D = ball_add(D, ball_mul(h->weight[j], h->exact[j]));
    for (int64_t j = 0; j < h->seen[i]; j++) {
        double const P = ball_sup(h->weight[j]), off = ball_sup(ball_sub(h->exact[j], D)), dP = ball_sup(h->exact[j]);
        s.size += P * dP, s.moved += P * h->error[j] * off, s.spread += P * off;
        s.largest = fmax(s.largest, dP);
    }
    double const slack = 1 + 0x1p-50 * (double)(h->seen[i] + 8);
    s.size *= slack, s.moved *= slack, s.spread *= slack, s.o = ball_sup(D);
    return weights_radius(&a, m, &s);
}

/* o at its point, rounded as that says; or moved by a rounding at most, whatever it was. */
static ball stored_o(const head *h, ball o, bool moved)
{
    int const point = POINT_mla_prefill_backward_o;
    if (!moved) return round_at(h->rd, point, h->format, o);
    double const unit = unit_at_point(h->rd, point, h->format), floor = floor_at_point(h->rd, point, h->format);
    return off_by(h->rd, o, unit * ball_sup(o) * (1 + 0x1p-40) + floor);
}

static ball D_by_columns(const head *h, int64_t i, const ball *o, bool moved)
{
    sum_record sum = empty_sum();
    for (int64_t c = 0; c < h->columns; c++) {
        ball const entry = stored_o(h, o[i * h->columns + c], moved);
        add_term(&sum, product(h->rd, element(h->rd, h->grad_o.row[i].value[c]), entry));
    }
    return sum_of(h->rd, &sum);
}

/* The sum of |grad_o| times what each entry of o owes to weights. */
static double apart_by_weights(const head *h, int64_t i)
{
    double sum = 0;
    for (int64_t c = 0; c < h->columns; c++) sum += fabs(h->grad_o.row[i].value[c]) * h->by_weights[i * h->columns + c];
    return sum * (1 - 0x1p-40);
}

/* grad_o . o of an o that the port makes. Weights that are off move all entries together, and D by less than each by itself.
 * (Delta) */
static ball D_by_own_o(const head *h, int64_t i, const softmax *m)
{
    ball const rounded = D_by_columns(h, i, h->o, false), moved = D_by_columns(h, i, h->o, true);
    double const apart = apart_by_weights(h, i), together = apart > 0 ? D_by_weights(h, i, m) : 0;
    if (ball_is_any(moved) || !(together < apart)) return rounded;
    ball const D = {moved.c, fmax(moved.r - apart, 0) * (1 + 0x1p-40) + together};
    return D.r < rounded.r ? D : rounded;
}

static ball D_of(const head *h, int64_t i, const softmax *m)
{
    ball const by_keys = D_by_keys(h, i);
    if (!h->rd->declared) return by_keys;
    ball const by_o = either(h->rd, 3, D_by_own_o(h, i, m), D_by_columns(h, i, h->read_o, false));
    return round_at(h->rd, POINT_mla_prefill_backward_D, h->format, either(h->rd, 4, by_keys, by_o));
}

/* ---- dS ---- */

/* P (dP - D), or P dP - P D; and softmax_scale times that, in any order. */
static void differentiate(const head *h, int64_t at, ball P, ball dP, ball D)
{
    const ref_reading *const rd = h->rd;
    int const point = POINT_mla_prefill_backward_dS;
    ball const less = less_D(h, dP, D), whole = ball_mul(P, less);
    if (!rd->declared) {
        h->dS[at] = whole;
        return;
    }
    ball const apart = ball_sub(round_op(h->inner, ball_mul(P, dP)), round_op(h->inner, ball_mul(P, D)));
    h->dS[at] =
        round_at(h->inner, point, h->format, quirk(rd, QUIRK_D10_no_D) ? whole : either(h->rd, 5, whole, apart));
    ball const late = ball_mul(h->scale, h->dS[at]), early = product_of(rd, (ball[]){h->scale, P, less}, 3);
    h->scaled[at] = round_at(rd, point, h->format, either(h->rd, 6, late, early));
}

static void differentiate_row(const head *h, int64_t i)
{
    const ref_reading *const rd = h->rd;
    if (h->seen[i] == 0) return;
    normaliser const z = weigh(h, i);
    for (int64_t j = 0; j < h->most[i]; j++) {
        sum_record const sum = ball_dot(&h->grad_o.row[i], &h->v.row[j]);
        h->exact[j] = formed_sum(&sum);
        h->dP[j] = round_at(rd, POINT_mla_prefill_backward_dP, h->format, sum_of(rd, &sum));
    }
    ball const D = D_of(h, i, &z.m);
    mistake(h, i, &z);
    for (int64_t j = 0; j < h->used[i]; j++) {
        h->P_v[i * h->len + j] = at_point(h, POINT_mla_prefill_backward_P_v, h->P[j]);
        differentiate(h, i * h->len + j, at_point(h, POINT_mla_prefill_backward_P, h->P[j]), h->dP[j], D);
    }
}

/* ---- sums over keys and over queries ---- */

/* Entries [from, from + n). */
static operand part_of(operand a, int64_t from, int64_t n)
{
    a.n = n;
    a.value += from;
    if (a.low) a.low += from;
    if (a.radius) a.radius += from;
    if (a.elements) a.elements += from;
    return a;
}

/* Of n terms, those that aren't here being 0: a port may add them. */
static ball sum_with(const head *h, const operand *a, const operand *b, int64_t n)
{
    sum_record sum = ball_dot(a, b);
    sum.zeros = n - sum.n, sum.n = n;
    return sum_of(h->rd, &sum);
}

static operand row_of(const head *h, const ball *matrix, int64_t i)
{
    double *const parts = scratch_take(h->rd->scratch, 3 * h->used[i], sizeof *parts);
    return operand_of_balls(matrix + i * h->len, h->used[i], parts);
}

static void grad_q_of(const head *h, int64_t i, ref_value *out)
{
    scratch_piece *const mark = scratch_mark(h->rd->scratch);
    const ref_reading *const rd = h->rd;
    operand const dS = row_of(h, h->dS, i);
    for (int64_t c = 0; c < h->width; c++) {
        operand const k = part_of(h->k_of.row[c], 0, h->used[i]);
        ball grad = ball_mul(h->scale, round_op(rd, sum_with(h, &dS, &k, h->len)));
        if (rd->declared) {
            operand const scaled = row_of(h, h->scaled, i);
            grad = either(h->rd, 7, grad, sum_with(h, &scaled, &k, h->len));
        }
        out[c] = value_of(round_at(rd, POINT_mla_prefill_backward_grad_q, h->format, grad));
    }
    scratch_back(rd->scratch, mark);
}

/* Column j of a matrix, of the queries from `first` on. */
static operand column_of(const head *h, const ball *matrix, int64_t j, int64_t first)
{
    int64_t const n = h->n - first;
    ball *const column = scratch_take(h->rd->scratch, n, sizeof *column);
    double *const parts = scratch_take(h->rd->scratch, 3 * n, sizeof *parts);
    for (int64_t i = 0; i < n; i++) column[i] = matrix[(first + i) * h->len + j];
    return operand_of_balls(column, n, parts);
}

/* The first query whose gradient takes key j; n: none does. Later ones take no fewer keys. */
static int64_t first_taking(const head *h, int64_t j)
{
    int64_t i = 0;
    while (i < h->n && h->used[i] <= j) i++;
    return i;
}

/* The sum of dS and softmax_scale q, which a port may have in base 2: then two more roundings follow. */
static ball with_scaled_q(const head *h, const operand *dS, int64_t c, int64_t first)
{
    const ref_reading *const rd = h->rd;
    int64_t const n = h->n - first;
    double *const parts = scratch_take(rd->scratch, 3 * n, sizeof *parts);
    operand const q = operand_of_balls(h->scaled_q + c * h->n + first, n, parts);
    ball const sum = sum_with(h, dS, &q, h->n), one = ball_of(1);
    if (declared_at(rd, POINT_mla_prefill_backward_scale).must) return sum;
    return product_of(rd, (ball[]){sum, one, one, one}, 4);
}

static void grad_k_of(const head *h, int64_t j, ref_value *out)
{
    const ref_reading *const rd = h->rd;
    scratch_piece *const mark = scratch_mark(rd->scratch);
    int64_t const first = first_taking(h, j);
    operand const dS = column_of(h, h->dS, j, first);
    for (int64_t c = 0; c < h->width; c++) {
        scratch_piece *const of_column = scratch_mark(rd->scratch);
        operand const q = part_of(h->q_of.row[c], first, h->n - first);
        ball grad = by_scale_of_k(h, round_op(rd, sum_with(h, &dS, &q, h->n)));
        if (rd->declared && !quirk(rd, QUIRK_D10_scale_missing_k)) {
            operand const scaled = column_of(h, h->scaled, j, first);
            grad = either(h->rd, 8, grad, sum_with(h, &scaled, &q, h->n));
            if (h->scaled_q) grad = either(h->rd, 9, grad, with_scaled_q(h, &dS, c, first));
        }
        out[c] = value_of(round_at(rd, POINT_mla_prefill_backward_grad_k, h->format, grad));
        scratch_back(rd->scratch, of_column);
    }
    scratch_back(rd->scratch, mark);
}

static void grad_v_of(const head *h, int64_t j, ref_value *out)
{
    scratch_piece *const mark = scratch_mark(h->rd->scratch);
    int64_t const first = first_taking(h, j);
    operand const P = column_of(h, h->P_v, j, first);
    for (int64_t c = 0; c < h->columns; c++) {
        operand const grad_o = part_of(h->grad_o_of.row[c], first, h->n - first);
        ball const sum = sum_with(h, &P, &grad_o, h->n);
        out[c] = value_of(round_at(h->rd, POINT_mla_prefill_backward_grad_v, h->format, sum));
    }
    scratch_back(h->rd->scratch, mark);
}

/* ---- the op ---- */

/* The columns of softmax_scale q, where a port may have them. */
static const ball *scale_queries(const head *h)
{
    if (!h->rd->declared || declared(h->rd, CLAUSE_SCALED)->scaled == REF_SCALED_SCORES) return NULL;
    attention const a = attention_of(h->rd, h, h->seen);
    scaling const s = scaling_of(&a);
    ball *const columns = scratch_take(h->rd->scratch, h->n * h->width, sizeof *columns);
    for (int64_t i = 0; i < h->n; i++)
        for (int64_t c = 0; c < h->width; c++)
            columns[c * h->n + i] = scaled_entry(&s, element(h->rd, h->q.row[i].value[c]));
    return columns;
}

static ball *zeros(const head *h, int64_t n)
{
    ball *const z = scratch_take(h->rd->scratch, n, sizeof *z);
    for (int64_t i = 0; i < n; i++) z[i] = ball_of(0);
    return z;
}

/* o of the port's own arithmetic, and o and lse that it may read. */
static void prepare_o(head *h)
{
    scratch *const memory = h->rd->scratch;
    int64_t const cells = h->n * h->columns;
    ref_reading exact = *h->rd;
    exact.declared = NULL;
    attention const own = attention_of(h->rd, h, h->seen), truth = attention_of(&exact, h, h->seen);
    h->o = scratch_take(memory, 2 * cells, sizeof *h->o), h->read_o = h->o + cells;
    h->by_weights = scratch_take(memory, cells, sizeof *h->by_weights);
    h->lse = scratch_take(memory, 2 * h->n, sizeof *h->lse), h->read_lse = h->lse + h->n;
    attend_apart(&own, h->o, h->lse, h->by_weights);
    attend(&truth, h->read_o, h->read_lse);
}

static void prepare(head *h)
{
    scratch *const memory = h->rd->scratch;
    int64_t const cells = h->n * h->len;
    h->seen = scratch_take(memory, h->n, sizeof *h->seen);
    h->used = scratch_take(memory, h->n, sizeof *h->used);
    h->most = scratch_take(memory, h->n, sizeof *h->most);
    for (int64_t i = 0; i < h->n; i++) {
        h->seen[i] = visible(h, i), h->used[i] = taken(h, i);
        h->most[i] = h->used[i] > h->seen[i] ? h->used[i] : h->seen[i];
    }
    h->scores = scratch_take(memory, cells, sizeof *h->scores);
    h->P_v = zeros(h, cells), h->dS = zeros(h, cells), h->scaled = h->rd->declared ? zeros(h, cells) : NULL;
    h->P = scratch_take(memory, h->len, sizeof *h->P);
    h->dP = scratch_take(memory, h->len, sizeof *h->dP);
    h->weight = scratch_take(memory, 2 * h->len, sizeof *h->weight), h->exact = h->weight + h->len;
    h->error = scratch_take(memory, h->len, sizeof *h->error);
    attention const all = attention_of(h->rd, h, h->most);
    attention_scores(&all, h->scores);
    h->scaled_q = scale_queries(h);
    if (h->rd->declared) prepare_o(h);
}

static void grads_of_head(const ref_reading *rd, const dsv3_mla_prefill_backward_prob *p,
                          const dsv3_mla_prefill_backward_io *io, const sequence *s, int64_t at, ref_value *const out[])
{
    scratch *const memory = rd->scratch;
    int64_t const width = p->qk_nope_head_dim + p->qk_rope_head_dim, columns = p->v_head_dim;
    dsv3_tensor const q = rows_of_head(&io->q, at, s->first_query, s->n),
                      k = rows_of_head(&io->k, at, s->first_key, s->len),
                      v = rows_of_head(&io->v, at, s->first_key, s->len),
                      grad_o = rows_of_head(&io->grad_o, at, s->first_query, s->n);
    reading_room room;
    head h = {.rd = rd, .format = io->q.dtype, .n = s->n, .len = s->len, .width = width, .columns = columns};
    h.inner = reading_of(rd, REF_SOFTMAX, &room);
    h.softmax_scale = p->softmax_scale, h.scale = constant(rd, p->softmax_scale);
    h.q = vectors_read(memory, &q, s->n, width), h.q_of = vectors_columns(memory, &q, s->n, width);
    h.k = vectors_read(memory, &k, s->len, width), h.k_of = vectors_columns(memory, &k, s->len, width);
    h.v = vectors_read(memory, &v, s->len, columns);
    h.grad_o = vectors_read(memory, &grad_o, s->n, columns);
    h.grad_o_of = vectors_columns(memory, &grad_o, s->n, columns);
    prepare(&h);
    for (int64_t i = 0; i < s->n; i++) differentiate_row(&h, i);
    for (int64_t i = 0; out[0] && i < s->n; i++)
        grad_q_of(&h, i, out[0] + ((s->first_query + i) * p->num_attention_heads + at) * width);
    for (int64_t j = 0; out[1] && j < s->len; j++)
        grad_k_of(&h, j, out[1] + ((s->first_key + j) * p->num_attention_heads + at) * width);
    for (int64_t j = 0; out[2] && j < s->len; j++)
        grad_v_of(&h, j, out[2] + ((s->first_key + j) * p->num_attention_heads + at) * columns);
}

void ref_mla_prefill_backward(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_mla_prefill_backward_prob *const p = prob;
    const dsv3_mla_prefill_backward_io *const io = io_;
    for (int64_t b = 0; b < p->batch; b++) {
        sequence const s = sequence_of(&io->cu_seqlens_q, &io->cu_seqlens_k, b);
        for (int64_t h = 0; h < p->num_attention_heads; h++) {
            scratch_piece *const mark = scratch_mark(rd->scratch);
            grads_of_head(rd, p, io, &s, h, out);
            scratch_back(rd->scratch, mark);
        }
    }
}
