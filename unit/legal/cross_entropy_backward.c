/* cross_entropy_backward: docs/components/cross_entropy_backward.md. */
#include "legal.h"

#include <math.h>

enum { DIVIDED, FROM_LSE, FROM_LN };
enum { BY_SHARE, BY_GRAD, LESS_SHARE };

/* A running maximum over blocks of logits, where the sum can go on from block to block as declared. */
static void running(legal *c, int64_t n)
{
    static int const sizes[] = {1, 2, 3, 4, 8, 16, 64};
    bool const goes_on = c->order == TREE || (c->splits == 1 && !c->promote && c->order != LANES);
    c->keys = goes_on && c->acc.bits >= 24 && legal_draw(c, "running", 2) ? sizes[legal_draw(c, "keys", 7)] : 0;
    if (c->keys % c->block) c->keys = c->block;
    legal_say(c, "; rescales %d", c->keys ? (int)((n + c->keys - 1) / c->keys - 1) : 0);
}

void legal_cross_entropy_backward_config(legal *c, dsv3_cross_entropy_backward_prob const *p,
                                         dsv3_cross_entropy_backward_io const *io)
{
    dsv3_dtype const dtype = io->logits.dtype;
    legal_start(c, "cross_entropy_backward", p->n_tokens, p->vocab_size, p->divisor, (int)dtype);
    legal_sums(c, false);
    legal_arithmetic(c, dtype == DSV3_BF16);
    legal_division(c);
    legal_functions(c, "exp log");
    running(c, p->vocab_size);
    c->point[0] = legal_round_at(c, "P", dtype);
    legal_output(c, "grad_logits", dtype);
}

static double largest_of(int64_t n, double const *z, double largest)
{
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, z[i]);
    return largest;
}

static void raised(legal const *c, int64_t n, double const *z, double largest, double *e)
{
    for (int64_t i = 0; i < n; i++) e[i] = legal_exp(c, legal_op(c, z[i] - largest));
}

/* The largest logit, and the sum of the weights below it. */
static double sum_of_weights(legal const *c, int64_t n, double const *z, double *e, double *most)
{
    int64_t const step = c->keys ? c->keys : n;
    double sum = 0;
    *most = -INFINITY;
    for (int64_t first = 0; first < n; first += step) {
        int64_t const some = n - first < step ? n - first : step;
        double const before = *most;
        *most = largest_of(some, z + first, before);
        raised(c, some, z + first, *most, e);
        if (first && *most > before) sum = legal_op(c, sum * legal_exp(c, legal_op(c, before - *most)));
        sum = c->keys ? legal_dot_on(c, sum, some, e, NULL) : legal_dot(c, some, e, NULL);
    }
    return legal_cast(c, sum);
}

/* The softmax of a row: weights over their sum, or powers of e. */
static void softmax(legal const *c, int64_t n, double const *z, double *e)
{
    int const way = legal_habit(c, "way", 3);
    double most = 0;
    double const sum = sum_of_weights(c, n, z, e, &most);
    double const ln = way == DIVIDED ? 0 : legal_log(c, sum), lse = legal_op(c, most + ln);
    if (way == DIVIDED) raised(c, n, z, most, e);
    for (int64_t i = 0; i < n; i++) {
        if (way == DIVIDED) e[i] = legal_div(c, e[i], sum);
        if (way == FROM_LSE) e[i] = legal_exp(c, legal_op(c, z[i] - lse));
        if (way == FROM_LN) e[i] = legal_exp(c, legal_op(c, legal_op(c, z[i] - most) - ln));
        e[i] = legal_at(c, c->point[0], e[i]);
    }
}

/* A division that is no share of a sum: never by a rounded reciprocal. */
static double divided(legal c, double a, double b)
{
    c.reciprocal = false;
    return legal_div(&c, a, b);
}

static double gradient(legal const *c, double p, bool at_label, double grad, double divisor)
{
    int const order = legal_habit(c, "order_of_gradient", 3);
    double const less = at_label ? legal_op(c, p - 1) : p;
    if (order == BY_GRAD) return divided(*c, legal_op(c, less * grad), divisor);
    double const share = divided(*c, grad, divisor);
    if (order == BY_SHARE || !at_label) return legal_op(c, less * share);
    return legal_op(c, (legal_habit(c, "fused_share", 2) ? p * share : legal_op(c, p * share)) - share);
}

dsv3_status legal_cross_entropy_backward(dsv3_ctx *ctx, dsv3_cross_entropy_backward_prob const *p,
                                         dsv3_cross_entropy_backward_io const *io)
{
    (void)ctx;
    legal c;
    legal_cross_entropy_backward_config(&c, p, io);
    int64_t const n = p->vocab_size;
    double *z = legal_room(n), *e = legal_room(n);
    if (!z || !e) return DSV3_UNSUPPORTED;
    int64_t counted = 0;
    for (int64_t t = 0; t < p->n_tokens; t++) counted += legal_load(&c, &io->labels, t) != DSV3_IGNORED;
    double const divisor = (double)(p->divisor ? counted : p->n_tokens), grad = legal_load(&c, &io->grad_mean, 0);
    for (int64_t t = 0; t < p->n_tokens; t++) {
        int64_t const label = (int64_t)legal_load(&c, &io->labels, t), from = legal_row(&io->logits, t);
        for (int64_t i = 0; i < n; i++) z[i] = legal_load(&c, &io->logits, from + i);
        if (label != DSV3_IGNORED) softmax(&c, n, z, e);
        for (int64_t i = 0; i < n; i++)
            legal_store(&c, &io->grad_logits, legal_row(&io->grad_logits, t) + i,
                        label == DSV3_IGNORED ? 0 : gradient(&c, e[i], i == label, grad, divisor));
    }
    return DSV3_OK;
}
