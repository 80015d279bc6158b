/* rmsnorm_backward: docs/components/rmsnorm_backward.md. */
#include "legal.h"

#include <math.h>
#include <string.h>

enum { G, X_HAT, X_NORM, TERMS, GRAD_NORM };
enum { OUTSIDE, INSIDE, CUBED, FORMS };
enum { LAST, TO_FIRST, TO_SECOND };

/* Where grad_residual_out is added: behind the difference, or to one of its two summands. */
static int added(legal const *c)
{
    return legal_draw(c, "form", FORMS) == OUTSIDE ? LAST : legal_draw(c, "added", 3);
}

static bool fuses_terms(legal const *c)
{
    return c->fused && c->arith != IN_BF16 && legal_draw(c, "fused_terms", 2);
}

static bool roots(legal const *c)
{
    return c->rsqrt == 0 && c->div == 0 && legal_draw(c, "root", 2);
}

/* The root, and whether it divides or its reciprocal multiplies: said, or left open. */
static void root_config(legal *c)
{
    size_t const before = strlen(c->text);
    legal_functions(c, "rsqrt");
    if (c->rsqrt > 0 || c->arith == IN_F64 || !legal_draw(c, "root_said", 2)) return;
    c->text[before] = 0;
    legal_say(c, "; rsqrt %s", roots(c) ? "root" : "recip");
}

/* A port that rounds may leave open whether it does. */
static void last_config(legal *c, dsv3_dtype dtype)
{
    c->point[GRAD_NORM] = legal_round_at(c, "grad_norm", dtype);
    char *const must = c->text + strlen(c->text) - 4;
    if (!strcmp(must, "must") && legal_draw(c, "grad_norm_open", 3) == 0) strcpy(must, "may");
}

void legal_rmsnorm_backward_config(legal *c, dsv3_rmsnorm_backward_prob const *p, dsv3_rmsnorm_backward_io const *io)
{
    dsv3_dtype const dtype = io->x.dtype;
    legal_start(c, "rmsnorm_backward", p->n_tokens, p->hidden_size, p->residual,
                (int)(dtype * 8 + io->grad_weight.dtype));
    legal_sums(c, false);
    legal_arithmetic(c, dtype == DSV3_BF16);
    legal_division(c);
    c->reciprocal = false; /* a mean is no share of a sum; r is a point of its own */
    root_config(c);
    c->point[G] = legal_round_at(c, "g", dtype);
    c->point[X_HAT] = legal_round_at(c, "x_hat", dtype);
    c->point[X_NORM] = legal_round_at(c, "x_norm", dtype);
    if (!fuses_terms(c)) c->point[TERMS] = legal_round_at(c, "terms", dtype);
    if (fuses_terms(c)) legal_say(c, "; terms f32 may");
    if (p->residual && added(c) == LAST) last_config(c, dtype);
    legal_output(c, "grad_x", dtype);
    legal_output(c, "grad_weight", io->grad_weight.dtype);
}

/* What a row's norm divides by: its reciprocal r, or the root itself. */
typedef struct {
    bool roots;
    double r, root;
} row_scale;

static double scaled(legal const *c, row_scale s, double x)
{
    return s.roots ? legal_div(c, x, s.root) : legal_op(c, x * s.r);
}

static row_scale scale_of(legal const *c, dsv3_rmsnorm_backward_prob const *p, double const *x)
{
    bool const exact = c->acc.bits == 53 && !legal_habit(c, "eps", 2);
    double const eps = exact ? p->rms_norm_eps : legal_constant(c, p->rms_norm_eps);
    double const sum = legal_cast(c, legal_dot(c, p->hidden_size, x, x));
    bool const wide = c->acc.bits == 53 && c->div == 0 && !legal_draw(c, "cast", 2);
    double const n = (double)p->hidden_size, mean = wide ? sum / n : legal_div(c, sum, n);
    double const square = legal_cast(c, mean + eps);
    return (row_scale){roots(c), legal_rsqrt(c, square), roots(c) ? legal_op(c, sqrt(square)) : 0};
}

/* x r^3 times the mean of g x, and the division of that mean early, late (torch) or by a rounded 1 / n (Liger). */
static double cubed(legal const *c, double x, double r, double sum, double n)
{
    int const when = legal_habit(c, "mean", 3);
    if (when == 1) {
        double const cube = legal_op(c, r * legal_op(c, r * r));
        return legal_op(c, x * legal_div(c, legal_op(c, sum * cube), n));
    }
    if (when == 2 && c->div >= 2)
        return legal_product(c, "product", 6, (double const[]){x, r, r, r, sum, legal_op(c, 1 / n)});
    return legal_product(c, "product", 5, (double const[]){x, r, r, r, legal_div(c, sum, n)});
}

/* x_hat m over the root: a product with r, or a quotient by the root. */
static double turned(legal const *c, row_scale s, double hat, double mean)
{
    if (s.roots && legal_habit(c, "divides", 2)) return scaled(c, s, legal_op(c, hat * mean));
    return legal_product(c, "product", 3, (double const[]){s.r, hat, mean});
}

/* grad_x before its point; residual 0 where there is none. */
static double through(legal const *c, row_scale s, double g, double x, double hat, double sum, double n,
                      double residual, bool adds)
{
    int const form = legal_draw(c, "form", FORMS);
    double const mean = form == CUBED ? 0 : legal_div(c, sum, n);
    double grad = 0;
    if (form == OUTSIDE) {
        double const product = legal_habit(c, "fused_mean", 2) ? hat * mean : legal_op(c, hat * mean);
        grad = scaled(c, s, legal_op(c, g - product));
    } else {
        double first = scaled(c, s, g);
        double second = form == CUBED ? cubed(c, x, s.r, sum, n) : turned(c, s, hat, mean);
        if (adds && added(c) == TO_FIRST) first = legal_op(c, first + residual);
        if (adds && added(c) == TO_SECOND) second = legal_op(c, second - residual);
        grad = legal_op(c, first - second);
    }
    if (!adds || added(c) != LAST) return grad;
    return legal_op(c, legal_at(c, c->point[GRAD_NORM], grad) + residual);
}

/* One row: grad_x written, and what the sums over tokens take, in the order of their columns. */
static void row_of(legal const *c, dsv3_rmsnorm_backward_prob const *p, dsv3_rmsnorm_backward_io const *io, int64_t t,
                   double *x, double *g, double *left, double *right)
{
    int64_t const n = p->hidden_size;
    dsv3_tensor const *weight = dsv3_find(&io->weights, "weight");
    double *hat = g + n;
    for (int64_t i = 0; i < n; i++) x[i] = legal_load(c, &io->x, legal_row(&io->x, t) + i);
    row_scale const s = scale_of(c, p, x);
    for (int64_t i = 0; i < n; i++) {
        double const grad = legal_load(c, &io->grad_y, legal_row(&io->grad_y, t) + i);
        double const normed = scaled(c, s, x[i]), saved = legal_at(c, c->point[X_NORM], normed);
        g[i] = legal_at(c, c->point[G], legal_op(c, legal_load(c, weight, i) * grad));
        hat[i] = legal_at(c, c->point[X_HAT], normed);
        left[i * p->n_tokens + t] = fuses_terms(c) ? grad : legal_at(c, c->point[TERMS], legal_op(c, grad * saved));
        right[i * p->n_tokens + t] = saved;
    }
    bool const cubes = legal_draw(c, "form", FORMS) == CUBED;
    double const sum = legal_cast(c, legal_dot(c, n, g, cubes ? x : hat));
    for (int64_t i = 0; i < n; i++) {
        double const residual =
            p->residual ? legal_load(c, &io->grad_residual_out, legal_row(&io->grad_residual_out, t) + i) : 0;
        legal_store(c, &io->grad_x, legal_row(&io->grad_x, t) + i,
                    through(c, s, g[i], x[i], hat[i], sum, (double)n, residual, p->residual));
    }
}

dsv3_status legal_rmsnorm_backward(dsv3_ctx *ctx, dsv3_rmsnorm_backward_prob const *p,
                                   dsv3_rmsnorm_backward_io const *io)
{
    (void)ctx;
    legal c;
    legal_rmsnorm_backward_config(&c, p, io);
    bool const weight_cut = c.cut_output;
    int64_t const n = p->hidden_size, all = n * p->n_tokens;
    double *x = legal_room(n), *g = legal_room(2 * n), *left = legal_room(all), *right = legal_room(all);
    if (!x || !g || !left || !right) return DSV3_UNSUPPORTED;
    c.cut_output = legal_cuts(&c, "grad_x");
    for (int64_t t = 0; t < p->n_tokens; t++) row_of(&c, p, io, t, x, g, left, right);
    c.cut_output = weight_cut;
    for (int64_t i = 0; i < n; i++) {
        double const *b = fuses_terms(&c) ? right + i * p->n_tokens : NULL;
        legal_store(&c, &io->grad_weight, i, legal_dot(&c, p->n_tokens, left + i * p->n_tokens, b));
    }
    return DSV3_OK;
}
