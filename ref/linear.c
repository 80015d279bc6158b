/*
 * Linear:  y_o = sum_i W_oi x_i,  no bias.
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 3.3.2; deepseek-ai/DeepSeek-V3, inference/model.py, linear.
 */
#include "matrix.h"
#include "vectors.h"

/* Rows of x as a port's products take them: rounded at the point x, where that is coarser than what is stored. */
static vectors read_x(const ref_reading *rd, const dsv3_linear_prob *p, const dsv3_linear_io *io)
{
    dsv3_dtype const stored = io->x.dtype, output = io->y.dtype;
    if (!rd->declared || unit_at_point(rd, POINT_linear_x, output) <= ref_half_ulp(stored, 1))
        return vectors_read(rd->scratch, &io->x, p->n_tokens, p->in_features);
    vectors x = vectors_take(rd->scratch, p->n_tokens, p->in_features);
    for (int64_t i = 0; i < x.n * x.width; i++) {
        double const v = ref_decode(stored, io->x.data, i / x.width * io->x.stride[0] + i % x.width);
        x.ball[i] = round_at(rd, POINT_linear_x, output, element(rd, v));
    }
    vectors_prepare(rd->scratch, &x);
    return x;
}

void ref_linear(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_linear_prob *const p = prob;
    const dsv3_linear_io *const io = io_;
    matrix const w = matrix_of(rd, &io->weights, "", POINT_linear_weight, io->y.dtype);
    vectors const x = read_x(rd, p, io);
    vectors const y = vectors_take(rd->scratch, p->n_tokens, p->out_features);
    matrix_times(&w, x.row, x.n, POINT_linear_y, io->y.dtype, y.ball);
    for (int64_t i = 0; out[0] && i < y.n * y.width; i++) out[0][i] = value_of(y.ball[i]);
}
