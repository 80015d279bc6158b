/* See compare_rounds.h. */
#include "compare_rounds.h"

#include "timing.h"

#include <math.h>

enum { LEAST_KEPT = 20 };

static double const limit_off = 0.15, run_miss = 0.01;
double const compare_margin = 0.019802627296179713; /* log 1.02 */

bool compare_is_look(int rounds, int most_rounds)
{
    bool const regular = rounds >= FIRST_LOOK && (rounds - FIRST_LOOK) % NEXT_LOOK == 0;
    return regular || rounds == most_rounds;
}

double compare_miss(int cases, int most_rounds)
{
    int looks = 0;
    for (int n = 1; n <= most_rounds; n++) looks += compare_is_look(n, most_rounds);
    return run_miss / (cases * looks);
}

/* The number of values that may be left out on each side: as many as the sum of the binomial's tails, 2 P(X <= k - 1),
 * allows. -1: not even the extremes hold the median often enough. */
static int left_out(int n, double miss)
{
    double term = pow(0.5, n), sum = 0;
    int k = 0;
    for (; k < n; k++) {
        sum += term;
        if (2 * sum > miss) break;
        term *= (double)(n - k) / (k + 1);
    }
    return k - 1;
}

interval median_interval(double *value, int n, double miss)
{
    int const k = left_out(n, miss);
    sort_values(value, n);
    double const middle = (value[(n - 1) / 2] + value[n / 2]) / 2;
    if (k < 0) return (interval){-INFINITY, middle, INFINITY};
    return (interval){value[k], middle, value[n - 1 - k]};
}

static double median_limit(const round_times *round, int rounds)
{
    double limit[2 * MOST_ROUNDS];
    for (int i = 0; i < rounds; i++) limit[2 * i] = round[i].before, limit[2 * i + 1] = round[i].after;
    sort_values(limit, 2 * rounds);
    return limit[rounds];
}

static bool is_steady(const round_times *r, double limit)
{
    return fabs(r->before / limit - 1) <= limit_off && fabs(r->after / limit - 1) <= limit_off;
}

static compare_verdict verdict_of(const comparison *c)
{
    if (c->kept < LEAST_KEPT || 2 * c->kept < c->rounds) return COMPARE_UNDECIDED;
    if (c->control.lo > compare_margin || c->control.hi < -compare_margin) return COMPARE_VOID;
    if (c->change.lo > compare_margin) return COMPARE_SLOWER;
    return c->change.hi <= compare_margin ? COMPARE_NOT_SLOWER : COMPARE_UNDECIDED;
}

comparison compare_decide(const round_times *round, int rounds, double miss)
{
    double change[MOST_ROUNDS], control[MOST_ROUNDS];
    double const limit = median_limit(round, rounds);
    interval const nothing = {-INFINITY, 0, INFINITY};
    comparison c = {.rounds = rounds, .change = nothing, .control = nothing};
    for (int i = 0; i < rounds; i++) {
        if (!is_steady(&round[i], limit)) continue;
        change[c.kept] = log(round[i].next / round[i].base);
        control[c.kept++] = log(round[i].copy / round[i].base);
    }
    if (c.kept) c.change = median_interval(change, c.kept, miss), c.control = median_interval(control, c.kept, miss);
    c.verdict = verdict_of(&c);
    return c;
}

const char *compare_name(compare_verdict v)
{
    static const char *const names[] = {"slower", "not slower", "undecided", "void"};
    return names[v];
}
