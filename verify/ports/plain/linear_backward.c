/* grad_x = grad_y W, grad_weight = grad_y^T x: each a sum in its order, in binary32. */
#include "plain.h"

/* sum over k < n of a[k][i] b[k][j]; a and b are rows of tensors. */
static float sum_of(const dsv3_tensor *a, int64_t i, const dsv3_tensor *b, int64_t j, int64_t n)
{
    float sum = 0;
    for (int64_t k = 0; k < n; k++) sum += load(a, k, i) * load(b, k, j);
    return sum;
}

static float row_sum(const dsv3_tensor *grad_y, int64_t t, const dsv3_tensor *weight, int64_t i, int64_t n)
{
    float sum = 0;
    for (int64_t o = 0; o < n; o++) sum += load(grad_y, t, o) * load(weight, o, i);
    return sum;
}

dsv3_status plain_linear_backward(dsv3_ctx *ctx, const dsv3_linear_backward_prob *p, const dsv3_linear_backward_io *io)
{
    (void)ctx;
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    if (!is_float(&io->x) || !is_float(&io->grad_y) || !is_float(weight)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t i = 0; i < p->in_features; i++)
            store(&io->grad_x, t, i, row_sum(&io->grad_y, t, weight, i, p->out_features));
    for (int64_t o = 0; o < p->out_features; o++)
        for (int64_t i = 0; i < p->in_features; i++)
            store(&io->grad_weight, o, i, sum_of(&io->grad_y, o, &io->x, i, p->n_tokens));
    return DSV3_OK;
}

const char *plain_linear_backward_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 24 rn; flush none";
}
