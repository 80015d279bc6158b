/* Sums of products, and what rounding may do to them: operands are described once, then each dot product takes the fastest way
 * that is certain. */
#include "radius.h"

#include "binary64.h"

#ifndef PROOF_BITS
#include "kernel.h"
#endif

sum_record empty_sum(void)
{
    return (sum_record){ball_of(0), 0, INT_MAX, 0, 0};
}

ball formed_sum(const sum_record *sum)
{
    return sum->total;
}

void add_term(sum_record *sum, ball term)
{
    int const lsb = ball_is_point(term) ? centre_lsb(term.c) : INT_MIN;
    sum->total = ball_add(sum->total, term);
    sum->sum_abs = up_unless_zero(sum->sum_abs + ball_sup(term));
    if (lsb < sum->lsb) sum->lsb = lsb;
    sum->n++;
}

sum_record joined(sum_record a, sum_record b)
{
    sum_record const both = {ball_add(a.total, b.total),
                             up_unless_zero(a.sum_abs + b.sum_abs),
                             a.lsb < b.lsb ? a.lsb : b.lsb,
                             a.n + b.n,
                             up_unless_zero(a.flushed + b.flushed),
                             a.zeros + b.zeros};
    return both;
}

/* ---- operands ---- */

static bool any_radius(const double *radius, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (radius[i] != 0) return true;
    return false;
}

/* What operand.bits to operand.subnormal say of any numbers. */
static void describe(operand *r)
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
static bool describe_normal(operand *r)
{
    (void)r;
    return false;
}
#else
/* The same, when a kernel can tell: no number is subnormal in binary64, infinite or NaN. */
static bool describe_normal(operand *r)
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
static double operand_sup(const operand *r)
{
    double sup = r->bits > MANY_BITS ? (double)INFINITY : r->max_abs;
    for (int64_t i = 0; r->radius && i < r->n; i++) sup = fmax(sup, fabs(r->value[i]) + r->radius[i]);
    return up_unless_zero(sup);
}

operand operand_of(const double *value, const double *radius, int64_t n)
{
    operand r = {.value = value, .n = n, .lsb = INT_MAX};
    if (radius && any_radius(radius, n)) r.radius = radius;
    if (!describe_normal(&r)) describe(&r);
    r.sup = operand_sup(&r);
    return r;
}

operand operand_of_balls(const ball *b, int64_t n, double *parts)
{
    double *const low = parts + n, *const radius = parts + 2 * n;
    bool lower = false;
    for (int64_t i = 0; i < n; i++) {
        double rest;
        centre_split(b[i].c, &parts[i], &low[i], &rest);
        radius[i] = rest == 0 ? b[i].r : up(b[i].r + fabs(rest));
        lower = lower || low[i] != 0;
    }
    operand r = operand_of(parts, radius, n);
    r.elements = b;
    if (!lower) return r;
    r.low = low;
    if (r.bits < MANY_BITS) r.bits = MANY_BITS;
    r.lsb = INT_MIN;
    return r;
}

static ball element_of(const operand *r, int64_t i)
{
    return r->elements ? r->elements[i] : ball_widen(ball_of(r->value[i]), r->radius ? r->radius[i] : 0);
}

/* ---- dot products ---- */

/* The general way: any values, any radii, any tier. */
static sum_record dot_by_balls(const operand *a, const operand *b)
{
    sum_record sum = empty_sum();
    for (int64_t i = 0; i < a->n; i++) add_term(&sum, ball_mul(element_of(a, i), element_of(b, i)));
    return sum;
}

#ifdef PROOF_BITS
sum_record ball_dot(const operand *a, const operand *b)
{
    sum_record sum = dot_by_balls(a, b);
    sum.flushed = (double)a->subnormal * 0x1p-126 * b->max_abs + (double)b->subnormal * 0x1p-126 * a->max_abs;
    return sum;
}
#else
/* >= the sum of |a[i]| r_b[i] + |b[i]| r_a[i] + r_a[i] r_b[i]; low words are within the slack. */
static double radius_of_products(const operand *a, const operand *b)
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
    return lsb > -1000 && lsb < 900 && sum_abs <= two_to(lsb + 53);
}

/* Will the sum be exact? What the first terms foretell; either answer is right, and a good one saves time. */
static bool is_hopeful(const operand *a, const operand *b, int lsb)
{
    enum { FIRST = 8 * LANES };
    if (lsb == INT_MAX) return true;
    if (a->n < 4 * FIRST) return exact_in_binary64(a->max_abs * b->max_abs, lsb); /* of one term it is */
    double const some = kernels_for_this_cpu()->plain(a->value, b->value, FIRST).abs;
    return exact_in_binary64(some / FIRST * (double)a->n, lsb);
}

/* Points whose products are binary64 numbers. */
static sum_record dot_by_kernel(const operand *a, const operand *b)
{
    const kernels *const kernel = kernels_for_this_cpu();
    int const lsb = a->lsb == INT_MAX || b->lsb == INT_MAX ? INT_MAX : a->lsb + b->lsb;
    bool const hopeful = is_hopeful(a, b, lsb);
    dot_sum s = (hopeful ? kernel->plain : kernel->compensated)(a->value, b->value, a->n);
    double const sum_abs = up_unless_zero(s.abs * (1 + 0x1p-52 * (double)(a->n + 1)));
    ball total = {{s.hi, s.lo}, 0};
    if (sum_abs != 0 && !exact_in_binary64(sum_abs, lsb)) {
        if (hopeful) s = kernel->compensated(a->value, b->value, a->n);
        double const m = (double)(a->n / LANES + 1 + 2 * LANES + 1);
        bool const exact = exact_in_binary64(sum_abs * (m * 0x1p-53), lsb); /* of TwoSum's errors: Lemma Dot */
        total = (ball){{s.hi, s.lo}, exact ? 0 : up(sum_abs * (m * m * 0x1p-106))};
    }
    return (sum_record){ball_make(total.c, total.r), sum_abs, lsb, a->n, 0, 0};
}

/* Is some product not 0, whatever is left of it? */
static bool any_product(const operand *a, const operand *b)
{
    for (int64_t i = 0; i < a->n; i++)
        if (a->value[i] != 0 && b->value[i] != 0) return true;
    return false;
}

/* Lemma Pairs: centres of two words, or products that are no binary64 numbers. */
static sum_record dot_by_pairs(const operand *a, const operand *b)
{
    bool const known = a->lsb > -500 && b->lsb > -500 && a->lsb < 500 && b->lsb < 500;
    dot_sum const s = kernels_for_this_cpu()->pairs(a->value, a->low, b->value, b->low, a->n);
    double const sum_abs = up_unless_zero(s.abs * (1 + 0x1p-50 * (double)(a->n + 8)));
    double const m = (double)(a->n / LANES + 1 + 2 * LANES + 8);
    bool const none = sum_abs == 0 && !any_product(a, b);
    ball const total = ball_make((centre){s.hi, s.lo}, none ? 0 : up(sum_abs * (m * m * 0x1p-106)));
    return (sum_record){total, sum_abs, known ? a->lsb + b->lsb : INT_MIN, a->n, 0, 0};
}

sum_record ball_dot(const operand *a, const operand *b)
{
    bool const exact_products = a->bits + b->bits <= 53 && a->lsb > -500 && b->lsb > -500;
    bool const finite = a->bits <= MANY_BITS && b->bits <= MANY_BITS && a->max_abs < 0x1p400 && b->max_abs < 0x1p400;
    sum_record sum = exact_products ? dot_by_kernel(a, b) : finite ? dot_by_pairs(a, b) : dot_by_balls(a, b);
    if ((exact_products || finite) && (a->radius || b->radius)) {
        double const radius = radius_of_products(a, b);
        sum.total = ball_widen(sum.total, radius);
        sum.sum_abs = up(sum.sum_abs + radius);
        sum.lsb = INT_MIN;
    }
    sum.flushed = (double)a->subnormal * 0x1p-126 * b->max_abs + (double)b->subnormal * 0x1p-126 * a->max_abs;
    return sum;
}
#endif
