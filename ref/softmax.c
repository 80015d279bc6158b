/* See softmax.h; what a port may do to each step is in softmax_error.h. */
#include "softmax.h"

#include "softmax_error.h"

#define VANISHED (-1.0) /* no error is */

softmax softmax_of_zeros(const ref_reading *rd, int64_t n, int64_t selected)
{
    softmax m = {.n = n, .maximum = ball_of(0), .sum = ball_of((double)selected)};
    begin_errors(rd, NULL, &m);
    return m;
}

bool softmax_selects_one(const ball *score, int64_t n)
{
    int64_t zeros = 0;
    for (int64_t j = 0; j < n; j++) {
        bool const zero = ball_is_point(score[j]) && ball_sup(score[j]) == 0;
        if (!zero && !(ball_upper(score[j]) <= SOFTMAX_VANISHING)) return false;
        zeros += zero;
    }
    return zeros == 1;
}

softmax softmax_weigh(const ref_reading *rd, ball *w, double *error, int64_t n, int64_t parts)
{
    score_range const range = score_range_of(rd, w, n);
    softmax m = {.n = n, .parts = parts, .maximum = ball_of(range.max)};
    begin_errors(rd, &range, &m);
    for (int64_t j = 0; j < n; j++) {
        error[j] = vanishes(rd, w[j], &range) ? VANISHED : exponent_error(rd, w[j], &range, &m);
        w[j].r = 0;
    }
    ball_sub_all(w, n, m.maximum); /* x_j = s_j - max */
    for (int64_t j = 0; j < n; j++) {
        bool const vanished = error[j] == VANISHED;
        if (vanished) m.floor = 0x1p-990;
        error[j] = vanished ? 0 : error[j] + w[j].r;
        w[j] = vanished ? ball_of(SOFTMAX_VANISHING) : (ball){w[j].c, 0};
    }
    ball_exp_all(w, n); /* w_j = e^x_j */
    for (int64_t j = 0; j < n; j++) {
        error[j] = weight_error(rd, &w[j], error[j], &m);
        m.E += ball_sup(w[j]) * error[j];
    }
    m.sum = ball_sum(w, n);
    finish_errors(rd, w, &m);
    return m;
}

ball softmax_lse(const ref_reading *rd, const softmax *m, double rounded)
{
    ball const log_sum = ball_log(m->sum), lse = ball_add(log_sum, m->maximum);
    return off_by(rd, lse, lse_error(rd, m, log_sum, lse, rounded));
}
