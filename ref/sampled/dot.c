/* Sums of the sampled tier. A dot product remembers its operands, which outlive it, until sum_of asks for it. */

#include "draw.h"
#include "moments.h"

enum { WIDE = 8 };

static double sum_of_lanes(const double lane[WIDE])
{
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

/* ---- terms that come one by one ---- */

sum_record empty_sum(void)
{
    return (sum_record){.total = ball_of(0), .lsb = INT_MIN};
}

void add_term(sum_record *sum, ball term)
{
    double const v = term.c.hi;
    sum->total = ball_add(sum->total, term);
    sum->sum_abs += fabs(v);
    sum->of.squares += v * v;
    sum->of.moment += (double)sum->n * v;
    add_to_orders(&sum->of.orders, sum->n, v);
    sum->n++;
}

/* A dot product becomes terms, while its operands are there. */
static sum_record folded(sum_record sum)
{
    if (!sum.of.a) return sum;
    moments const m = moments_of(sum.of.a, sum.of.b, NO_ORDER);
    sum.total = ball_of(m.total);
    sum.of = (sum_parts){.squares = m.squares, .moment = m.moment};
    return sum;
}

sum_record joined(sum_record first, sum_record second)
{
    sum_record a = folded(first);
    sum_record const b = folded(second);
    a.of.joined = true;
    a.of.squares += b.of.squares;
    a.of.moment += b.of.moment + (double)a.n * b.total.c.hi;
    a.total = ball_add(a.total, b.total);
    a.sum_abs += b.sum_abs;
    a.n += b.n;
    return a;
}

/* ---- operands ---- */

operand operand_of(const double *value, const double *radius, int64_t n)
{
    (void)radius; /* none here has one */
    operand r = {.value = value, .n = n, .bits = 24};
    double total[WIDE] = {0}, moment[WIDE] = {0}, most[WIDE] = {0}, at[WIDE] = {1, 2, 3, 4, 5, 6, 7, 8};
    int64_t i = 0;
    for (; i + WIDE <= n; i += WIDE)
        for (int k = 0; k < WIDE; k++) {
            double const v = value[i + k];
            total[k] += v;
            moment[k] += at[k] * v;
            at[k] += WIDE;
            most[k] = fabs(v) > most[k] ? fabs(v) : most[k];
        }
    for (; i < n; i++) {
        total[0] += value[i], moment[0] += (double)(i + 1) * value[i];
        most[0] = fmax(most[0], fabs(value[i]));
    }
    for (int k = 0; k < WIDE; k++) r.max_abs = fmax(r.max_abs, most[k]);
    r.sup = r.max_abs;
    r.key = key_with(key_of(sum_of_lanes(total)), key_of(sum_of_lanes(moment))) | 1; /* others have others */
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

static double plain_dot(const operand *a, const operand *b)
{
    double lane[WIDE] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + WIDE <= a->n; i += WIDE)
        for (int k = 0; k < WIDE; k++) lane[k] += a->value[i + k] * b->value[i + k];
    for (; i < a->n; i++) rest += a->value[i] * b->value[i];
    return sum_of_lanes(lane) + rest;
}

/* Eight terms at a time. */
static moments wide_moments(const operand *a, const operand *b)
{
    double total[WIDE] = {0}, squares[WIDE] = {0}, moment[WIDE] = {0}, at[WIDE] = {0, 1, 2, 3, 4, 5, 6, 7};
    int64_t i = 0;
    for (; i + WIDE <= a->n; i += WIDE)
        for (int k = 0; k < WIDE; k++) {
            double const term = a->value[i + k] * b->value[i + k];
            total[k] += term;
            squares[k] += term * term;
            moment[k] += at[k] * term;
            at[k] += WIDE;
        }
    for (; i < a->n; i++) {
        double const term = a->value[i] * b->value[i];
        total[0] += term, squares[0] += term * term, moment[0] += (double)i * term;
    }
    return (moments){
        .total = sum_of_lanes(total), .squares = sum_of_lanes(squares), .moment = sum_of_lanes(moment), .n = a->n};
}

static void carry_out_all(const operand *a, const operand *b, moments *m)
{
    order_sums orders = {0};
    for (int64_t i = 0; i < a->n; i++) add_to_orders(&orders, i, a->value[i] * b->value[i]);
    errors_of_orders(&orders, m->total, m->error);
}

moments moments_of(const operand *a, const operand *b, int order)
{
    moments m = wide_moments(a, b);
    m.carried_out = order != NO_ORDER;
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
    moments m = {.total = sum->total.c.hi, .squares = sum->of.squares, .moment = sum->of.moment, .n = sum->n};
    m.carried_out = !sum->of.joined;
    if (!sum->of.joined) errors_of_orders(&sum->of.orders, m.total, m.error);
    return m;
}

ball formed_sum(const sum_record *sum)
{
    return sum->of.a ? ball_of(plain_dot(sum->of.a, sum->of.b)) : sum->total;
}
