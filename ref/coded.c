/* See coded.h. Source: deepseek-ai/DeepSeek-V3, inference/kernel.py, fp8_gemm. */
#include "coded.h"

enum { BLOCK = 128 };

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* Which of the scales of a row a block takes. */
static int64_t block_of_scale(const ref_reading *rd, int64_t block, int64_t blocks)
{
    if (blocks > 1 && quirk(rd, QUIRK_F16_first_x_scale)) return 0;
    if (blocks > 1 && quirk(rd, QUIRK_F16_scaled_at_end)) return blocks - 1;
    if (block + 1 < blocks && quirk(rd, QUIRK_F16_next_x_scale)) return block + 1;
    return block;
}

/* The scale of block b of row t as it is read. */
static ball stored_scale(const ref_reading *rd, const dsv3_tensor *scale, int64_t t, int64_t b)
{
    int64_t const rows = scale->shape[0], blocks = scale->shape[1];
    bool const both_axes = rows > 1 && blocks > 1;
    int64_t const at = both_axes && quirk(rd, QUIRK_F2_x_scale_transposed) ? b * rows + t : t * blocks + b;
    bool const number = scale->dtype == DSV3_U8 && quirk(rd, QUIRK_F11_x_scale_as_number);
    return element(rd, number ? ref_decode(DSV3_U8, scale->data, at) : scale_value(scale, at));
}

/* A scale as the product takes it. */
static ball scale_in_use(const ref_reading *rd, ball scale, bool exponent)
{
    if (quirk(rd, QUIRK_F16_x_scale_missing)) return ball_of(1);
    double const least = ball_lower(scale);
    bool const cut = !exponent && least > 0 && quirk(rd, QUIRK_F11_x_scale_truncated);
    return cut ? ball_of(ldexp(1, ilogb(least))) : scale;
}

/* A code times its scale. */
static ball dequantised(const ref_reading *rd, ball code, ball scale)
{
    return quirk(rd, QUIRK_F4_x_scale_divided) ? ball_div(code, scale) : ball_mul(code, scale);
}

/* What the scale multiplies by, or divides. */
static double factor_of(const ref_reading *rd, ball scale)
{
    double const s = ball_sup(scale);
    return quirk(rd, QUIRK_F4_x_scale_divided) ? 1 / s : s;
}

/* ---- rows ---- */

coded_rows coded_take(const ref_reading *rd, int64_t n, int64_t width)
{
    coded_rows rows = {n, width, (width + BLOCK - 1) / BLOCK, NULL, NULL};
    rows.scale = scratch_take(rd->scratch, n * rows.blocks, sizeof *rows.scale);
    rows.row = scratch_take(rd->scratch, n, sizeof *rows.row);
    return rows;
}

void coded_set(const ref_reading *rd, const coded_rows *rows, int64_t t, const ball *code, const ball *scale,
               bool exponents, int point, dsv3_dtype format)
{
    int64_t const n = rows->width;
    ball *const of_block = rows->scale + t * rows->blocks;
    double *const value = scratch_take(rd->scratch, 2 * n, sizeof *value), *const radius = value + n;
    for (int64_t b = 0; b < rows->blocks; b++)
        of_block[b] = scale_in_use(rd, scale[block_of_scale(rd, b, rows->blocks)], exponents);
    for (int64_t i = 0; i < n; i++) {
        ref_value const v = value_of(round_at(rd, point, format, dequantised(rd, code[i], of_block[i / BLOCK])));
        value[i] = v.hi;
        radius[i] = v.lo == 0 ? v.radius : nextafter(v.radius + fabs(v.lo), INFINITY);
    }
    rows->row[t] = operand_of(value, radius, n);
}

coded_rows coded_read(const ref_reading *rd, const dsv3_tensor *code, const dsv3_tensor *scale, int point,
                      dsv3_dtype format)
{
    coded_rows const rows = coded_take(rd, code->shape[0], code->shape[1]);
    ball *const codes = scratch_take(rd->scratch, rows.width, sizeof *codes);
    ball *const scales = scratch_take(rd->scratch, rows.blocks, sizeof *scales);
    for (int64_t t = 0; t < rows.n; t++) {
        for (int64_t i = 0; i < rows.width; i++) codes[i] = element_at(rd, code, t, i);
        for (int64_t b = 0; b < rows.blocks; b++) scales[b] = stored_scale(rd, scale, t, b);
        coded_set(rd, &rows, t, codes, scales, scale->dtype == DSV3_U8, point, format);
    }
    return rows;
}

const double *early_factors(const ref_reading *rd, const matrix *w, const ball *scale, int64_t n)
{
    int64_t const blocks = (w->columns + BLOCK - 1) / BLOCK;
    double *const early = scratch_take(rd->scratch, n, sizeof *early);
    for (int64_t t = 0; t < n; t++) early[t] = 1;
    for (int64_t b = 0; b < blocks; b++) {
        double const of_weights = fmax(1, largest_of_blocks(w, b));
        for (int64_t t = 0; t < n; t++)
            early[t] = fmax(early[t], of_weights * fmax(1, factor_of(rd, scale[t * blocks + b])));
    }
    return early;
}
