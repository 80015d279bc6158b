/* sums: dot products in every order, accumulator and step that a declaration can name. */
#include "legal.h"

#include <math.h>

enum { STEP = 64 };

static double flushed(legal const *c, double x)
{
    return c->ftz && fabs(x) < 0x1p-126 ? copysign(0, x) : x;
}

static int exponent_of(double x)
{
    int e = -200;
    if (x != 0) frexp(x, &e);
    return e;
}

/* One step: the accumulator and n products, aligned, cut, added exactly, rounded once. */
static double step(legal const *c, number_format format, double acc, int n, double const *product)
{
    if (format.bits == 53) {
        for (int i = 0; i < n; i++) acc += product[i];
        return acc;
    }
    int largest = exponent_of(acc);
    for (int i = 0; i < n; i++)
        if (exponent_of(product[i]) > largest) largest = exponent_of(product[i]);
    double place = ldexp(1, largest - format.bits - c->guard);
    if (place < 0x1p-149) place = 0x1p-149;
    number_sum sum;
    number_clear(&sum);
    for (int i = -1; i < n; i++) {
        double x = i < 0 ? acc : product[i];
        if (c->guard < 255) x = trunc(x / place) * place;
        number_add(&sum, x);
    }
    return flushed(c, number_total(&sum, format));
}

static double product_of(legal const *c, double const *a, double const *b, int64_t i)
{
    double const x = b ? a[i] * b[i] : a[i];
    return !b || c->fused || c->acc.bits == 53 ? x : flushed(c, number_round(c->acc, x));
}

static double chain(legal const *c, double acc, int64_t n, int64_t const *at, double const *a, double const *b)
{
    double product[STEP];
    for (int64_t i = 0; i < n; i += c->block) {
        int const m = (int)(n - i < c->block ? n - i : c->block);
        if (c->acc.bits == 53 && c->fused && b) {
            acc = fma(a[at[i]], b[at[i]], acc);
            continue;
        }
        for (int j = 0; j < m; j++) product[j] = product_of(c, a, b, at[i + j]);
        acc = step(c, c->acc, acc, m, product);
    }
    return acc;
}

static double plus(legal const *c, number_format format, double x, double y)
{
    if (format.bits == 53) return x + y;
    number_sum sum;
    number_clear(&sum);
    number_add(&sum, x);
    number_add(&sum, y);
    return flushed(c, number_total(&sum, format));
}

static double part(legal const *c, int64_t n, int64_t const *at, double const *a, double const *b)
{
    if (!c->promote) return chain(c, 0, n, at, a, b);
    double outer = 0;
    for (int64_t i = 0; i < n; i += c->promote)
        outer = plus(c, c->outer, outer, chain(c, 0, n - i < c->promote ? n - i : c->promote, at + i, a, b));
    return outer;
}

static double merged(legal const *c, number_format format, int64_t n, double *x)
{
    if (!c->merges_in_tree) {
        double sum = x[0];
        for (int64_t i = 1; i < n; i++) sum = plus(c, format, sum, x[i]);
        return sum;
    }
    for (; n > 1; n = (n + 1) / 2)
        for (int64_t i = 0; i < (n + 1) / 2; i++)
            x[i] = 2 * i + 1 < n ? plus(c, format, x[2 * i], x[2 * i + 1]) : x[2 * i];
    return x[0];
}

static void arrange(legal const *c, int64_t n, int64_t *at)
{
    for (int64_t i = 0; i < n; i++) at[i] = c->order == BACKWARD ? n - 1 - i : i;
    if (c->order != SHUFFLED) return;
    uint64_t state = c->habits | 1;
    for (int64_t i = n - 1; i > 0; i--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        int64_t const j = (int64_t)((state >> 33) % (uint64_t)(i + 1)), held = at[i];
        at[i] = at[j];
        at[j] = held;
    }
}

enum { LONGEST = 1 << 16 };

static double tree(legal const *c, int64_t n, double const *a, double const *b)
{
    static double x[LONGEST];
    for (int64_t i = 0; i < n; i++) x[i] = product_of(c, a, b, i);
    for (int64_t m = n; m > 1; m = (m + 1) / 2)
        for (int64_t i = 0; i < (m + 1) / 2; i++)
            x[i] = 2 * i + 1 < m ? plus(c, c->acc, x[2 * i], x[2 * i + 1]) : x[2 * i];
    return plus(c, c->acc, n ? x[0] : 0, 0);
}

/* Parts of k go to units of their own; ordinary additions in binary32 merge them. */
static double by_unit(legal const *c, int64_t n, double const *a, double const *b)
{
    double sum = 0;
    int64_t const length = (n + c->splits - 1) / c->splits;
    for (int64_t i = 0; i < n; i += length) {
        double const x = legal_unit_dot(c->unit, n - i < length ? n - i : length, a + i, b + i);
        sum = i ? plus(c, number_f32, sum, x) : x;
    }
    return sum;
}

double legal_dot(legal const *c, int64_t n, double const *a, double const *b)
{
    if (c->unit) return by_unit(c, n, a, b);
    if (c->order == TREE) return tree(c, n, a, b);
    static int64_t at[LONGEST], lane[LONGEST];
    static double sums[LONGEST];
    arrange(c, n, at);
    int64_t const parts = c->splits, length = (n + parts - 1) / parts;
    for (int64_t s = 0; s < parts; s++) {
        int64_t m = 0;
        for (int64_t i = 0; i < length; i++) {
            int64_t const j = c->order == LANES ? i * parts + s : s * length + i;
            if (j < n) lane[m++] = at[j];
        }
        sums[s] = part(c, m, lane, a, b);
    }
    return merged(c, c->promote ? c->outer : c->acc, parts, sums);
}

double legal_dot_on(legal const *c, double start, int64_t n, double const *a, double const *b)
{
    static int64_t at[LONGEST];
    if (c->order == TREE) return plus(c, c->acc, start, tree(c, n, a, b));
    arrange(c, n, at);
    return chain(c, start, n, at, a, b);
}

double legal_promoted(legal const *c, double sum, double x)
{
    return isfinite(sum) && isfinite(x) ? plus(c, c->outer, sum, x) : sum + x;
}

double legal_add(legal const *c, double a, double b)
{
    return plus(c, c->acc, a, b);
}
