/*
 * The gradient of a gate's weights, given the choice:
 *   grad_t_k = gamma / S (g_k - sum_j g_j t_j / S),  or gamma g_k where weights aren't divided by their sum S,
 *   grad_logits = grad_t s (1 - s) of a sigmoid,  s (grad_s - sum grad_s s) of a softmax.
 * Source: the derivative of gate; pytorch/pytorch, autograd through Hugging Face transformers,
 * models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3TopkRouter.
 */
#include "gate.h"
#include "index.h"
#include "scratch.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_gate_backward_prob *prob;
    const dsv3_gate_backward_io *io;
    const dsv3_tensor *bias; /* NULL: there is none */
    /* of the token in work */
    ball *z, *s;          /* (n_routed_experts) */
    ball *t, *g, *x, *by; /* (num_experts_per_tok): chosen scores; gradients by the weights, scaled, by the scores */
    int64_t *choice;      /* (num_experts_per_tok) */
} gradient;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

static bool divides(const gradient *d)
{
    if (!d->prob->norm_topk_prob) return false;
    return d->prob->num_experts_per_tok > 1 || !quirk(d->rd, QUIRK_D7_single_not_divided);
}

/* Does the sum's gradient count? */
static bool sum_varies(const gradient *d)
{
    return !quirk(d->rd, QUIRK_D7_sum_constant);
}

static ball gamma_of(const gradient *d)
{
    return quirk(d->rd, QUIRK_D7_scale_missing) ? ball_of(1) : constant(d->rd, d->prob->routed_scaling_factor);
}

static ball chosen_score(const gradient *d, int64_t e)
{
    if (!d->bias || !quirk(d->rd, QUIRK_D7_bias_in_scores)) return d->s[e];
    return round_op(d->rd, ball_add(d->s[e], element(d->rd, ref_decode(DSV3_F32, d->bias->data, e))));
}

/* ---- from weights to scores ---- */

/* sum_j g_j t_j / S: the products divided, or their sum. */
static ball mean_gradient(const gradient *d, const ball *g, ball S)
{
    sum_record of_shares = empty_sum(), of_scores = empty_sum();
    for (int64_t k = 0; k < d->prob->num_experts_per_tok; k++) {
        add_term(&of_shares, ball_mul(g[k], share_of(d->rd, d->t[k], S)));
        add_term(&of_scores, ball_mul(g[k], d->t[k]));
    }
    ball const late = share_of(d->rd, sum_of(d->rd, &of_scores), S);
    return d->rd->declared ? either(d->rd, 1, late, round_op(d->rd, sum_of(d->rd, &of_shares))) : late;
}

/* gamma / S (g - m), gamma g / S - gamma m / S, and whatever comes between, in any order. (Lemma Share) */
static ball divided_gradient(const gradient *d, ball g, ball m, ball S)
{
    const ref_reading *const rd = d->rd;
    ball const gamma = gamma_of(d), factor = share_of(rd, gamma, S);
    ball const less = sum_varies(d) ? round_op(rd, ball_sub(g, m)) : g;
    ball const by_factor = ball_mul(factor, less);
    if (!rd->declared) return by_factor;
    ball const divided = unrounded_share(rd, round_op(rd, ball_mul(gamma, less)), S);
    ball const last = ball_mul(gamma, share_of(rd, less, S)),
               all = either(rd, 2, by_factor, either(rd, 3, divided, last));
    if (!sum_varies(d)) return all;
    ball const along =
        either(rd, 4, round_op(rd, ball_mul(factor, g)), share_of(rd, round_op(rd, ball_mul(gamma, g)), S));
    ball const back =
        either(rd, 5, round_op(rd, ball_mul(factor, m)), share_of(rd, round_op(rd, ball_mul(gamma, m)), S));
    ball const scaled = ball_mul(gamma, round_op(rd, ball_sub(share_of(rd, g, S), share_of(rd, m, S))));
    return either(rd, 6, all, either(rd, 7, ball_sub(along, back), scaled));
}

/* What is common to all x_k / S, as autograd has it: the sum of x_j ((t_j / S) / S). */
static ball common_gradient(const gradient *d, ball S)
{
    sum_record sum = empty_sum();
    for (int64_t k = 0; k < d->prob->num_experts_per_tok; k++) {
        ball const share = share_of(d->rd, share_of(d->rd, d->t[k], S), S);
        add_term(&sum, round_op(d->rd, ball_mul(d->x[k], share)));
    }
    return round_op(d->rd, sum_of(d->rd, &sum));
}

/* The same of gradients that gamma multiplied first, x = gamma g: (x - m) / S, or x / S less what is common. */
static void scale_gradients_first(const gradient *d, ball S)
{
    const ref_reading *const rd = d->rd;
    int64_t const n = d->prob->num_experts_per_tok;
    for (int64_t k = 0; k < n; k++) d->x[k] = round_op(rd, ball_mul(gamma_of(d), d->g[k]));
    ball const m = mean_gradient(d, d->x, S), common = common_gradient(d, S);
    for (int64_t k = 0; k < n; k++) {
        ball const late = unrounded_share(rd, round_op(rd, ball_sub(d->x[k], m)), S);
        d->x[k] = either(rd, 8, late, ball_sub(share_of(rd, d->x[k], S), common));
    }
}

/* The gradients by the chosen scores. */
static void to_scores(const gradient *d)
{
    int64_t const n = d->prob->num_experts_per_tok;
    sum_record sum = empty_sum();
    for (int64_t k = 0; k < n; k++) add_term(&sum, d->t[k]);
    ball const S = guarded(d->rd, round_op(d->rd, sum_of(d->rd, &sum))), m = mean_gradient(d, d->g, S);
    bool const scaled = d->rd->declared && divides(d) && sum_varies(d);
    if (scaled) scale_gradients_first(d, S);
    for (int64_t k = 0; k < n; k++) {
        ball const own = divides(d) ? divided_gradient(d, d->g[k], m, S) : ball_mul(gamma_of(d), d->g[k]);
        ball const by = scaled ? either(d->rd, 9, own, d->x[k]) : own;
        d->by[k] = round_at(d->rd, POINT_gate_backward_grad_scores, d->io->grad_logits.dtype, by);
    }
}

/* ---- from scores to logits ---- */

/* by s (1 - s), in any order */
static ball through_sigmoid(const gradient *d, ball by, ball s, ball z)
{
    const ref_reading *const rd = d->rd;
    reading_room room;
    const ref_reading *const inner = reading_of(rd, REF_SIGMOID, &room);
    ball const opposite = sigmoid_of(inner, ball_neg(z));
    if (!rd->declared) return product_of(rd, (ball[]){by, s, opposite}, 3);
    ball const rounded = round_at(inner, POINT_gate_backward_scores, d->io->grad_logits.dtype, opposite);
    ball const rest = either(rd, 10, either(rd, 11, opposite, rounded), round_op(rd, ball_sub(ball_of(1), s)));
    return product_of(rd, (ball[]){by, s, rest}, 3);
}

/* s (by - m), or s by - s m */
static ball through_softmax(const ref_reading *rd, ball by, ball s, ball m)
{
    ball const last = ball_mul(s, round_op(rd, ball_sub(by, m)));
    if (!rd->declared) return last;
    return either(rd, 12, last, ball_sub(round_op(rd, ball_mul(s, by)), round_op(rd, ball_mul(s, m))));
}

/* Which of the token's experts e is; -1: none. */
static int64_t slot_of(const gradient *d, int64_t e)
{
    for (int64_t k = 0; k < d->prob->num_experts_per_tok; k++)
        if (d->choice[k] == e) return k;
    return -1;
}

static ball mean_over_scores(const gradient *d)
{
    sum_record sum = empty_sum();
    for (int64_t k = 0; k < d->prob->num_experts_per_tok; k++) add_term(&sum, ball_mul(d->by[k], d->s[d->choice[k]]));
    return round_op(d->rd, sum_of(d->rd, &sum));
}

static ball to_logit(const gradient *d, ball m, int64_t e)
{
    int64_t const k = slot_of(d, e);
    ball const by = k < 0 ? ball_of(0) : d->by[k];
    if (d->prob->scoring_func == DSV3_SOFTMAX) return through_softmax(d->rd, by, d->s[e], m);
    return k < 0 ? by : through_sigmoid(d, by, d->s[e], d->z[e]);
}

/* ---- the op ---- */

/* False: the choice is none. */
static bool read_token(const gradient *d, int64_t t)
{
    const dsv3_gate_backward_io *const io = d->io;
    int64_t const experts = d->prob->n_routed_experts, n = d->prob->num_experts_per_tok;
    bool const softmax = d->prob->scoring_func == DSV3_SOFTMAX;
    reading_room room;
    const ref_reading *const inner = reading_of(d->rd, softmax ? REF_SOFTMAX : REF_SIGMOID, &room);
    for (int64_t e = 0; e < experts; e++) {
        d->z[e] = element_at(d->rd, &io->logits, t, e);
        d->s[e] = d->z[e];
    }
    (softmax ? score_by_softmax : score_by_sigmoid)(inner, d->s, experts);
    for (int64_t e = 0; e < experts; e++)
        d->s[e] = round_at(inner, POINT_gate_backward_scores, io->grad_logits.dtype, d->s[e]);
    if (!read_choice(&io->topk_idx, t * io->topk_idx.stride[0], n, experts, d->choice)) return false;
    for (int64_t k = 0; k < n; k++) {
        d->t[k] = chosen_score(d, d->choice[k]);
        d->g[k] = element_at(d->rd, &io->grad_topk_weight, t, k);
    }
    return true;
}

static void gradient_of_token(const gradient *d, int64_t t, ref_value *out)
{
    bool const valid = read_token(d, t);
    bool const softmax = d->prob->scoring_func == DSV3_SOFTMAX;
    if (valid) to_scores(d);
    ball const m = valid && softmax ? mean_over_scores(d) : ball_of(0);
    for (int64_t e = 0; e < d->prob->n_routed_experts; e++) {
        ball const grad = valid ? to_logit(d, m, e) : ball_any();
        out[e] = value_of(round_at(d->rd, POINT_gate_backward_grad_logits, d->io->grad_logits.dtype, grad));
    }
}

void ref_gate_backward(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_gate_backward_prob *const p = prob;
    const dsv3_gate_backward_io *const io = io_;
    gradient d = {.rd = rd, .prob = p, .io = io, .bias = dsv3_find(&io->weights, "e_score_correction_bias")};
    d.z = scratch_take(rd->scratch, 2 * p->n_routed_experts, sizeof *d.z);
    d.s = d.z + p->n_routed_experts;
    d.t = scratch_take(rd->scratch, 4 * p->num_experts_per_tok, sizeof *d.t);
    d.g = d.t + p->num_experts_per_tok, d.by = d.g + p->num_experts_per_tok;
    d.x = d.by + p->num_experts_per_tok;
    d.choice = scratch_take(rd->scratch, p->num_experts_per_tok, sizeof *d.choice);
    for (int64_t t = 0; t < p->n_tokens; t++) gradient_of_token(&d, t, out[0] + t * p->n_routed_experts);
}
