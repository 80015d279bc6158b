/* Each row of the table gets the sum of its tokens' gradients, in their order. */
#include "ctx.h"
#include "fast.h"
#include "matrix.h"
#include "vec.h"

typedef struct {
    const dsv3_embed_backward_prob *p;
    const dsv3_embed_backward_io *io;
    const int64_t *first, *next; /* (vocab_size) the first token of a row; (n_tokens) the one after a token; -1: none */
} gradient;

static void sum_row(const void *job, int64_t v, int worker)
{
    (void)worker;
    const gradient *const d = job;
    const dsv3_tensor *const y = &d->io->grad_y, *const to = &d->io->grad_weight;
    for (int64_t i = 0; i < d->p->hidden_size; i += WIDTH) {
        lanes const of = first_lanes(d->p->hidden_size - i);
        vec sum = vec_of(0);
        for (int64_t t = d->first[v]; t >= 0; t = d->next[t])
            sum = vec_add(sum, load_lanes(y->data, y->dtype, t * y->stride[0] + i, of));
        store_lanes(to->data, to->dtype, v * to->stride[0] + i, of, sum);
    }
}

/* From the last token to the first, so that each list is in the order of tokens. */
static void list_tokens(const gradient *d, int64_t *first, int64_t *next)
{
    const dsv3_tensor *const ids = &d->io->input_ids;
    for (int64_t v = 0; v < d->p->vocab_size; v++) first[v] = -1;
    for (int64_t t = d->p->n_tokens - 1; t >= 0; t--) {
        int32_t const id = ((const int32_t *)ids->data)[t * ids->stride[0]];
        next[t] = first[id];
        first[id] = t;
    }
}

dsv3_status fast_embed_backward(dsv3_ctx *ctx, const dsv3_embed_backward_prob *p, const dsv3_embed_backward_io *io)
{
    if (!is_float(&io->grad_y) || !is_float(&io->grad_weight)) return DSV3_UNSUPPORTED;
    size_t const mark = ctx_mark(ctx);
    int64_t *const first = ctx_take(ctx, p->vocab_size, sizeof *first);
    int64_t *const next = ctx_take(ctx, p->n_tokens, sizeof *next);
    if (first && next) {
        gradient const d = {p, io, first, next};
        list_tokens(&d, first, next);
        ctx_run(ctx, sum_row, &d, p->vocab_size);
    }
    ctx_back(ctx, mark);
    return first && next ? DSV3_OK : DSV3_NO_MEMORY;
}

const char *fast_embed_backward_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn; flush none; partial f32 must";
}
