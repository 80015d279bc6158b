/* gate_backward: docs/components/gate_backward.md. */
#include "legal.h"

#include <math.h>

enum { SCORES, GRAD_SCORES };
enum { BY_QUOTIENT, SCALE_FIRST, DIVIDE_FIRST, TERMS_SCALED, TERMS_DIVIDED, SCALE_TO_GRAD, DIVISION_BACKWARD, FORMS };
enum { SUBTRACTED, OPPOSITE };
enum { OF_DIFFERENCE, OF_TERMS, OF_CHOSEN };

/* grad_t is formed, and rounded at its point; else its factors meet s and 1 - s in any order. */
static bool forms_grad_scores(legal const *c)
{
    return c->arith == IN_BF16 || legal_draw(c, "forms_grad_scores", 2);
}

static bool sigmoid(dsv3_gate_backward_prob const *p)
{
    return p->scoring_func == DSV3_SIGMOID;
}

void legal_gate_backward_config(legal *c, dsv3_gate_backward_prob const *p, dsv3_gate_backward_io const *io)
{
    dsv3_dtype const dtype = io->logits.dtype;
    legal_start(c, "gate_backward", p->n_tokens, p->n_routed_experts, p->scoring_func * 2 + p->norm_topk_prob,
                (int)dtype);
    legal_sums(c, false);
    legal_arithmetic(c, dtype == DSV3_BF16);
    legal_division(c);
    legal_functions(c, sigmoid(p) ? "sigmoid" : "exp");
    c->point[SCORES] = legal_round_at(c, "scores", dtype);
    if (forms_grad_scores(c) || !sigmoid(p)) c->point[GRAD_SCORES] = legal_round_at(c, "grad_scores", dtype);
    legal_output(c, "grad_logits", dtype);
}

static void score(legal const *c, dsv3_gate_backward_prob const *p, double const *z, double *s)
{
    int64_t const n = p->n_routed_experts;
    double largest = z[0], sum = 1;
    for (int64_t e = 0; e < n; e++) largest = fmax(largest, z[e]);
    for (int64_t e = 0; e < n; e++)
        s[e] = sigmoid(p) ? legal_sigmoid(c, z[e]) : legal_exp(c, legal_op(c, z[e] - largest));
    if (!sigmoid(p)) sum = legal_cast(c, legal_dot(c, n, s, NULL));
    for (int64_t e = 0; e < n; e++) s[e] = legal_at(c, c->point[SCORES], sigmoid(p) ? s[e] : legal_div(c, s[e], sum));
}

/* a b - d with one rounding, or with two. */
static double product_less(legal const *c, double a, double b, double d)
{
    return legal_op(c, (legal_habit(c, "fused_difference", 2) ? a * b : legal_op(c, a * b)) - d);
}

/* sum_j g_j t_j / S. work: n doubles. */
static double mean_of(legal const *c, int64_t n, double const *g, double const *t, double sum, double *work)
{
    if (legal_habit(c, "divided_last", 2)) return legal_div(c, legal_cast(c, legal_dot(c, n, g, t)), sum);
    for (int64_t k = 0; k < n; k++) work[k] = legal_div(c, t[k], sum);
    return legal_cast(c, legal_dot(c, n, g, work));
}

/* As autograd takes a division: x_k / S less the sum of x_j ((t_j / S) / S), x = gamma g. work: n doubles. */
static void division_backward(legal const *c, int64_t n, double const *x, double const *t, double sum, double *work,
                              double *grad)
{
    for (int64_t k = 0; k < n; k++) work[k] = legal_op(c, x[k] * legal_div(c, legal_div(c, t[k], sum), sum));
    double const common = legal_cast(c, legal_dot(c, n, work, NULL));
    for (int64_t k = 0; k < n; k++) grad[k] = legal_op(c, legal_div(c, x[k], sum) - common);
}

static int form_of(legal const *c)
{
    return legal_draw(c, "form", FORMS);
}

/* gamma / S (g_k - m) in the ways that share m. */
static double of_mean(legal const *c, double gamma, double g, double m, double sum)
{
    double const ratio = legal_div(c, gamma, sum);
    switch (form_of(c)) {
    case BY_QUOTIENT: return legal_op(c, legal_op(c, g - m) * ratio);
    case SCALE_FIRST: return legal_div(c, legal_op(c, legal_op(c, g - m) * gamma), sum);
    case DIVIDE_FIRST: return legal_op(c, legal_div(c, legal_op(c, g - m), sum) * gamma);
    case TERMS_SCALED: return product_less(c, g, ratio, legal_op(c, m * ratio));
    case TERMS_DIVIDED: return legal_op(c, gamma * legal_op(c, legal_div(c, g, sum) - legal_div(c, m, sum)));
    default: return legal_div(c, legal_op(c, g - m), sum);
    }
}

/* The gradient by the chosen scores. g, t and work: n doubles each; g is used up. */
static void by_scores(legal const *c, dsv3_gate_backward_prob const *p, double *g, double const *t, double *work,
                      double *grad)
{
    int64_t const n = p->num_experts_per_tok;
    double const gamma = legal_constant(c, p->routed_scaling_factor);
    bool const scaled = !p->norm_topk_prob || form_of(c) == SCALE_TO_GRAD || form_of(c) == DIVISION_BACKWARD;
    for (int64_t k = 0; scaled && k < n; k++) g[k] = legal_op(c, gamma * g[k]);
    for (int64_t k = 0; !p->norm_topk_prob && k < n; k++) grad[k] = g[k];
    if (!p->norm_topk_prob) return;
    double const sum = legal_cast(c, legal_dot(c, n, t, NULL));
    if (form_of(c) == DIVISION_BACKWARD) {
        division_backward(c, n, g, t, sum, work, grad);
        return;
    }
    double const m = mean_of(c, n, g, t, sum, work);
    for (int64_t k = 0; k < n; k++) grad[k] = of_mean(c, gamma, g[k], m, sum);
}

/* sigmoid(-z), rounded as the scores are or left alone; or a difference. */
static double one_minus(legal const *c, double z, double s)
{
    if (legal_habit(c, "one_minus", 2) == SUBTRACTED) return legal_op(c, 1 - s);
    double const opposite = legal_sigmoid(c, -z);
    return legal_habit(c, "rounds_opposite", 2) ? legal_at(c, c->point[SCORES], opposite) : opposite;
}

/* Chosen experts of a sigmoid; factors of grad_t first where it is formed. */
static double through_sigmoid(legal const *c, double z, double s, double grad)
{
    double const factor[3] = {grad, s, one_minus(c, z, s)};
    return legal_product(c, "product", 3, factor);
}

/* The factors gamma, g (with its mean taken off) and 1 / S by themselves among s and 1 - s. */
static double unformed(legal const *c, dsv3_gate_backward_prob const *p, double z, double s, double g, double m,
                       double sum)
{
    double const gamma = legal_constant(c, p->routed_scaling_factor);
    double f[4] = {s, one_minus(c, z, s), p->norm_topk_prob ? legal_op(c, g - m) : g, gamma};
    int const divided = legal_habit(c, "divided", 3);
    if (!p->norm_topk_prob || divided == 2) {
        double const x = legal_product(c, "product", 4, f);
        return p->norm_topk_prob ? legal_div(c, x, sum) : x;
    }
    int const at = divided ? 3 : 0; /* a share of the scores, or gamma / S */
    f[at] = legal_div(c, f[at], sum);
    return legal_product(c, "product", 4, f);
}

/* s_e (grad_s_e - sum of grad_s s): of experts all of whose grad_s but the chosen ones' are 0. */
static void through_softmax(legal const *c, int64_t n, double const *s, double const *grad, double *work, double *out)
{
    int const form = legal_habit(c, "softmax_form", 3);
    int64_t chosen = 0;
    double const *x = grad, *y = s;
    if (form == OF_CHOSEN || legal_habit(c, "chosen_alone", 2)) {
        for (int64_t e = 0; e < n; e++)
            if (grad[e] != 0) work[chosen] = grad[e], work[n + chosen++] = s[e];
        x = work, y = work + n;
    }
    double const m = legal_cast(c, legal_dot(c, x == work ? chosen : n, x, y));
    for (int64_t e = 0; e < n; e++) {
        double const less = legal_op(c, s[e] * m);
        out[e] =
            form == OF_DIFFERENCE ? legal_op(c, legal_op(c, grad[e] - m) * s[e]) : product_less(c, s[e], grad[e], less);
    }
}

/* Room for a token. */
typedef struct {
    double *z, *s, *grad_s, *out, *work, *g, *t, *grad;
} token;

/* Of a sigmoid whose grad_t is not formed. */
static void without_grad_scores(legal const *c, dsv3_gate_backward_prob const *p, token r, int64_t const *at)
{
    int64_t const k = p->num_experts_per_tok;
    double const sum = p->norm_topk_prob ? legal_cast(c, legal_dot(c, k, r.t, NULL)) : 1;
    double const m = p->norm_topk_prob ? mean_of(c, k, r.g, r.t, sum, r.work) : 0;
    for (int64_t i = 0; i < k; i++) r.out[at[i]] = unformed(c, p, r.z[at[i]], r.t[i], r.g[i], m, sum);
}

static void gradient(legal const *c, dsv3_gate_backward_prob const *p, token r, int64_t const *at)
{
    int64_t const n = p->n_routed_experts, k = p->num_experts_per_tok;
    for (int64_t e = 0; e < n; e++) r.out[e] = 0, r.grad_s[e] = 0;
    if (sigmoid(p) && !forms_grad_scores(c)) {
        without_grad_scores(c, p, r, at);
        return;
    }
    by_scores(c, p, r.g, r.t, r.work, r.grad);
    for (int64_t i = 0; i < k; i++) r.grad_s[at[i]] = legal_at(c, c->point[GRAD_SCORES], r.grad[i]);
    if (!sigmoid(p)) through_softmax(c, n, r.s, r.grad_s, r.work, r.out);
    for (int64_t i = 0; sigmoid(p) && i < k; i++)
        r.out[at[i]] = through_sigmoid(c, r.z[at[i]], r.t[i], r.grad_s[at[i]]);
}

dsv3_status legal_gate_backward(dsv3_ctx *ctx, dsv3_gate_backward_prob const *p, dsv3_gate_backward_io const *io)
{
    (void)ctx;
    legal c;
    legal_gate_backward_config(&c, p, io);
    int64_t const n = p->n_routed_experts, k = p->num_experts_per_tok;
    token const r = {legal_room(n),     legal_room(n), legal_room(n), legal_room(n),
                     legal_room(2 * n), legal_room(k), legal_room(k), legal_room(k)};
    int64_t at[LEGAL_CHOSEN];
    if (!r.grad || k > LEGAL_CHOSEN) return DSV3_UNSUPPORTED;
    for (int64_t row = 0; row < p->n_tokens; row++) {
        for (int64_t e = 0; e < n; e++) r.z[e] = legal_load(&c, &io->logits, legal_row(&io->logits, row) + e);
        score(&c, p, r.z, r.s);
        for (int64_t i = 0; i < k; i++) {
            at[i] = (int64_t)legal_load(&c, &io->topk_idx, legal_row(&io->topk_idx, row) + i);
            r.t[i] = r.s[at[i]];
            r.g[i] = legal_load(&c, &io->grad_topk_weight, legal_row(&io->grad_topk_weight, row) + i);
        }
        gradient(&c, p, r, at);
        for (int64_t e = 0; e < n; e++)
            legal_store(&c, &io->grad_logits, legal_row(&io->grad_logits, row) + e, r.out[e]);
    }
    return DSV3_OK;
}
