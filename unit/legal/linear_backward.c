/* linear_backward: docs/components/linear_backward.md. */
#include "legal.h"

void legal_linear_backward_config(legal *c, dsv3_linear_backward_prob const *p, dsv3_linear_backward_io const *io)
{
    legal_start(c, "linear_backward", p->n_tokens, p->in_features, p->out_features,
                (int)(io->x.dtype * 8 + io->grad_weight.dtype));
    if (io->x.dtype != DSV3_BF16 || !legal_unit_sums(c)) legal_sums(c, false);
    legal_arithmetic(c, false);
    legal_output(c, "grad_x", io->grad_x.dtype);
    legal_output(c, "grad_weight", io->grad_weight.dtype);
}

/* The columns of a matrix, one after the other. */
static double *columns(legal const *c, dsv3_tensor const *x, int64_t rows, int64_t width)
{
    double *all = legal_room(rows * width);
    for (int64_t i = 0; all && i < rows; i++)
        for (int64_t j = 0; j < width; j++) all[j * rows + i] = legal_load(c, x, legal_row(x, i) + j);
    return all;
}

dsv3_status legal_linear_backward(dsv3_ctx *ctx, dsv3_linear_backward_prob const *p, dsv3_linear_backward_io const *io)
{
    (void)ctx;
    legal c;
    legal_linear_backward_config(&c, p, io);
    int64_t const tokens = p->n_tokens, in = p->in_features, out = p->out_features;
    double const *x = columns(&c, &io->x, tokens, in), *grad = columns(&c, &io->grad_y, tokens, out),
                 *weight = columns(&c, dsv3_find(&io->weights, "weight"), out, in);
    double *row = legal_room(out);
    if (!x || !grad || !weight || !row) return DSV3_UNSUPPORTED;
    bool const weight_cut = c.cut_output;
    c.cut_output = legal_cuts(&c, "grad_x");
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t o = 0; o < out; o++) row[o] = grad[o * tokens + t];
        for (int64_t i = 0; i < in; i++)
            legal_store(&c, &io->grad_x, legal_row(&io->grad_x, t) + i, legal_dot(&c, out, row, weight + i * out));
    }
    c.cut_output = weight_cut;
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++)
            legal_store(&c, &io->grad_weight, legal_row(&io->grad_weight, o) + i,
                        legal_dot(&c, tokens, grad + o * tokens, x + i * tokens));
    return DSV3_OK;
}
