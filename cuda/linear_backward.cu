/* grad_x = grad_y W, grad_weight = grad_y^T x: BF16 by mma.sync, f32 in binary32. */
#include "row_sums.cuh"

dsv3_status cuda_linear_backward(dsv3_ctx *ctx, const dsv3_linear_backward_prob *p, const dsv3_linear_backward_io *io)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    dsv3_dtype const format = io->x.dtype;
    if (!is_float(&io->x) || !weight || weight->dtype != format || io->grad_y.dtype != format) return DSV3_UNSUPPORTED;
    if (!is_float(&io->grad_x) || !is_float(&io->grad_weight)) return DSV3_UNSUPPORTED;
    row_list const grad_y = rows_of(&io->grad_y);
    row_sum const by_x = {grad_y, rows_of(weight), rows_of(&io->grad_x), p->n_tokens, p->out_features, p->in_features};
    row_sum by_weight = {grad_y,          rows_of(&io->x), rows_of(&io->grad_weight),
                         p->out_features, p->n_tokens,     p->in_features};
    by_weight.turned = true;
    dsv3_status const status = sum_rows(ctx, &by_x);
    return status == DSV3_OK ? sum_rows(ctx, &by_weight) : status;
}

const char *cuda_linear_backward_numerics(const void *, const void *io)
{
    if (((const dsv3_linear_backward_io *)io)->x.dtype == DSV3_BF16)
        return of_unit("acc %s splits=1 promote=128 bits2=24; flush none");
    return "acc 24 rn fused splits=1; flush none";
}
