/* balance_loss_backward: docs/components/balance_loss_backward.md. */
#include "legal.h"

enum { COUNTS, FRACTIONS };
enum { DIVIDED_FIRST, DIVIDED_LAST, CONSTANT_DIVIDED, TERMS_APART, DIVISION_BACKWARD, FORMS };

void legal_balance_loss_backward_config(legal *c, dsv3_balance_loss_backward_prob const *p,
                                        dsv3_balance_loss_backward_io const *io)
{
    legal_start(c, "balance_loss_backward", p->batch, p->n_tokens, p->n_routed_experts, (int)io->scores.dtype);
    legal_sums(c, false);
    legal_arithmetic(c, false);
    legal_division(c);
    legal_output(c, "grad_scores", DSV3_F32);
}

/* A division that is no share of a sum: never by a rounded reciprocal. */
static double divided(legal c, double a, double b)
{
    c.reciprocal = false;
    return legal_div(&c, a, b);
}

static double fraction(legal const *c, double count, double experts, double choices)
{
    int const order = legal_habit(c, "fraction", 3);
    if (order == 0) return divided(*c, legal_op(c, count * experts), choices);
    if (order == 1) return legal_op(c, count * divided(*c, experts, choices));
    return divided(*c, count, divided(*c, choices, experts));
}

/* What multiplies the fractions of T tokens, or their counts. */
static double constant(legal const *c, dsv3_balance_loss_backward_prob const *p, double grad, double tokens)
{
    double const alpha = legal_constant(c, p->aux_loss_alpha), experts = (double)p->n_routed_experts;
    double const k = (double)p->num_experts_per_tok;
    double factor[4] = {grad, alpha, 1, 1};
    int const order = legal_habit(c, "constant", 3);
    if (legal_habit(c, "f", 2) == FRACTIONS) {
        factor[order] = divided(*c, factor[order], tokens);
        return legal_product(c, "factors", 3, factor);
    }
    double const square = legal_op(c, tokens * tokens);
    factor[2] = order == 0 ? divided(*c, divided(*c, experts, legal_op(c, k * tokens)), tokens) : experts;
    if (order == 1) factor[2] = divided(*c, experts, legal_op(c, k * square));
    double const all = legal_product(c, "factors", 3, factor);
    return order == 2 ? divided(*c, all, legal_op(c, k * square)) : all;
}

static void count(legal const *c, dsv3_balance_loss_backward_prob const *p, dsv3_balance_loss_backward_io const *io,
                  int64_t first, int64_t n, double *f)
{
    int64_t const experts = p->n_routed_experts, k = p->num_experts_per_tok;
    for (int64_t e = 0; e < experts; e++) f[e] = 0;
    for (int64_t t = 0; t < n; t++)
        for (int64_t i = 0; i < k; i++)
            f[(int64_t)legal_load(c, &io->topk_idx, legal_row(&io->topk_idx, first + t) + i)]++;
    for (int64_t e = 0; legal_habit(c, "f", 2) == FRACTIONS && e < experts; e++)
        f[e] = fraction(c, f[e], (double)experts, (double)(k * n));
}

/* sum_j f_j s_j / S. work: n doubles. */
static double mean_of(legal const *c, int64_t n, double const *f, double const *s, double sum, double *work)
{
    if (legal_habit(c, "divided_last", 2)) return legal_div(c, legal_cast(c, legal_dot(c, n, f, s)), sum);
    for (int64_t e = 0; e < n; e++) work[e] = legal_div(c, s[e], sum);
    return legal_cast(c, legal_dot(c, n, f, work));
}

/* As autograd takes a division: x_i / S less the sum of x_j ((s_j / S) / S), x = C f. work: 2 n doubles. */
static void division_backward(legal const *c, int64_t n, double scale, double const *f, double const *s, double sum,
                              double *work, double *out)
{
    double *x = work + n;
    for (int64_t e = 0; e < n; e++) {
        x[e] = legal_op(c, scale * f[e]);
        work[e] = legal_op(c, x[e] * legal_div(c, legal_div(c, s[e], sum), sum));
    }
    double const common = legal_cast(c, legal_dot(c, n, work, NULL));
    for (int64_t e = 0; e < n; e++) out[e] = legal_op(c, legal_div(c, x[e], sum) - common);
}

static double of_mean(legal const *c, double scale, double f, double m, double sum)
{
    double const less = legal_op(c, f - m), ratio = legal_div(c, scale, sum);
    switch (legal_habit(c, "form", FORMS)) {
    case DIVIDED_FIRST: return legal_op(c, legal_div(c, less, sum) * scale);
    case DIVIDED_LAST: return legal_div(c, legal_op(c, less * scale), sum);
    case CONSTANT_DIVIDED: return legal_op(c, less * ratio);
    default: break;
    }
    double const product = legal_habit(c, "fused_difference", 2) ? f * ratio : legal_op(c, f * ratio);
    return legal_op(c, product - legal_op(c, m * ratio));
}

/* A token's gradient, of its scores. work: 2 n doubles. */
static void of_token(legal const *c, int64_t n, double scale, double const *f, double const *s, double *work,
                     double *out)
{
    double const sum = legal_cast(c, legal_dot(c, n, s, NULL));
    if (legal_habit(c, "form", FORMS) == DIVISION_BACKWARD) {
        division_backward(c, n, scale, f, s, sum, work, out);
        return;
    }
    double const m = mean_of(c, n, f, s, sum, work);
    for (int64_t e = 0; e < n; e++) out[e] = of_mean(c, scale, f[e], m, sum);
}

/* The gradients of the tokens from first on; f: 5 n_routed_experts doubles. */
static void of_tokens(legal const *c, dsv3_balance_loss_backward_prob const *p, dsv3_balance_loss_backward_io const *io,
                      int64_t first, int64_t tokens, double grad, double *f)
{
    int64_t const n = p->n_routed_experts;
    double *s = f + n, *out = f + 2 * n, *work = f + 3 * n;
    double const scale = constant(c, p, grad, (double)tokens);
    count(c, p, io, first, tokens, f);
    for (int64_t t = first; t < first + tokens; t++) {
        for (int64_t e = 0; e < n; e++) s[e] = legal_load(c, &io->scores, legal_row(&io->scores, t) + e);
        if (p->seq_aux) of_token(c, n, scale, f, s, work, out);
        for (int64_t e = 0; !p->seq_aux && e < n; e++) out[e] = legal_op(c, scale * f[e]);
        for (int64_t e = 0; e < n; e++) legal_store(c, &io->grad_scores, legal_row(&io->grad_scores, t) + e, out[e]);
    }
}

dsv3_status legal_balance_loss_backward(dsv3_ctx *ctx, dsv3_balance_loss_backward_prob const *p,
                                        dsv3_balance_loss_backward_io const *io)
{
    (void)ctx;
    legal c;
    legal_balance_loss_backward_config(&c, p, io);
    double *f = legal_room(5 * p->n_routed_experts), *grad = legal_room(p->batch);
    if (!f || !grad) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++) grad[b] = legal_load(&c, &io->grad_loss, b);
    if (!p->seq_aux) of_tokens(&c, p, io, 0, p->n_tokens, legal_cast(&c, legal_dot(&c, p->batch, grad, NULL)), f);
    for (int64_t b = 0; p->seq_aux && b < p->batch; b++) {
        int64_t const first = (int64_t)legal_load(&c, &io->cu_seqlens, b);
        int64_t const tokens = (int64_t)legal_load(&c, &io->cu_seqlens, b + 1) - first;
        if (tokens) of_tokens(&c, p, io, first, tokens, grad[b], f);
    }
    return DSV3_OK;
}
