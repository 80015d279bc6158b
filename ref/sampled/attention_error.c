/* What a port that is drawn does to softmax attention. See ../attention_error.h. */
#include "../attention_error.h"

#include "../scratch.h"
#include "accumulate.h"
#include "draw.h"

static bool drawn(const attention *a)
{
    return a->rd->declared && a->rd->sample;
}

/* ---- scores ---- */

query_way scale_the_sum(const attention *a, const operand *q)
{
    return (query_way){*q, a->scale, 0, false};
}

scaling scaling_of(const attention *a)
{
    ball const ln2 = ball_log(ball_of(2));
    return (scaling){a, round_op(a->rd, ball_div(a->scale, ln2)), ln2};
}

/* Scale q, which a port may have in base 2: then another number is rounded. */
ball scaled_entry(const scaling *s, ball v)
{
    const attention *const a = s->a;
    bool const open = drawn(a) && !declared_at(a->rd, a->scale_q).must;
    if (!open || !way_of(a->rd->sample, MATTER_BASE, 2))
        return round_at(a->rd, a->scale_q, a->output, ball_mul(a->scale, v));
    return ball_mul(round_at(a->rd, a->scale_q, a->output, ball_mul(s->folded, v)), s->ln2);
}

query_way scale_the_query(const scaling *s, const operand *q)
{
    scratch *const memory = s->a->rd->scratch;
    ball *const entry = scratch_take(memory, q->n, sizeof *entry);
    double *const parts = scratch_take(memory, q->n, sizeof *parts);
    for (int64_t c = 0; c < q->n; c++) entry[c] = scaled_entry(s, ball_of(q->value[c]));
    return (query_way){operand_of_balls(entry, q->n, parts), ball_of(1), 0, false};
}

ball dot_of(const attention *a, const query_way *q, const sum_record *product)
{
    (void)q;
    return round_op(a->rd, sum_of(a->rd, product));
}

int64_t most_parts(const ref_reading *rd, int64_t seen)
{
    (void)rd, (void)seen;
    return 1;
}

int64_t count_selected(const attention_rows *b, int64_t r)
{
    (void)b, (void)r;
    return 0;
}

void mean_of_selected(const attention_rows *b, int64_t r, int64_t count, ball *o)
{
    (void)r, (void)count; /* none is selected */
    for (int64_t c = 0; c < b->a->width; c++) o[c] = ball_any();
}

/* ---- weights ---- */

double rounding_of_weights(const attention *a, const softmax *m)
{
    (void)a, (void)m;
    return 0;
}

/* Beside which maximum weights are rounded: the row's, that of a tile, the largest of its part so far, or another; or behind the
 * division by their sum. */
enum { OF_ROW, OF_TILE, SO_FAR, ANY_MAXIMUM, DIVIDED };

/* Four of sixteen ports each; the row's has but one, and three divide: where keys are few the first three ways are one. */
static int maximum_of(const ref_sample *port)
{
    int const way = way_of(port, MATTER_MAXIMUM, 16);
    return way < 3 ? DIVIDED : way / 4;
}

static double largest(const ball *w, int64_t n)
{
    double most = 0;
    for (int64_t j = 0; j < n; j++) most = fmax(most, w[j].c.hi);
    return most;
}

/* A softmax of its own, eager: weights are divided by their sum before they are rounded, and nothing is divided behind it. */
static bool divides_first(const attention_rows *b)
{
    return maximum_of(b->a->rd->sample) == DIVIDED;
}

/* e^d, times which a weight is rounded, and which it is divided by again: d is the row's maximum less another one. For any other it is
 * drawn for each tile. */
static double reference_of(const attention_rows *b, int64_t r, int64_t part, int64_t first, int64_t end)
{
    const ref_sample *const port = b->a->rd->sample;
    const ball *const w = b->weight + r * b->len;
    int const maximum = maximum_of(port);
    if (maximum == OF_ROW) return 1;
    if (maximum == DIVIDED) return 1 / b->of_row[r].sum.c.hi;
    if (maximum == ANY_MAXIMUM) {
        uint64_t const row = key_of(b->of_row[r].sum.c.hi);
        return exp(log(2) * (draw(port, key_with(row, (uint64_t)first)) + 1) / 2);
    }
    int64_t const from = maximum == OF_TILE ? first : part;
    double const most = largest(w + from, end - from);
    return most > 0 ? 1 / most : 1;
}

/* The weights from first to end - 1. */
static void round_tile(const attention_rows *b, int64_t r, double e, int64_t first, int64_t end)
{
    ball *const w = b->weight + r * b->len;
    for (int64_t j = first; j < end; j++)
        w[j] = ball_div(cast_at(b->a->rd, b->a->P, b->a->output, ball_of(w[j].c.hi * e)), ball_of(e));
}

static int64_t least_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Tiles are of a length that belongs to the port, and end where a part does. */
static void round_row(const attention_rows *b, int64_t r, int64_t parts)
{
    static const int64_t tiles[] = {16, 64, 128, INT64_MAX};
    int64_t const n = b->seen[r], length = (n + parts - 1) / parts,
                  tile = least_of(tiles[way_of(b->a->rd->sample, MATTER_TILE, 4)], length);
    for (int64_t part = 0; part < n; part += length) {
        int64_t const part_end = least_of(part + length, n);
        for (int64_t first = part; first < part_end; first += tile) {
            int64_t const end = least_of(first + tile, part_end);
            round_tile(b, r, reference_of(b, r, part, first, end), first, end);
        }
    }
}

/* Keys are taken in so many parts; where one has them all, it is merged all the same. */
static int64_t parts_of(const attention_rows *b)
{
    static const int64_t ways[] = {1, 1, 2, 4, 8, 16};
    const ref_sample *const port = b->a->rd->sample;
    int64_t const most = declared(b->a->rd, CLAUSE_PARTS)->parts;
    int64_t const open = ways[way_of(port, MATTER_PARTS, 6)],
                  told = way_of(port, MATTER_PARTS, 2) ? most : (most + 1) / 2;
    return most < 0 ? open : told;
}

/* The error of e^(lse of a part - maximum), relative, where that part's weights add up to sum. */
static double error_of_part(const attention_rows *b, int64_t r, double sum)
{
    const ref_sample *const port = b->a->rd->sample;
    const ref_reading *const rd = b->a->rd;
    double const maximum = b->of_row[r].maximum.c.hi, lse = maximum + log(sum);
    uint64_t const key = key_with(key_of(sum), key_of(maximum));
    double const of_log = log_error(rd, ball_of(log(sum))) * leaning(port, CLAUSE_LOG, key);
    double const of_exp =
        function_error(rd, CLAUSE_EXP, &declared(rd, CLAUSE_EXP)->exp, fabs(log(sum))) * leaning(port, CLAUSE_EXP, key);
    double const of_rounding = (fabs(maximum) + fabs(lse)) * draw(port, key) * 0x1p-24;
    return of_log + of_exp + of_rounding;
}

/* Each part's weights are off alike. */
static void take_in_parts(const attention_rows *b, int64_t r, int64_t parts)
{
    int64_t const n = b->seen[r], length = (n + parts - 1) / parts;
    for (int64_t first = 0; first < n && parts > 1; first += length) {
        ball *const w = b->weight + r * b->len + first;
        int64_t const m = n - first < length ? n - first : length;
        double const sum = ball_sum(w, m).c.hi;
        if (sum > 0) ball_mul_all(w, m, ball_of(1 + error_of_part(b, r, sum)));
    }
}

/* The sum adds the weights before they are rounded, or behind it. */
void round_weights(const attention_rows *b, int64_t r)
{
    if (!drawn(b->a)) return;
    ball *const w = b->weight + r * b->len;
    int64_t const parts = parts_of(b);
    bool const adds_rounded = way_of(b->a->rd->sample, MATTER_SUM, 2) && !divides_first(b);
    ball const kept = ball_sum(w, b->seen[r]);
    round_row(b, r, parts);
    ball const rounded = ball_sum(w, b->seen[r]);
    take_in_parts(b, r, parts);
    if (!ball_is_any(rounded) && rounded.c.hi > 0) {
        ball const in_parts = ball_div(ball_sum(w, b->seen[r]), rounded);
        ball *const sum = &b->of_row[r].sum;
        *sum = ball_mul(*sum, in_parts);
        if (adds_rounded) *sum = ball_mul(*sum, ball_div(rounded, kept));
    }
}

/* ---- values ---- */

value_bounds value_bounds_of(const attention *a)
{
    value_bounds v = {.number = a->number, .stride = a->stride};
    if (!a->value) return v;
    double *const number = scratch_take(a->rd->scratch, a->len * a->width, sizeof *number);
    for (int64_t i = 0; i < a->len * a->width; i++) {
        ball const e = a->value[i / a->width * a->stride + i % a->width];
        number[i] = ball_is_any(e) ? (double)NAN : e.c.hi;
    }
    v.number = number, v.stride = a->width;
    return v;
}

double weights_radius(const attention *a, const softmax *m, const weighted_sums *s)
{
    (void)a, (void)m, (void)s;
    return 0;
}

/* Of the terms of sum_j w_j v_j, for each column of a row: all but their sum. */
static void moments_of_row(const attention_rows *b, const value_bounds *v, int64_t r, moments *of)
{
    int64_t const width = b->a->width;
    for (int64_t c = 0; c < width; c++) of[c] = (moments){.n = b->seen[r]};
    for (int64_t j = 0; j < b->seen[r]; j++) {
        double const w = b->weight[r * b->len + j].c.hi;
        const double *const value = v->number + j * v->stride;
        for (int64_t c = 0; c < width; c++) {
            double const term = w * value[c];
            of[c].squares += term * term;
            of[c].moment += (double)j * term;
            of[c].signs += signum(term);
        }
    }
}

/* Each part's o was divided; parts are merged by e^(lse of a part - lse), or are divided by the sum of those once more. */
static ball merged(const attention_rows *b, int64_t r, ball o)
{
    if (parts_of(b) < 2) return o;
    if (way_of(b->a->rd->sample, MATTER_MERGE, 2)) return quotient_of(b->a->rd, o, ball_of(1));
    return ball_mul(o, ball_of(1 - error_of_part(b, r, b->of_row[r].sum.c.hi)));
}

void widen_means(const attention_rows *b, const value_bounds *v, ball *o)
{
    int64_t const width = b->a->width;
    scratch_piece *const mark = scratch_mark(b->a->rd->scratch);
    moments *const of = scratch_take(b->a->rd->scratch, width, sizeof *of);
    for (int64_t r = 0; r < b->rows; r++) {
        if (!b->of_row[r].n) continue;
        if (drawn(b->a)) moments_of_row(b, v, r, of);
        for (int64_t c = 0; c < width; c++) {
            int64_t const i = r * width + c;
            o[i] = b->mean[i];
            if (!drawn(b->a) || ball_is_any(o[i])) continue;
            of[c].total = o[i].c.hi * b->of_row[r].sum.c.hi;
            double const sum = accumulated(b->a->rd->sample, &declared(b->a->rd, CLAUSE_ACC)->acc, &of[c]);
            o[i] = merged(b, r, quotient_of(b->a->rd, ball_of(sum), b->of_row[r].sum));
        }
    }
    scratch_back(b->a->rd->scratch, mark);
}
