/* What a module of multi-token prediction is trained on: each sequence is copied from its row `depth` on, and filled up. */
#include "ctx.h"
#include "fast.h"

typedef struct {
    const dsv3_mtp_inputs_prob *p;
    const dsv3_mtp_inputs_io *io;
} shifting;

/* n numbers of 32 bits, `shift` to the left; the last ones are `otherwise`. */
static void shift_numbers(const dsv3_tensor *x, const dsv3_tensor *y, int64_t from, int64_t n, int64_t shift,
                          int32_t otherwise)
{
    const int32_t *const of = (const int32_t *)x->data + from;
    int32_t *const to = (int32_t *)y->data + from;
    int64_t const kept = shift < n ? n - shift : 0;
    if (kept) memcpy(to, of + shift, (size_t)kept * sizeof *to);
    for (int64_t i = kept; i < n; i++) to[i] = otherwise;
}

static void shift_sequence(const void *job, int64_t b, int worker)
{
    (void)worker;
    const shifting *const s = job;
    const dsv3_mtp_inputs_io *const io = s->io;
    const int32_t *const at = io->cu_seqlens.data;
    int64_t const from = at[b], n = at[b + 1] - from, k = s->p->depth, d = s->p->labels_given ? k : k + 1;
    int32_t *const valid = (int32_t *)io->valid.data + from;
    shift_numbers(&io->input_ids, &io->mtp_input_ids, from, n, k, 0);
    shift_numbers(s->p->labels_given ? &io->labels : &io->input_ids, &io->mtp_labels, from, n, d,
                  s->p->tail ? DSV3_IGNORED : 0);
    shift_numbers(&io->loss_mask, &io->mtp_loss_mask, from, n, d, 0); /* 0 has no bits set in binary32 too */
    for (int64_t i = 0; i < n; i++) valid[i] = i + k < n;
}

dsv3_status fast_mtp_inputs(dsv3_ctx *ctx, const dsv3_mtp_inputs_prob *p, const dsv3_mtp_inputs_io *io)
{
    shifting const s = {p, io};
    ctx_run(ctx, shift_sequence, &s, p->batch);
    return DSV3_OK;
}

const char *fast_mtp_inputs_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return NULL; /* a copy rounds nothing */
}
