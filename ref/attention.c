/*
 * See attention.h. What a port may do to o is not a quotient of two balls: an error that all weights share cancels. Lemma
 * Softmax states it in mean-value form, from the relative error E_j of each weight.
 */
#include "attention.h"

#include "kernel.h"
#include "scratch.h"
#include "softmax.h"

static const double u = 0x1p-24;         /* the softmax runs in binary32, or better */
static const double smallest = 0x1p-126; /* what flushing may remove */

enum { MOST_ROWS = 128, TILE = 64 };

/* The values: numbers, and how far each may be from its number. */
typedef struct {
    const double *number;
    int64_t stride;
    const double *off;    /* (len, width); NULL: not at all */
    const double *origin; /* (width) zeros */
    double *largest;      /* (width): >= |v| of each column */
} values;

/* Sums over the keys for one column of one row: of P |v|, P E |v - o|, P |v - o|. */
typedef struct {
    double size, moved, spread;
} deviation;

/* Rows that are in work together. */
typedef struct {
    const attention *a;
    const values *v;
    const row *query;
    const int64_t *seen;
    int64_t rows, len; /* keys that any of them sees */
    terms *product;    /* (rows, len): q . k */
    ball *weight;      /* (rows, len): scores, then e^(scores - maximum) */
    double *error;     /* (rows, len): E_j */
    softmax *m;        /* (rows) */
    ball *mean;        /* (rows, width) */
    double *centre;    /* of mean, as doubles */
    deviation *spread; /* like mean */
    deviation *off;    /* like mean: the same sums of how far the values are off */
    double *P, *PE;    /* one row's, a tile of keys */
} block;

/* ---- scores ---- */

/* Lemma Late: q . k_j as a port has it that sums products with codes, and scales the sums. */
static ball scaled_after_sum(const attention *a, const row *q, double q_sup, const terms *t, ball dot)
{
    double const n = (double)t->n, sum = a->scale_after_sum * t->sum_abs, growth = 1 + share_of(a->rd->port, t->n);
    bool const exact = ball_is_point(dot) && a->scale_after_sum == 0 && q->lsb > -100;
    if (!(n * q_sup * 448 * growth < 0x1p127)) return ball_any();
    return exact ? dot : ball_widen(dot, (sum + n * lost_in_one(a->rd->port) * (2 * a->largest_scale + 1)) * growth);
}

/* scale q . k_j. A port may scale q first: that rounds each product, unless q is made of powers of two. */
static ball score(const block *b, int64_t r, int64_t j, double scaled_first, double q_sup)
{
    const attention *const a = b->a;
    const terms *const t = &b->product[r * b->len + j];
    ball dot = sum_of(a->rd, t);
    if (a->rd->port && a->largest_scale > 0) dot = scaled_after_sum(a, &b->query[r], q_sup, t, dot);
    if (a->rd->port) dot = step(a->rd, ball_widen(dot, scaled_first * t->sum_abs));
    return at(a->rd, a->scores, a->output, ball_mul(dot, a->scale));
}

static void score_row(const block *b, int64_t r)
{
    const ref_numerics *const port = b->a->rd->port;
    const row *const q = &b->query[r];
    bool const powers = q->bits <= 1 && !q->radius;
    double const scaled_first = powers || !port ? 0 : u * (1 + share_of(port, q->n));
    double q_sup = q->max_abs * (1 + 0x1p-50);
    for (int64_t c = 0; q->radius && c < q->n; c++)
        q_sup = fmax(q_sup, (fabs(q->value[c]) + q->radius[c]) * (1 + 0x1p-50));
    for (int64_t j = 0; j < b->seen[r]; j++) b->weight[r * b->len + j] = score(b, r, j, scaled_first, q_sup);
}

/* ---- Lemma Softmax ---- */

/* Scores become weights e^(score - maximum); their errors go to b->error. */
static softmax weigh_row(const block *b, int64_t r)
{
    ball *const w = b->weight + r * b->len;
    double *const error = b->error + r * b->len;
    for (int64_t j = b->seen[r]; j < b->len; j++) w[j] = ball_of(0), error[j] = 0;
    return softmax_weigh(b->a->rd, w, error, b->seen[r]);
}

/* ln of the sum, as the port computes it; its weights may be rounded before they are added. */
static ball log_sum(const attention *a, const softmax *m)
{
    return softmax_lse(a->rd, m, a->rd->port && m->gathered > 0 ? unit_at_point(a->rd, a->P, a->output) : 0);
}

/* How far the port's o may be from o. */
static double softmax_radius(const attention *a, const softmax *m, double o, const deviation *d, double largest)
{
    const ref_numerics *const port = a->rd->port;
    double const n = (double)m->n, tiny = n * m->floor * 2 * largest;
    if (!port) return (d->moved + tiny) / (1 - m->E);
    double const unit = unit_at_point(a->rd, a->P, a->output);
    double const div = quotient_error(a->rd, u);
    if (!(m->E + unit < 0.9) || !(m->gathered < 0.5)) return (double)INFINITY;
    double const size = d->size + d->moved + m->E * fabs(o); /* >= the sum of |weight v| as the port has them */
    double const rounded =
        unit * fmax(size, d->spread + d->moved) + (m->gathered * (1 + unit) + div + u + a->scale_after_sum) * size;
    double const first = (d->moved + rounded) / (1 - m->E - unit);
    double const lost = (2 * n * lost_in_one(port) * (1 + a->largest_scale) + 4 * smallest + tiny) * 2;
    return (first + 2 * m->gathered * (fabs(o) + first) + lost) * (1 + 0x1p-40);
}

/* ---- Lemma Selection ---- */

static bool is_zero(ball b)
{
    return ball_is_point(b) && ball_sup(b) == 0;
}

/* With scores of exactly 0 for 2^k keys and vanishing ones for the others every weight is 1 or 0. Returns the number of keys
 * selected, or 0. The scores are still in b->weight. */
static int64_t selected(const block *b, int64_t r)
{
    const ref_numerics *const port = b->a->rd->port;
    const ball *const score = b->weight + r * b->len;
    int64_t count = 0;
    if (!port || !port->div.ieee) return 0;
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

/* The mean of the selected values. */
static void mean_row(const block *b, int64_t r, int64_t count, ball *o)
{
    const attention *const a = b->a;
    double const late = a->scale_after_sum > 0 ? a->scale_after_sum + unit_at_point(a->rd, a->P, a->output)
                                               : 0; /* weights are scaled, too */
    for (int64_t c = 0; c < a->width; c++) {
        terms sum = terms_none();
        for (int64_t j = 0; j < b->seen[r]; j++)
            if (is_zero(b->weight[r * b->len + j])) terms_add(&sum, value_at(a, j, c));
        ball const total = ball_widen(sum_of(a->rd, &sum), 2 * late * sum.sum_abs);
        o[c] = quotient_of(a->rd, total, ball_of((double)count));
    }
}

/* ---- a block of rows ---- */

/* Rows that see no key, and rows that select, are finished; the others get their weights. */
static void begin_row(const block *b, int64_t r, ball *o, ball *lse)
{
    int64_t const count = selected(b, r), width = b->a->width;
    softmax *const m = &b->m[r];
    if (b->seen[r] && !count) {
        *m = weigh_row(b, r);
        if (lse) lse[r] = log_sum(b->a, m);
        return;
    }
    for (int64_t c = 0; o && c < width; c++) o[r * width + c] = ball_of(0);
    if (count && o) mean_row(b, r, count, o + r * width);
    softmax const plain = {.n = b->seen[r], .maximum = ball_of(0), .sum = ball_of((double)count)};
    if (lse) lse[r] = count ? log_sum(b->a, &plain) : ball_any();
    for (int64_t j = 0; j < b->len; j++) b->weight[r * b->len + j] = ball_of(0);
}

/* One tile of keys and one row. */
static void deviate(const block *b, int64_t r, int64_t from, int64_t to)
{
    const kernels *const k = kernels_for_this_cpu();
    const values *const v = b->v;
    int64_t const width = b->a->width;
    double const l = 1 / ball_lower(b->m[r].sum) * (1 + 0x1p-40);
    for (int64_t j = from; j < to; j++) {
        b->P[j - from] = ball_sup(b->weight[r * b->len + j]) * l;
        b->PE[j - from] = b->P[j - from] * b->error[r * b->len + j];
    }
    k->deviate(b->P, b->PE, v->number + from * v->stride, to - from, v->stride, width, b->centre + r * width,
               (double *)(b->spread + r * width));
    if (v->off)
        k->deviate(b->P, b->PE, v->off + from * width, to - from, width, width, v->origin,
                   (double *)(b->off + r * width));
}

/* In the exact reading E is so small that a crude bound does. */
static void crude_spread(const block *b, int64_t r)
{
    int64_t const width = b->a->width;
    const double *const most = b->v->largest;
    for (int64_t c = 0; c < width; c++)
        b->spread[r * width + c] = (deviation){most[c], 2 * most[c] * b->m[r].E, 2 * most[c]};
}

static void find_spread(const block *b)
{
    const ref_numerics *const port = b->a->rd->port;
    for (int64_t from = 0; port && from < b->len; from += TILE)
        for (int64_t r = 0; r < b->rows; r++) {
            int64_t const to = b->m[r].n < from + TILE ? b->m[r].n : from + TILE;
            if (from < to) deviate(b, r, from, to);
        }
    for (int64_t r = 0; !port && r < b->rows; r++) crude_spread(b, r);
}

/* The sums for one column, over every point of the values. (Lemma Softmax, values that are balls) */
static deviation spread_at(const block *b, int64_t r, int64_t c)
{
    const softmax *const m = &b->m[r];
    int64_t const i = r * b->a->width + c;
    double const slack = 1 + 0x1p-50 * (double)(m->n + 8);
    double const blur = b->mean[i].r * (1 + 0x1p-50) + 0x1p-50 * fabs(b->centre[i]); /* how far o is from the centre */
    deviation d = b->spread[i];
    const deviation off = b->off[i];
    d.size = (d.size + off.size) * slack;
    d.moved = (d.moved + off.moved) * slack + m->E * (b->a->rd->port ? blur : 0);
    d.spread = (d.spread + off.size) * slack + blur;
    return d;
}

static void finish_row(const block *b, int64_t r, ball *o)
{
    for (int64_t c = 0; c < b->a->width; c++) {
        ball const mean = b->mean[r * b->a->width + c];
        deviation const d = spread_at(b, r, c);
        o[c] = ball_widen(mean, softmax_radius(b->a, &b->m[r], ball_sup(mean), &d, b->v->largest[c]));
    }
}

static void combine(const block *b)
{
    const attention *const a = b->a;
    bool const good = a->value ? ball_combine_balls(b->weight, b->rows, b->len, a->value, a->stride, a->width, b->mean)
                               : ball_combine(b->weight, b->rows, b->len, a->number, a->stride, a->width, b->mean);
    scratch_need(a->rd->scratch, good);
}

static void divide_row(const block *b, int64_t r)
{
    for (int64_t i = r * b->a->width; i < (r + 1) * b->a->width; i++) {
        b->mean[i] = ball_div(b->mean[i], b->m[r].sum);
        b->centre[i] = (ball_lower(b->mean[i]) + ball_upper(b->mean[i])) / 2;
    }
}

static void run_block(const block *b, ball *o, ball *lse)
{
    int64_t const width = b->a->width;
    ball_dots(b->query, b->rows, b->a->key, b->len, b->product);
    for (int64_t r = 0; r < b->rows; r++) {
        score_row(b, r);
        begin_row(b, r, o, lse);
    }
    if (!o) return;
    combine(b);
    for (int64_t r = 0; r < b->rows; r++)
        if (b->m[r].n) divide_row(b, r);
    find_spread(b);
    for (int64_t r = 0; r < b->rows; r++)
        if (b->m[r].n) finish_row(b, r, o + r * width);
}

static void take_block(block *b)
{
    scratch *const memory = b->a->rd->scratch;
    int64_t const pairs = b->rows * b->len, cells = b->rows * b->a->width;
    b->product = scratch_take(memory, pairs, sizeof *b->product);
    b->weight = scratch_take(memory, pairs, sizeof *b->weight);
    b->error = scratch_take(memory, pairs, sizeof *b->error);
    b->m = scratch_zeros(memory, b->rows, sizeof *b->m);
    b->mean = scratch_take(memory, cells, sizeof *b->mean);
    b->centre = scratch_zeros(memory, cells, sizeof *b->centre);
    b->spread = scratch_zeros(memory, cells, sizeof *b->spread);
    b->off = scratch_zeros(memory, cells, sizeof *b->off);
    b->P = scratch_take(memory, TILE, sizeof *b->P);
    b->PE = scratch_take(memory, TILE, sizeof *b->PE);
}

/* ---- values ---- */

/* Balls as the nearest numbers and how far they may be from those. */
static void split_values(const attention *a, double *number, double *off)
{
    for (int64_t i = 0; i < a->len * a->width; i++) {
        ball const v = value_at(a, i / a->width, i % a->width);
        double low, rest;
        centre_split(v.c, &number[i], &low, &rest);
        off[i] = ball_sup(ball_widen(ball_of(fabs(low)), v.r + fabs(rest)));
    }
}

static values values_of(const attention *a)
{
    scratch *const memory = a->rd->scratch;
    values v = {.number = a->number, .stride = a->stride};
    v.largest = scratch_zeros(memory, a->width, sizeof *v.largest);
    v.origin = scratch_zeros(memory, a->width, sizeof *v.origin);
    if (a->value) {
        double *const number = scratch_take(memory, a->len * a->width, sizeof *number);
        double *const off = scratch_take(memory, a->len * a->width, sizeof *off);
        split_values(a, number, off);
        v.number = number;
        v.off = off;
        v.stride = a->width;
    }
    for (int64_t j = 0; j < a->len; j++)
        for (int64_t c = 0; c < a->width; c++) {
            double const size = fabs(v.number[j * v.stride + c]) + (v.off ? v.off[j * a->width + c] : 0);
            v.largest[c] = fmax(v.largest[c], size * (1 + 0x1p-50));
        }
    return v;
}

static int64_t most_seen(const int64_t *seen, int64_t rows)
{
    int64_t most = 0;
    for (int64_t r = 0; r < rows; r++)
        if (seen[r] > most) most = seen[r];
    return most;
}

void attend(const attention *a, ball *o, ball *lse)
{
    scratch_piece *const mark = scratch_mark(a->rd->scratch);
    values const v = values_of(a);
    for (int64_t first = 0; first < a->rows; first += MOST_ROWS) {
        scratch_piece *const of_block = scratch_mark(a->rd->scratch);
        int64_t const rows = a->rows - first < MOST_ROWS ? a->rows - first : MOST_ROWS;
        block b = {.a = a, .v = &v, .query = a->query + first, .seen = a->seen + first, .rows = rows};
        b.len = most_seen(b.seen, rows);
        take_block(&b);
        run_block(&b, o ? o + first * a->width : NULL, lse ? lse + first : NULL);
        scratch_back(a->rd->scratch, of_block);
    }
    scratch_back(a->rd->scratch, mark);
}

ref_value lse_value(const attention *a, int64_t r, int point, ball lse)
{
    if (a->seen[r] == 0) return (ref_value){-HUGE_VAL, 0, 0};
    return value_of(at(a->rd, point, DSV3_F32, lse));
}
