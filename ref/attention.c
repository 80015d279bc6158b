/* See attention.h; what a port may do to each step is in attention_error.h. */
#include "attention.h"

#include "attention_error.h"
#include "scratch.h"

enum {
    MOST_ROWS = 128,
    NEAR = 64, /* keys that stay near while every query uses them */
};

/* s_j = scale q . k_j */
static void score(const attention_rows *b, const query_way *q, ball *s)
{
    const attention *const a = b->a;
    for (int64_t from = 0; from < b->len; from += NEAR)
        for (int64_t r = 0; r < b->rows; r++)
            for (int64_t j = from; j < b->seen[r] && j < from + NEAR; j++) {
                sum_record const product = ball_dot(&q[r].query, &a->key[j]);
                ball const dot = dot_of(a, &q[r], &product);
                s[r * b->len + j] = round_at(a->rd, a->scores, a->output, ball_mul(dot, q[r].scale));
            }
}

/* Without an error. */
static void score_exactly(const attention_rows *b)
{
    const attention *const a = b->a;
    ball_dots(a->rd->scratch, b->query, b->rows, a->key, b->len, b->weight);
    ball_mul_all(b->weight, b->rows * b->len, a->scale);
}

/* The scores become the weights: scale (q . k_j), (scale q) . k_j, or what either may give. (Scaled) */
static void score_rows(const attention_rows *b)
{
    const attention *const a = b->a;
    scratch *const memory = a->rd->scratch;
    if (!a->rd->declared) {
        score_exactly(b);
        return;
    }
    ref_scaled const scaled = declared(a->rd, CLAUSE_SCALED)->scaled;
    query_way *const way = scratch_take(memory, b->rows, sizeof *way);
    for (int64_t r = 0; r < b->rows; r++) way[r] = scale_the_sum(a, &b->query[r]);
    if (scaled != REF_SCALED_Q) score(b, way, b->weight);
    if (scaled == REF_SCALED_SCORES) return;
    ball *const first = scratch_take(memory, b->rows * b->len, sizeof *first);
    scaling const s = scaling_of(a);
    for (int64_t r = 0; r < b->rows; r++) way[r] = scale_the_query(&s, &b->query[r]);
    score(b, way, first);
    for (int64_t r = 0; r < b->rows; r++)
        for (int64_t i = r * b->len; i < r * b->len + b->seen[r]; i++)
            b->weight[i] = scaled == REF_SCALED_Q ? first[i] : either(a->rd, 1, b->weight[i], first[i]);
}

void attention_scores(const attention *a, ball *s)
{
    scratch_piece *const mark = scratch_mark(a->rd->scratch);
    attention_rows const all = {
        .a = a, .query = a->query, .seen = a->seen, .rows = a->rows, .len = a->len, .weight = s};
    score_rows(&all);
    scratch_back(a->rd->scratch, mark);
}

/* A row that sees no key, or selects some, needs no softmax: it gets its o and its lse. */
static void finish_row(const attention_rows *b, int64_t r, int64_t selected, ball *o, ball *lse)
{
    int64_t const width = b->a->width;
    softmax const ones = softmax_of_zeros(b->a->rd, b->seen[r], selected);
    for (int64_t c = 0; o && c < width; c++) o[r * width + c] = ball_of(0);
    if (selected && o) mean_of_selected(b, r, selected, o + r * width);
    if (lse) lse[r] = selected ? softmax_lse(b->a->rd, &ones, rounding_of_weights(b->a, &ones)) : ball_any();
    for (int64_t j = 0; j < b->len; j++) b->weight[r * b->len + j] = ball_of(0);
}

/* w_j = e^(s_j - max_j s_j),  lse = ln sum_j w_j + max_j s_j */
static void weigh_row(const attention_rows *b, int64_t r, ball *lse)
{
    ball *const w = b->weight + r * b->len;
    double *const error = b->error + r * b->len;
    for (int64_t j = b->seen[r]; j < b->len; j++) w[j] = ball_of(0), error[j] = 0;
    b->of_row[r] = softmax_weigh(b->a->rd, w, error, b->seen[r], most_parts(b->a->rd, b->seen[r]));
    round_weights(b, r);
    if (lse) lse[r] = softmax_lse(b->a->rd, &b->of_row[r], rounding_of_weights(b->a, &b->of_row[r]));
}

/* sum_j w_j v_j / sum_j w_j */
static void combine(const attention_rows *b)
{
    const attention *const a = b->a;
    scratch *const memory = a->rd->scratch;
    weight_rows const w = {b->weight, b->rows, b->len, b->len};
    if (a->value)
        ball_combine_balls(memory, &w, a->value, a->stride, a->width, b->mean);
    else
        ball_combine(memory, &w, a->number, a->stride, a->width, b->mean);
    for (int64_t i = 0; i < b->rows * a->width; i++)
        if (b->of_row[i / a->width].n) b->mean[i] = ball_div(b->mean[i], b->of_row[i / a->width].sum);
}

static int64_t most_seen(const int64_t *seen, int64_t rows)
{
    int64_t most = 0;
    for (int64_t r = 0; r < rows; r++)
        if (seen[r] > most) most = seen[r];
    return most;
}

/* Rows [first, first + rows). */
static void attend_rows(const attention *a, const value_bounds *v, int64_t first, int64_t rows, ball *o, ball *lse,
                        double *by_weights)
{
    scratch *const memory = a->rd->scratch;
    attention_rows b = {.a = a, .query = a->query + first, .seen = a->seen + first, .rows = rows};
    b.by_weights = by_weights;
    b.len = most_seen(b.seen, rows);
    b.weight = scratch_take(memory, rows * b.len, sizeof *b.weight);
    b.error = scratch_take(memory, rows * b.len, sizeof *b.error);
    b.of_row = scratch_zeros(memory, rows, sizeof *b.of_row);
    b.mean = scratch_take(memory, rows * a->width, sizeof *b.mean);

    score_rows(&b);
    for (int64_t r = 0; r < rows; r++) {
        int64_t const selected = count_selected(&b, r);
        if (selected || !b.seen[r])
            finish_row(&b, r, selected, o, lse);
        else
            weigh_row(&b, r, lse);
    }
    if (!o) return;
    combine(&b);
    widen_means(&b, v, o);
}

static void attend_all(const attention *a, ball *o, ball *lse, double *by_weights)
{
    scratch_piece *const mark = scratch_mark(a->rd->scratch);
    value_bounds const v = value_bounds_of(a);
    for (int64_t first = 0; first < a->rows; first += MOST_ROWS) {
        scratch_piece *const of_rows = scratch_mark(a->rd->scratch);
        int64_t const rows = a->rows - first < MOST_ROWS ? a->rows - first : MOST_ROWS;
        attend_rows(a, &v, first, rows, o ? o + first * a->width : NULL, lse ? lse + first : NULL,
                    by_weights ? by_weights + first * a->width : NULL);
        scratch_back(a->rd->scratch, of_rows);
    }
    scratch_back(a->rd->scratch, mark);
}

void attend(const attention *a, ball *o, ball *lse)
{
    attend_all(a, o, lse, NULL);
}

void attend_apart(const attention *a, ball *o, ball *lse, double *by_weights)
{
    for (int64_t i = 0; i < a->rows * a->width; i++) by_weights[i] = 0;
    attend_all(a, o, lse, by_weights);
}

ref_value lse_value(const attention *a, int64_t r, int point, ball lse)
{
    if (a->seen[r] == 0) return (ref_value){-HUGE_VAL, 0, 0};
    reading_room room;
    return value_of(round_at(reading_of(a->rd, REF_SOFTMAX, &room), point, DSV3_F32, lse));
}
