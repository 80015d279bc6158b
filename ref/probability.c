/* See probability.h. */
#include "probability.h"

static const double u = 0x1p-24;

/* The reference's own errors, those of the exponentials. */
static ball exactly_divided(const softmax *m, ball quotient, double error)
{
    double const share = (error + m->E) / (1 - m->E) * (1 + 0x1p-40);
    return m->E < 0.5 ? ball_widen(quotient, share * ball_sup(quotient) + 2 * m->floor) : ball_any();
}

ball probability_divided(const ref_reading *rd, const softmax *m, ball weight, double error)
{
    ball const exact = ball_div(weight, m->sum);
    if (!rd->declared) return exactly_divided(m, exact, error);
    double const below = (1 - m->E) * (1 - 2 * m->gamma) * (1 - m->stored) * (1 - m->merged);
    if (!(m->E < 1) || !(m->merged < 1) || !(below > 0.1)) return ball_any();
    double const above = (1 + error) * (1 + quotient_error(rd, fmax(u, m->coarse)));
    double const share = (above / below - 1) * (1 + 0x1p-40) + 0x1p-50;
    return off_by(rd, exact, share * ball_sup(exact) + 2 * (double)(m->n + 1) * m->floor);
}

ball probability_from_lse(const ref_reading *rd, const softmax *m, ball score, ball lse)
{
    double const size = ball_sup(score) + ball_sup(lse) + ball_sup(m->maximum) + m->shift;
    return exp_of(rd, off_by(rd, ball_sub(score, lse), (6 * u + 2 * m->coarse) * size), 0);
}

ball probability_selected(const ref_reading *rd, const ref_reading *inner)
{
    softmax const one = softmax_of_zeros(rd, 1, 1);
    ball const quotient = quotient_of(inner, ball_of(1), ball_of(1));
    return either(rd, 1, quotient, probability_from_lse(inner, &one, ball_of(0), softmax_lse(rd, &one, 0)));
}
