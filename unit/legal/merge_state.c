/* merge_state: include/dsv3.h, of each query and head two parts become one. */
#include "legal.h"

#include <math.h>

enum { P };
/* Weights e^(lse_a - lse) err by |lse|, which the formula's don't: LEGAL=7,form=2 alone has them. */
enum { DIVIDES_SUMS, DIVIDES_WEIGHTS, FORMS, BY_LSE = FORMS };
enum { BASE_E, BASE_2 };

/* How a port finds weights and lse, which no declaration tells. `problem` is the base of each lse, `inner` that of its
 * functions; another base is met by a constant, which multiplies each lse (`early`) or their difference. An early one is
 * multiplied back in the result (`returns`), or was kept beside. */
typedef struct {
    int form, problem, inner;
    bool b_first, elementwise, adds_kept, copies, early, returns;
    legal wide; /* arithmetic in which bases are changed: binary32 or better */
} habits;

/* Of a row: of n parts that have keys, first those that are taken first. */
typedef struct {
    int n;
    double lse[2], weight[2];
    int64_t at[2];
    dsv3_tensor const *o[2];
    double sum, all; /* of weights not yet divided, or 1; the row's lse */
} merge_row;

void legal_merge_state_config(legal *c, dsv3_merge_state_prob const *p, dsv3_merge_state_io const *io)
{
    legal_start(c, "merge_state", p->n_tokens, p->v_head_dim, p->lse_base * 2 + p->empty, (int)io->o_a.dtype);
    legal_sums(c, false);
    legal_arithmetic(c, io->o_a.dtype == DSV3_BF16);
    legal_division(c);
    legal_functions(c, "exp log");
    c->point[P] = legal_round_at(c, "P", DSV3_BF16);
    legal_output(c, "lse", DSV3_F32);
    legal_output(c, "o", io->o.dtype);
}

static habits habits_of(legal const *c, dsv3_merge_state_prob const *p)
{
    habits h = {.form = legal_habit(c, "form", FORMS),
                .problem = p->lse_base,
                .inner = legal_habit(c, "inner", 2),
                .b_first = legal_habit(c, "b_first", 2),
                .elementwise = legal_habit(c, "elementwise", 2),
                .adds_kept = legal_habit(c, "adds_kept", 2),
                .copies = legal_habit(c, "copies", 2),
                .early = p->lse_base != legal_habit(c, "inner", 2) && legal_habit(c, "early", 2),
                .returns = legal_habit(c, "returns", 2),
                .wide = *c};
    if (c->arith == IN_BF16) h.wide.arith = IN_F32;
    return h;
}

/* x, a logarithm to one base, to another. */
static double to_base(habits const *h, int from, int to, double x)
{
    if (from == to) return x;
    double const factor = to == BASE_2 ? 0x1.71547652b82fep0 : 0x1.62e42fefa39efp-1;
    return legal_op(&h->wide, x * legal_constant(&h->wide, factor));
}

/* The exponential of x, to the problem's base. The slope of its error counts in units of the argument of e^, or of 2^
 * where nothing is converted. */
static double power(legal const *c, habits const *h, double x)
{
    if (x == 0) return 1;
    double const y = h->early ? x : to_base(h, h->problem, h->inner, x);
    if (h->inner == BASE_E) return legal_exp(c, y);
    double const argument = h->problem == BASE_2 ? y : y * 0x1.62e42fefa39efp-1;
    return legal_op(c, legal_shift(c, exp2l(y), c->exp, argument));
}

/* In the inner base. */
static double logarithm(legal const *c, habits const *h, double x)
{
    if (h->inner == BASE_E) return legal_log(c, x);
    return legal_op(c, legal_shift(c, log2l(x), c->log, 0));
}

/* w_0 x_0 + w_1 x_1 of n parts: a sum as declared; or elementwise, the second product fused with the sum or not. */
static double weighted(legal const *c, habits const *h, int n, double const *w, double const *x)
{
    if (!h->elementwise) return legal_dot(c, n, w, x);
    double const first = legal_op(c, w[0] * x[0]);
    if (n == 1) return first;
    return legal_op(c, first + (c->fused ? w[1] * x[1] : legal_op(c, w[1] * x[1])));
}

static double sum_of(legal const *c, habits const *h, int n, double const *w)
{
    if (!h->elementwise) return legal_cast(c, legal_dot(c, n, w, NULL));
    return n == 1 ? w[0] : legal_op(c, w[0] + w[1]);
}

/* m + log(sum) to the problem's base. What is multiplied back is no lse yet: binary32 or better holds it. The lse of a
 * part alone is kept, or with LEGAL=7,lone=1 as that of two. */
static double lse_of(legal const *c, habits const *h, merge_row const *r, double largest)
{
    double const ln = logarithm(c, h, r->sum);
    if (h->early && h->returns && (r->n == 2 || legal_draw(c, "lone", 1)))
        return legal_op(c, to_base(h, h->inner, h->problem, legal_op(&h->wide, largest + ln)));
    double const kept = r->n == 1 ? r->lse[0] : fmax(r->lse[0], r->lse[1]);
    return legal_op(c, kept + to_base(h, h->inner, h->problem, ln));
}

/* Weights, their sum where it still divides, and lse. */
static void weigh(legal const *c, habits const *h, merge_row *r)
{
    double lse[2], kept[2] = {0}, largest = -INFINITY;
    for (int i = 0; i < r->n; i++) {
        lse[i] = h->early ? to_base(h, h->problem, h->inner, r->lse[i]) : r->lse[i];
        largest = fmax(largest, lse[i]);
    }
    for (int i = 0; i < r->n; i++) {
        kept[i] = power(c, h, legal_op(c, lse[i] - largest));
        r->weight[i] = legal_at(c, c->point[P], kept[i]);
    }
    bool const rounded = h->form == DIVIDES_SUMS && !h->adds_kept;
    r->sum = sum_of(c, h, r->n, rounded ? r->weight : kept);
    r->all = lse_of(c, h, r, largest);
    if (h->form == DIVIDES_SUMS) return;
    double const all = h->early ? to_base(h, h->problem, h->inner, r->all) : r->all;
    for (int i = 0; i < r->n; i++) {
        double const w = h->form == BY_LSE ? power(c, h, legal_op(c, lse[i] - all)) : legal_div(c, kept[i], r->sum);
        r->weight[i] = legal_at(c, c->point[P], w);
    }
}

/* Of +infinity a port without `empty` may make anything. */
static bool has_keys(dsv3_merge_state_prob const *p, double lse)
{
    return lse != -INFINITY && !(p->empty && lse == INFINITY);
}

static merge_row row_of(legal const *c, habits const *h, dsv3_merge_state_prob const *p, dsv3_merge_state_io const *io,
                        int64_t row)
{
    dsv3_tensor const *const lse[] = {&io->lse_a, &io->lse_b}, *const o[] = {&io->o_a, &io->o_b};
    merge_row r = {.all = -INFINITY};
    for (int i = 0; i < 2; i++) {
        int const part = h->b_first ? 1 - i : i;
        int64_t const heads = p->num_attention_heads;
        double const x = legal_load(c, lse[part], legal_row(lse[part], row / heads) + row % heads);
        if (!has_keys(p, x)) continue;
        r.lse[r.n] = x, r.o[r.n] = o[part];
        r.at[r.n++] = legal_row(o[part], row);
    }
    return r;
}

static double element(legal const *c, habits const *h, merge_row const *r, bool copies, int64_t i)
{
    double x[2] = {0};
    for (int k = 0; k < r->n; k++) x[k] = legal_load(c, r->o[k], r->at[k] + i);
    if (r->n == 0 || copies) return x[0];
    double const sum = weighted(c, h, r->n, r->weight, x);
    return h->form == DIVIDES_SUMS ? legal_div(c, legal_cast(c, sum), r->sum) : sum;
}

dsv3_status legal_merge_state(dsv3_ctx *ctx, dsv3_merge_state_prob const *p, dsv3_merge_state_io const *io)
{
    (void)ctx;
    legal c;
    legal_merge_state_config(&c, p, io);
    habits const h = habits_of(&c, p);
    bool const cuts_o = c.cut_output, cuts_lse = legal_cuts(&c, "lse");
    int64_t const heads = p->num_attention_heads;
    for (int64_t row = 0; row < p->n_tokens * heads; row++) {
        merge_row r = row_of(&c, &h, p, io, row);
        bool const copies = r.n == 1 && h.copies;
        if (copies) r.all = r.lse[0];
        if (r.n > 0 && !copies) weigh(&c, &h, &r);
        c.cut_output = cuts_o;
        for (int64_t i = 0; i < p->v_head_dim; i++)
            legal_store(&c, &io->o, legal_row(&io->o, row) + i, element(&c, &h, &r, copies, i));
        c.cut_output = cuts_lse;
        legal_store(&c, &io->lse, legal_row(&io->lse, row / heads) + row % heads, r.all);
    }
    return DSV3_OK;
}
