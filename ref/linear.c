/*
 * Linear:  y_o = sum_i W_oi x_i,  no bias. x in FP8:  x_ti = code_ti * x_scale[t][i/128].
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 3.3.2; deepseek-ai/DeepSeek-V3, inference/model.py, linear.
 */
#include "matrix.h"
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

/* ---- W8A8: x in FP8, a scale for each 1x128 block ---- */

enum { BLOCK = 128 };

/* Which of the scales of a row a block takes. */
static int64_t block_of_scale(const ref_reading *rd, int64_t block, int64_t blocks)
{
    if (blocks > 1 && quirk(rd, QUIRK_F16_first_x_scale)) return 0;
    if (blocks > 1 && quirk(rd, QUIRK_F16_scaled_at_end)) return blocks - 1;
    if (block + 1 < blocks && quirk(rd, QUIRK_F16_next_x_scale)) return block + 1;
    return block;
}

/* The scale of block b of row t. */
static double x_scale_at(const ref_reading *rd, const dsv3_tensor *scale, int64_t t, int64_t b)
{
    int64_t const rows = scale->shape[0], blocks = scale->shape[1], taken = block_of_scale(rd, b, blocks);
    bool const both_axes = rows > 1 && blocks > 1;
    int64_t const at = both_axes && quirk(rd, QUIRK_F2_x_scale_transposed) ? taken * rows + t : t * blocks + taken;
    bool const exponents = scale->dtype == DSV3_U8;
    if (quirk(rd, QUIRK_F16_x_scale_missing)) return 1;
    if (exponents && quirk(rd, QUIRK_F11_x_scale_as_number)) return ref_decode(DSV3_U8, scale->data, at);
    double const value = scale_value(scale, at);
    bool const truncated = !exponents && value != 0 && quirk(rd, QUIRK_F11_x_scale_truncated);
    return truncated ? ldexp(1, ilogb(value)) : value;
}

/* Row t of x times its scales, which a port may round. */
static operand dequantised_row(const ref_reading *rd, const dsv3_linear_io *io, const dsv3_tensor *scale, int64_t t)
{
    int64_t const n = io->x.shape[1];
    double *const value = scratch_take(rd->scratch, 2 * n, sizeof *value), *const radius = value + n;
    for (int64_t i = 0; i < n; i++) {
        ball const s = element(rd, x_scale_at(rd, scale, t, i / BLOCK)), code = element_at(rd, &io->x, t, i);
        ball const x = quirk(rd, QUIRK_F4_x_scale_divided) ? ball_div(code, s) : ball_mul(code, s);
        ref_value const v = value_of(round_at(rd, POINT_linear_x, io->y.dtype, x));
        value[i] = v.hi;
        radius[i] = v.lo == 0 ? v.radius : nextafter(v.radius + fabs(v.lo), INFINITY);
    }
    return operand_of(value, radius, n);
}

static vectors dequantised(const ref_reading *rd, const dsv3_linear_prob *p, const dsv3_linear_io *io,
                           const dsv3_tensor *scale)
{
    vectors x = {.n = p->n_tokens, .width = p->in_features};
    x.row = scratch_take(rd->scratch, x.n, sizeof *x.row);
    for (int64_t t = 0; t < x.n; t++) x.row[t] = dequantised_row(rd, io, scale, t);
    return x;
}

/* matrix.early of each row. */
static const double *early_factors(const ref_reading *rd, const matrix *w, const dsv3_tensor *scale)
{
    int64_t const rows = scale->shape[0], blocks = scale->shape[1];
    double *const early = scratch_take(rd->scratch, rows, sizeof *early);
    for (int64_t t = 0; t < rows; t++) early[t] = 1;
    for (int64_t b = 0; b < blocks; b++) {
        double const of_weights = fmax(1, largest_of_blocks(w, b));
        for (int64_t t = 0; t < rows; t++) {
            double const s = fabs(x_scale_at(rd, scale, t, b));
            bool const divided = quirk(rd, QUIRK_F4_x_scale_divided);
            early[t] = fmax(early[t], of_weights * fmax(1, divided ? 1 / s : s));
        }
    }
    return early;
}

static vectors coded_input(const ref_reading *rd, const dsv3_linear_prob *p, const dsv3_linear_io *io, matrix *w)
{
    const dsv3_tensor *const own = w->scale, *scale = &io->x_scale;
    bool const alike = scale->shape[0] == own->shape[0];
    if (alike && quirk(rd, QUIRK_F16_scales_exchanged)) w->scale = scale, scale = own;
    w->early = early_factors(rd, w, scale);
    return dequantised(rd, p, io, scale);
}

/* ---- the op ---- */

void ref_linear(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_linear_prob *const p = prob;
    const dsv3_linear_io *const io = io_;
    matrix w = matrix_of(rd, &io->weights, "", POINT_linear_weight, io->y.dtype);
    vectors const x = io->x.dtype == DSV3_F8_E4M3 ? coded_input(rd, p, io, &w) : input_of(rd, p, io);
    vectors const y = vectors_take(rd->scratch, p->n_tokens, p->out_features);
    matrix_times(&w, x.row, x.n, POINT_linear_y, io->y.dtype, y.ball);
    for (int64_t i = 0; out[0] && i < y.n * y.width; i++) out[0][i] = value_of(y.ball[i]);
}
