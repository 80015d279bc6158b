/* Row input_ids[t] of the table. Nothing is computed, so nothing is declared. */
#include "plain.h"

dsv3_status plain_embed(dsv3_ctx *ctx, const dsv3_embed_prob *p, const dsv3_embed_io *io)
{
    (void)ctx;
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    if (!is_float(weight) || io->y.dtype != weight->dtype) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        int64_t const id = int_at(&io->input_ids, t * io->input_ids.stride[0]);
        for (int64_t i = 0; i < p->hidden_size; i++) store(&io->y, t, i, load(weight, id, i));
    }
    return DSV3_OK;
}

const char *plain_embed_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return NULL; /* a copy rounds nothing */
}
