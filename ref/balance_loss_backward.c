/*
 * The gradient of the balance loss by the scores, of a sequence of T tokens:
 *   grad_s_ti = grad_loss aux_loss_alpha / (T S_t) (f_i - sum_j f_j s_tj / S_t),  f_i = E / (K T) count_i,  S_t = sum_j s_tj.
 * With seq_aux 0:  grad_s_ti = sum of grad_loss aux_loss_alpha f_i / T.
 * Source: the derivative of balance_loss; DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eqs. 17-20.
 *
 * Read with counts in place of f: a port may form the constant E / (K T^2) in any way (Lemma Balance).
 */
#include "index.h"
#include "reading.h"
#include "scratch.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_balance_loss_backward_prob *prob;
    const dsv3_balance_loss_backward_io *io;
    ball *count, *s; /* (n_routed_experts): of the sequence, and of the token in work */
    double tokens;   /* T of the sequence in work */
    ball scale;      /* its gradient, times aux_loss_alpha E / (K T^2) */
} gradient;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

static bool sum_varies(const gradient *d)
{
    return !quirk(d->rd, QUIRK_D8_sum_constant);
}

static bool is_chosen(const gradient *d, int64_t t, int64_t e)
{
    const dsv3_tensor *const idx = &d->io->topk_idx;
    for (int64_t k = 0; k < d->prob->num_experts_per_tok; k++)
        if (read_index(idx, t * idx->stride[0] + k, d->prob->n_routed_experts) == e) return true;
    return false;
}

static bool has_gradient(const gradient *d, int64_t t, int64_t e)
{
    return !quirk(d->rd, QUIRK_D8_chosen_only) || is_chosen(d, t, e);
}

/* ---- a sequence ---- */

/* What a port moves a count by that makes f of it: three roundings. (Lemma Balance) */
static ball as_fraction(const gradient *d, double count)
{
    if (!d->rd->declared) return ball_of(count);
    double const u = product_error(d->rd), moved = 2 * u + quotient_error(d->rd, u);
    return off_by(d->rd, ball_of(count), (moved + moved * moved) * count);
}

static void count_assignments(const gradient *d, int64_t first, int64_t last)
{
    const dsv3_tensor *const idx = &d->io->topk_idx;
    int64_t const experts = d->prob->n_routed_experts;
    double *const count = scratch_zeros(d->rd->scratch, experts, sizeof *count);
    for (int64_t t = first; t < last; t++)
        for (int64_t k = 0; k < d->prob->num_experts_per_tok; k++) {
            int64_t const e = read_index(idx, t * idx->stride[0] + k, experts);
            if (e >= 0) count[e]++;
        }
    for (int64_t e = 0; e < experts; e++) d->count[e] = as_fraction(d, count[e]);
}

/* grad_loss aux_loss_alpha E / (K T^2), in any order. */
static ball scale_of(const gradient *d, ball grad_loss)
{
    double const E = (double)d->prob->n_routed_experts, K = (double)d->prob->num_experts_per_tok, T = d->tokens;
    ball const C = ball_div(ball_of(E), ball_of(K * T * T)), alpha = constant(d->rd, d->prob->aux_loss_alpha);
    ball const scale = product_of(d->rd, (ball[]){grad_loss, alpha, C}, 3);
    if (!d->rd->declared) return scale;
    double const u = product_error(d->rd), s = 4 * u + 2 * quotient_error(d->rd, u);
    return off_by(d->rd, scale, (s + s * s) * ball_sup(scale) + product_loss(d->rd));
}

/* ---- a token ---- */

/* sum_j count_j s_j / S: of shares, or divided last. */
static ball mean_count(const gradient *d, ball S)
{
    sum_record of_shares = empty_sum(), of_scores = empty_sum();
    for (int64_t e = 0; e < d->prob->n_routed_experts; e++) {
        add_term(&of_shares, ball_mul(d->count[e], share_of(d->rd, d->s[e], S)));
        add_term(&of_scores, ball_mul(d->count[e], d->s[e]));
    }
    ball const late = share_of(d->rd, sum_of(d->rd, &of_scores), S);
    return d->rd->declared ? either(d->rd, 1, late, round_op(d->rd, sum_of(d->rd, &of_shares))) : late;
}

/* scale (count - m) / S, divided first, last, or each by itself. */
static ball by_share(const gradient *d, ball count, ball m, ball S)
{
    const ref_reading *const rd = d->rd;
    ball const less = sum_varies(d) ? round_op(rd, ball_sub(count, m)) : count;
    ball const last = unrounded_share(rd, round_op(rd, ball_mul(d->scale, less)), S);
    if (!rd->declared) return last;
    ball const first = ball_mul(d->scale, share_of(rd, less, S)), factor = ball_mul(share_of(rd, d->scale, S), less);
    ball const ways = either(rd, 2, last, either(rd, 3, first, factor));
    if (!sum_varies(d)) return ways;
    ball const scaled = round_op(rd, ball_mul(d->scale, count)), back = round_op(rd, ball_mul(d->scale, m));
    ball const apart = ball_mul(d->scale, round_op(rd, ball_sub(share_of(rd, count, S), share_of(rd, m, S))));
    return either(rd, 4, ways, either(rd, 5, apart, ball_sub(share_of(rd, scaled, S), share_of(rd, back, S))));
}

static void gradient_of_token(const gradient *d, int64_t t, ref_value *out)
{
    int64_t const experts = d->prob->n_routed_experts;
    sum_record sum = empty_sum();
    for (int64_t e = 0; e < experts; e++) add_term(&sum, d->s[e] = element_at(d->rd, &d->io->scores, t, e));
    ball const S = d->prob->seq_aux ? guarded(d->rd, round_op(d->rd, sum_of(d->rd, &sum))) : ball_of(1);
    ball const m = d->prob->seq_aux ? mean_count(d, S) : ball_of(0);
    for (int64_t e = 0; e < experts; e++) {
        ball const by = d->prob->seq_aux ? by_share(d, d->count[e], m, S) : ball_mul(d->scale, d->count[e]);
        ball const grad = has_gradient(d, t, e) ? by : ball_of(0);
        out[e] = value_of(round_at(d->rd, POINT_balance_loss_backward_grad_scores, DSV3_F32, grad));
    }
}

/* ---- the op ---- */

static int64_t boundary(const gradient *d, int64_t b)
{
    const dsv3_tensor *const cu = &d->io->cu_seqlens;
    return (int64_t)ref_decode(cu->dtype, cu->data, b * cu->stride[0]);
}

static void gradient_of_sequence(gradient *d, int64_t first, int64_t last, ball grad_loss, ref_value *out)
{
    scratch_piece *const mark = scratch_mark(d->rd->scratch);
    d->tokens = (double)(last - first);
    count_assignments(d, first, last);
    d->scale = scale_of(d, grad_loss);
    for (int64_t t = first; t < last; t++) gradient_of_token(d, t, out + t * d->prob->n_routed_experts);
    scratch_back(d->rd->scratch, mark);
}

void ref_balance_loss_backward(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])
{
    gradient d = {.rd = rd, .prob = prob, .io = io};
    sum_record all = empty_sum();
    d.count = scratch_take(rd->scratch, 2 * d.prob->n_routed_experts, sizeof *d.count);
    d.s = d.count + d.prob->n_routed_experts;
    for (int64_t b = 0; b < d.prob->batch; b++) {
        ball const grad_loss = element(rd, ref_decode(DSV3_F32, d.io->grad_loss.data, b * d.io->grad_loss.stride[0]));
        add_term(&all, grad_loss);
        if (d.prob->seq_aux) gradient_of_sequence(&d, boundary(&d, b), boundary(&d, b + 1), grad_loss, out[0]);
    }
    if (!d.prob->seq_aux) gradient_of_sequence(&d, 0, d.prob->n_tokens, sum_of(rd, &all), out[0]);
}
