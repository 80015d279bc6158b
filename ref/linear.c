/*
 * Linear:  y_o = sum_i W_oi x_i,  no bias.
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 3.3.2; deepseek-ai/DeepSeek-V3, inference/model.py, linear.
 */
#include "matrix.h"

#include "scratch.h"

#include <stdlib.h>

void ref_linear(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_linear_prob *const p = prob;
    const dsv3_linear_io *const io = io_;
    matrix const w = matrix_of(rd, &io->weights, "", POINT_linear_weight, io->y.dtype);
    int64_t const outputs = p->n_tokens * p->out_features;
    double *const values = malloc((size_t)(p->n_tokens * p->in_features) * sizeof *values);
    ball *const y = malloc((size_t)outputs * sizeof *y);
    row *const x = malloc((size_t)p->n_tokens * sizeof *x);
    bool good = values && x && y;
    if (good) rows_of(&io->x, p->n_tokens, p->in_features, values, x);
    good = good && matrix_times(&w, x, p->n_tokens, POINT_linear_y, io->y.dtype, y);
    for (int64_t i = 0; good && out[0] && i < outputs; i++) out[0][i] = value_of(y[i]);
    free(x);
    free(y);
    free(values);
    scratch_need(rd->scratch, good);
}
