/*
 * The gradient of the mean cross-entropy:  grad_logits_tj = (P_tj - [j = label(t)]) grad_mean / divisor,  P_t the softmax
 * of row t;  0 where the label is ignored.
 * Source: the derivative of cross_entropy; pytorch/pytorch, aten/src/ATen/native/LossNLL.cpp and SoftMax.cpp.
 */
#include "probability.h"

#include "scratch.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_cross_entropy_backward_prob *prob;
    const dsv3_cross_entropy_backward_io *io;
    ball grad_mean, share; /* grad_mean / divisor */
    double divisor;
    ball *P;       /* (vocab_size): the logits of the token in work, their weights, the softmax */
    double *error; /* (vocab_size): of the weights */
} entropy;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

static double label_of(const entropy *e, int64_t t)
{
    return ref_decode(DSV3_I32, e->io->labels.data, t * e->io->labels.stride[0]);
}

/* All tokens, or those that have a label. */
static double divisor_of(const entropy *e)
{
    bool const labels_only = e->prob->divisor != quirk(e->rd, QUIRK_D3_other_divisor);
    double n = 0;
    for (int64_t t = 0; t < e->prob->n_tokens; t++) n += !labels_only || label_of(e, t) != DSV3_IGNORED;
    return n;
}

static bool has_gradient(const entropy *e, double label)
{
    return label != DSV3_IGNORED || quirk(e->rd, QUIRK_D3_ignored_counted);
}

/* ---- the softmax of a row ---- */

static ball logit(const entropy *e, int64_t t, int64_t j)
{
    return element_at(e->rd, &e->io->logits, t, j);
}

/* Row t of logits becomes its softmax. */
static void softmax_row(const entropy *e, int64_t t)
{
    int64_t const n = e->prob->vocab_size;
    dsv3_dtype const format = e->io->grad_logits.dtype;
    reading_room room;
    const ref_reading *const inner = reading_of(e->rd, REF_SOFTMAX, &room);
    for (int64_t j = 0; j < n; j++) e->P[j] = logit(e, t, j);
    if (e->rd->declared && softmax_selects_one(e->P, n)) {
        ball const P = round_at(inner, POINT_cross_entropy_backward_P, format, probability_selected(e->rd, inner));
        for (int64_t j = 0; j < n; j++) e->P[j] = ball_sup(e->P[j]) == 0 ? P : ball_of(0);
        return;
    }
    softmax const m = softmax_weigh(e->rd, e->P, e->error, n, 1);
    ball const lse = e->rd->declared ? softmax_lse(e->rd, &m, 0) : ball_of(0);
    for (int64_t j = 0; j < n; j++) {
        ball P = probability_divided(inner, &m, e->P[j], e->error[j]);
        if (e->rd->declared) P = either(e->rd, 1, P, probability_from_lse(inner, &m, logit(e, t, j), lse));
        e->P[j] = round_at(inner, POINT_cross_entropy_backward_P, format, P);
    }
}

/* ---- the gradient ---- */

/* (P - 1 or P) grad_mean / divisor: divided last or first; or P share - share. */
static ball gradient_of(const entropy *e, ball P, bool is_label)
{
    ball const less = is_label ? round_op(e->rd, ball_sub(P, ball_of(1))) : P;
    ball const first = ball_mul(less, e->share);
    if (!e->rd->declared) return first;
    ball const last = unrounded_share(e->rd, round_op(e->rd, ball_mul(less, e->grad_mean)), ball_of(e->divisor));
    if (!is_label) return either(e->rd, 2, first, last);
    return either(e->rd, 3, either(e->rd, 4, first, last), ball_sub(round_op(e->rd, ball_mul(P, e->share)), e->share));
}

static void gradient_of_row(const entropy *e, int64_t t, ref_value *out)
{
    double const label = label_of(e, t);
    bool const known = label == DSV3_IGNORED || (label >= 0 && label < (double)e->prob->vocab_size);
    bool const any = has_gradient(e, label);
    if (any && known) softmax_row(e, t);
    for (int64_t j = 0; j < e->prob->vocab_size; j++) {
        ball const grad = !known ? ball_any() : any ? gradient_of(e, e->P[j], (double)j == label) : ball_of(0);
        out[j] = value_of(round_at(e->rd, POINT_cross_entropy_backward_grad_logits, e->io->grad_logits.dtype, grad));
    }
}

void ref_cross_entropy_backward(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])
{
    entropy e = {.rd = rd, .prob = prob, .io = io};
    e.P = scratch_take(rd->scratch, e.prob->vocab_size, sizeof *e.P);
    e.error = scratch_take(rd->scratch, e.prob->vocab_size, sizeof *e.error);
    e.grad_mean = element(rd, ref_decode(DSV3_F32, e.io->grad_mean.data, 0));
    e.divisor = divisor_of(&e);
    e.share = share_of(rd, e.grad_mean, ball_of(e.divisor));
    for (int64_t t = 0; out[0] && t < e.prob->n_tokens; t++) gradient_of_row(&e, t, out[0] + t * e.prob->vocab_size);
}
