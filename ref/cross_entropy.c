/*
 * Cross-entropy:  loss_t = ln sum_j e^z_tj - z_t,label(t),  0 where the label is ignored;  mean = sum_t loss_t / divisor.
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.2, eq. 24; Hugging Face transformers, loss/loss_utils.py,
 * ForCausalLMLoss, fixed_cross_entropy.
 *
 * The mean follows from the losses: in a teacher-forced reading from the port's own.
 */
#include "softmax.h"

#include "scratch.h"

static const double u = 0x1p-24;

typedef struct {
    const ref_reading *rd;
    const dsv3_cross_entropy_prob *prob;
    const dsv3_cross_entropy_io *io;
    ball *z;       /* (vocab_size): the logits of the token in work, then their weights */
    double *error; /* (vocab_size): of the weights */
    ball *loss;    /* (n_tokens) */
} entropy;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

static double label_of(const entropy *e, int64_t t)
{
    const dsv3_tensor *const labels = &e->io->labels;
    if (quirk(e->rd, QUIRK_M11_labels_rolled)) t = (t + 1) % e->prob->n_tokens;
    double const label = ref_decode(DSV3_I32, labels->data, t * labels->stride[0]);
    return label == DSV3_IGNORED && quirk(e->rd, QUIRK_M11_ignored_counted) ? 0 : label;
}

/* All tokens, or those that have a label. */
static double divisor_of(const entropy *e)
{
    bool const labels_only = e->prob->divisor != quirk(e->rd, QUIRK_M11_other_divisor);
    double n = 0;
    for (int64_t t = 0; t < e->prob->n_tokens; t++) n += !labels_only || label_of(e, t) != DSV3_IGNORED;
    return n;
}

/* ---- the loss of a token ---- */

/* sum_j e^z_j, and the largest z */
static softmax weights_of(const entropy *e)
{
    if (e->rd->declared && softmax_selects_one(e->z, e->prob->vocab_size)) return softmax_of_zeros(e->rd, 1, 1);
    return softmax_weigh(e->rd, e->z, e->error, e->prob->vocab_size, 1);
}

/* lse - z. A port may subtract the maximum from z first: one unit of |z| + |lse|. In coarse arithmetic it rounds lse or
 * z - m. (Lemma Cross-entropy) */
static ball less_logit(const entropy *e, const softmax *m, ball z)
{
    ball const lse = softmax_lse(e->rd, m, 0), loss = ball_sub(lse, z);
    if (!e->rd->declared || (ball_is_point(lse) && ball_sup(lse) == 0)) return loss;
    double const coarse = m->coarse * fmax(ball_sup(lse), ball_sup(ball_sub(z, m->maximum)) + m->shift);
    return off_by(e->rd, loss, u * (ball_sup(z) + ball_sup(lse)) + coarse);
}

/* loss_t = lse - z_label(t) */
static ball loss_of(const entropy *e, int64_t t)
{
    const dsv3_tensor *const logits = &e->io->logits;
    double const label = label_of(e, t);
    if (label == DSV3_IGNORED) return ball_of(0);
    if (!(label >= 0 && label < (double)e->prob->vocab_size)) return ball_any();
    for (int64_t j = 0; j < e->prob->vocab_size; j++)
        e->z[j] = element(e->rd, ref_decode(logits->dtype, logits->data, t * logits->stride[0] + j));
    ball const z = e->z[(int64_t)label];
    softmax const m = weights_of(e);
    reading_room room;
    const ref_reading *const inner = reading_of(e->rd, REF_SOFTMAX, &room);
    return round_at(inner, POINT_cross_entropy_loss, DSV3_F32, less_logit(e, &m, z));
}

/* ---- the mean ---- */

/* What a token adds to the sum: its loss, in a teacher-forced reading as the port stored it, or as it was before it was rounded to that. */
static ball term_of(const entropy *e, int64_t t)
{
    if (!e->rd->teacher_forced) return e->loss[t];
    double const stored = ref_decode(DSV3_F32, e->io->loss.data, t * e->io->loss.stride[0]);
    bool const better = e->rd->declared && !declared_at(e->rd, POINT_cross_entropy_terms).must && isfinite(stored);
    return better && stored != 0 ? off_by(e->rd, ball_of(stored), ref_half_ulp(DSV3_F32, stored)) : ball_of(stored);
}

/* The mean of a port that divides each loss before it adds them; an error of `div` is in mean already. (Lemma Cross-entropy) */
static ball divided_first(const entropy *e, const sum_record *sum, ball mean)
{
    const ref_numerics *const port = e->rd->declared;
    double const n = divisor_of(e);
    if (!port || sum->n < 2 || ball_is_any(mean) || !(n > 0)) return mean;
    if (port->div.ieee && ldexp(1, ilogb(n)) == n) return mean;
    double const share = gamma_sum(port, sum->n),
                 division = port->div.ieee ? quotient_error(e->rd, fmax(u, coarseness(port))) : 0;
    double const relative = (share + division + share * division) * (1 + 0x1p-40);
    return off_by(e->rd, mean, relative * (sum->sum_abs / n) + 2 * (double)sum->n * eta(port));
}

/* mean = sum_t loss_t / divisor */
static ball mean_of(const entropy *e)
{
    sum_record sum = empty_sum();
    for (int64_t t = 0; t < e->prob->n_tokens; t++) add_term(&sum, term_of(e, t));
    ball const mean = mean_over(e->rd, sum_of(e->rd, &sum), divisor_of(e));
    return round_at(e->rd, POINT_cross_entropy_mean, DSV3_F32, divided_first(e, &sum, mean));
}

/* (24) of the V3 report; its divisor is the length of the sequence. */
void ref_cross_entropy(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])
{
    entropy e = {.rd = rd, .prob = prob, .io = io};
    e.z = scratch_take(rd->scratch, e.prob->vocab_size, sizeof *e.z);
    e.error = scratch_take(rd->scratch, e.prob->vocab_size, sizeof *e.error);
    e.loss = scratch_take(rd->scratch, e.prob->n_tokens, sizeof *e.loss);
    bool const wanted = out[0] || !rd->teacher_forced; /* else the mean is that of the port's losses */
    for (int64_t t = 0; wanted && t < e.prob->n_tokens; t++) {
        e.loss[t] = loss_of(&e, t);
        if (out[0]) out[0][t] = value_of(e.loss[t]);
    }
    if (out[1]) *out[1] = value_of(mean_of(&e));
}
