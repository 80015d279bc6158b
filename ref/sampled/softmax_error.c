/* What a port that is drawn does to a softmax. See ../softmax_error.h. */
#include "../softmax_error.h"

#include "accumulate.h"
#include "draw.h"

static const double u = 0x1p-24;

score_range score_range_of(const ref_reading *rd, const ball *score, int64_t n)
{
    (void)rd;
    double max = -INFINITY;
    for (int64_t j = 0; j < n; j++) max = fmax(max, ball_upper(score[j]));
    return (score_range){max, max, max, fabs(max), fabs(max)};
}

void begin_errors(const ref_reading *rd, const score_range *range, softmax *m)
{
    (void)rd;
    m->top = range ? range->top : 0;
}

bool vanishes(const ref_reading *rd, ball score, const score_range *range)
{
    return rd->declared && ball_upper(score) - range->max <= SOFTMAX_VANISHING;
}

/* v as the softmax's arithmetic has it, where that is coarser than binary32. */
static ball coarsened(const ref_reading *rd, ball v)
{
    reading_room room;
    const ref_reading *const inner = reading_of(rd, REF_SOFTMAX, &room);
    return digits_of(inner->declared->arith) < 24 ? round_op(inner, v) : v;
}

/* Half an ulp of 1 in it, or 0. */
static double coarse_unit(const ref_reading *rd)
{
    reading_room room;
    dsv3_dtype const arith = reading_of(rd, REF_SOFTMAX, &room)->declared->arith;
    return digits_of(arith) < 24 ? ref_half_ulp(arith, 1) : 0;
}

/* How far the exponential may be off, relative. */
double exponent_error(const ref_reading *rd, ball score, const score_range *range, const softmax *m)
{
    (void)m;
    if (!rd->declared || !rd->sample) return 0;
    ref_function const *const fn = &declared(rd, CLAUSE_EXP)->exp;
    bool const known = ref_has(rd->declared->declared, CLAUSE_EXP);
    double const below = range->max - ball_lower(score);
    return u * ((known ? fn->rel : 2) + (known ? fmax(fn->more, 1) : 1) * below);
}

double weight_error(const ref_reading *rd, ball *weight, double eta, softmax *m)
{
    (void)m;
    if (!rd->declared || !rd->sample || ball_is_any(*weight)) return 0;
    if (coarse_unit(rd) > 0) *weight = coarsened(rd, ball_exp(coarsened(rd, ball_log(*weight))));
    weight->c.hi *= 1 + eta * leaning(rd->sample, CLAUSE_EXP, key_of(weight->c.hi));
    return 0;
}

/* The sum of the weights, in some order. */
void finish_errors(const ref_reading *rd, const ball *w, softmax *m)
{
    sum_record sum = empty_sum();
    if (!rd->declared || !rd->sample) return;
    for (int64_t j = 0; j < m->n; j++) add_term(&sum, w[j]);
    m->sum = coarsened(rd, sum_of(rd, &sum));
}

/* The maximum is rounded in the argument of every exponential alike; then ln, and the last sum. */
double lse_error(const ref_reading *rd, const softmax *m, ball log_sum, ball lse, double rounded)
{
    (void)rounded;
    if (!rd->declared || !rd->sample) return 0;
    double const unit = coarse_unit(rd);
    return log_error(rd, log_sum) + u * (ball_sup(m->maximum) + ball_sup(lse)) +
           unit * (ball_sup(log_sum) + ball_sup(lse));
}
