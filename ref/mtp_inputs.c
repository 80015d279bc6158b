/*
 * What module k of multi-token prediction is trained on: ids, labels and mask, each sequence shifted to the left by itself,
 *   ids_i = id_(i + k),  label_i = t_(i + d),  mask_i = m_(i + d)  where that is in the sequence; valid_i: i + k is,
 * t the labels and d = k, or without labels t the ids and d = k + 1. Copies: nothing is rounded or flushed, whatever a port declares.
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.2, eqs. 21-24; NVIDIA/Megatron-LM,
 * megatron/core/transformer/multi_token_prediction.py, roll_tensor; pytorch/torchtitan, torchtitan/models/deepseek_v3/mtp.py,
 * roll_mtp_sequence.
 */
#include "reading.h"
#include "sequence.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_mtp_inputs_prob *prob;
    const dsv3_mtp_inputs_io *io;
    sequence at;
} shifting;

enum { PAST_END = -1 };

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* k */
static int64_t shift_of_ids(const shifting *s)
{
    return s->prob->depth + quirk(s->rd, QUIRK_M11_next_depth);
}

/* d, of what is predicted and its mask */
static int64_t shift_of_targets(const shifting *s)
{
    return shift_of_ids(s) + !s->prob->labels_given;
}

static int64_t shift_of_labels(const shifting *s)
{
    return shift_of_targets(s) + quirk(s->rd, QUIRK_M11_labels_twice);
}

static int64_t shift_of_mask(const shifting *s)
{
    return quirk(s->rd, QUIRK_M11_mask_not_rolled) ? 0 : shift_of_targets(s);
}

/* The row, among all, that is so many behind row i of the sequence. */
static int64_t row_behind(const shifting *s, int64_t i, int64_t shift)
{
    int64_t const end = quirk(s->rd, QUIRK_M11_over_boundary) ? s->prob->n_tokens - s->at.first_query : s->at.n;
    if (i + shift < end) return s->at.first_query + i + shift;
    return quirk(s->rd, QUIRK_M11_wrapped) ? s->at.first_query + (i + shift) % s->at.n : PAST_END;
}

/* ---- the op ---- */

/* Element `row` of a tensor, or what stands for it past the end. */
static ref_value taken(const dsv3_tensor *t, int64_t row, double otherwise)
{
    return value_of(ball_of(row == PAST_END ? otherwise : ref_decode(t->dtype, t->data, row * t->stride[0])));
}

static void shift_row(const shifting *s, int64_t i, ref_value *const out[])
{
    const dsv3_mtp_inputs_io *const io = s->io;
    const dsv3_tensor *const targets = s->prob->labels_given ? &io->labels : &io->input_ids;
    int64_t const t = s->at.first_query + i, from = row_behind(s, i, shift_of_ids(s));
    double const ignored = s->prob->tail ? DSV3_IGNORED : 0;
    if (out[0]) out[0][t] = taken(&io->input_ids, from, 0);
    if (out[1]) out[1][t] = taken(targets, row_behind(s, i, shift_of_labels(s)), ignored);
    if (out[2]) out[2][t] = taken(&io->loss_mask, row_behind(s, i, shift_of_mask(s)), 0);
    if (out[3]) out[3][t] = value_of(ball_of(from != PAST_END));
}

void ref_mtp_inputs(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_mtp_inputs_io *const io = io_;
    shifting s = {.rd = rd, .prob = prob, .io = io};
    for (int64_t b = 0; b < s.prob->batch; b++) {
        s.at = sequence_of(&io->cu_seqlens, &io->cu_seqlens, b);
        for (int64_t i = 0; i < s.at.n; i++) shift_row(&s, i, out);
    }
}
