/* product: several factors multiplied in a drawn order, each partial product rounded. */
#include "legal.h"

static double taken(double *x, int *n, int at)
{
    double const y = x[at];
    x[at] = x[--*n];
    return y;
}

/* Two of the numbers left are multiplied, again and again: any two, so that every tree is drawn. */
double legal_product(legal const *c, char const *name, int n, double const *factor)
{
    double x[8];
    for (int i = 0; i < n; i++) x[i] = factor[i];
    unsigned draw = (unsigned)legal_habit(c, name, 1 << 20);
    while (n > 1) {
        unsigned const pairs = (unsigned)(n * (n - 1));
        unsigned const pair = draw % pairs;
        draw /= pairs;
        double const a = taken(x, &n, (int)pair % n), b = taken(x, &n, (int)pair % n);
        x[n++] = legal_op(c, a * b);
    }
    return x[0];
}
