/*
 * What rounding makes of a sum: the variance of a walk along its partial sums, in any order, and the error of one order carried out. Of
 * accumulators that cut, a bias besides, which grows with the partial sums. docs/statistics.md has the formulas.
 */
#include "accumulate.h"

#include "../binary64.h"
#include "draw.h"

/* The mean of squares of the partial sums, times their number. */
static double walked(const moments *m, double steps)
{
    return steps * (m->total * m->total / 3 + m->squares / 6);
}

/* A sum to nearest, or toward zero but for the bias: so many steps of unit u. */
static double variance(const moments *m, double u, double steps, bool fused)
{
    return u * u * (walked(m, steps) + (fused ? 0 : m->squares));
}

/* The sum in parts of n products, which are then added by a promoted accumulator. */
static double variance_in_parts(const moments *m, const ref_accumulator *acc, double u)
{
    double const n = (double)m->n, part = fmin((double)acc->promote, n), parts = ceil(n / part);
    double const promoted = two_to(-acc->promote_bits);
    double const within = part / fmax(acc->block, 1) * (m->total * m->total / (3 * parts) + m->squares / 2);
    return u * u * (within + (acc->fused ? 0 : m->squares)) + promoted * promoted * walked(m, parts);
}

/* The partial sums, as an average: term i counts in those behind it. Which order has i, nobody knows. */
static double mean_prefix(const ref_sample *port, const moments *m)
{
    double const forward = m->n > 0 ? m->total - m->moment / (double)m->n : 0;
    int const way = way_of(port, MATTER_PREFIX, 3);
    return way == 0 ? forward : way == 1 ? m->total - forward : m->total / 2;
}

/* Is an addend cut where it is aligned with another? One fused product a step is added exactly. */
static bool aligns(const ref_accumulator *acc)
{
    return acc->guard < 255 && !(acc->fused && acc->block == 1);
}

/* Chains of partial sums, which are added at the end. */
static double chains_of(const ref_sample *port, const ref_accumulator *acc, double n)
{
    static const int open[] = {1, 4, 16};
    int64_t const chains = acc->splits ? acc->splits : open[way_of(port, MATTER_CHAINS, 3)];
    return fmax(fmin((double)chains, n), 1);
}

/* What is cut in each chain: the sum so often, and addends as often as if each of them lost as much; and the chains that are added. */
typedef struct {
    double sums, addends, chains, added;
} cuts;

/* Of n products in chains of so many. */
static cuts cuts_of(const ref_accumulator *acc, double n, double chain, double added)
{
    return (cuts){acc->rounding == REF_RN ? 0 : ceil(chain / fmax(acc->block, 1)),
                  aligns(acc) ? chain * two_to(-acc->guard) : 0, n / chain, added};
}

/* The share of the mean error that a port's cuts make. Where in a binade partial sums lie decides how much is cut, so one port of two
 * has another share for each binade of sums: two sums that a formula subtracts or divides need not err alike. */
static double share_cut(const ref_sample *port, const moments *m)
{
    bool const alike = m->total == 0 || way_of(port, MATTER_BINADES, 2);
    return alike ? habit(port, MATTER_TRUNCATION) : habit(port, MATTER_BINADE + ilogb(m->total));
}

/* An addend is cut toward zero, each for itself, beside the largest of its step, which is a partial sum as a rule. */
static double addends_cut(const moments *m, const cuts *c)
{
    if (c->addends == 0) return 0;
    double const total = m->total / c->chains, beside = sqrt(total * total / 3 + m->squares / (6 * c->chains));
    return c->addends * c->chains / (double)m->n * m->signs * beside;
}

/* Cutting makes each partial sum smaller, by 0.72 u of it in the mean: the sums behind so many cuts, of which the last has all of its
 * chain, and as many as there are chains when those are added. */
static double cut_off(const ref_sample *port, const ref_accumulator *acc, const moments *m, double u, const cuts *c)
{
    if (c->sums + c->addends == 0) return 0;
    double const behind = c->sums * mean_prefix(port, m) + (1 + c->added) * m->total / 2 + addends_cut(m, c);
    double const down =
        acc->rounding == REF_RD ? fabs(m->total) + sqrt(m->squares) : 0; /* the same way for all signs */
    return -u * share_cut(port, m) * (0.72 * behind + (c->sums + c->addends + c->added) * down);
}

static double cut_variance(const moments *m, double u, const cuts *c)
{
    double const often = c->sums + c->addends + c->added;
    return u * u * 0.52 * often * often * m->squares / 12;
}

/* Was the sum carried out in any order, and rounded? */
static bool any_error(const moments *m)
{
    for (int k = 0; k < ORDERS; k++)
        if (m->error[k] != 0) return true;
    return false;
}

enum { PAIR = 2 }; /* terms whose sums in any order are carried out: themselves, and their sum */

/* Is nothing rounded or cut, whatever the order? (Lemma Exact, for ports; of two terms also where they cancel or carry) */
static bool is_exact(const ref_accumulator *acc, const moments *m)
{
    if (m->grid >= two_to(-kept_bits(acc))) return true;
    return m->n <= PAIR && acc->bits >= 24 && !aligns(acc) && m->carried_out && !any_error(m);
}

static bool is_in_parts(const ref_accumulator *acc, int64_t n)
{
    return acc->promote && acc->promote < n;
}

/* In binary32, to nearest, from the first term to the last. */
static bool is_carried_out(const ref_accumulator *acc, int64_t n)
{
    return acc->rounding == REF_RN && acc->bits == 24 && !is_in_parts(acc, n);
}

/* The port's own. */
static int own_order(const ref_sample *port, const ref_accumulator *acc, int64_t n)
{
    if (!is_carried_out(acc, n)) return NO_ORDER;
    return acc->fused ? FUSED_ORDERS + way_of(port, MATTER_ORDER, FUSED_LANES) : way_of(port, MATTER_ORDER, ORDERS);
}

int order_of(const ref_sample *port, const ref_accumulator *acc, int64_t n)
{
    return n <= PAIR ? ALL_ORDERS : own_order(port, acc, n);
}

double accumulated(const ref_sample *port, const ref_accumulator *acc, const moments *m)
{
    double const u = two_to(-acc->bits), n = (double)m->n;
    if (is_exact(acc, m) || (acc->bits == 53 && m->total == (double)(float)m->total)) return m->total;
    int const order = own_order(port, acc, m->n);
    double const by_order = order == NO_ORDER ? 0 : m->error[order];
    if (order != NO_ORDER && m->carried_out && !rounds_nearby(port)) return m->total + by_order;
    bool const in_parts = is_in_parts(acc, m->n);
    double const chains = chains_of(port, acc, n), chain = in_parts ? (double)acc->promote : ceil(n / chains);
    double const steps = ceil((in_parts ? chain : n) / fmax(acc->block, 1));
    double const spread = in_parts ? variance_in_parts(m, acc, u) : variance(m, u, steps, acc->fused);
    cuts const c = cuts_of(acc, n, chain, chains > 1 && !in_parts ? chains : 0);
    double const cut = cut_variance(m, u, &c) / (in_parts ? c.chains : 1);
    uint64_t const key = key_with(key_with(key_of(m->total), key_of(m->squares)), (uint64_t)m->n);
    return m->total + cut_off(port, acc, m, u, &c) + sqrt(spread + cut) * draw_normal(port, key) + by_order;
}
