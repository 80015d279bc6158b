/* Sums of the sampled tier. A dot product remembers its operands, which outlive it, until sum_of asks for it. */

#include "../kernel.h"
#include "draw.h"
#include "moments.h"

/* ---- terms that come one by one ---- */

sum_record empty_sum(void)
{
    return (sum_record){.total = ball_of(0), .lsb = INT_MAX};
}

static int lesser(int a, int b)
{
    return a < b ? a : b;
}

void add_term(sum_record *sum, ball term)
{
    double const v = term.c.hi;
    sum->total = ball_add(sum->total, term);
    sum->sum_abs += fabs(v);
    sum->lsb = lesser(sum->lsb, centre_lsb(term.c));
    sum->of.squares += v * v;
    sum->of.moment += (double)sum->n * v;
    sum->of.signs += signum(v);
    add_to_orders(&sum->of.orders, sum->n, v);
    sum->n++;
}

/* A dot product becomes terms, while its operands are there. */
static sum_record folded(sum_record sum)
{
    if (!sum.of.a) return sum;
    moments const m = moments_of(sum.of.a, sum.of.b, NO_ORDER);
    sum.total = ball_of(m.total);
    sum.of = (sum_parts){.squares = m.squares, .moment = m.moment, .signs = m.signs};
    return sum;
}

sum_record joined(sum_record first, sum_record second)
{
    sum_record a = folded(first);
    sum_record const b = folded(second);
    a.of.joined = true;
    a.of.squares += b.of.squares;
    a.of.moment += b.of.moment + (double)a.n * b.total.c.hi;
    a.of.signs += b.of.signs;
    a.total = ball_add(a.total, b.total);
    a.sum_abs += b.sum_abs;
    a.lsb = lesser(a.lsb, b.lsb);
    a.n += b.n;
    return a;
}

/* ---- operands ---- */

operand operand_of(const double *value, const double *radius, int64_t n)
{
    (void)radius; /* none here has one */
    double sums[3];
    kernels_for_this_cpu()->digest(value, n, sums);
    operand r = {.value = value, .n = n, .bits = 24, .max_abs = sums[2], .sup = sums[2]};
    r.key = key_with(key_of(sums[0]), key_of(sums[1])) | 1; /* others have others */
    return r;
}

operand operand_of_balls(const ball *b, int64_t n, double *parts)
{
    operand r = {.value = parts, .elements = b, .n = n, .bits = MANY_BITS};
    for (int64_t i = 0; i < n; i++) {
        parts[i] = ball_is_any(b[i]) ? (double)NAN : b[i].c.hi;
        r.max_abs = fmax(r.max_abs, fabs(parts[i]));
    }
    r.sup = r.max_abs;
    return r;
}

/* ---- dot products ---- */

sum_record ball_dot(const operand *a, const operand *b)
{
    sum_record sum = {.total = ball_of(0), .lsb = INT_MIN, .n = a->n};
    sum.of.a = a, sum.of.b = b;
    return sum;
}

static double grid_of(double sum_abs, int lsb)
{
    return lsb == INT_MIN ? 0 : lsb == INT_MAX ? (double)INFINITY : ldexp(1, lsb) / sum_abs;
}

enum { FEW = 16 }; /* products whose grid is sought: of more numbers that are like real data it is too fine to tell */

static double grid_of_products(const operand *a, const operand *b)
{
    double sum_abs = 0;
    int lsb = INT_MAX;
    if (a->n > FEW) return 0;
    for (int64_t i = 0; i < a->n; i++) {
        double const product = a->value[i] * b->value[i];
        sum_abs += fabs(product);
        lsb = lesser(lsb, double_lsb(product));
    }
    return grid_of(sum_abs, lsb);
}

static void carry_out_all(const operand *a, const operand *b, moments *m)
{
    order_sums orders = {0};
    for (int64_t i = 0; i < a->n; i++) add_to_orders(&orders, i, a->value[i] * b->value[i]);
    errors_of_orders(&orders, m->total, m->error);
}

moments moments_of(const operand *a, const operand *b, int order)
{
    double sums[4];
    kernels_for_this_cpu()->moments(a->value, b->value, a->n, sums);
    moments m = {sums[0], sums[1], sums[2], sums[3], .n = a->n, .carried_out = order != NO_ORDER};
    m.grid = grid_of_products(a, b);
    if (order == ALL_ORDERS)
        carry_out_all(a, b, &m);
    else if (m.carried_out)
        m.error[order] = dot_in_order(order, a->value, b->value, a->n) - m.total;
    return m;
}

/* Of stored numbers, those that are kept: with all orders, for other ports have others. A port that changes stored numbers, as it
 * scales codes, is alone with its own. */
static moments moments_of_pair(const operand *a, const operand *b, ref_sums *kept, int order)
{
    bool const stored = a->key && b->key;
    uint64_t const key = stored ? key_with(a->key, b->key) : 0;
    const moments *const known = stored ? sum_kept(kept, key) : NULL;
    if (known) return *known;
    if (!stored || !kept) return moments_of(a, b, NO_ORDER);
    moments const m = moments_of(a, b, order != NO_ORDER && sum_is_new(kept) ? ALL_ORDERS : order);
    sum_keep(kept, key, &m);
    return m;
}

moments moments_of_sum(const sum_record *sum, ref_sums *kept, int order)
{
    if (sum->of.a) return moments_of_pair(sum->of.a, sum->of.b, kept, order);
    moments m = {sum->total.c.hi, sum->of.squares, sum->of.moment, sum->of.signs, .n = sum->n};
    m.grid = grid_of(sum->sum_abs, sum->lsb);
    m.carried_out = !sum->of.joined;
    if (!sum->of.joined) errors_of_orders(&sum->of.orders, m.total, m.error);
    return m;
}

ball formed_sum(const sum_record *sum)
{
    const operand *const a = sum->of.a, *const b = sum->of.b;
    return a ? ball_of(kernels_for_this_cpu()->terms(a->value, b->value, a->n)) : sum->total;
}
