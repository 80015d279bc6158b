/* See softmax.h. */
#include "softmax.h"

static const double u = 0x1p-24;         /* the softmax runs in binary32, or better */
static const double smallest = 0x1p-126; /* what flushing may remove */

/* |error| of the argument of each exponential, and of its result, relative; beyond what the scores are off by. */
static double exponent_error(const ref_numerics *port, double score_sup, double below, double max_sup)
{
    return u * (5 * (score_sup + max_sup) + port->exp.rel + port->exp.more * below);
}

static int64_t rescales(const ref_numerics *port, int64_t n)
{
    return port->rescales < 0 || port->rescales > n - 1 ? n - 1 : port->rescales;
}

/* Moving a running sum to another maximum: each time a factor e^(m - m') with the errors of an exponential. */
static double rescale_error(const ref_numerics *port, double range, double sup, int64_t n)
{
    double const moves = port ? (double)rescales(port, n) : 0;
    if (moves == 0) return 0;
    return u * (moves * (port->exp.rel + 10 * sup) + (port->exp.more + 1) * range);
}

/* e^eta - 1 <= eta + eta^2 for eta <= 1 */
static double grown(double eta)
{
    if (eta <= 1) return (eta + eta * eta) * (1 + 0x1p-40);
    return eta <= 700 ? ball_upper(ball_exp(ball_of(eta))) : (double)INFINITY;
}

/* Is e^(score - maximum) 0 in binary64 for every score of the ball, the maximum being at least `least`? */
static bool vanishes(ball score, double least)
{
    return ball_upper(score) - least <= SOFTMAX_VANISHING && ball_sup(score) < 0x1p20;
}

/* The arguments of the exponentials; what each is off by goes to error[]. */
static void shift_scores(const ref_reading *rd, ball *w, double *error, softmax *m)
{
    const ref_numerics *const port = declared(rd, CLAUSE_EXP);
    double max = -INFINITY, least = -INFINITY, min = INFINITY, sup = 0;
    for (int64_t j = 0; j < m->n; j++) {
        double const high = ball_upper((ball){w[j].c, 0});
        if (high > max) max = high;
        if (!port) continue;
        least = fmax(least, ball_lower(w[j]));
        min = fmin(min, high);
        sup = fmax(sup, ball_sup(w[j]));
    }
    m->maximum = ball_of(max);
    double const moved = rescale_error(port, max - min, sup, m->n);
    for (int64_t j = 0; j < m->n; j++) {
        error[j] = 0;
        if (port && vanishes(w[j], least)) {
            m->floor = 0x1p-990;
            w[j] = ball_of(SOFTMAX_VANISHING);
            continue;
        }
        error[j] = w[j].r * (1 + 0x1p-40) + moved;
        if (port) error[j] += exponent_error(port, ball_sup(w[j]), max - ball_lower((ball){w[j].c, 0}), fabs(max));
        w[j] = ball_sub((ball){w[j].c, 0}, m->maximum);
        error[j] += w[j].r;
        w[j].r = 0;
    }
}

softmax softmax_weigh(const ref_reading *rd, ball *w, double *error, int64_t n)
{
    softmax m = {.n = n, .sum = ball_of(0)};
    shift_scores(rd, w, error, &m);
    ball_exp_all(w, n);
    for (int64_t j = 0; j < n; j++) {
        double const p = ball_lower((ball){w[j].c, 0});
        if (p > 0x1p-900)
            error[j] = grown(error[j] + w[j].r / p * (1 + 0x1p-40));
        else
            error[j] = grown(error[j]), m.floor = fmax(m.floor, 2 * ball_sup(w[j]));
        m.E += ball_sup((ball){w[j].c, 0}) * error[j];
        w[j].r = 0;
        m.sum = ball_add(m.sum, w[j]);
    }
    m.E *= (1 + 0x1p-50 * (double)(n + 8)) / ball_lower(m.sum);
    if (!rd->port) return m;
    m.floor += smallest;
    m.gathered = share_of(rd->port, n) + (double)rescales(declared(rd, CLAUSE_RESCALES), n) * 2 * u;
    return m;
}

ball softmax_lse(const ref_reading *rd, const softmax *m, double rounded)
{
    ball const log_l = ball_log(m->sum), lse = ball_add(log_l, m->maximum);
    if (!(m->E < 0.5) || !(m->gathered < 0.5)) return ball_any();
    double r = 2 * m->gathered + 2 * (double)m->n * m->floor + m->E / (1 - m->E) + rounded;
    if (rd->port) r += log_error(rd, log_l) + u * (3 * (ball_sup(m->maximum) + ball_sup(lse)));
    return ball_widen(lse, r);
}
