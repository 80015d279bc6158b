/*
 * The gradient of an embedding:  grad_weight_v = sum of grad_y_t over all t with id_t = v.
 * Source: the derivative of embed; pytorch/pytorch, aten/src/ATen/native/Embedding.cpp, embedding_dense_backward_cpu.
 */
#include "index.h"
#include "reading.h"
#include "scratch.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_embed_backward_prob *prob;
    const dsv3_embed_backward_io *io;
    int64_t *id;  /* (n_tokens); -1: no row */
    int64_t lost; /* ids that are no row: any row may be theirs */
} gradient;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* Starts anew at a token that comes again, if that overwrites. */
static void add_row(const gradient *d, int64_t t, sum_record *sum)
{
    bool const anew = sum->n > 0 && quirk(d->rd, QUIRK_D6_overwritten);
    for (int64_t i = 0; i < d->prob->hidden_size; i++) {
        if (anew) sum[i] = empty_sum();
        add_term(&sum[i], element_at(d->rd, &d->io->grad_y, t, i));
    }
}

/* One row is copied, or added to 0 and rounded at the point; twice alike is once. (Lemma Partial) */
static ball one_row(const ref_reading *rd, dsv3_dtype output, const sum_record *sum)
{
    ball const total = sum_of(rd, sum);
    if (!rd->declared || ball_is_any(total)) return total;
    ref_rounding const partial = declared_at(rd, POINT_embed_backward_partial),
                       last = declared_at(rd, POINT_embed_backward_grad_weight);
    bool const alike = (!partial.format || partial.format == output) && partial.truncates == last.truncates;
    return alike ? total : either(rd, 1, total, cast_at(rd, POINT_embed_backward_partial, output, total));
}

/* ---- the op ---- */

static void row_of(const gradient *d, int64_t v, sum_record *sum, ref_value *out)
{
    int64_t const width = d->prob->hidden_size;
    dsv3_dtype const format = d->io->grad_weight.dtype;
    for (int64_t i = 0; i < width; i++) sum[i] = empty_sum();
    for (int64_t t = 0; t < d->prob->n_tokens; t++)
        if (d->id[t] == v) add_row(d, t, sum);
    for (int64_t i = 0; i < width; i++) {
        ball const total = sum[i].n > 1 ? sum_rounded_at(d->rd, POINT_embed_backward_partial, format, &sum[i])
                                        : one_row(d->rd, format, &sum[i]);
        ball const grad = d->lost ? ball_any() : total;
        out[i] = value_of(round_at(d->rd, POINT_embed_backward_grad_weight, format, grad));
    }
}

void ref_embed_backward(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_embed_backward_prob *const p = prob;
    const dsv3_embed_backward_io *const io = io_;
    gradient d = {.rd = rd, .prob = p, .io = io};
    d.id = scratch_take(rd->scratch, p->n_tokens, sizeof *d.id);
    sum_record *const sum = scratch_take(rd->scratch, p->hidden_size, sizeof *sum);
    for (int64_t t = 0; t < p->n_tokens; t++) {
        d.id[t] = read_index(&io->input_ids, t * io->input_ids.stride[0], p->vocab_size);
        d.lost += d.id[t] < 0;
    }
    for (int64_t v = 0; v < p->vocab_size; v++) row_of(&d, v, sum, out[0] + v * p->hidden_size);
}
