/* Each row of the table gets the sum of its tokens' gradients, in their order, in binary32. */
#include "plain.h"

dsv3_status plain_embed_backward(dsv3_ctx *ctx, const dsv3_embed_backward_prob *p, const dsv3_embed_backward_io *io)
{
    float *const sum = scratch(ctx, p->hidden_size);
    if (!is_float(&io->grad_y) || !is_float(&io->grad_weight)) return DSV3_UNSUPPORTED;
    if (!sum) return DSV3_NO_MEMORY;
    for (int64_t v = 0; v < p->vocab_size; v++) {
        for (int64_t i = 0; i < p->hidden_size; i++) sum[i] = 0;
        for (int64_t t = 0; t < p->n_tokens; t++)
            for (int64_t i = 0; i < p->hidden_size && int_at(&io->input_ids, t * io->input_ids.stride[0]) == v; i++)
                sum[i] += load(&io->grad_y, t, i);
        for (int64_t i = 0; i < p->hidden_size; i++) store(&io->grad_weight, v, i, sum[i]);
    }
    return DSV3_OK;
}

const char *plain_embed_backward_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 24 rn; flush none; partial f32 must";
}
