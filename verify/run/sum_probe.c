/* See sum_probe.h. */
#include "sum_probe.h"

#include "ask.h"
#include "case/fill.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double HUGE_TERM = 0x1p100;
enum { BF16_COUNTS = 256 }; /* so far without a gap */

static const tensor_info *find(const sum_probe *s, const char *name)
{
    return problem_tensor(&s->p, name);
}

static void *data_of(const sum_probe *s, const tensor_info *t)
{
    return s->data[t - s->p.tensor];
}

static void set_all(const sum_probe *s, const tensor_info *t, double v)
{
    for (int64_t i = 0; t && i < t->count; i++) ref_encode(t->dtype, data_of(s, t), i, v);
}

bool sum_probe_open(sum_probe *s, port *asked, const char *x, const char *weight, int terms, int rows, int columns,
                    complaint *why)
{
    char id[200];
    *s = (sum_probe){.asked = asked, .terms = terms, .rows = rows};
    snprintf(id, sizeof id, "linear@v3:n_tokens=%d,in_features=%d,out_features=%d,x=%s,weight=%s,y=%s", rows, terms,
             columns, x, weight, terms > BF16_COUNTS ? "f32" : x);
    if (!problem_parse(id, &s->p, why)) return false;
    if (!tensors_open(&s->p, &s->data)) return refuse(why, "no memory for %s", s->p.id);
    s->x = find(s, "x"), s->weight = find(s, "weight"), s->y = find(s, "y");
    set_all(s, s->weight, 1);
    set_all(s, find(s, "weight_scale_inv"), 1);
    return true;
}

void sum_probe_close(sum_probe *s)
{
    tensors_close(&s->p, s->data);
    problem_close(&s->p);
}

/* The sums of all columns are those of the first. */
static bool read_sums(const sum_probe *s, double *sums, complaint *why)
{
    int64_t const columns = s->y->count / s->rows;
    for (int row = 0; row < s->rows; row++)
        for (int64_t c = 0; c < columns; c++) {
            double const v = ref_decode(s->y->dtype, data_of(s, s->y), row * columns + c);
            if (c && v != sums[row])
                return refuse(why, "%s: columns with equal weights differ: column %lld sums in another order", s->p.id,
                              (long long)c);
            sums[row] = v;
        }
    return true;
}

bool sum_probe_ask(sum_probe *s, const double *x, double *sums, complaint *why)
{
    answer a;
    result *const r = calloc(1, sizeof *r);
    if (!r) return refuse(why, "no memory for %s", s->p.id);
    for (int64_t i = 0; i < s->x->count; i++) ref_encode(s->x->dtype, data_of(s, s->x), i, x[i]);
    bool const good = ask(&s->p, s->data, true, s->asked, &a, r) && read_sums(s, sums, why);
    if (!good && r->v != ERROR) refuse(why, "%s: %s: %s", s->p.id, verdict_name(r->v), r->why);
    s->skip = r->v == SKIP ? r->skip : SKIP_NOT;
    free(r);
    return good;
}

/* ---- the order ---- */

/* Ones, but for term i and term j. */
static void put_pair(const sum_probe *s, double *x, int row, int i, int j)
{
    for (int k = 0; k < s->terms; k++) x[row * s->terms + k] = k == i ? HUGE_TERM : k == j ? -HUGE_TERM : 1;
}

/* 0: it is no number of ones. */
static int count_under(const sum_probe *s, double sum)
{
    bool const whole = sum >= 0 && sum <= s->terms - 2 && sum == floor(sum);
    return whole ? s->terms - (int)sum : 0;
}

/* Pairs (i, j), j from first to last; as many rows as fit at once. */
static bool ask_pairs(sum_probe *s, int i, int first, int last, int *under, double *x, complaint *why)
{
    double sums[MAX_ROWS_OF_PROBE];
    for (int from = first; from < last; from += s->rows) {
        for (int row = 0; row < s->rows; row++) put_pair(s, x, row, i, from + row < last ? from + row : first);
        if (!sum_probe_ask(s, x, sums, why)) return false;
        for (int row = 0; row < s->rows && from + row < last; row++) under[from + row] = count_under(s, sums[row]);
    }
    return true;
}

bool sum_probe_row(sum_probe *s, int *under, complaint *why)
{
    double *const x = calloc((size_t)s->rows * (size_t)s->terms, sizeof *x);
    under[0] = 1;
    bool const good = x ? ask_pairs(s, 0, 1, s->terms, under, x, why) : refuse(why, "no memory for %s", s->p.id);
    free(x);
    return good;
}

bool sum_probe_pairs(sum_probe *s, int *under, complaint *why)
{
    int const n = s->terms;
    double *const x = calloc((size_t)s->rows * (size_t)n, sizeof *x);
    bool good = x || refuse(why, "no memory for %s", s->p.id);
    for (int i = 0; i < n && good; i++) {
        under[i * n + i] = 1;
        if (i + 1 < n) good = ask_pairs(s, i, i + 1, n, under + i * n, x, why);
        for (int j = i + 1; j < n && good; j++) under[j * n + i] = under[i * n + j];
    }
    free(x);
    return good;
}

/* ---- what adds ---- */

/* Two terms that meet first, one that meets them in the same step (-1: none), and one that does later. */
typedef struct {
    int i, j, same, later;
} trio;

static trio find_trio(const int *under, int n)
{
    trio t = {0, 1, -1, -1};
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            if (i != j && under[i * n + j] < under[t.i * n + t.j]) t.i = i, t.j = j;
    const int *const row = under + t.i * n;
    for (int k = 0; k < n; k++) {
        if (k == t.i || k == t.j) continue;
        if (row[k] == row[t.j]) t.same = k;
        if (row[k] > row[t.j] && (t.later < 0 || row[k] < row[t.later])) t.later = k;
    }
    return t;
}

/* The sum of three terms, all others 0. */
static bool ask_three(sum_probe *s, int i, double a, int j, double b, int k, double c, double *sum, complaint *why)
{
    double sums[MAX_ROWS_OF_PROBE];
    double *const x = calloc((size_t)s->rows * (size_t)s->terms, sizeof *x);
    if (!x) return refuse(why, "no memory for %s", s->p.id);
    x[i] = a, x[j] = b;
    if (k >= 0) x[k] = c;
    bool const good = sum_probe_ask(s, x, sums, why);
    *sum = sums[0];
    free(x);
    return good;
}

/* The largest k with (1 + 2^-k) - 1 not 0. */
static bool count_kept(sum_probe *s, int i, int j, int k, int *kept, complaint *why)
{
    enum { MOST = 80 };
    *kept = 0;
    for (int bits = 1; bits <= MOST; bits++) {
        double sum;
        if (!ask_three(s, i, 1, j, ldexp(1, -bits), k, -1, &sum, why)) return false;
        if (sum == 0) return true;
        *kept = bits;
    }
    return true;
}

/* Three quarters of the last bit, away from 0 on either side. */
static bool read_rounding(sum_probe *s, const trio *t, sum_accumulator *acc, complaint *why)
{
    double const part = ldexp(1.5, -acc->bits);
    double above, below;
    if (!ask_three(s, t->i, 1, t->j, part, t->later, -1, &above, why)) return false;
    if (!ask_three(s, t->i, -1, t->j, -part, t->later, 1, &below, why)) return false;
    acc->rounding = above > 0 && below < 0 ? "rn" : above > 0 ? "ru" : below < 0 ? "rd" : "rz";
    return true;
}

/* (1 + 2^-23) (1 + 2^-3) - (1 + 2^-3 + 2^-23) is 2^-26, or 0 if the product was rounded to 24 bits. */
static bool try_product(sum_probe *s, int i, int j, bool *exact, complaint *why)
{
    int64_t const columns = s->weight->count / s->terms;
    double sum;
    for (int64_t c = 0; c < columns; c++)
        ref_encode(s->weight->dtype, data_of(s, s->weight), c * s->terms + i, 1 + 0x1p-3);
    bool const good = ask_three(s, i, 1 + 0x1p-23, j, -(1 + 0x1p-3 + 0x1p-23), -1, 0, &sum, why);
    set_all(s, s->weight, 1);
    *exact = good && sum != 0;
    return good;
}

static bool read_products(sum_probe *s, const trio *t, sum_accumulator *acc, complaint *why)
{
    bool first, second;
    bool const cut = t->same >= 0 && acc->guard < 3; /* what is sought could be lost there */
    acc->products = s->x->dtype == DSV3_F32 && acc->bits >= 24 && !cut;
    acc->fused = s->x->dtype == DSV3_BF16; /* products of BF16 have no more than 16 bits */
    if (!acc->products) return true;
    if (!try_product(s, t->i, t->j, &first, why) || !try_product(s, t->j, t->i, &second, why)) return false;
    acc->fused = first || second;
    return true;
}

bool sum_probe_accumulator(sum_probe *s, const int *under, sum_accumulator *acc, complaint *why)
{
    trio const t = find_trio(under, s->terms);
    int kept;
    *acc = (sum_accumulator){.guard = -1};
    if (t.later < 0) return true;
    if (!count_kept(s, t.i, t.j, t.later, &kept, why)) return false;
    acc->bits = kept + 1;
    if (!read_rounding(s, &t, acc, why)) return false;
    if (t.same >= 0) {
        if (!count_kept(s, t.i, t.j, t.same, &kept, why)) return false;
        acc->guard = kept - (acc->bits - 1);
    }
    return read_products(s, &t, acc, why);
}
