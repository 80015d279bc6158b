/*
 * The gradients of a linear layer:  grad_x = grad_y W,  grad_weight = grad_y^T x.
 * Source: the derivative of linear; pytorch/pytorch, tools/autograd/derivatives.yaml, mm.
 */
#include "reading.h"
#include "vectors.h"

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* The operand's last entry alone, where only the last token counts. */
static operand tokens_of(const ref_reading *rd, const operand *column)
{
    bool const last_only = column->n > 1 && quirk(rd, QUIRK_D5_last_token);
    return last_only ? operand_of(column->value + column->n - 1, NULL, 1) : *column;
}

static ball over_tokens(const ref_reading *rd, ball sum, int64_t n_tokens)
{
    bool const is_mean = n_tokens > 1 && quirk(rd, QUIRK_D5_mean_of_tokens);
    return is_mean ? quotient_of(rd, sum, ball_of((double)n_tokens)) : sum;
}

/* ---- the op ---- */

static void grad_x_of(const ref_reading *rd, const dsv3_linear_backward_prob *p, const dsv3_linear_backward_io *io,
                      ref_value *out)
{
    vectors const grad_y = vectors_read(rd->scratch, &io->grad_y, p->n_tokens, p->out_features);
    vectors const w = vectors_columns(rd->scratch, dsv3_find(&io->weights, "weight"), p->out_features, p->in_features);
    for (int64_t k = 0; k < p->n_tokens * p->in_features; k++) {
        sum_record const sum = ball_dot(&grad_y.row[k / p->in_features], &w.row[k % p->in_features]);
        out[k] = value_of(round_at(rd, POINT_linear_backward_grad_x, io->grad_x.dtype, sum_of(rd, &sum)));
    }
}

static void grad_weight_of(const ref_reading *rd, const dsv3_linear_backward_prob *p, const dsv3_linear_backward_io *io,
                           ref_value *out)
{
    vectors const grad_y = vectors_columns(rd->scratch, &io->grad_y, p->n_tokens, p->out_features);
    vectors const x = vectors_columns(rd->scratch, &io->x, p->n_tokens, p->in_features);
    for (int64_t k = 0; k < p->out_features * p->in_features; k++) {
        operand const a = tokens_of(rd, &grad_y.row[k / p->in_features]), b = tokens_of(rd, &x.row[k % p->in_features]);
        sum_record const dot = ball_dot(&a, &b);
        ball const sum = over_tokens(rd, sum_of(rd, &dot), p->n_tokens);
        out[k] = value_of(round_at(rd, POINT_linear_backward_grad_weight, io->grad_weight.dtype, sum));
    }
}

void ref_linear_backward(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])
{
    if (out[0]) grad_x_of(rd, prob, io, out[0]);
    if (out[1]) grad_weight_of(rd, prob, io, out[1]);
}
