/* See softmax_error.h. */
#include "softmax_error.h"

static const double u = 0x1p-24;         /* the softmax runs in binary32, or better */
static const double smallest = 0x1p-126; /* what flushing may remove */

score_range score_range_of(const ref_reading *rd, const ball *score, int64_t n)
{
    score_range range = {-INFINITY, -INFINITY, -INFINITY, 0, 0};
    for (int64_t j = 0; j < n; j++) {
        double const high = centre_up(score[j].c);
        if (high > range.max) range.max = high;
        if (!rd->declared) continue;
        range.least_max = fmax(range.least_max, ball_lower(score[j]));
        range.sup = fmax(range.sup, ball_sup(score[j]));
        range.greatest = fmax(range.greatest, ball_upper(score[j]));
    }
    range.top = fmax(fabs(range.greatest), fabs(range.least_max));
    return range;
}

void begin_errors(const ref_reading *rd, const score_range *range, softmax *m)
{
    reading_room room;
    if (!rd->declared) return;
    m->coarse = coarseness(reading_of(rd, REF_SOFTMAX, &room)->declared);
    if (!range) return;
    m->top = range->top;
    m->shift = fmax(range->greatest - range->max, range->max - range->least_max) * (1 + 0x1p-40);
}

/* Half an ulp of 1, of binary32 or of coarser arithmetic. */
static double unit_of(const softmax *m)
{
    return fmax(u, m->coarse);
}

bool vanishes(const ref_reading *rd, ball score, const score_range *range)
{
    return rd->declared && ball_upper(score) - range->least_max <= SOFTMAX_VANISHING && ball_sup(score) < 0x1p20;
}

/* ---- eta_j ---- */

/* Relative error of one computed e^(s_j - max): argument rounding plus declared exp error. The score's own error is added by the
 * caller. */
static double exp_error(const ref_numerics *port, double score_sup, double below, double max_sup)
{
    return u * (5 * (score_sup + max_sup) + port->exp.rel + port->exp.more * below);
}

static int64_t rescales(const ref_numerics *port, int64_t n)
{
    return port->rescales < 0 || port->rescales > n - 1 ? n - 1 : port->rescales;
}

/* How far coarse arithmetic moves s_j - max, a difference of the port's own numbers. Maxima of parts, and those that run, are any
 * numbers from s_j on; but the differences on their way, those of lse_i among them, add up to the last one and ln n. */
static double difference_error(const ref_reading *rd, const softmax *m, ball score, const score_range *range)
{
    reading_room room;
    if (m->parts > 1 || rescales(rd->declared, m->n) > 0)
        return m->coarse * (range->greatest - ball_lower(score)) * (1 + 0x1p-40);
    ball const x = ball_sub(score, ball_hull(range->least_max, range->greatest));
    ball const rounded = round_op(reading_of(rd, REF_SOFTMAX, &room), x);
    return fmax(ball_upper(rounded) - ball_upper(x), ball_lower(x) - ball_lower(rounded)) * (1 + 0x1p-40);
}

/* The difference and its exponential, each rounded; e^0 is 1. */
static double coarse_weight(const ref_reading *rd, const softmax *m, ball score, const score_range *range)
{
    if (m->coarse == 0 || ball_lower(score) == range->greatest) return 0;
    return m->coarse + difference_error(rd, m, score, range);
}

/* Moving a running sum to another maximum: each time a factor e^(m - m') with the errors of an exponential. */
static double rescale_error(const ref_numerics *port, const score_range *range, const softmax *m)
{
    double const moves = (double)rescales(port, m->n);
    if (moves == 0) return 0;
    return m->coarse * moves + u * moves * (port->exp.rel + 10 * range->sup);
}

/* ---- Lemma Parts ---- */

/* Every lse_i, and lse, lies between a score of the part and this much above the largest score of all. */
static double spread_of(int64_t n)
{
    return log((double)n) + 2;
}

/* How far a port's lse_i = m_i + ln l_i is off, or its lse; largest: >= the score's size and the maximum's. */
static double part_error(const ref_reading *rd, double largest, const softmax *m)
{
    double const most = spread_of(m->n);
    ref_function const log = declared(rd, CLAUSE_LOG)->log;
    return u * (log.rel * most + log.more + 4 * (largest + most)) + m->coarse * (1 + largest + 2 * most);
}

/* Relative error of e^(lse_i - lse); argument: the most of lse - lse_i, but for what exp_error has of it. */
static double merge_error(const ref_reading *rd, double largest, double argument, const softmax *m)
{
    double const most = spread_of(m->n);
    ref_function const exp = declared(rd, CLAUSE_EXP)->exp;
    return u * (6 * (largest + most) + exp.rel + exp.more * argument);
}

double exponent_error(const ref_reading *rd, ball score, const score_range *range, const softmax *m)
{
    double const own = score.r * (1 + 0x1p-40);
    const ref_numerics *const port = declared(rd, CLAUSE_EXP);
    if (!port) return own;
    double const below = range->greatest - ball_lower(score);
    double const sup = ball_sup(score),
                 of_scores = own + rescale_error(port, range, m) + coarse_weight(rd, m, score, range);
    if (m->parts <= 1) return of_scores + exp_error(port, sup, below, fabs(range->max));
    double const largest = fmax(sup, range->top); /* >= |m_i| */
    double const merging = part_error(rd, largest, m) + merge_error(rd, largest, spread_of(m->n), m);
    return of_scores + exp_error(port, sup, below, largest) + merging;
}

/* ---- E_j and their sums ---- */

/* e^eta - 1 <= eta + eta^2 for eta <= 1 */
static double grown(double eta)
{
    if (eta <= 1) return (eta + eta * eta) * (1 + 0x1p-40);
    return eta <= 700 ? ball_upper(ball_exp(ball_of(eta))) : (double)INFINITY;
}

double weight_error(const ref_reading *rd, ball *weight, double eta, softmax *m)
{
    (void)rd;
    double const p = centre_down(weight->c), own = weight->r, sup = ball_sup(*weight);
    weight->r = 0;
    if (p > 0x1p-900) return grown(eta + own / p * (1 + 0x1p-40));
    m->floor = fmax(m->floor, 2 * sup);
    return grown(eta);
}

/* The sum over parts; what the port's lse, and the weights of its sum, differ by from those of o; e^(lse_i - lse) flushed. */
static void merge_parts(const ref_reading *rd, softmax *m)
{
    m->floor += smallest;
    m->gamma += (double)m->parts * 2 * unit_of(m);
    double const entropy = spread_of(m->parts); /* >= the mean of lse - lse_i */
    m->merged = grown(part_error(rd, m->top, m) + 2 * merge_error(rd, m->top, entropy, m));
}

void finish_errors(const ref_reading *rd, const ball *w, softmax *m)
{
    (void)w;
    m->E *= (1 + 0x1p-50 * (double)(m->n + 8)) / ball_lower(m->sum);
    reading_room room;
    if (!rd->declared) return;
    m->floor += smallest;
    m->gamma = gamma_sum(declared(rd, CLAUSE_ACC), m->n) +
               (double)rescales(declared(rd, CLAUSE_RESCALES), m->n) * 2 * unit_of(m);
    m->stored = accumulates_wider(reading_of(rd, REF_SOFTMAX, &room)->declared) ? unit_of(m) : 0;
    if (m->parts > 1) merge_parts(rd, m);
}

/* >= |ln of the sum| of a port that has coarse arithmetic, whose own maximum makes the sum. */
static double largest_log(const softmax *m, ball log_sum)
{
    return m->parts > 1 ? spread_of(m->n) : ball_sup(log_sum) + m->shift;
}

double lse_error(const ref_reading *rd, const softmax *m, ball log_sum, ball lse, double rounded)
{
    if (!(m->E < 1e6) || !(m->gamma < 0.5) || !(rounded < 0.9)) return (double)INFINITY;
    double r = 2 * m->gamma + 2 * (double)m->n * m->floor + m->E + rounded / (1 - rounded);
    if (!rd->declared) return r;
    r += log_error(rd, log_sum) + u * (3 * (ball_sup(m->maximum) + ball_sup(lse)));
    r += m->stored / (1 - m->stored);
    return m->coarse > 0 ? r + m->coarse * (largest_log(m, log_sum) + r) : r;
}
