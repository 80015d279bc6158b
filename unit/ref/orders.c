/* Orders of summation that ports of the sampled reading have: one order by itself is what it is among all. */
#include "sampled/sums.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

TestSuite(orders, .timeout = 60);

enum { MOST = 7168 };

static const int64_t sizes[] = {0, 1, 2, 3, 15, 16, 17, 31, 33, 127, 129, 1000, MOST};

/* Products that binary32 rounds, of both signs, sums that cancel. */
static void fill(double *a, double *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        a[i] = (double)(float)(drand48() - 0.5);
        b[i] = (double)(float)ldexp(drand48() - 0.5, (int)(20 * drand48()));
    }
}

Test(orders, one_is_as_among_all)
{
    static double a[MOST], b[MOST];
    double of_all[ORDERS];
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int64_t const n = sizes[s];
        order_sums all = {0};
        fill(a, b, n);
        for (int64_t i = 0; i < n; i++) add_to_orders(&all, i, a[i] * b[i]);
        errors_of_orders(&all, 0, of_all);
        for (int k = 0; k < ORDERS; k++)
            cr_assert(dot_in_order(k, a, b, n) == of_all[k], "order %d of %lld terms: %a, among all %a", k,
                      (long long)n, dot_in_order(k, a, b, n), of_all[k]);
    }
}

/* Else the test above says nothing. */
Test(orders, differ)
{
    static double a[MOST], b[MOST];
    fill(a, b, MOST);
    for (int k = 1; k < ORDERS; k++)
        cr_assert(dot_in_order(k, a, b, MOST) != dot_in_order(0, a, b, MOST), "orders 0 and %d agree", k);
}
