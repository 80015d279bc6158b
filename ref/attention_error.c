/* See attention_error.h. */
#include "attention_error.h"

#include "kernel.h"
#include "radius.h"
#include "scratch.h"

#include <limits.h>

static const double u = 0x1p-24; /* the softmax runs in binary32, or better */

/* ---- scores ---- */

static int64_t zeros_of(const operand *q)
{
    int64_t zeros = 0;
    for (int64_t c = 0; c < q->n; c++) zeros += q->value[c] == 0 && !(q->radius && q->radius[c] != 0);
    return zeros;
}

query_way scale_the_sum(const attention *a, const operand *q)
{
    return (query_way){*q, a->scale, a->rd->declared ? zeros_of(q) : 0, false};
}

scaling scaling_of(const attention *a)
{
    ball const ln2 = ball_log(ball_of(2));
    return (scaling){a, round_op(a->rd, ball_div(a->scale, ln2)), ln2};
}

ball scaled_entry(const scaling *s, ball v)
{
    const attention *const a = s->a;
    ball const in_base_e = round_at(a->rd, a->scale_q, a->output, ball_mul(a->scale, v));
    if (declared_at(a->rd, a->scale_q).must) return in_base_e;
    ball const in_base_2 = round_at(a->rd, a->scale_q, a->output, ball_mul(s->folded, v));
    return either(s->a->rd, 1, in_base_e, ball_mul(in_base_2, s->ln2));
}

/* Are all entries powers of two, or 0, far from subnormal? Then one number scales them all. */
static bool are_powers(const operand *q)
{
    return q->bits <= 1 && !q->radius && q->lsb >= -60 && q->max_abs <= 0x1p60;
}

query_way scale_the_query(const scaling *s, const operand *q)
{
    const attention *const a = s->a;
    scratch *const memory = a->rd->scratch;
    int64_t const zeros = zeros_of(q);
    ball const factor = scaled_entry(s, ball_of(1));
    bool const normal = ball_lower(factor) > 0x1p-60 && ball_upper(factor) < 0x1p60;
    if (are_powers(q) && normal && !ball_is_point(factor)) return (query_way){*q, factor, zeros, true};
    ball *const entry = scratch_take(memory, q->n, sizeof *entry);
    double *const parts = scratch_take(memory, 3 * q->n, sizeof *parts);
    for (int64_t c = 0; c < q->n; c++) {
        ball const e = ball_widen(element(a->rd, q->value[c]), q->radius ? q->radius[c] : 0);
        entry[c] = scaled_entry(s, q->elements ? q->elements[c] : e);
    }
    return (query_way){operand_of_balls(entry, q->n, parts), ball_of(1), zeros, false};
}

/* Lemma Late: a port sums products with codes and multiplies the sums by the scales. */
static ball scaled_after_sum(const attention *a, const operand *q, const sum_record *t, ball dot)
{
    double const n = (double)t->n, sum = a->scale_after_sum * t->sum_abs, growth = 1 + gamma_sum(a->rd->declared, t->n);
    bool const exact = ball_is_point(dot) && a->scale_after_sum == 0 && q->lsb > -100;
    if (!(n * q->sup * 448 * growth < 0x1p127)) return ball_any();
    return exact ? dot : ball_widen(dot, (sum + n * eta(a->rd->declared) * (2 * a->largest_scale + 1)) * growth);
}

ball dot_of(const attention *a, const query_way *q, const sum_record *product)
{
    if (!a->rd->declared) return formed_sum(product);
    sum_record sum = *product;
    sum.zeros = q->zeros;
    if (q->rounded) sum.lsb = INT_MIN;
    double const early = q->rounded ? 2 * (double)sum.n * eta(a->rd->declared) / ball_lower(q->scale) : 0;
    ball const dot = ball_widen(sum_of(a->rd, &sum), early);
    return round_op(a->rd, a->largest_scale > 0 ? scaled_after_sum(a, &q->query, product, dot) : dot);
}

/* ---- parts ---- */

int64_t most_parts(const ref_reading *rd, int64_t seen)
{
    if (!rd->declared) return 1;
    int64_t const parts = declared(rd, CLAUSE_PARTS)->parts;
    int64_t const most = parts < 0 || parts > seen ? seen : parts;
    return parts != 1 && most < 2 ? 2 : most;
}

/* ---- Lemma Selection ---- */

static bool is_zero(ball b)
{
    return ball_is_point(b) && ball_sup(b) == 0;
}

int64_t count_selected(const attention_rows *b, int64_t r)
{
    const ref_numerics *const port = b->a->rd->declared;
    const ball *const score = b->weight + r * b->len;
    int64_t count = 0;
    if (!port || !port->div.ieee || most_parts(b->a->rd, b->seen[r]) > 1) return 0;
    for (int64_t j = 0; j < b->seen[r]; j++) {
        bool const zero = is_zero(score[j]);
        if (!zero && !(ball_upper(score[j]) <= SOFTMAX_VANISHING)) return 0;
        count += zero;
    }
    return (count & (count - 1)) == 0 ? count : 0;
}

/* Entry c of value j. */
static ball value_at(const attention *a, int64_t j, int64_t c)
{
    return a->value ? a->value[j * a->stride + c] : element(a->rd, a->number[j * a->stride + c]);
}

/* A port may divide the weights first: 1 / count, a power of two, may be no number of P's format, and times v it may underflow. */
static double lost_by_small_weights(const attention *a, const sum_record *sum, int64_t count)
{
    const ref_numerics *const port = a->rd->declared;
    double const floor = floor_at_point(a->rd, a->P, a->output), finest = (double)sum->lsb - log2((double)count);
    double const of_weights = 1 / (double)count < floor ? 1 / (double)count : 1 / (double)count < 2 * floor ? floor : 0;
    double const of_products = sum->lsb != INT_MAX && finest < least_exponent(port) ? (double)count * eta(port) : 0;
    return of_weights * sum->sum_abs + of_products;
}

void mean_of_selected(const attention_rows *b, int64_t r, int64_t count, ball *o)
{
    const attention *const a = b->a;
    for (int64_t c = 0; c < a->width; c++) {
        sum_record sum = empty_sum();
        for (int64_t j = 0; j < b->seen[r]; j++)
            if (is_zero(b->weight[r * b->len + j])) add_term(&sum, value_at(a, j, c));
        ball const mean = quotient_of(a->rd, sum_of(a->rd, &sum), ball_of((double)count));
        o[c] = ball_widen(mean, lost_by_small_weights(a, &sum, count));
    }
}

/* ---- values ---- */

/* Balls as the nearest numbers and how far they may be from those. */
static void split_values(const attention *a, double *number, double *off)
{
    for (int64_t i = 0; i < a->len * a->width; i++) {
        ball const v = value_at(a, i / a->width, i % a->width);
        double low, rest;
        centre_split(v.c, &number[i], &low, &rest);
        bool const single = low == 0 && rest == 0 && v.r == 0;
        off[i] = single ? 0 : ball_sup(ball_widen(ball_of(fabs(low)), v.r + fabs(rest)));
    }
}

/* Ends of each column. */
static void find_ends(const attention *a, const value_bounds *v, double *low, double *high)
{
    for (int64_t i = 0; i < a->len * a->width; i++) {
        int64_t const j = i / a->width, c = i % a->width;
        double const value = v->number[j * v->stride + c], off = (v->off ? v->off[i] : 0) + 0x1p-50 * fabs(value);
        low[c] = j ? fmin(low[c], value - off) : value - off;
        high[c] = j ? fmax(high[c], value + off) : value + off;
    }
}

/* >= |v| of each column. largest: zeros. */
static void find_largest(const attention *a, const value_bounds *v, double *largest)
{
    if (!v->off) kernels_for_this_cpu()->column_sup(v->number, a->len, v->stride, a->width, largest);
    for (int64_t j = 0; v->off && j < a->len; j++)
        for (int64_t c = 0; c < a->width; c++)
            largest[c] = larger(largest[c], fabs(v->number[j * v->stride + c]) + v->off[j * a->width + c]);
    for (int64_t c = 0; c < a->width; c++) largest[c] *= 1 + 0x1p-50;
}

value_bounds value_bounds_of(const attention *a)
{
    scratch *const memory = a->rd->scratch;
    double *const largest = scratch_zeros(memory, a->width, sizeof *largest);
    double *const low = scratch_zeros(memory, a->width, sizeof *low), *const high =
                                                                          scratch_zeros(memory, a->width, sizeof *high);
    value_bounds v = {.number = a->number, .stride = a->stride, .largest = largest, .low = low, .high = high};
    v.origin = scratch_zeros(memory, a->width, sizeof *v.origin);
    if (a->value) {
        double *const number = scratch_take(memory, a->len * a->width, sizeof *number);
        double *const off = scratch_take(memory, a->len * a->width, sizeof *off);
        split_values(a, number, off);
        v.number = number, v.off = off, v.stride = a->width;
    }
    find_largest(a, &v, largest);
    if (a->rd->declared) find_ends(a, &v, low, high);
    return v;
}

/* ---- Lemma Softmax ---- */

enum { TILE = 64 }; /* keys */

/* Sums over the keys for one column of one row, in the order of the kernel: of P |v|, P E |v - o|, P |v - o|. */
typedef struct {
    double size, moved, spread;
} deviation;

/* The sums of a block. */
typedef struct {
    const attention_rows *b;
    const value_bounds *v;
    double *centre; /* (rows, width): of the means */
    deviation *of;  /* (rows, width) */
    deviation *off; /* (rows, width): the same sums of how far the values are off */
    double *P, *PE; /* one row's, a tile of keys */
} deviations;

/* weights_radius has what point P does to them. */
void round_weights(const attention_rows *b, int64_t r)
{
    (void)b, (void)r;
}

double rounding_of_weights(const attention *a, const softmax *m)
{
    if (!a->rd->declared || !(m->gamma > 0)) return 0;
    double const below = (double)m->n * floor_at_point(a->rd, a->P, a->output);
    return unit_at_point(a->rd, a->P, a->output) + below / ball_lower(m->sum);
}

/* One tile of keys and one row. */
static void deviate(const deviations *d, int64_t r, int64_t from, int64_t to)
{
    const kernels *const k = kernels_for_this_cpu();
    const attention_rows *const b = d->b;
    const value_bounds *const v = d->v;
    int64_t const width = b->a->width;
    double const l = 1 / ball_lower(b->of_row[r].sum) * (1 + 0x1p-40);
    for (int64_t j = from; j < to; j++) {
        d->P[j - from] = ball_sup(b->weight[r * b->len + j]) * l;
        d->PE[j - from] = d->P[j - from] * b->error[r * b->len + j];
    }
    k->deviate(d->P, d->PE, v->number + from * v->stride, to - from, v->stride, width, d->centre + r * width,
               (double *)(d->of + r * width));
    if (v->off)
        k->deviate(d->P, d->PE, v->off + from * width, to - from, width, width, v->origin,
                   (double *)(d->off + r * width));
}

static deviations deviations_of(const attention_rows *b, const value_bounds *v)
{
    scratch *const memory = b->a->rd->scratch;
    int64_t const cells = b->rows * b->a->width;
    deviations d = {b, v};
    d.centre = scratch_take(memory, cells, sizeof *d.centre);
    d.of = scratch_zeros(memory, cells, sizeof *d.of);
    d.off = scratch_zeros(memory, cells, sizeof *d.off);
    d.P = scratch_take(memory, TILE, sizeof *d.P);
    d.PE = scratch_take(memory, TILE, sizeof *d.PE);
    for (int64_t i = 0; i < cells; i++)
        if (b->of_row[i / b->a->width].n) d.centre[i] = (ball_lower(b->mean[i]) + ball_upper(b->mean[i])) / 2;
    return d;
}

static void sum_deviations(const deviations *d)
{
    const attention_rows *const b = d->b;
    for (int64_t from = 0; from < b->len; from += TILE)
        for (int64_t r = 0; r < b->rows; r++) {
            int64_t const to = b->of_row[r].n < from + TILE ? b->of_row[r].n : from + TILE;
            if (from < to) deviate(d, r, from, to);
        }
}

/* In the exact reading E is so small that a crude bound does. */
static void bound_deviations(const deviations *d)
{
    const double *const most = d->v->largest;
    int64_t const width = d->b->a->width;
    for (int64_t r = 0; r < d->b->rows; r++)
        for (int64_t c = 0; c < width; c++)
            d->of[r * width + c] = (deviation){most[c], 2 * most[c] * d->b->of_row[r].E, 2 * most[c]};
}

/* The sums for one column, over every point of the values. (Lemma Softmax, values that are balls) */
static deviation deviation_at(const deviations *d, int64_t r, int64_t c)
{
    const softmax *const m = &d->b->of_row[r];
    int64_t const i = r * d->b->a->width + c;
    double const slack = 1 + 0x1p-50 * (double)(m->n + 8);
    double const blur =
        d->b->mean[i].r * (1 + 0x1p-50) + 0x1p-50 * fabs(d->centre[i]); /* how far o is from the centre */
    deviation sums = d->of[i];
    const deviation off = d->off[i];
    sums.size = (sums.size + off.size) * slack;
    sums.moved = (sums.moved + off.moved) * slack + m->E * (d->b->a->rd->declared ? blur : 0);
    sums.spread = (sums.spread + off.size) * slack + blur;
    return sums;
}

/* What o may owe to all that underflows, in losses of one key. (Late: a scale or a code follows) */
static double amplified(const attention *a)
{
    return a->largest_scale > 0 ? 1 + 448 + a->largest_scale : 1;
}

/* How far the port's o may be from o by the errors of its weights. */
static double softmax_radius(const attention *a, const softmax *m, double o, const deviation *d, double largest)
{
    const ref_numerics *const port = a->rd->declared;
    double const n = (double)m->n, tiny = n * m->floor * 2 * largest;
    if (!port) return m->E < 0.9 ? (d->moved + tiny) / (1 - m->E) : (double)INFINITY;
    double const unit = unit_at_point(a->rd, a->P, a->output);
    double const each = fmax(u, m->coarse), div = quotient_error(a->rd, each);
    if (!(m->E + unit < 0.9) || !(m->gamma < 0.5) || !(m->merged < 0.5)) return (double)INFINITY;
    double const coarse = n * floor_at_point(a->rd, a->P, a->output) * 2 * largest; /* P below its normal numbers */
    double const size =
        d->size + d->moved + m->E * fabs(o) + coarse; /* >= the sum of |weight v| as the port has them */
    double const parts = m->parts > 1 ? (double)m->parts : 0;
    double const divided = parts > 0 ? div + div * (1 + m->gamma + div) : div; /* each part, and their sum */
    double const rounded =
        unit * fmax(size, d->spread + d->moved) + (m->gamma * (1 + unit) + divided + a->scale_after_sum) * size;
    double const first = (d->moved + rounded + coarse) / (1 - m->E - unit);
    double const lost = (2 * (n + parts) * eta(port) * amplified(a) + tiny) * 2;
    double const total = 2 * m->gamma + m->stored / (1 - m->stored) + m->merged / (1 - m->merged); /* what divides */
    double const handed_on =
        each * (parts > 0 ? size / (1 - m->E - unit) : fabs(o) + first); /* a numerator, or each part's */
    return (first + total * (fabs(o) + first) + handed_on * (1 + total) + lost) * (1 + 0x1p-40);
}

double weights_radius(const attention *a, const softmax *m, const weighted_sums *s)
{
    double const unit = unit_at_point(a->rd, a->P, a->output);
    double const coarse = (double)m->n * floor_at_point(a->rd, a->P, a->output) * 2 * s->largest;
    double const size = s->size + s->moved + m->E * s->o + coarse;
    if (!(m->E + unit < 0.9)) return INFINITY;
    return (s->moved + unit * fmax(size, s->spread + s->moved) + coarse) / (1 - m->E - unit) * (1 + 0x1p-40);
}

/* The same by the values alone: whatever the weights are, a mean lies between the least and the largest value. (Hull) */
static double hull_radius(const attention *a, const softmax *m, ball o, double low, double high, double largest)
{
    if (!a->rd->declared || !isfinite(m->E) || !(m->gamma < 0.5) || !(m->merged < 0.5)) return (double)INFINITY;
    double const each = fmax(u, m->coarse), div = quotient_error(a->rd, each), n = (double)m->n;
    double const unit = unit_at_point(a->rd, a->P, a->output), sums = 3 * m->gamma + 2 * (m->stored + m->merged);
    double const relative = unit + sums + 2 * div + each + a->scale_after_sum;
    double const coarse = n * (floor_at_point(a->rd, a->P, a->output) + m->floor) * 4 * largest;
    double const lost = 16 * n * eta(a->rd->declared) * amplified(a);
    double const apart = fmax(high - ball_lower(o), ball_upper(o) - low);
    return (apart + expm1(relative) * largest + coarse + lost) * (1 + 0x1p-40);
}

void widen_means(const attention_rows *b, const value_bounds *v, ball *o)
{
    scratch_piece *const mark = scratch_mark(b->a->rd->scratch);
    deviations const d = deviations_of(b, v);
    int64_t const width = b->a->width;
    if (b->a->rd->declared)
        sum_deviations(&d);
    else
        bound_deviations(&d);
    for (int64_t i = 0; i < b->rows * width; i++) {
        const softmax *const m = &b->of_row[i / width];
        if (!m->n) continue;
        deviation const sums = deviation_at(&d, i / width, i % width);
        int64_t const c = i % width;
        double const radius = softmax_radius(b->a, m, ball_sup(b->mean[i]), &sums, v->largest[c]);
        double const hull = hull_radius(b->a, m, b->mean[i], v->low[c], v->high[c], v->largest[c]);
        weighted_sums const s = {sums.size, sums.moved, sums.spread, ball_sup(b->mean[i]), v->largest[c]};
        o[i] = ball_widen(b->mean[i], radius < hull ? radius : hull);
        if (b->by_weights && radius < hull) b->by_weights[i] = weights_radius(b->a, m, &s);
    }
    scratch_back(b->a->rd->scratch, mark);
}
