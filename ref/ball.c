/* Ball arithmetic: the rules for the radius, once for every tier. Lemmas are proved in docs/numerics.md. */
#include "radius.h"

#include "binary64.h"

#ifndef PROOF_BITS
#include "kernel.h"
#endif

ball ball_any(void)
{
    return (ball){centre_of(0), INFINITY};
}

bool ball_is_any(ball a)
{
    return isinf(a.r);
}

bool ball_is_point(ball a)
{
    return a.r == 0;
}

ball ball_of(double v)
{
    return isfinite(v) ? (ball){centre_of(v), 0} : ball_any();
}

ball ball_neg(ball a)
{
    a.c = centre_neg(a.c);
    return a;
}

static double centre_sup(centre c)
{
    return fmax(fabs(centre_down(c)), fabs(centre_up(c)));
}

double ball_sup(ball a)
{
    double const s = centre_sup(a.c);
    return a.r == 0 ? s : up(s + a.r);
}

/* A double below every |point|, at least 0. */
static double inf_abs(ball a)
{
    double const low = fmin(fabs(centre_down(a.c)), fabs(centre_up(a.c)));
    bool const straddles = centre_down(a.c) <= 0 && centre_up(a.c) >= 0;
    if (straddles || !(low > a.r)) return 0;
    return a.r == 0 ? low : nextafter(low - a.r, 0);
}

double ball_lower(ball a)
{
    double const end = centre_down(a.c), low = end - a.r;
    if (a.r == 0) return end;
    return isinf(low) ? low : -next_above(-low);
}

double ball_upper(ball a)
{
    double const end = centre_up(a.c), high = end + a.r;
    if (a.r == 0) return end;
    return isinf(high) ? high : next_above(high);
}

/* |(a + b) - c| <= r_a + r_b + error of the centre. */
static inline __attribute__((always_inline)) ball add(ball a, ball b)
{
    double err = 0;
    centre const c = centre_add(a.c, b.c, &err);
    return ball_make(c, up_unless_zero(err + a.r + b.r));
}

ball ball_add(ball a, ball b)
{
    return add(a, b);
}

ball ball_sub(ball a, ball b)
{
    return ball_add(a, ball_neg(b));
}

ball ball_sum(const ball *x, int64_t n)
{
    ball sum = ball_of(0);
    for (int64_t i = 0; i < n; i++) sum = add(sum, x[i]);
    return sum;
}

/* |ab - a_c b_c| <= |a_c| r_b + |b_c| r_a + r_a r_b. */
ball ball_mul(ball a, ball b)
{
    if (ball_is_any(a) || ball_is_any(b)) return ball_any();
    double err = 0;
    centre const c = centre_mul(a.c, b.c, &err);
    if (a.r == 0 && b.r == 0) return ball_make(c, up_unless_zero(err));
    double const spread = centre_sup(a.c) * b.r + centre_sup(b.c) * a.r + a.r * b.r;
    return ball_make(c, up(err + spread));
}

/* Lemma Quotient: |a/b - q| = |a - q b| / |b| for every a, b of the balls, and a - q b is a ball operation. */
ball ball_div(ball a, ball b)
{
    double const least = inf_abs(b);
    if (least == 0 || ball_is_any(a)) return ball_any();
    ball const q = {centre_guess_div(a.c, b.c), 0};
    if (!centre_finite(q.c)) return ball_any();
    double const residual = ball_sup(ball_sub(a, ball_mul(q, b)));
    return ball_make(q.c, up_unless_zero(residual / least));
}

/* Lemma Root: |sqrt(a) - s| = |a - s^2| / (sqrt(a) + s) for s > 0; with s = 0 it is sqrt(a). */
ball ball_sqrt(ball a)
{
    if (ball_is_any(a) || ball_upper(a) < 0) return ball_any();
    if (centre_up(a.c) <= 0) return ball_make(centre_of(0), up_unless_zero(sqrt(fmax(ball_upper(a), 0))));
    ball const s = {centre_guess_sqrt(a.c), 0};
    double const residual = ball_sup(ball_sub(a, ball_mul(s, s)));
    double const least = inf_abs(s);
    if (least == 0) return ball_make(centre_of(0), up(sqrt(ball_upper(a))));
    return ball_make(s.c, up_unless_zero(residual / least));
}

/* Lemma Rsqrt: with e = 1 - a y^2, |1/sqrt(a) - y| = y |1/sqrt(1-e) - 1| <= y |e| for |e| <= 1/4. */
ball ball_rsqrt(ball a)
{
    if (ball_is_any(a) || !(ball_lower(a) > 0)) return ball_any();
    ball const y = {centre_guess_div(centre_of(1), centre_guess_sqrt(a.c)), 0};
    if (!centre_finite(y.c)) return ball_any();
    double const e = ball_sup(ball_sub(ball_of(1), ball_mul(a, ball_mul(y, y))));
    if (e <= 0.25) return ball_make(y.c, up_unless_zero(ball_sup(y) * e));
    return ball_div(ball_of(1), ball_sqrt(a));
}

/* |e^(c + t) - e^c| <= e^c (|t| + t^2) for |t| <= 1. */
ball ball_exp(ball a)
{
    double err = 0;
    if (ball_is_any(a)) return ball_any();
    if (ball_is_point(a) && ball_sup(a) == 0) return ball_of(1);
    if (a.r > 1) {
        double const most = ball_upper(ball_exp(ball_of(ball_upper(a))));
        return ball_hull(0, most);
    }
    centre const y = centre_exp(a.c, &err);
    if (!centre_finite(y)) return ball_any();
    return ball_make(y, up((centre_sup(y) + err) * (a.r + a.r * a.r) + err));
}

/* Lemma Log: with w = a e^-y - 1, ln a = y + ln(1 + w), and |ln(1 + w)| <= |w| / (1 - |w|). */
ball ball_log(ball a)
{
    if (ball_is_any(a) || !(ball_lower(a) > 0)) return ball_any();
    if (ball_is_point(a) && ball_lower(a) == 1 && ball_upper(a) == 1) return ball_of(0);
    ball const y = {centre_guess_log(a.c), 0};
    if (!centre_finite(y.c)) return ball_any();
    double const w = ball_sup(ball_sub(ball_mul(a, ball_exp(ball_neg(y))), ball_of(1)));
    if (w < 0.5) return ball_make(y.c, up(w / (1 - w)));
    if (a.r == 0) return ball_any();
    ball const low = ball_log(ball_of(ball_lower(a))), high = ball_log(ball_of(ball_upper(a)));
    return ball_hull(ball_lower(low), ball_upper(high));
}

/* Lemma Sigmoid: at the centre without cancellation; the slope is at most 1/4, and at most the value itself. */
ball ball_sigmoid(ball a)
{
    if (ball_is_any(a)) return ball_hull(0, 1);
    bool const negative = centre_down(a.c) < 0;
    ball const point = {a.c, 0}, e = ball_exp(negative ? point : ball_neg(point));
    ball const s = ball_div(negative ? e : ball_of(1), ball_add(ball_of(1), e));
    if (a.r == 0) return s;
    double const moved = a.r <= 1 ? fmin(a.r / 4, ball_sup(s) * (a.r + a.r * a.r)) : fmin(a.r / 4, 1);
    return ball_widen(s, moved);
}

ball ball_pi(void)
{
    double err = 0;
    centre const pi = centre_pi(&err);
    return ball_make(pi, up(err));
}

/* Lemma Turn: the sums of the series; what is left out is below the first term left out of each. |x| <= 0.8. */
static void cos_sin_series(ball x, ball *cosine, ball *sine)
{
    ball term = ball_of(1);
    ball sum[2] = {term, ball_of(0)};
    double const enough = ldexp(fmin(ball_sup(x), 1), -CENTRE_BITS - 8) + 0x1p-990;
    for (int n = 1;; n++) {
        term = ball_div(ball_mul(term, x), ball_of(n));
        if (ball_sup(term) <= enough) break;
        sum[n % 2] = n / 2 % 2 ? ball_sub(sum[n % 2], term) : ball_add(sum[n % 2], term);
    }
    *cosine = ball_widen(sum[0], ball_sup(term));
    *sine = ball_widen(sum[1], ball_sup(term));
}

void ball_cos_sin(ball turns, ball *cosine, ball *sine)
{
    *cosine = *sine = ball_hull(-1, 1);
    if (ball_is_any(turns) || turns.r > 1) return;
    double const quarters = rint(4 * centre_down(turns.c));
    ball const left = ball_sub(turns, ball_of(quarters / 4));
    bool const exact = ball_is_point(left) && ball_sup(left) == 0;
    ball const x = ball_mul(ball_mul(left, ball_of(2)), ball_pi());
    if (!(ball_sup(x) <= 0.8)) return;
    ball c = ball_of(1), s = ball_of(0);
    if (!exact) cos_sin_series(x, &c, &s);
    int const quadrant = (int)(quarters - 4 * floor(quarters / 4));
    *cosine = quadrant == 0 ? c : quadrant == 1 ? ball_neg(s) : quadrant == 2 ? ball_neg(c) : s;
    *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? ball_neg(s) : ball_neg(c);
}

ball ball_widen(ball a, double radius)
{
    if (radius == 0) return a;
    return radius > 0 ? ball_make(a.c, up(a.r + radius)) : ball_any();
}

ball ball_hull(double lo, double hi)
{
    if (!(isfinite(lo) && isfinite(hi))) return ball_any();
    if (lo == hi) return ball_of(lo);
    double err = 0;
    centre const sum = centre_add(centre_of(lo), centre_of(hi), &err);
    centre const middle = centre_mul(sum, centre_of(0.5), &err);
    return ball_make(middle, up(err + (hi - lo) / 2));
}

#ifdef PROOF_BITS
void ball_exp_all(ball *x, int64_t n)
{
    for (int64_t j = 0; j < n; j++) x[j] = ball_exp(x[j]);
}

void ball_mul_all(ball *x, int64_t n, ball b)
{
    for (int64_t j = 0; j < n; j++) x[j] = ball_mul(x[j], b);
}

void ball_sub_all(ball *x, int64_t n, ball b)
{
    for (int64_t j = 0; j < n; j++) x[j] = ball_sub(x[j], b);
}
#else
enum { TOGETHER = 256 }; /* balls that one call of a kernel takes */

typedef void kernel_of_balls(double *hi, double *lo, double *r, int64_t n, const double b[3]);

static void each_with(kernel_of_balls *kernel, ball *x, int64_t n, ball b)
{
    double const other[] = {b.c.hi, b.c.lo, b.r};
    double hi[TOGETHER], lo[TOGETHER], r[TOGETHER];
    for (int64_t from = 0; from < n; from += TOGETHER) {
        int64_t const m = n - from < TOGETHER ? n - from : TOGETHER;
        for (int64_t j = 0; j < m; j++) hi[j] = x[from + j].c.hi, lo[j] = x[from + j].c.lo, r[j] = x[from + j].r;
        kernel(hi, lo, r, m, other);
        for (int64_t j = 0; j < m; j++) x[from + j] = ball_make((centre){hi[j], lo[j]}, up_unless_zero(r[j]));
    }
}

/* A product with one word may be exact: the kernel's never is. */
void ball_mul_all(ball *x, int64_t n, ball b)
{
    if (b.c.lo != 0) each_with(kernels_for_this_cpu()->multiply, x, n, b);
    for (int64_t j = 0; b.c.lo == 0 && j < n; j++) x[j] = ball_mul(x[j], b);
}

void ball_sub_all(ball *x, int64_t n, ball b)
{
    each_with(kernels_for_this_cpu()->add, x, n, ball_neg(b));
}

void ball_exp_all(ball *x, int64_t n)
{
    const kernels *const k = kernels_for_this_cpu();
    double hi[TOGETHER], lo[TOGETHER];
    for (int64_t from = 0; from < n; from += TOGETHER) {
        int64_t const m = n - from < TOGETHER ? n - from : TOGETHER;
        for (int64_t j = 0; j < m; j++) {
            bool const simple = fabs(x[from + j].c.hi) <= 700;
            hi[j] = simple ? x[from + j].c.hi : 0, lo[j] = simple ? x[from + j].c.lo : 0;
        }
        k->exponential(hi, lo, m);
        for (int64_t j = 0; j < m; j++) {
            ball *const b = &x[from + j];
            bool const simple = b->r <= 1 && fabs(b->c.hi) <= 700 && !(b->r == 0 && b->c.hi == 0);
            double const relative = b->r + b->r * b->r + 0x1p-94;
            *b = simple ? (ball){{hi[j], lo[j]}, up(hi[j] * relative)} : ball_exp(*b);
        }
    }
}
#endif
