/* Row input_ids[t] of the table, copied. */
#include "ctx.h"
#include "fast.h"
#include "matrix.h"

typedef struct {
    const dsv3_embed_prob *p;
    const dsv3_embed_io *io;
    const dsv3_tensor *weight;
    size_t size; /* of an element */
} embedding;

static void copy_row(const void *job, int64_t t, int worker)
{
    (void)worker;
    const embedding *const e = job;
    const dsv3_tensor *const ids = &e->io->input_ids, *const y = &e->io->y;
    int64_t const id = ((const int32_t *)ids->data)[t * ids->stride[0]];
    memcpy((char *)y->data + (size_t)(t * y->stride[0]) * e->size,
           (const char *)e->weight->data + (size_t)(id * e->weight->stride[0]) * e->size,
           (size_t)e->p->hidden_size * e->size);
}

dsv3_status fast_embed(dsv3_ctx *ctx, const dsv3_embed_prob *p, const dsv3_embed_io *io)
{
    embedding e = {p, io, dsv3_find(&io->weights, "weight"), 0};
    if (!is_float(e.weight) || io->y.dtype != e.weight->dtype) return DSV3_UNSUPPORTED;
    e.size = e.weight->dtype == DSV3_F32 ? 4 : 2;
    ctx_run(ctx, copy_row, &e, p->n_tokens);
    return DSV3_OK;
}

const char *fast_embed_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return NULL; /* a copy rounds nothing */
}
