/* What a module of multi-token prediction is trained on: each sequence shifted to the left. */
#include "plain.h"

/* The element `shift` behind row i of a sequence of n rows that begins at row `from`. */
static int64_t behind(int64_t from, int64_t n, int64_t i, int64_t shift)
{
    return i + shift < n ? from + i + shift : -1;
}

static int32_t shifted_int(const dsv3_tensor *x, int64_t row, int32_t otherwise)
{
    return row < 0 ? otherwise : int_at(x, row * x->stride[0]);
}

static void put_int(const dsv3_tensor *y, int64_t row, int32_t value)
{
    ((int32_t *)y->data)[row * y->stride[0]] = value;
}

/* The sequence whose n rows begin at row `from`. */
static void shift_sequence(const dsv3_mtp_inputs_prob *p, const dsv3_mtp_inputs_io *io, int64_t from, int64_t n)
{
    const dsv3_tensor *const targets = p->labels_given ? &io->labels : &io->input_ids;
    int64_t const k = p->depth, d = p->labels_given ? k : k + 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t const id = behind(from, n, i, k), target = behind(from, n, i, d), mask = behind(from, n, i, d);
        put_int(&io->mtp_input_ids, from + i, shifted_int(&io->input_ids, id, 0));
        put_int(&io->mtp_labels, from + i, shifted_int(targets, target, p->tail ? DSV3_IGNORED : 0));
        store_at(&io->mtp_loss_mask, (from + i) * io->mtp_loss_mask.stride[0],
                 mask < 0 ? 0 : load_at(&io->loss_mask, mask * io->loss_mask.stride[0]));
        put_int(&io->valid, from + i, id >= 0);
    }
}

dsv3_status plain_mtp_inputs(dsv3_ctx *ctx, const dsv3_mtp_inputs_prob *p, const dsv3_mtp_inputs_io *io)
{
    (void)ctx;
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t const from = int_at(&io->cu_seqlens, b);
        shift_sequence(p, io, from, int_at(&io->cu_seqlens, b + 1) - from);
    }
    return DSV3_OK;
}

const char *plain_mtp_inputs_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return NULL; /* a copy rounds nothing */
}
