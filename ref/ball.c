/* Ball arithmetic: the rules for the radius, once for every tier. Lemmas are proved in docs/numerics.md. */
#include "ball.h"

#include <stdio.h>
#include <stdlib.h>

/* Lemma Up: v came from at most 2000 additions, multiplications and divisions of non-negative doubles. */
static double up(double v)
{
    return v * (1 + 0x1p-40) + 0x1p-1000;
}

static double up_unless_zero(double v)
{
    return v == 0 ? 0 : up(v);
}

static ball make(centre c, double r)
{
    if (!centre_finite(c) || !(r <= 0x1p1000)) return ball_any();
    return (ball){c, r};
}

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
    double const low = centre_down(a.c);
    return a.r == 0 ? low : nextafter(low - a.r, -INFINITY);
}

double ball_upper(ball a)
{
    double const high = centre_up(a.c);
    return a.r == 0 ? high : nextafter(high + a.r, INFINITY);
}

/* |(a + b) - c| <= r_a + r_b + error of the centre. */
ball ball_add(ball a, ball b)
{
    double err = 0;
    centre const c = centre_add(a.c, b.c, &err);
    return make(c, up_unless_zero(err + a.r + b.r));
}

ball ball_sub(ball a, ball b)
{
    return ball_add(a, ball_neg(b));
}

/* |ab - a_c b_c| <= |a_c| r_b + |b_c| r_a + r_a r_b. */
ball ball_mul(ball a, ball b)
{
    if (ball_is_any(a) || ball_is_any(b)) return ball_any();
    double err = 0;
    centre const c = centre_mul(a.c, b.c, &err);
    if (a.r == 0 && b.r == 0) return make(c, up_unless_zero(err));
    double const spread = centre_sup(a.c) * b.r + centre_sup(b.c) * a.r + a.r * b.r;
    return make(c, up(err + spread));
}

/* Lemma Quotient: |a/b - q| = |a - q b| / |b| for every a, b of the balls, and a - q b is a ball operation. */
ball ball_div(ball a, ball b)
{
    double const least = inf_abs(b);
    if (least == 0 || ball_is_any(a)) return ball_any();
    ball const q = {centre_guess_div(a.c, b.c), 0};
    if (!centre_finite(q.c)) return ball_any();
    double const residual = ball_sup(ball_sub(a, ball_mul(q, b)));
    return make(q.c, up_unless_zero(residual / least));
}

/* Lemma Root: |sqrt(a) - s| = |a - s^2| / (sqrt(a) + s) for s > 0; with s = 0 it is sqrt(a). */
ball ball_sqrt(ball a)
{
    if (ball_is_any(a) || ball_upper(a) < 0) return ball_any();
    if (centre_up(a.c) <= 0) return make(centre_of(0), up_unless_zero(sqrt(fmax(ball_upper(a), 0))));
    ball const s = {centre_guess_sqrt(a.c), 0};
    double const residual = ball_sup(ball_sub(a, ball_mul(s, s)));
    double const least = inf_abs(s);
    if (least == 0) return make(centre_of(0), up(sqrt(ball_upper(a))));
    return make(s.c, up_unless_zero(residual / least));
}

/* Lemma Rsqrt: with e = 1 - a y^2, |1/sqrt(a) - y| = y |1/sqrt(1-e) - 1| <= y |e| for |e| <= 1/4. */
ball ball_rsqrt(ball a)
{
    if (ball_is_any(a) || !(ball_lower(a) > 0)) return ball_any();
    ball const y = {centre_guess_div(centre_of(1), centre_guess_sqrt(a.c)), 0};
    if (!centre_finite(y.c)) return ball_any();
    double const e = ball_sup(ball_sub(ball_of(1), ball_mul(a, ball_mul(y, y))));
    if (e <= 0.25) return make(y.c, up_unless_zero(ball_sup(y) * e));
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
    return make(y, up((centre_sup(y) + err) * (a.r + a.r * a.r) + err));
}

/* Lemma Log: with w = a e^-y - 1, ln a = y + ln(1 + w), and |ln(1 + w)| <= |w| / (1 - |w|). */
ball ball_log(ball a)
{
    if (ball_is_any(a) || !(ball_lower(a) > 0)) return ball_any();
    if (ball_is_point(a) && ball_lower(a) == 1 && ball_upper(a) == 1) return ball_of(0);
    ball const y = {centre_guess_log(a.c), 0};
    if (!centre_finite(y.c)) return ball_any();
    double const w = ball_sup(ball_sub(ball_mul(a, ball_exp(ball_neg(y))), ball_of(1)));
    if (w < 0.5) return make(y.c, up(w / (1 - w)));
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
    return make(pi, up(err));
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
    bool const whole = ball_is_point(left) && ball_sup(left) == 0;
    ball const x = ball_mul(ball_mul(left, ball_of(2)), ball_pi());
    if (!(ball_sup(x) <= 0.8)) return;
    ball c = ball_of(1), s = ball_of(0);
    if (!whole) cos_sin_series(x, &c, &s);
    int const quadrant = (int)(quarters - 4 * floor(quarters / 4));
    *cosine = quadrant == 0 ? c : quadrant == 1 ? ball_neg(s) : quadrant == 2 ? ball_neg(c) : s;
    *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? ball_neg(s) : ball_neg(c);
}

ball ball_widen(ball a, double radius)
{
    if (radius == 0) return a;
    return make(a.c, up(a.r + radius));
}

ball ball_hull(double lo, double hi)
{
    if (!(isfinite(lo) && isfinite(hi))) return ball_any();
    if (lo == hi) return ball_of(lo);
    double err = 0;
    centre const sum = centre_add(centre_of(lo), centre_of(hi), &err);
    centre const middle = centre_mul(sum, centre_of(0.5), &err);
    return make(middle, up(err + (hi - lo) / 2));
}

/* 10^k, 0 <= k <= 400. */
static ball power_of_ten(int k)
{
    ball p = ball_of(1);
    for (int i = 0; i < k; i++) p = ball_mul(p, ball_of(10));
    return p;
}

ball ball_decimal(double v)
{
    char text[32];
    if (!isfinite(v)) return ball_any();
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, v);
        if (strtod(text, NULL) == v) break;
    }
    /* text is [-]d.ddde[+-]xx: gather the digits as one integer */
    ball value = ball_of(0);
    int exponent = 0, after_point = 0;
    bool negative = false, seen_point = false;
    for (const char *s = text; *s; s++) {
        if (*s == 'e') {
            exponent = atoi(s + 1);
            break;
        }
        if (*s == '-') negative = true;
        if (*s == '.') seen_point = true;
        if (*s < '0' || *s > '9') continue;
        value = ball_add(ball_mul(value, ball_of(10)), ball_of(*s - '0'));
        after_point += seen_point;
    }
    int shift = exponent - after_point;
    for (; shift < -300; shift += 300) value = ball_div(value, power_of_ten(300)); /* 10^324 is no double */
    value = shift < 0 ? ball_div(value, power_of_ten(-shift)) : ball_mul(value, power_of_ten(shift));
    return negative ? ball_neg(value) : value;
}

terms terms_none(void)
{
    return (terms){ball_of(0), 0, INT_MAX, 0, 0};
}

void terms_add(terms *sum, ball term)
{
    int const lsb = ball_is_point(term) ? centre_lsb(term.c) : INT_MIN;
    sum->total = ball_add(sum->total, term);
    sum->sum_abs = up_unless_zero(sum->sum_abs + ball_sup(term));
    if (lsb < sum->lsb) sum->lsb = lsb;
    sum->n++;
}

static bool any_radius(const double *radius, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (radius[i] != 0) return true;
    return false;
}

/* What row.bits to row.subnormal say of any numbers. */
static void describe(row *r)
{
    for (int64_t i = 0; i < r->n; i++) {
        double const v = r->value[i];
        if (v == 0) continue;
        if (!isfinite(v)) {
            r->bits = 2 * MANY_BITS; /* no kernel takes it; ball_of makes it any */
            continue;
        }
        int const lsb = centre_lsb(centre_of(v)), bits = ilogb(v) + 1 - lsb;
        if (bits > r->bits) r->bits = bits;
        if (lsb < r->lsb) r->lsb = lsb;
        if (fabs(v) > r->max_abs) r->max_abs = fabs(v);
        if (fabs(v) < 0x1p-126) r->subnormal++;
    }
}

#ifdef PROOF_BITS
static bool describe_normal(row *r)
{
    (void)r;
    return false;
}
#else
#include "kernel.h"

/* The same, when a kernel can tell: no number is subnormal in binary64, infinite or NaN. */
static bool describe_normal(row *r)
{
    number_survey const s = kernels_for_this_cpu()->survey(r->value, r->n);
    if (s.odd) return false;
    if (s.max_abs == 0) return true;
    r->max_abs = s.max_abs;
    r->lsb = ilogb(s.unit);
    r->bits = 53 - __builtin_ctzll(s.fraction | 1ULL << 52);
    r->subnormal = s.tiny;
    return true;
}
#endif

/* >= every |element|. */
static double row_sup(const row *r)
{
    double sup = r->bits > MANY_BITS ? (double)INFINITY : r->max_abs;
    for (int64_t i = 0; r->radius && i < r->n; i++) sup = fmax(sup, fabs(r->value[i]) + r->radius[i]);
    return up_unless_zero(sup);
}

row row_of(const double *value, const double *radius, int64_t n)
{
    row r = {.value = value, .n = n, .lsb = INT_MAX};
    if (radius && any_radius(radius, n)) r.radius = radius;
    if (!describe_normal(&r)) describe(&r);
    r.sup = row_sup(&r);
    return r;
}

row row_of_balls(const ball *b, int64_t n, double *parts)
{
    double *const low = parts + n, *const radius = parts + 2 * n;
    bool lower = false;
    for (int64_t i = 0; i < n; i++) {
        double rest;
        centre_split(b[i].c, &parts[i], &low[i], &rest);
        radius[i] = rest == 0 ? b[i].r : up(b[i].r + fabs(rest));
        lower = lower || low[i] != 0;
    }
    row r = row_of(parts, radius, n);
    r.whole = b;
    if (!lower) return r;
    r.low = low;
    if (r.bits < MANY_BITS) r.bits = MANY_BITS;
    r.lsb = INT_MIN;
    return r;
}

static ball element_of(const row *r, int64_t i)
{
    return r->whole ? r->whole[i] : ball_widen(ball_of(r->value[i]), r->radius ? r->radius[i] : 0);
}

/* The general way: any values, any radii, any tier. */
static terms dot_by_balls(const row *a, const row *b)
{
    terms sum = terms_none();
    for (int64_t i = 0; i < a->n; i++) terms_add(&sum, ball_mul(element_of(a, i), element_of(b, i)));
    return sum;
}

#ifndef PROOF_BITS
/* >= the sum of |a[i]| r_b[i] + |b[i]| r_a[i] + r_a[i] r_b[i]; low words are within the slack. */
static double radius_of_products(const row *a, const row *b)
{
    const kernels *const k = kernels_for_this_cpu();
    double sum = 0;
    if (b->radius) sum += k->plain(a->value, b->radius, a->n).abs;
    if (a->radius) sum += k->plain(b->value, a->radius, a->n).abs;
    if (a->radius && b->radius) sum += k->plain(a->radius, b->radius, a->n).abs;
    return sum * (1 + 0x1p-50 * (double)(a->n + 8)) + 0x1p-1000;
}

/* Lemma Exact: all terms are multiples of 2^lsb and sum |term| <= 2^(lsb + 53): every partial sum is a double. */
static bool exact_in_binary64(double sum_abs, int lsb)
{
    return lsb > -1000 && lsb < 900 && sum_abs <= ldexp(1, lsb + 53);
}

/* Points whose products are binary64 numbers. */
static terms dot_by_kernel(const row *a, const row *b)
{
    const kernels *const kernel = kernels_for_this_cpu();
    int const lsb = a->lsb == INT_MAX || b->lsb == INT_MAX ? INT_MAX : a->lsb + b->lsb;
    dot_sum s = kernel->plain(a->value, b->value, a->n);
    double sum_abs = up_unless_zero(s.abs * (1 + 0x1p-52 * (double)(a->n + 1)));
    ball total = {{s.hi, 0}, 0};
    if (sum_abs != 0 && !exact_in_binary64(sum_abs, lsb)) {
        s = kernel->compensated(a->value, b->value, a->n);
        double const m = (double)(a->n / LANES + 1 + 2 * LANES + 1);
        total = (ball){{s.hi, s.lo}, up(sum_abs * (m * m * 0x1p-106))};
    }
    return (terms){make(total.c, total.r), sum_abs, lsb, a->n, 0};
}

/* Lemma Pairs: centres of two words, or products that are no binary64 numbers. */
static terms dot_by_pairs(const row *a, const row *b)
{
    bool const known = a->lsb > -500 && b->lsb > -500 && a->lsb < 500 && b->lsb < 500;
    dot_sum const s = kernels_for_this_cpu()->pairs(a->value, a->low, b->value, b->low, a->n);
    double const sum_abs = up_unless_zero(s.abs * (1 + 0x1p-50 * (double)(a->n + 8)));
    double const m = (double)(a->n / LANES + 1 + 2 * LANES + 8);
    ball const total = make((centre){s.hi, s.lo}, up_unless_zero(sum_abs * (m * m * 0x1p-106)));
    return (terms){total, sum_abs, known ? a->lsb + b->lsb : INT_MIN, a->n, 0};
}

terms ball_dot(const row *a, const row *b)
{
    bool const exact_products = a->bits + b->bits <= 53 && a->lsb > -500 && b->lsb > -500;
    bool const finite = a->bits <= MANY_BITS && b->bits <= MANY_BITS && a->max_abs < 0x1p400 && b->max_abs < 0x1p400;
    terms sum = exact_products ? dot_by_kernel(a, b) : finite ? dot_by_pairs(a, b) : dot_by_balls(a, b);
    if ((exact_products || finite) && (a->radius || b->radius)) {
        double const radius = radius_of_products(a, b);
        sum.total = ball_widen(sum.total, radius);
        sum.sum_abs = up(sum.sum_abs + radius);
        sum.lsb = INT_MIN;
    }
    sum.flushed = (double)a->subnormal * 0x1p-126 * b->max_abs + (double)b->subnormal * 0x1p-126 * a->max_abs;
    return sum;
}

/* The largest |value| of each column. */
static void column_sup(const double *value, int64_t n, int64_t stride, int64_t width, double *sup)
{
    for (int64_t c = 0; c < width; c++) sup[c] = 0;
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < width; c++) {
            double const v = fabs(value[j * stride + c]);
            if (!(v <= sup[c])) sup[c] = v; /* NaN stays */
        }
}

enum { TILE = 64 }; /* rows of values that stay near while every row of weights uses them */

/* One row of weights times one tile of values. */
static void combine_tile(const kernels *k, const ball *weight, int64_t n, const double *value, int64_t stride,
                         int64_t width, double *sum, double *rest)
{
    double hi[TILE], lo[TILE];
    for (int64_t j = 0; j < n; j++) hi[j] = weight[j].c.hi, lo[j] = weight[j].c.lo;
    k->combine(hi, lo, value, n, stride, width, sum, rest);
}

/* >= sum |weight| and sum of the radii. */
static void weigh(const ball *weight, int64_t n, double *total, double *radius)
{
    double t = 0, r = 0;
    for (int64_t j = 0; j < n; j++) t += fabs(weight[j].c.hi), r += weight[j].r;
    double const slack = 1 + 0x1p-50 * (double)(n + 8);
    *total = t * slack;
    *radius = r * slack;
}

/* Sums by TwoSum: any values. (Lemma Combine) */
static bool combine_any(const ball *weight, int64_t rows, int64_t n, const double *value, int64_t stride, int64_t width,
                        const double *sup, ball *out)
{
    const kernels *const k = kernels_for_this_cpu();
    double *const sum = calloc((size_t)(2 * rows * width + 1), sizeof *sum);
    if (!sum) return false;
    double *const rest = sum + rows * width;
    for (int64_t from = 0; from < n; from += TILE)
        for (int64_t i = 0; i < rows; i++)
            combine_tile(k, weight + i * n + from, n - from < TILE ? n - from : TILE, value + from * stride, stride,
                         width, sum + i * width, rest + i * width);
    double const m = (double)(n + 4) * 0x1p-53;
    for (int64_t i = 0; i < rows; i++) {
        double total, radius;
        weigh(weight + i * n, n, &total, &radius);
        for (int64_t c = 0; c < width; c++) {
            double const bound = sup[c] * (total * (m * m) + radius);
            out[i * width + c] = make(two_sum(sum[i * width + c], rest[i * width + c]), up_unless_zero(bound));
        }
    }
    free(sum);
    return true;
}

/* Lemma Slices. Values are multiples of 2^(top - GRID) below 2^top. A weight is cut into three multiples of 2^-cut, cut growing,
 * so short that sums of pieces times values are exact; what is left goes into the radius. */
enum { GRID = 18 };

typedef struct {
    double round[3]; /* added and subtracted: rounds to a multiple of 2^-cut */
    double left;     /* >= what is left of a weight */
} cutting;

static cutting cuts_for(double total, int64_t n)
{
    cutting c;
    int cut = 51 - GRID - ilogb(fmax(total, 1));
    int const log_n = ilogb((double)n) + 1;
    for (int k = 0; k < 3; k++) {
        c.round[k] = ldexp(1.5, 52 - cut);
        c.left = ldexp(1, -cut - 1) * (1 + 0x1p-30);
        cut += 52 - GRID - log_n;
    }
    return c;
}

static void cut_weight(const cutting *c, centre w, double piece[3])
{
    for (int k = 0; k < 3; k++) {
        piece[k] = (w.hi + c->round[k]) - c->round[k];
        w = two_sum(w.hi - piece[k], w.lo);
    }
}

/* Are all values multiples of 2^(top - GRID)? */
static bool on_grid(const double *value, int64_t n, int64_t stride, int64_t width, int top)
{
    double const scale = ldexp(1, GRID - top);
    double off = 0;
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < width; c++) {
            double const v = value[j * stride + c] * scale;
            off += fabs(v - ((v + 0x1.8p52) - 0x1.8p52));
        }
    return off == 0;
}

/* A tile of rows of values, 32 columns of them, side by side: they stay near while every row of weights uses them. */
static void pack(const double *value, int64_t n, int64_t stride, int64_t columns, double *block)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < LANES; c++) block[j * LANES + c] = c < columns ? value[j * stride + c] : 0;
}

/* The sums of one tile: piece (rows, TILE, 3), sums (blocks, rows, 3, 32). */
static void slice_tile(const double *piece, int64_t rows, int64_t n, const double *value, int64_t stride, int64_t width,
                       double *sums)
{
    const kernels *const k = kernels_for_this_cpu();
    double block[TILE * LANES];
    for (int64_t from = 0; from < width; from += LANES) {
        pack(value + from, n, stride, width - from, block);
        for (int64_t i = 0; i < rows; i++)
            k->slices(piece + i * 3 * TILE, block, n, sums + (from / LANES * rows + i) * 3 * LANES);
    }
}

static void finish_slices(const cutting *cut, int64_t n, double radius, const double *sup, const double *sums,
                          int64_t rows, int64_t width, ball *out)
{
    for (int64_t c = 0; c < width; c++) {
        const double *const s = sums + c / LANES * rows * 3 * LANES + c % LANES;
        double err = sup[c] * ((double)n * cut->left + radius);
        centre const low = two_sum(s[LANES], s[2 * LANES]);
        out[c] = make(centre_add(low, centre_of(s[0]), &err), up_unless_zero(err));
    }
}

static bool combine_on_grid(const ball *weight, int64_t rows, int64_t n, const double *value, int64_t stride,
                            int64_t width, const double *sup, ball *out)
{
    int64_t const blocks = (width + LANES - 1) / LANES;
    double *const sums = calloc((size_t)(rows * (blocks * 3 * LANES + 3 * TILE + 1) + 1), sizeof *sums);
    cutting *const cut = malloc((size_t)rows * sizeof *cut + 1);
    bool const good = sums && cut;
    if (good) {
        double *const piece = sums + rows * blocks * 3 * LANES, *const radius = piece + rows * 3 * TILE;
        for (int64_t i = 0; i < rows; i++) {
            double total;
            weigh(weight + i * n, n, &total, &radius[i]);
            cut[i] = cuts_for(total, n);
        }
        for (int64_t from = 0; from < n; from += TILE) {
            int64_t const m = n - from < TILE ? n - from : TILE;
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < m; j++)
                    cut_weight(&cut[i], weight[i * n + from + j].c, piece + (i * TILE + j) * 3);
            slice_tile(piece, rows, m, value + from * stride, stride, width, sums);
        }
        for (int64_t i = 0; i < rows; i++)
            finish_slices(&cut[i], n, radius[i], sup, sums + i * 3 * LANES, rows, width, out + i * width);
    }
    free(sums);
    free(cut);
    return good;
}

bool ball_combine(const ball *weight, int64_t rows, int64_t n, const double *value, int64_t stride, int64_t width,
                  ball *out)
{
    double *const sup = malloc((size_t)(width + 1) * sizeof *sup);
    if (!sup) return false;
    double most = 0, heaviest = 0;
    column_sup(value, n, stride, width, sup);
    for (int64_t c = 0; c < width; c++) most = fmax(most, isnan(sup[c]) ? (double)INFINITY : sup[c]);
    for (int64_t i = 0; i < rows * n; i++) heaviest = fmax(heaviest, fabs(weight[i].c.hi));
    int const top = most > 0 ? ilogb(most) + 1 : 0;
    bool const fits = most > 0x1p-100 && most < 0x1p100 && heaviest <= 1 && n < 1 << 24;
    bool const good = fits && on_grid(value, n, stride, width, top)
                          ? combine_on_grid(weight, rows, n, value, stride, width, sup, out)
                          : combine_any(weight, rows, n, value, stride, width, sup, out);
    free(sup);
    return good;
}

/* A part of values times the weights: its ends join out. */
static bool combine_part(const ball *weight, int64_t rows, int64_t n, const double *part, int64_t width, bool radii,
                         ball *sum, ball *out)
{
    double most = 0;
    for (int64_t i = 0; i < n * width; i++) most = fmax(most, isnan(part[i]) ? (double)INFINITY : fabs(part[i]));
    if (most == 0) return true;
    if (!ball_combine(weight, rows, n, part, width, width, sum)) return false;
    for (int64_t i = 0; i < rows * width; i++)
        out[i] = radii ? ball_widen(out[i], ball_upper(sum[i])) : ball_add(out[i], sum[i]);
    return true;
}

/* High words, low words and radii are combined like any numbers. */
bool ball_combine_balls(const ball *weight, int64_t rows, int64_t n, const ball *value, int64_t stride, int64_t width,
                        ball *out)
{
    int64_t const cells = n * width;
    double *const high = malloc((size_t)(3 * cells + 1) * sizeof *high);
    ball *const sum = malloc((size_t)(rows * width + 1) * sizeof *sum);
    bool good = high && sum;
    if (good) {
        double *const low = high + cells, *const radius = low + cells;
        for (int64_t i = 0; i < cells; i++) {
            ball const v = value[i / width * stride + i % width];
            high[i] = v.c.hi, low[i] = v.c.lo, radius[i] = v.r;
        }
        for (int64_t i = 0; i < rows * width; i++) out[i] = ball_of(0);
        good = combine_part(weight, rows, n, high, width, false, sum, out) &&
               combine_part(weight, rows, n, low, width, false, sum, out) &&
               combine_part(weight, rows, n, radius, width, true, sum, out);
    }
    free(high);
    free(sum);
    return good;
}

void ball_exp_all(ball *x, int64_t n)
{
    const kernels *const k = kernels_for_this_cpu();
    double hi[4 * TILE], lo[4 * TILE];
    for (int64_t from = 0; from < n; from += 4 * TILE) {
        int64_t const m = n - from < 4 * TILE ? n - from : 4 * TILE;
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
#else
terms ball_dot(const row *a, const row *b)
{
    terms sum = dot_by_balls(a, b);
    sum.flushed = (double)a->subnormal * 0x1p-126 * b->max_abs + (double)b->subnormal * 0x1p-126 * a->max_abs;
    return sum;
}

bool ball_combine(const ball *weight, int64_t rows, int64_t n, const double *value, int64_t stride, int64_t width,
                  ball *out)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < width; c++) {
            ball sum = ball_of(0);
            for (int64_t j = 0; j < n; j++)
                sum = ball_add(sum, ball_mul(weight[i * n + j], ball_of(value[j * stride + c])));
            out[i * width + c] = sum;
        }
    return true;
}

bool ball_combine_balls(const ball *weight, int64_t rows, int64_t n, const ball *value, int64_t stride, int64_t width,
                        ball *out)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < width; c++) {
            ball sum = ball_of(0);
            for (int64_t j = 0; j < n; j++) sum = ball_add(sum, ball_mul(weight[i * n + j], value[j * stride + c]));
            out[i * width + c] = sum;
        }
    return true;
}

void ball_exp_all(ball *x, int64_t n)
{
    for (int64_t j = 0; j < n; j++) x[j] = ball_exp(x[j]);
}
#endif

void ball_dots(const row *a, int64_t rows_a, const row *b, int64_t rows_b, terms *out)
{
    enum { NEAR = 64 }; /* rows of b that stay near while every row of a uses them */
    for (int64_t from = 0; from < rows_b; from += NEAR)
        for (int64_t i = 0; i < rows_a; i++)
            for (int64_t j = from; j < rows_b && j < from + NEAR; j++) out[i * rows_b + j] = ball_dot(&a[i], &b[j]);
}
