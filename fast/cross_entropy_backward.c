/* The gradient of the mean loss by the logits: exponentials in sixteen lanes, their sum in binary64. */
#include "ctx.h"
#include "fast.h"
#include "logits.h"
#include "matrix.h"

#include <stdbool.h>

typedef struct {
    const dsv3_cross_entropy_backward_prob *p;
    const dsv3_cross_entropy_backward_io *io;
    float share; /* grad_mean / divisor */
} gradients;

static int32_t label_of(const dsv3_cross_entropy_backward_io *io, int64_t t)
{
    return ((const int32_t *)io->labels.data)[t * io->labels.stride[0]];
}

/* P - 1 at the label, else P; times share. */
static void gradient_of_row(const gradients *g, int64_t t, int32_t label)
{
    const dsv3_tensor *const z = &g->io->logits, *const y = &g->io->grad_logits;
    int64_t const from = t * z->stride[0], n = g->p->vocab_size;
    float const most = largest_logit(z, from, n);
    vec const inverse = vec_of((float)(1 / sum_of_exponentials(z, from, n, most))), share = vec_of(g->share);
    for (int64_t i = 0; i < n; i += WIDTH) {
        bool const here = label >= i && label < i + WIDTH;
        lanes const of = first_lanes(n - i), labelled = (lanes)(here ? 1u << (label - i) : 0u);
        vec const e = vec_exp(vec_sub(load_lanes(z->data, z->dtype, from + i, of), vec_of(most)));
        vec const P = vec_mul(e, inverse), less = vec_choose(labelled, vec_sub(P, vec_of(1)), P);
        store_lanes(y->data, y->dtype, t * y->stride[0] + i, of, vec_mul(less, share));
    }
}

static void clear_row(const gradients *g, int64_t t)
{
    const dsv3_tensor *const y = &g->io->grad_logits;
    for (int64_t i = 0; i < g->p->vocab_size; i += WIDTH)
        store_lanes(y->data, y->dtype, t * y->stride[0] + i, first_lanes(g->p->vocab_size - i), vec_of(0));
}

static void make_row(const void *job, int64_t t, int worker)
{
    (void)worker;
    const gradients *const g = job;
    int32_t const label = label_of(g->io, t);
    if (label == DSV3_IGNORED)
        clear_row(g, t);
    else
        gradient_of_row(g, t, label);
}

dsv3_status fast_cross_entropy_backward(dsv3_ctx *ctx, const dsv3_cross_entropy_backward_prob *p,
                                        const dsv3_cross_entropy_backward_io *io)
{
    int64_t counted = 0;
    if (!is_float(&io->logits) || !is_float(&io->grad_logits)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++) counted += label_of(io, t) != DSV3_IGNORED;
    double const grad_mean = *(const float *)io->grad_mean.data;
    gradients const g = {p, io, (float)(grad_mean / (double)(p->divisor ? counted : p->n_tokens))};
    ctx_run(ctx, make_row, &g, p->n_tokens);
    return DSV3_OK;
}

const char *fast_cross_entropy_backward_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 53 rn; div 2; exp 2; rescales 0; flush none; P f32 must";
}
