/*
 * Linear:  y_o = sum_i W_oi x_i,  no bias. x in FP8:  x_ti = code_ti * x_scale[t][i/128].
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 3.3.2; deepseek-ai/DeepSeek-V3, inference/model.py, linear.
 */
#include "coded.h"
#include "vectors.h"

/* x as the products take it. A format that holds it changes nothing. */
static vectors input_of(const ref_reading *rd, const dsv3_linear_prob *p, const dsv3_linear_io *io)
{
    vectors const stored = vectors_read(rd->scratch, &io->x, p->n_tokens, p->in_features);
    if (!rd->declared) return stored;
    ref_rounding const r = declared_at(rd, POINT_linear_x);
    if (digits_of(r.format ? r.format : io->y.dtype) >= digits_of(io->x.dtype)) return stored;
    vectors x = vectors_take(rd->scratch, p->n_tokens, p->in_features);
    for (int64_t i = 0; i < x.n * x.width; i++)
        x.ball[i] = cast_at(rd, POINT_linear_x, io->y.dtype, element(rd, stored.parts[i]));
    vectors_prepare(rd->scratch, &x);
    return x;
}

/* W8A8: x in FP8, a scale for each 1x128 block. */
static const operand *coded_input(const ref_reading *rd, const dsv3_linear_io *io, matrix *w)
{
    const dsv3_tensor *const own = w->scale, *scale = &io->x_scale;
    bool const alike = scale->shape[0] == own->shape[0];
    if (alike && quirk(rd, QUIRK_F16_scales_exchanged)) w->scale = scale, scale = own;
    coded_rows const x = coded_read(rd, &io->x, scale, POINT_linear_x, io->y.dtype);
    w->early = early_factors(rd, w, x.scale, x.n);
    return x.row;
}

/* ---- the op ---- */

void ref_linear(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_linear_prob *const p = prob;
    const dsv3_linear_io *const io = io_;
    matrix w = matrix_of(rd, &io->weights, "", POINT_linear_weight, io->y.dtype);
    const operand *const x = io->x.dtype == DSV3_F8_E4M3 ? coded_input(rd, io, &w) : input_of(rd, p, io).row;
    vectors const y = vectors_take(rd->scratch, p->n_tokens, p->out_features);
    matrix_times(&w, x, p->n_tokens, POINT_linear_y, io->y.dtype, y.ball);
    for (int64_t i = 0; out[0] && i < y.n * y.width; i++) out[0][i] = value_of(y.ball[i]);
}
